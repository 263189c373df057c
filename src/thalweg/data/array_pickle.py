"""Arrays out of a pickle, and nothing else: no name that a pickle may ask for leads to code.

A pickle is a program. Its only way out of its own stack is to ask for a global name (`Unpickler.find_class`) and to
call what it got. Here the few names that NumPy's arrays need lead to objects that only take notes; every other name is
refused before anything is called. When the program has ended, the notes are checked and turned into arrays with
``numpy.frombuffer``, so that not even NumPy's own, unchecked ``__setstate__`` is within a pickle's reach.
"""

from __future__ import annotations

import copyreg
import io
import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from .idx import read_bytes

__all__ = ["read_array_pickle"]

Array = np.ndarray[Any, Any]

_NUMBER = re.compile(r"[<>=|]?(?:b1|[iu][1248]|f[248])")


class _Name:
    """A global that a pickle may mention but not call; it takes no state."""

    __slots__ = ("label",)

    def __init__(self, label: str) -> None:
        self.label = label

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError(f"it sets attributes of {self.label}")


class _DtypeNote:
    """What a pickle says about a dtype: a code such as ``f4`` and, later, a byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code = code
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, subarray, names, fields, item size, alignment, flags): plain numbers have no subarray,
        # no names and no fields.
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError(f"the state of its dtype {self.code!r} is not that of plain numbers")
        self.order = str(state[1])

    def dtype(self) -> np.dtype[Any]:
        code = self.code if self.order == "|" else self.order + self.code
        if not _NUMBER.fullmatch(code):
            raise pickle.UnpicklingError(f"its dtype {code!r} is not one of numbers")
        return np.dtype(code)


class _ArrayNote:
    """What a pickle says about an array: shape, dtype, order and bytes."""

    __slots__ = ("state",)

    def __init__(self, state: Any = None) -> None:
        self.state = state

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> Array:
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            raise pickle.UnpicklingError("it holds an array without content")
        _, shape, dtype, fortran, content = self.state
        if not isinstance(dtype, _DtypeNote) or not isinstance(shape, tuple):
            raise pickle.UnpicklingError("it holds an array without shape and dtype")
        if not all(type(size) is int and size >= 0 for size in shape):
            raise pickle.UnpicklingError(f"it holds an array of the impossible shape {shape!r}")
        if isinstance(content, str):  # Python 2's byte strings arrive as latin-1 text
            content = content.encode("latin-1")
        if not isinstance(content, (bytes, bytearray)):
            raise pickle.UnpicklingError(f"it holds an array of {type(content).__name__}, not of numbers")
        kind = dtype.dtype()
        if len(content) != math.prod(shape) * kind.itemsize:
            raise pickle.UnpicklingError(f"its array of shape {shape} and dtype {kind} holds {len(content)} bytes")
        values = np.frombuffer(content, kind).reshape(shape, order="F" if fortran else "C")
        return values.astype(kind.newbyteorder("="), order="C")


class _MakeArray(_Name):
    """Stands for ``numpy._core.multiarray._reconstruct``."""

    __slots__ = ()

    def __call__(self, kind: object, shape: object = (0,), typecode: object = b"b") -> _ArrayNote:
        if not isinstance(kind, _Name) or kind.label != "numpy.ndarray":
            raise pickle.UnpicklingError("it makes an array of another class than numpy.ndarray")
        return _ArrayNote()


class _MakeFromBuffer(_Name):
    """Stands for ``numpy._core.numeric._frombuffer``, which protocol 5 uses."""

    __slots__ = ()

    def __call__(self, content: object, dtype: object, shape: object, order: object = "C") -> _ArrayNote:
        return _ArrayNote((1, shape, dtype, order == "F", content))


class _MakeDtype(_Name):
    """Stands for ``numpy.dtype``."""

    __slots__ = ()

    def __call__(self, code: object, align: object = False, copy: object = False) -> _DtypeNote:
        return _DtypeNote(str(code))


class _Encode(_Name):
    """Stands for ``_codecs.encode``, with which protocol 2 writes Python 3's bytes."""

    __slots__ = ()

    def __call__(self, text: object, encoding: object = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"it encodes {type(text).__name__} as {encoding!r}")
        return text.encode("latin-1")


class _EmptyBytes(_Name):
    """Stands for ``bytes``, without arguments: so protocol 2 writes an empty array's content."""

    __slots__ = ()

    def __call__(self) -> bytes:
        return b""


def _admitted() -> dict[tuple[str, str], _Name]:
    """Return the names that arrays need, made anew for each file so that no file can leave something behind."""
    names: dict[tuple[str, str], _Name] = {
        ("numpy", "ndarray"): _Name("numpy.ndarray"),
        ("numpy", "dtype"): _MakeDtype("numpy.dtype"),
        ("_codecs", "encode"): _Encode("_codecs.encode"),
        ("__builtin__", "bytes"): _EmptyBytes("bytes"),
        ("builtins", "bytes"): _EmptyBytes("bytes"),
    }
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray", "_reconstruct"] = _MakeArray("_reconstruct")
        names[f"{core}.numeric", "_frombuffer"] = _MakeFromBuffer("_frombuffer")
    return names


class _ArrayUnpickler(pickle.Unpickler):
    """Looks names up in the table above instead of importing them."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="latin1")  # Python 2's strings hold bytes
        self.names = _admitted()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.names:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self.names[module, name]


def _arrays_of(value: Any) -> Any:
    """Return *value* with its notes turned into arrays; only containers, numbers, text and arrays may be in it."""
    if isinstance(value, _ArrayNote):
        return value.array()
    if type(value) in (tuple, list):
        return type(value)(_arrays_of(part) for part in value)
    if type(value) is dict:
        return {key: _arrays_of(part) for key, part in value.items()}
    if value is None or type(value) in (str, bytes, int, float, bool):
        return value
    raise pickle.UnpicklingError(f"it holds a {type(value).__name__.strip('_')}")


def read_array_pickle(path: str | Path) -> Any:
    """Return what a pickle of NumPy arrays holds, plain or gzipped, without running anything of it.

    Tuples, lists, dicts, numbers and text are kept; arrays of bool, integers and floats become writable arrays in the
    machine's byte order. Pickles of Python 2 and of every protocol are read.

    Args:
        path: the file; whether it is gzipped is read from its first bytes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it asks for any other name than an array's, holds anything else, or is damaged.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "arrays.pkl")
    ...     _ = path.write_bytes(pickle.dumps({"x": np.arange(3.0)}))
    ...     read_array_pickle(path)
    {'x': array([0., 1., 2.])}
    """
    data = read_bytes("read_array_pickle", path, "check the path")
    # Names that extension codes stand for would be answered from copyreg's cache without being looked up.
    copyreg.clear_extension_cache()
    try:
        return _arrays_of(_ArrayUnpickler(io.BytesIO(data)).load())
    except (pickle.UnpicklingError, EOFError) as error:
        reason = " ".join(str(error).split())
    except (TypeError, AttributeError, ValueError, KeyError, IndexError, OverflowError, MemoryError) as error:
        reason = f"{type(error).__name__}: {error}"  # what the machine raises when a program is not one of arrays
    except RecursionError:
        reason = "it is nested without end"
    raise ValueError(
        f"read_array_pickle: {path} was refused: {reason}. A pickle is a program, and this reader admits NumPy arrays "
        "of numbers and nothing else; nothing of it was run. Obtain the file again from where you trust it, or save "
        "its arrays with numpy.savez."
    )
