from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thalweg.recommend import Vocabulary


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=40))
def test_rows_and_ids_are_inverse(ids: list[int]) -> None:
    vocabulary = Vocabulary(ids)
    assert [vocabulary.id_of(int(row)) for row in vocabulary.rows(ids)] == ids
    assert len(vocabulary) == len(set(ids)) + 1
    assert vocabulary.row(2**62 + 1) == 0


@given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=800), min_size=1), min_size=1, max_size=20))
def test_texts_are_ids_too(ids: list[str]) -> None:
    vocabulary = Vocabulary(ids, "user")
    assert [vocabulary.id_of(int(row)) for row in vocabulary.rows(ids)] == ids
    assert vocabulary.is_text


def test_whole_numbers_in_floats_are_ids() -> None:
    assert Vocabulary(np.array([3.0, 1.0])).ids.tolist() == [1, 3]


def test_the_command_line_writes_ids_as_text() -> None:
    assert Vocabulary([7, 9]).parse("9") == 9
    assert Vocabulary(["7"]).parse("7") == "7"
    with pytest.raises(ValueError, match=r"item ids of the model are whole numbers, and 'x' is none; give e.g. 7"):
        Vocabulary([7], "item").parse("x")


def test_known_row_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"similar: there is no item 'Frago' among the 2 .* Did you mean 'Fargo'\?"):
        Vocabulary(["Fargo", "Alien"], "item").known_row("Frago", "similar")


@pytest.mark.parametrize(
    ("ids", "kind", "said"),
    [
        ([], ValueError, "there is no user in the table"),
        (np.array([1.0, np.nan]), ValueError, r"the user of row 1 is missing \(1 in all\)"),
        (["a", None], ValueError, "the user of row 1 is missing"),
        (np.array([1.5]), TypeError, "user ids are fractions such as 1.5"),
        (np.zeros((2, 2)), TypeError, r"user ids have the shape \(2, 2\)"),
        (np.array([True]), TypeError, "user ids are of type bool"),
    ],
)
def test_what_is_no_id(ids: object, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        Vocabulary(ids, "user")  # type: ignore[arg-type]


def test_texts_and_numbers_are_not_mixed() -> None:
    with pytest.raises(TypeError, match=r"user ids of the table are whole numbers, but '196' was asked for"):
        Vocabulary([196], "user").rows(["196"])
    assert torch.equal(Vocabulary(["196"]).rows(["196", "7"]), torch.tensor([1, 0]))
