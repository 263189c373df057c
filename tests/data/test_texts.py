"""Texts as numbers, and dictionaries as pairs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thalweg.data.characters import Characters, find_text
from thalweg.data.ding import pairs_of, read_pairs


@given(st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])))
def test_decoding_undoes_encoding(text: str) -> None:
    characters = Characters(text)
    numbers = characters.encode(text)
    assert numbers.dtype == torch.int64
    assert len(numbers) == len(text)
    assert int(numbers.max()) < len(characters) == len(set(text))
    assert characters.decode(numbers) == text


def test_an_unknown_character_is_named() -> None:
    with pytest.raises(ValueError, match=r"Characters: 'x' at place 2 is not among the 2 known characters"):
        Characters("ab").encode("abx")
    with pytest.raises(ValueError, match=r"'\\x00' at place 0"):
        Characters("ab").encode("\x00")


def test_a_text_is_found_by_its_name_or_its_path(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("abc")
    assert find_text("plays", str(own), tmp_path) == own
    with pytest.raises(FileNotFoundError, match=r"data 'plays': there is neither .*plays/plays.txt nor .*plays.txt"):
        find_text("plays", root=tmp_path)
    (tmp_path / "plays.txt").write_text("abc")
    assert find_text("plays", root=tmp_path) == tmp_path / "plays.txt"
    with pytest.raises(FileNotFoundError, match=r"data 'plays': there is no file .*absent"):
        find_text("plays", "absent")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Haus {n} :: house", [("Haus", "house")]),
        ("Haus {n}; Gebäude {n} | Häuser {pl} :: house; building | houses", [("Haus", "house"), ("Häuser", "houses")]),
        (
            "etw. ausblenden {vt} (nicht mehr anzeigen) [comp.] :: to hide {hid; hidden} sth.",
            [("etw. ausblenden", "to hide sth.")],
        ),
        ("Ring (Boxen; veraltet) {m} [sport] :: ring <boxing>", [("Ring", "ring")]),
        ("eins | zwei :: one", []),
        ("{n} :: house", []),
        ("# License :: GPL", []),
        ("no dictionary", []),
    ],
)
def test_a_line_of_the_dictionary(line: str, expected: list[tuple[str, str]]) -> None:
    assert pairs_of(line) == expected


def test_a_dictionary_holds_every_pair_once(tmp_path: Path) -> None:
    path = tmp_path / "de-en"
    path.write_text("# x :: y\nHaus {n} :: house\nHaus {n} [arch.] :: house; building\nBaum {m} :: tree\n")
    assert read_pairs(path) == [("Haus", "house"), ("Baum", "tree")]
    path.write_text("nothing here\n")
    with pytest.raises(ValueError, match=r"no line has the form 'de :: en'"):
        read_pairs(path)
