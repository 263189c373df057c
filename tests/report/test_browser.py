"""The page in a real browser: drawn, silent, offline, and no wider than the screen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import find_browser
from tests.report.devtools import Browser
from tests.report.run_dirs import with_gaps, write_events, write_figures, write_run
from tests.report.test_page import ATTACK
from thalweg import report

pytestmark = pytest.mark.browser

DESKTOP, PHONE = (1280, 800), (390, 844)
STATE = """(() => ({
  width: innerWidth, page: document.documentElement.scrollWidth,
  charts: [...document.querySelectorAll(".chart")].map((chart) => ({
    id: chart.id, drawn: chart.querySelectorAll(".main-svg").length, failed: chart.classList.contains("failed"),
    traces: (chart.data || []).length,
    lines: chart.querySelectorAll(".scatterlayer .trace, .contourlayer .contour").length,
    width: chart.getBoundingClientRect().width, height: chart.getBoundingClientRect().height,
    plot: chart.querySelector(".main-svg").getBoundingClientRect().height,
  })),
  small: [...document.querySelectorAll("p, dd, td, th, pre, h3")]
    .filter((part) => part.checkVisibility() && parseFloat(getComputedStyle(part).fontSize) < 12).length,
}))()"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("runs") / "digits", layers=30, changed=with_gaps())
    write_events(folder)
    write_figures(folder)
    return report.build(folder)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_browser()
    assert program is not None
    with Browser(program, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_chart_is_drawn_and_the_page_fits(
    chromium: Browser, page: Path, size: tuple[int, int], theme: str
) -> None:
    chromium.size(*size, phone=size == PHONE)
    chromium.theme(theme)
    chromium.open(page)
    state = chromium.evaluate(STATE)
    assert chromium.complaints() == []
    assert chromium.requests() == [page.as_uri()]
    assert [chart["id"] for chart in state["charts"]] == [
        *("chart-loss", "chart-rate-lr", "chart-rate-momentum", "chart-gradient-norm", "chart-metric-1"),
        *("chart-figure-1", "chart-figure-2"),
    ]
    for chart in state["charts"]:
        assert not chart["failed"]
        assert chart["drawn"] >= 1
        assert chart["traces"] >= 1
        assert chart["lines"] >= 1
        assert chart["width"] >= 300
        assert chart["height"] >= 280
        assert chart["plot"] <= chart["height"] + 1  # nothing is cut off
    assert state["charts"][-1]["height"] == 730
    assert state["width"] == size[0]
    assert state["page"] <= state["width"]
    assert state["small"] == 0


def test_zoom_is_shared_and_undone(chromium: Browser, page: Path) -> None:
    chromium.size(*DESKTOP)
    chromium.open(page)
    ranges = """["loss", "rate-lr", "rate-momentum", "gradient-norm", "metric-1"]
      .map((key) => document.getElementById("chart-" + key).layout.xaxis.range)"""
    whole = chromium.evaluate(ranges)
    chromium.evaluate("Plotly.relayout('chart-loss', {'xaxis.range[0]': 200, 'xaxis.range[1]': 400}).then(() => 1)")
    chromium.wait("document.getElementById('chart-gradient-norm').layout.xaxis.range[0] === 200")
    assert chromium.evaluate(ranges) == [[200, 400]] * 4 + [whole[4]]
    chromium.evaluate("Plotly.relayout('chart-rate-lr', {'xaxis.range': [0, 1000]}).then(() => 1)")
    chromium.wait("document.getElementById('chart-loss').layout.xaxis.range[1] === 1000")
    assert chromium.complaints() == []


def test_hovering_names_the_values(chromium: Browser, page: Path) -> None:
    chromium.size(*DESKTOP)
    chromium.open(page)
    x, y = chromium.evaluate(
        "(() => { const r = document.querySelector('#chart-loss .nsewdrag').getBoundingClientRect();"
        " return [r.left + r.width / 2, r.top + r.height / 2]; })()"
    )
    chromium.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    chromium.wait("document.querySelector('#chart-loss .hoverlayer').textContent.includes('smoothed')")
    text = chromium.evaluate("document.querySelector('#chart-loss .hoverlayer').textContent")
    assert text.startswith("step 6")
    assert "raw" in text


def test_the_axis_switches_and_survives_a_change_of_theme(chromium: Browser, page: Path) -> None:
    chromium.size(*DESKTOP)
    chromium.theme("light")
    chromium.open(page)
    state = (
        "[document.getElementById('chart-loss').layout.yaxis.type,"
        " document.querySelector('[data-for=chart-loss]').getAttribute('aria-pressed')]"
    )
    colour = "document.getElementById('chart-loss').data[0].line.color"
    assert chromium.evaluate(state) == ["linear", "false"]
    light = chromium.evaluate(colour)
    chromium.evaluate("document.querySelector('[data-for=chart-loss]').click()")
    chromium.wait("document.querySelector('[data-for=chart-loss]').getAttribute('aria-pressed') === 'true'")
    chromium.theme("dark")
    chromium.wait(f"{colour} !== '{light}'")
    assert chromium.evaluate(state) == ["log", "true"]
    assert chromium.complaints() == []


def test_no_chart_can_be_sent_anywhere(chromium: Browser, page: Path) -> None:
    chromium.size(*DESKTOP)
    chromium.open(page)
    titles = chromium.evaluate("[...document.querySelectorAll('.modebar-btn')].map((b) => b.dataset.title || '')")
    assert titles
    assert not any(word in title.lower() for title in titles for word in ("cloud", "send", "share", "edit"))
    refused = chromium.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')")
    assert refused == "refused"
    assert any("Content Security Policy" in told for told in chromium.complaints())


def test_hostile_text_does_not_run(chromium: Browser, tmp_path: Path) -> None:
    folder = write_run(tmp_path, steps=3)
    (folder / "recipe.toml").write_text(f"# {ATTACK}\nname = {ATTACK!r}\n")
    header = ATTACK.replace('"', '""')
    (folder / "history.csv").write_text(f'step,loss,"lr/{header}",lr/b\n1,2,3,4\n2,2,3,5\n')
    chromium.size(*DESKTOP)
    chromium.open(report.build(folder))
    assert chromium.evaluate("window.hit === undefined && document.images.length === 0")
    assert chromium.complaints() == []


@pytest.mark.parametrize("kind", ["one-step", "no-validation", "long"])
def test_other_runs_are_drawn_on_a_phone(chromium: Browser, tmp_path: Path, kind: str) -> None:
    if kind == "one-step":
        folder = write_run(tmp_path, steps=1, epochs=1)
    elif kind == "no-validation":
        folder = write_run(tmp_path, valid=False)
    else:
        groups = {f"lr/layer{place}": np.linspace(0.01, 0.001 * place, 30_000) for place in range(12)}
        folder = write_run(tmp_path, steps=30_000, changed=groups)
    chromium.size(*PHONE, phone=True)
    chromium.open(report.build(folder))
    state = chromium.evaluate(STATE)
    assert chromium.complaints() == []
    assert state["page"] <= state["width"] == PHONE[0]
    assert all(chart["lines"] >= 1 and not chart["failed"] for chart in state["charts"])
