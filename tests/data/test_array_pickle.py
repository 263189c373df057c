"""Arrays are read out of pickles of every age; nothing in a pickle is ever run."""

from __future__ import annotations

import contextlib
import copyreg
import datetime
import gzip
import os
import pickle
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thalweg.data import read_array_pickle

ARRAYS: dict[str, Any] = {
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "float64": np.array([1.5, -2.5]),
    "float16": np.array([0.5], np.float16),
    "big-endian": np.arange(4, dtype=">i4"),
    "int64": np.arange(3),
    "uint8": np.arange(3, dtype=np.uint8),
    "bool": np.array([True, False]),
    "Fortran order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(10)[::3],
    "empty": np.zeros((0, 4)),
    "no dimension": np.array(2.0),
    "nested": {"a": (np.ones(2), [np.zeros(1), "text", 3, None, 2.5, True, b"bytes"])},
    "the same twice": (lambda array: (array, array))(np.arange(3.0)),
}


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "arrays.pkl"
    path.write_bytes(content)
    return path


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype.newbyteorder("=")
        assert found.flags.writeable
        np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, (tuple, list)):
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        assert_same(list(found.values()), list(expected.values()))
    else:
        assert found == expected


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("core", ["numpy._core", "numpy.core"])
def test_arrays_of_every_kind_and_protocol(name: str, protocol: int, core: str, tmp_path: Path) -> None:
    content = pickle.dumps(ARRAYS[name], protocol)
    if core == "numpy.core" and protocol < 4:  # NumPy 1 wrote the other name; later protocols count its letters
        content = content.replace(b"cnumpy._core", b"cnumpy.core")
    assert_same(read_array_pickle(write(tmp_path, content)), ARRAYS[name])


# (array([0.5, 1.0], float32), [3]) as Python 2.7 with NumPy 1 wrote it: byte strings, the old module name.
VALUES = np.array([0.5, 1.0], "<f4").tobytes()
PYTHON_2 = {
    "protocol 2": (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03"
        b"(K\x01K\x02\x85cnumpy\ndtype\nq\x04U\x02f4K\x00K\x01\x87Rq\x05(K\x03U\x01<NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U\x08" + VALUES + b"tb]K\x03a\x86."
    ),
    "protocol 0": (
        b"(cnumpy.core.multiarray\n_reconstruct\np1\n(cnumpy\nndarray\np2\n(I0\ntS'b'\ntRp3\n"
        b"(I1\n(I2\ntcnumpy\ndtype\np4\n(S'f4'\nI0\nI1\ntRp5\n(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n"
        b"S'\\x00\\x00\\x00?\\x00\\x00\\x80?'\ntb(lp6\nI3\nat."
    ),
}


@pytest.mark.parametrize("protocol", PYTHON_2)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.filterwarnings("ignore:numpy.core:DeprecationWarning")  # the reference imports the module's old name
def test_pickles_of_python_2(protocol: str, packed: bool, tmp_path: Path) -> None:
    content = PYTHON_2[protocol]
    expected = pickle.loads(content, encoding="latin1")
    assert expected[0].tolist() == [0.5, 1.0]
    assert_same(read_array_pickle(write(tmp_path, gzip.compress(content) if packed else content)), expected)


# ------------------------------------------------------------------------------------------------------------ attacks


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def name(module: str, attribute: str) -> bytes:
    """Return the opcodes that push module.attribute by GLOBAL."""
    return f"c{module}\n{attribute}\n".encode()


def dotted(module: str, attributes: str) -> bytes:
    """Return the opcodes that push module.a.b by STACK_GLOBAL, which walks attributes."""
    parts = [b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, attributes)]
    return b"".join(parts) + b"\x93"


def text(value: object) -> bytes:
    return f"V{value}\n".encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def attacks(sentinel: Path) -> dict[str, bytes]:
    """Return pickles, each of which makes the file *sentinel* when an ordinary unpickler reads it."""
    code = f"open({str(sentinel)!r},'w').close()"
    evaluate = name("builtins", "eval")
    file_of_objects = sentinel.with_suffix(".npy")
    np.save(file_of_objects, np.array([Call(eval, code)], dtype=object), allow_pickle=True)
    getattr_of_os = call(name("builtins", "getattr"), name("os", "path"), text("os"))
    return {
        "os.system": call(name("os", "system"), text(f"touch {sentinel}")) + b".",
        "posix.system": pickle.dumps(Call(os.system, f"touch {sentinel}")),
        "subprocess": pickle.dumps(Call(subprocess.check_call, ["touch", str(sentinel)])),
        "builtins.eval": pickle.dumps(Call(eval, code)),
        "Python 2's eval": call(name("__builtin__", "eval"), text(code)) + b".",
        "builtins.open": call(name("builtins", "open"), text(sentinel), text("w")) + b".",
        "beside arrays": pickle.dumps({"x": np.arange(3.0), "y": Call(eval, code)}),
        "before arrays": call(evaluate, text(code)) + b"0" + pickle.dumps(np.arange(3.0), 0),
        "in an array of objects": pickle.dumps(np.array([Call(eval, code), 1], dtype=object)),
        "in an array's state": call(
            name("numpy._core.multiarray", "_reconstruct"), name("numpy", "ndarray"), b"(I0\nt", b"C\x01b"
        )
        + b"(I1\n"
        + call(evaluate, text(code))
        + b"tb.",
        "as a dtype's argument": call(name("numpy", "dtype"), call(evaluate, text(code))) + b".",
        "INST": b"(" + text(code) + b"ibuiltins\neval\n.",
        "OBJ": b"(" + evaluate + text(code) + b"o.",
        "STACK_GLOBAL": b"\x80\x04" + call(dotted("builtins", "eval"), text(code)) + b".",
        "a dotted name": b"\x80\x04" + call(dotted("os", "path.os.mkdir"), text(sentinel)) + b".",
        "NEWOBJ": b"\x80\x02" + name("subprocess", "Popen") + b"(](Vtouch\n" + text(sentinel) + b"et\x81"
        b"(](Vtouch\n"
        + text(sentinel)
        + b"et"
        + b"0"
        + call(name("subprocess", "check_call"), b"](Vtouch\n", text(sentinel), b"e")
        + b".",
        "nested calls": call(call(name("builtins", "getattr"), getattr_of_os, text("mkdir")), text(sentinel)) + b".",
        "numpy's file writer": call(name("numpy", "savetxt"), text(sentinel), b"](I1\ne") + b".",
        "numpy's array method": b"\x80\x04"
        + call(dotted("numpy", "ndarray.tofile"), pickle.dumps(np.ones(2), 4)[2:-1], text(sentinel))
        + b".",
        "numpy's test runner": call(name("numpy.testing", "runstring"), text(code), b"(d") + b".",
        "numpy's reader of pickles": call(name("numpy", "load"), text(file_of_objects), b"N\x88") + b".",
        "os by way of numpy": b"\x80\x04" + call(dotted("numpy.lib._npyio_impl", "os.mkdir"), text(sentinel)) + b".",
        "importlib": call(name("importlib", "import_module"), text("os"))
        + b"0"
        + call(name("os", "mkdir"), text(sentinel))
        + b".",
        "copyreg's constructor": call(
            name("copyreg", "_reconstructor"),
            name("builtins", "list"),
            name("builtins", "list"),
            call(evaluate, text(code)),
        )
        + b".",
        "copyreg's registry": call(name("copyreg", "add_extension"), text("builtins"), text("eval"), b"I240\n")
        + b"0"
        + call(b"\x82\xf0", text(code))
        + b"0"
        + call(name("copyreg", "remove_extension"), text("builtins"), text("eval"), b"I240\n")
        + b".",
        "a partial's state": call(name("functools", "partial"), name("builtins", "print"))
        + b"("
        + evaluate
        + b"("
        + text(code)
        + b"t(dNtb(tR.",
    }


ATTACKS = list(attacks(Path(tempfile.mkdtemp()) / "sentinel"))


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_and_has_not_run(attack: str, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    path = write(tmp_path, attacks(sentinel)[attack])
    for packed in (False, True):
        if packed:
            path.write_bytes(gzip.compress(path.read_bytes()))
        with pytest.raises(
            ValueError, match=r"arrays.pkl was refused: .*admits NumPy arrays of numbers and nothing else"
        ):
            read_array_pickle(path)
        assert not sentinel.exists()


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # builtins.open leaves it so
def test_the_attack_is_one(attack: str, tmp_path: Path) -> None:
    """An ordinary unpickler runs it: otherwise the test above would prove nothing."""
    sentinel = tmp_path / "sentinel"
    content = attacks(sentinel)[attack]
    with contextlib.suppress(TypeError, AttributeError, ValueError):  # some of them end in an error after their deed
        pickle.loads(content)
    assert sentinel.exists()


def test_a_cached_extension_is_no_way_in(tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    content = call(b"\x82\xf1", text(f"open({str(sentinel)!r},'w').close()")) + b"."
    copyreg.add_extension("builtins", "eval", 0xF1)
    try:
        pickle.loads(content)  # fills the cache that unpicklers answer from
        sentinel.unlink()
        with pytest.raises(ValueError, match=r"it asks for builtins\.eval"):
            read_array_pickle(write(tmp_path, content))
        assert not sentinel.exists()
    finally:
        copyreg.remove_extension("builtins", "eval", 0xF1)


def numpy_array(state: bytes) -> bytes:
    """Return a pickle of an array with the given opcodes as its state."""
    made = call(name("numpy._core.multiarray", "_reconstruct"), name("numpy", "ndarray"), b"(I0\nt", b"C\x01b")
    return b"\x80\x03" + made + b"(" + state + b"tb."


F4 = call(name("numpy", "dtype"), text("f4"), b"\x89\x88") + b"(I3\nV<\nNNNI-1\nI-1\nI0\ntb"
BYTES_8 = b"C\x08" + bytes(8)


class Subclass(np.ndarray[Any, Any]):
    """An array class of a user's own."""


REFUSED = {
    "another object": (pickle.dumps(datetime.date(2020, 1, 1)), r"it asks for datetime\.date"),
    "a set": (pickle.dumps({1, 2}, 4), r"it holds a set"),
    "a NumPy scalar": (pickle.dumps(np.float64(1)), r"it asks for numpy\._core\.multiarray\.scalar"),
    "a subclass": (pickle.dumps(np.ones(1).view(Subclass)), r"it asks for .*\.Subclass"),
    "a masked array": (pickle.dumps(np.ma.masked_array([1], [True])), r"it asks for numpy\.ma"),
    "a bare dtype": (pickle.dumps(np.dtype("f4")), r"it holds a DtypeNote"),
    "a bare name": (name("numpy", "ndarray") + b".", r"it holds a Name"),
    "objects": (
        pickle.dumps(np.array([None])),
        r"an array of list, not of numbers|dtype '\|?O8' is not one of numbers",
    ),
    "texts": (pickle.dumps(np.array(["a"])), r"its dtype '<U1' is not one of numbers"),
    "dates": (pickle.dumps(np.array(["2020"], "M8[Y]")), r"its dtype '<M8' is not one of numbers"),
    "records": (pickle.dumps(np.zeros(1, [("a", "f4")])), r"state of its dtype 'V4' is not that of plain numbers"),
    "a reconstructed list": (
        call(name("numpy._core.multiarray", "_reconstruct"), name("numpy", "dtype"), b"(I0\nt") + b".",
        r"an array of another class than numpy\.ndarray",
    ),
    "an array without state": (
        call(name("numpy._core.multiarray", "_reconstruct"), name("numpy", "ndarray"), b"(I0\nt") + b".",
        r"an array without content",
    ),
    "too few bytes": (
        numpy_array(b"I1\n(I9\nt" + F4 + b"\x89" + BYTES_8),
        r"shape \(9,\) and dtype float32 holds 8 bytes",
    ),
    "a negative size": (numpy_array(b"I1\n(I-2\nt" + F4 + b"\x89" + BYTES_8), r"impossible shape \(-2,\)"),
    "a size that is no integer": (numpy_array(b"I1\n(F2\nt" + F4 + b"\x89" + BYTES_8), r"impossible shape \(2\.0,\)"),
    "no shape": (numpy_array(b"I1\nN" + F4 + b"\x89" + BYTES_8), r"an array without shape and dtype"),
    "no dtype": (numpy_array(b"I1\n(I2\ntN\x89" + BYTES_8), r"an array without shape and dtype"),
    "attributes set on a name": (
        name("numpy", "ndarray") + b"(dVx\nI1\ns" + b"b.",
        r"it sets attributes of numpy\.ndarray",
    ),
    "attributes set on a function": (
        name("_codecs", "encode") + b"(dVx\nI1\nsb.",
        r"it sets attributes of _codecs\.encode",
    ),
    "slots set on a function": (name("_codecs", "encode") + b"N(dV__call__\nI1\ns\x86b.", r"it sets attributes"),
    "another codec": (call(name("_codecs", "encode"), text("a"), text("zlib")) + b".", r"it encodes str as 'zlib'"),
    "a call of what is no function": (call(name("numpy", "ndarray"), b"I1\n") + b".", r"TypeError: .*not callable"),
    "many bytes": (call(name("builtins", "bytes"), b"I1000000000000\n") + b".", r"TypeError: .*takes 1 positional"),
    "a persistent id": (b"Pname\n.", r"persistent"),
    "an unknown extension": (b"\x82\xf3.", r"unregistered extension code"),
    "a circle": (b"(lp0\ng0\na.", r"nested without end"),
    "a huge length": (b"\x8e" + b"\xff" * 7 + b"\x7f" + b".", r"OverflowError|MemoryError|truncated|Ran out"),
    "a truncated pickle": (pickle.dumps(np.ones(9))[:-20], r"truncated"),
    "no pickle": (b"PK\x03\x04 and more", r"persistent id"),
    "an empty file": (b"", r"Ran out of input"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_array(case: str, tmp_path: Path) -> None:
    content, said = REFUSED[case]
    with pytest.raises(ValueError, match=rf"arrays.pkl was refused: .*({said})"):
        read_array_pickle(write(tmp_path, content))


def test_no_file_leaves_something_behind_for_the_next(tmp_path: Path) -> None:
    spoil = name("_codecs", "encode") + b"(dVlabel\nVspoiled\nsb."
    with pytest.raises(ValueError, match="it sets attributes of _codecs"):
        read_array_pickle(write(tmp_path, spoil))
    content = pickle.dumps({"x": np.arange(3.0)}, 2)
    assert read_array_pickle(write(tmp_path, content))["x"].tolist() == [0.0, 1.0, 2.0]


def test_absent_and_truncated_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"read_array_pickle: there is no file .*absent"):
        read_array_pickle(tmp_path / "absent.pkl.gz")
    with pytest.raises(ValueError, match=r"arrays.pkl \(\d+ bytes\) is a damaged or truncated gzip file"):
        read_array_pickle(write(tmp_path, gzip.compress(pickle.dumps(np.ones(9)))[:-12]))
