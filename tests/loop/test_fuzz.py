"""Checkpoints whose files hold anything at all: refused in our words, with nothing written elsewhere."""

from __future__ import annotations

import copy
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.loop.test_resume import StopAt, data, learner, model
from thalweg.checkpoint import load, save
from thalweg.loop import read_checkpoint

LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just("../../out"))
JSON = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.text(max_size=5), st.sampled_from(["<tensor>", "<array>", "<tuple>", "<dict>", "model", "rng"])
            ),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=10,
)


class Good:
    """A good checkpoint, as tensors and plain data, with a short repr for Hypothesis."""

    def __init__(self, tensors: dict[str, torch.Tensor], plain: dict[str, Any]) -> None:
        self.tensors, self.plain = tensors, plain


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Good:
    run = tmp_path_factory.mktemp("fuzz") / "run"
    made = learner(model(1), 0)
    made.fit(data(), epochs=2, batch_size=10, verbose=False, hooks=[StopAt(9)], run_dir=run)
    return Good(*load(run / "checkpoints" / "step-000000009"))


@settings(max_examples=60, deadline=None)
@given(plain=st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_any_json_is_refused_in_words(plain: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = save(Path(place) / "one", {"a": torch.ones(2)}, plain)
        with pytest.raises(ValueError, match=r"checkpoint|resume"):
            read_checkpoint(folder)
        assert [path.name for path in Path(place).iterdir()] == ["one"]


@pytest.mark.filterwarnings("ignore:resume at step")
@settings(max_examples=40, deadline=None)
@given(part=st.sampled_from(["progress", "rates", "settings", "guard", "hooks", "rng", "trainable"]), value=JSON)
def test_any_part_put_in_place_of_another_is_refused_or_harmless(whole: Good, part: str, value: Any) -> None:
    spoiled = {**copy.deepcopy(whole.plain), part: value}
    with tempfile.TemporaryDirectory() as place:
        folder = save(Path(place) / "one", whole.tensors, spoiled)
        made = learner(model(1), 0)
        with suppress(ValueError):  # anything else would be a crash
            made.fit(data(), epochs=2, batch_size=10, verbose=False, hooks=[StopAt(10)], resume=folder)
