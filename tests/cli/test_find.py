"""``thalweg find`` on the tiny recipe."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Ended

Thalweg = Callable[..., Ended]


def test_it_prints_what_was_found_and_writes_the_figure(thalweg: Thalweg, recipe: str, tmp_path: Path) -> None:
    ended = thalweg("find", recipe, "--verify", "--figure", "rates.png")
    assert ended.status in (0, 1)
    assert re.search(r"^suggestion +(\d\.\d\de[-+]\d\d \(verified on|none is reliable)", ended.out, re.MULTILINE)
    assert re.search(r"^tried +\S+: loss", ended.out, re.MULTILINE)
    assert (tmp_path / "rates.png").stat().st_size > 1000


def test_json_is_one_object(thalweg: Thalweg, recipe: str) -> None:
    found = json.loads(thalweg("find", recipe, "--json", "--no-verify").out)
    assert set(found) == {"suggestion", "method", "reason", "suggestions", "band", "decided_by", "updates"}
    assert found["decided_by"] == ""


def test_an_empty_range_is_refused(thalweg: Thalweg, recipe: str) -> None:
    ended = thalweg("find", recipe, "--low", "1", "--high", "0.1")
    assert ended.status != 0
    assert "the range from low=1 to high=0.1 is empty" in ended.err
