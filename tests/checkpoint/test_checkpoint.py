"""A checkpoint is there whole or not at all, and gives back exactly what was put in."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thalweg.checkpoint import (
    flatten,
    latest,
    load,
    restore_rng,
    save,
    snapshot_rng,
    unflatten,
    write_text,
    write_whole,
)

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False), st.text(max_size=8)
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.text(max_size=6), st.integers()), inner, max_size=3),
    ),
    max_leaves=12,
)


@given(TREES)
def test_any_tree_survives_json(tree: object) -> None:
    tensors, plain = flatten(tree)
    assert unflatten(tensors, json.loads(json.dumps(plain))) == tree


def test_tensors_survive_bit_for_bit(tmp_path: Path) -> None:
    shared = torch.randn(4)
    tree = {
        "half": torch.randn(3, 2).half(),
        "nan": torch.tensor([float("nan"), float("inf"), -0.0]),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "tied": [shared, shared],
        "strided": torch.randn(3, 4).t(),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(3.5, dtype=torch.float64),
        "array": np.arange(6.0).reshape(2, 3),
        "state": {0: {"m": torch.ones(2)}, 1: {"m": torch.zeros(2)}},
    }
    save(tmp_path / "one", *flatten(tree))
    back = unflatten(*load(tmp_path / "one"))
    for name in ("half", "bytes", "strided", "empty", "scalar"):
        assert torch.equal(back[name], tree[name]), name
        assert back[name].dtype is tree[name].dtype
    assert torch.equal(back["nan"].view(torch.int32), tree["nan"].view(torch.int32))
    assert torch.equal(back["tied"][1], shared)
    assert np.array_equal(back["array"], tree["array"])
    assert torch.equal(back["state"][1]["m"], torch.zeros(2))


def test_what_has_no_safe_form_is_refused_by_its_path() -> None:
    with pytest.raises(TypeError, match=r"checkpoint: hooks/0/fn is a function, which has no safe form"):
        flatten({"hooks": [{"fn": flatten}]})


def test_a_failing_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_a_failing_checkpoint_leaves_nothing_behind(tmp_path: Path) -> None:
    save(tmp_path / "step-1", {"a": torch.ones(2)}, {"n": 1})
    with pytest.raises(TypeError):
        save(tmp_path / "step-1", {"a": torch.zeros(2)}, {"n": object()})
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-1"]
    tensors, plain = load(tmp_path / "step-1")
    assert tensors["a"].tolist() == [1.0, 1.0]
    assert plain["n"] == 1
    save(tmp_path / "step-1", {"a": torch.zeros(2)}, {"n": 2})
    assert load(tmp_path / "step-1")[1]["n"] == 2


def test_the_newest_complete_one_is_found(tmp_path: Path) -> None:
    for step in (5, 40, 300):
        save(tmp_path / "checkpoints" / f"step-{step:09d}", {"a": torch.ones(1)}, {})
    (tmp_path / "checkpoints" / "step-000000300" / "tensors.safetensors").unlink()
    assert latest(tmp_path).name == "step-000000040"
    assert latest(tmp_path / "checkpoints" / "step-000000005").name == "step-000000005"
    with pytest.raises(ValueError, match="holds no checkpoint"):
        latest(tmp_path / "checkpoints" / "nothing")


def test_a_checkpoint_is_read_by_the_library_of_its_format(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    tensors = {
        "b": torch.arange(3, dtype=torch.uint8),
        "a": torch.randn(2, 3, dtype=torch.float64),
        "c": torch.randn(5).bfloat16(),
        "flag": torch.tensor([True, False]),
        "é/π": torch.tensor(2.5),
        "none": torch.zeros(0, 2),
    }
    folder = save(tmp_path / "one", tensors, {})
    back = load_file(folder / "tensors.safetensors")
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) and back[name].dtype is tensors[name].dtype for name in tensors)
    with pytest.raises(TypeError, match=r"checkpoint: z is of torch.complex128, which safetensors files do not hold"):
        save(tmp_path / "two", {"z": torch.zeros(2, dtype=torch.complex128)}, {})
    assert not (tmp_path / "two").exists()


def _rewrite(folder: Path, **changes: object) -> None:
    """Write another manifest whose own sum is right, as another version would."""
    from thalweg.checkpoint import manifest

    document = json.loads((folder / "manifest.json").read_text()) | changes
    document["sha256"] = manifest._sum(document)
    (folder / "manifest.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "state.json").write_text("{"), r"state.json has 1 bytes and was written with"),
        (lambda folder: (folder / "manifest.json").write_text("{"), r"manifest.json cannot be read .*damaged"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), r"does not agree with its own sum"),
        (lambda folder: (folder / "manifest.json").unlink(), r"manifest.json is missing, as it was in format 1"),
        (lambda folder: _rewrite(folder, format=9), r"format 9 was found, this version reads format 2"),
        (lambda folder: _rewrite(folder, files={"../secret": {}}), r"does not agree with its own sum"),
        (lambda folder: (folder / "state.json").unlink(), r"state.json is missing"),
        (
            lambda folder: (folder / "tensors.safetensors").write_bytes(
                (folder / "tensors.safetensors").read_bytes()[:-3]
            ),
            r"tensors.safetensors has 469 bytes and was written with 472; the file is damaged",
        ),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: object, message: str) -> None:
    folder = save(tmp_path / "one", {"a": torch.ones(100)}, {"x": {"<tensor>": "a"}})
    damage(folder)  # type: ignore[operator]
    with pytest.raises(ValueError, match=message):
        load(folder)


def test_a_missing_tensor_is_named() -> None:
    with pytest.raises(ValueError, match="the tensor 'm' is missing"):
        unflatten({}, {"state": {"<tensor>": "m"}})


def test_every_generator_is_put_back() -> None:
    state = snapshot_rng()
    first = (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), random.gauss(0, 1))  # noqa: NPY002
    restore_rng(*state)
    again = (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), random.gauss(0, 1))  # noqa: NPY002
    assert first == again
