"""Recipes of any content: loaded, or refused in our words, with nothing written."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.recipe.tiny import tiny
from thalweg.recipe import load
from thalweg.recipe.places import is_refusal

LEAVES = st.one_of(
    st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.sampled_from(["adam", "mlp", "../../out", "1e3"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)
SECTIONS = sorted(tiny())


def refusal(given_recipe: Any) -> Exception | None:
    try:
        load(given_recipe)
    except (ValueError, TypeError, FileNotFoundError) as error:
        return error
    return None


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(section=st.sampled_from(SECTIONS), key=st.one_of(st.none(), st.text(max_size=6), st.just("name")), value=VALUES)
def test_any_value_in_any_place_is_refused_in_words(section: str, key: str | None, value: Any) -> None:
    document = deepcopy(tiny())
    if key is None or not isinstance(document[section], dict):
        document[section] = value
    else:
        document[section][key] = value
    error = refusal(document)
    assert error is None or is_refusal(error), f"{type(error).__name__} out of a library: {error}"


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_any_file_is_refused_in_words_and_nothing_is_written(text: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "any.toml"
        path.write_bytes(text)
        error = refusal(str(path))
        assert error is None or is_refusal(error), f"{type(error).__name__} out of a library: {error}"
        assert [entry.name for entry in Path(place).iterdir()] == ["any.toml"]
