"""Tables as text and as HTML."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thalweg.draw import Table, batch_table, html_table


class Cells(HTMLParser):
    """Collects tags, and the text of each cell as a browser would show it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag in ("td", "th", "caption"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def read(html: str) -> Cells:
    cells = Cells()
    cells.feed(html)
    cells.close()
    return cells


@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=4))
def test_any_text_comes_out_as_it_went_in(texts: list[str]) -> None:
    texts = [text.replace("\r", "") for text in texts]
    got = read(html_table([texts], texts, caption=texts[0], style=False))
    assert set(got.tags) <= {"table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert got.cells == [texts[0], *texts, *texts]


def test_an_attack_stays_text() -> None:
    attack = '<img src=x onerror="alert(1)"></td></table><script>alert(2)</script>'
    html = html_table([[attack]], [attack], caption=attack)
    assert "<img" not in html
    assert "<script" not in html


def test_columns_of_numbers_are_right_aligned() -> None:
    html = html_table([[1, "a", None], [2.5, "b", 3]], ["n", "t", "m"], style=False)
    assert html.count('class="number"') == 2 * 3
    assert "<td>a</td>" in html


def test_the_notebook_sees_the_same_cells() -> None:
    table = Table([[1, "x"], [20000, "y"]], ["count", "name"], caption="two rows")
    assert read(table._repr_html_()).cells == ["two rows", "count", "name", "1", "x", "20,000", "y"]
    assert str(table).splitlines() == ["two rows", " count  name", "──────  ────", "     1  x", "20,000  y"]


def test_long_texts_are_cut_in_the_terminal_only() -> None:
    table = Table([["w" * 80]], ["text"])
    assert max(map(len, str(table).splitlines())) == 48
    assert "w" * 80 in table._repr_html_()


def test_an_empty_table_keeps_its_headings() -> None:
    assert str(Table([], ["a", "bc"])).splitlines() == ["a  bc", "─  ──"]


@pytest.mark.parametrize("make", [Table, html_table])
def test_a_row_of_another_length_is_refused(make: type) -> None:
    with pytest.raises(ValueError, match=r"row 1 has 1 cells for 2 columns; give each row one per column"):
        make([[1, 2], [1]], ["a", "b"])


def test_batch_of_arrays_and_tensors() -> None:
    table = batch_table({"x": np.array([0.5, 1.5]), "k": torch.tensor([3, 4]), "y": ["no", "yes"]}, count=1)
    assert table.rows == [[0.5, 3, "no"]]


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one common length, got a 1, b 2; pass columns of one batch"):
        batch_table({"a": [1], "b": [1, 2]})
    with pytest.raises(ValueError, match=r"got none"):
        batch_table({})
