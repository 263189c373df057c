"""The page as text: complete, escaped, deterministic, offline; and writing it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from tests.draw.test_style import DICHROMACIES, contrast, lab, linear
from tests.report.run_dirs import RECIPE, with_gaps, write_events, write_figures, write_run
from thalweg import report
from thalweg.draw.style import SERIES

ATTACK = '</script><script>window.hit=1</script><img src=x onerror="window.hit=1">\'"&lt;'


class Outline(HTMLParser):
    """Collects what a test asks of a page: tags with attributes, headings, ids, and the visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.scripts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.open.append(tag)
            if tag == "script":
                self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open:
            self.text += data
        elif self.open[-1] == "script":
            self.scripts[-1] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def read(folder: Path) -> Outline:
    return Outline(report.build(folder).read_text(encoding="utf-8"))


def test_everything_in_the_directory_is_on_the_page(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", changed=with_gaps())
    write_events(folder)
    write_figures(folder)
    page = read(folder)
    assert RECIPE.strip() in page.text
    for said in (
        "The loss is not finite in 41 of 1,200 updates, first at step 701 (nan).",
        "0.9601",  # validation accuracy, a headline
        "6.2 s",
        "lowest 0.2297 in epoch 5",
        "torch (torch's fused kernel for float32 on the CPU)",
        "155.3 KiB",
        "4 tensors with 39,760 parameters, 10 of them frozen.",
        "50 × 784",
        "bias: no decay",
        'plateau: lr 0.01 → 0.005, after 3 epochs without "better" loss',
        "Linux-6.1-x86_64",
        "2026-01-02 03:04 UTC",
        "Loss plane",
        "A bowl, three times as steep in β as in α.",
        "Race curves",
    ):
        assert said in page.text, said


def test_what_is_not_there_has_no_section(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("step,loss\n1,2.5\n2,1.5\n")
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", report.build(tmp_path).read_text(encoding="utf-8"))
    assert titles == ["Curves"]


def test_the_headline_without_a_summary_comes_from_the_epochs(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    (folder / "summary.json").unlink()
    text = read(folder).text
    # A term and its value follow each other in the page's text.
    for said in ("validation loss0.2297", "validation accuracy0.9601", "time6.2 s", "steps1,200"):
        assert said in text


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    write_figures(folder)
    first = report.build(folder).read_bytes()
    assert report.build(folder).read_bytes() == first
    other = write_run(tmp_path / "elsewhere" / "run")
    write_figures(other)
    assert report.build(other).read_bytes() == first


def test_user_given_text_never_becomes_markup(tmp_path: Path) -> None:
    folder = write_run(tmp_path, steps=3)
    (folder / "recipe.toml").write_text(f"# {ATTACK}\nname = {ATTACK!r}\n[{ATTACK}]\n{ATTACK}\n")
    (folder / "environment.json").write_text(json.dumps({"device": ATTACK, ATTACK: ATTACK, "date": ATTACK}))
    (folder / "summary.json").write_text(json.dumps({ATTACK: ATTACK, "loss": ATTACK}))
    plan = {"rule": ATTACK, ATTACK: [ATTACK], "engine": {"name": ATTACK, "why": ATTACK}, "memory": {ATTACK: 3}}
    plan |= {"rates": {ATTACK: {ATTACK: 1.0}}, "groups": [{"name": ATTACK, "why": ATTACK}]}
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "events.csv").write_text('step,kind,text\n1,"</script><img src=x>","</script><img src=x>"\n')
    header = ATTACK.replace('"', '""')
    (folder / "history.csv").write_text(f'step,loss,"lr/{header}","{header}"\n1,2,3,4\n2,2,3,5\n')
    (folder / "epochs.csv").write_text(f'epoch,step,"val_{header}"\n1,2,3\n')
    (folder / "figures").mkdir()
    figure = {"data": [{"x": [1], "y": [1], "name": ATTACK}], "layout": {"title": ATTACK, "meta": {"summary": ATTACK}}}
    (folder / "figures" / "attack.json").write_text(json.dumps(figure))
    page = read(folder)
    assert {tag for tag, _ in page.tags} <= {
        *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "nav", "section", "noscript"),
        *("h1", "h2", "h3", "p", "a", "div", "span", "ul", "li", "dl", "dt", "dd", "pre", "button"),
        *("figure", "figcaption", "script", "table", "thead", "tbody", "tr", "th", "td", "details", "summary"),
    }
    # plotly, the page's own script, and one block of data for each chart; no script was added.
    runs = [attrs for attrs in page.named("script") if attrs.get("type") != "application/json"]
    assert runs == [{}, {}]
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert ATTACK in page.text


def test_only_the_two_scripts_may_run_and_nothing_may_be_fetched(tmp_path: Path) -> None:
    page = read(write_run(tmp_path))
    (policy,) = (m["content"] for m in page.named("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "connect-src" not in rules
    assert not any(word in policy for word in ("http:", "https:", "*"))
    assert "'unsafe-inline'" not in rules["script-src"]
    runs = [text for text, attrs in zip(page.scripts, page.named("script"), strict=True) if "type" not in attrs]
    for text in runs:
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in rules["script-src"]
    for _, attrs in page.tags:
        assert "src" not in attrs
        assert (attrs.get("href") or "#").startswith("#")


def test_structure_for_those_who_do_not_see_it(tmp_path: Path) -> None:
    folder = write_run(tmp_path, layers=40)
    write_figures(folder)
    page = read(folder)
    assert page.named("html")[0]["lang"] == "en"
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    levels = [int(tag[1]) for tag, _ in page.tags if tag in ("h1", "h2", "h3")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    drawn = [attrs for attrs in page.named("div") if "chart" in (attrs.get("class") or "").split()]
    assert len(drawn) == 7
    for attrs in drawn:
        assert (attrs["aria-label"] or "").startswith("Chart: ")
        assert attrs.get("aria-describedby") in (None, *ids)
    for attrs in page.tags:
        if "aria-labelledby" in attrs[1]:
            assert attrs[1]["aria-labelledby"] in ids
    links = [attrs["href"] for attrs in page.named("a")]
    assert all(link is not None and link[1:] in ids for link in links)
    for box in (attrs for attrs in page.named("div") if attrs.get("class") == "scroll"):
        assert box["tabindex"] == "0"
        assert box["aria-label"]
    assert "Show all 80 rows" in page.text


def variables(theme: str) -> dict[str, str]:
    """Return the colours of the page's light or dark theme."""
    css = (Path(report.__file__).parent / "page.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)
    found: dict[str, str] = dict(re.findall(r"(--[\w-]+): (#\w+)", light))
    return found if theme == "light" else found | dict(re.findall(r"(--[\w-]+): (#\w+)", dark))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_can_be_read(theme: str) -> None:
    colour = variables(theme)
    for ground in ("--page", "--card", "--soft"):
        assert contrast(colour["--ink"], colour[ground]) >= 7
        assert contrast(colour["--muted"], colour[ground]) >= 4.5
        assert contrast(colour["--link"], colour[ground]) >= 4.5
    assert contrast(colour["--ink"], colour["--notice"]) >= 7
    series = [colour[f"--series-{place}"] for place in range(1, 7)]
    assert min(contrast(one, colour["--card"]) for one in series) >= 3
    assert contrast(colour["--series-2"], colour["--soft"]) >= 4.5  # the recipe's section names
    for matrix in DICHROMACIES.values():
        seen = [lab(matrix @ linear(one)) for one in series]
        assert min(abs(a - b).max() for i, a in enumerate(seen) for b in seen[:i]) > 8


def test_figures_and_page_share_their_colours() -> None:
    colour = variables("light")
    assert tuple(colour[f"--series-{place}"] for place in range(1, 7)) == SERIES


def test_nested_facts_of_a_plan_are_written_out(tmp_path: Path) -> None:
    plan = {
        "samples": None,
        "step": {"name": "eager", "why": "150,000 updates"},
        "split": {"valid": 0.2},
        "engine": "torch",
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    text = read(tmp_path).text
    for said in ("samplesnot known", "stepeager (150,000 updates)", "split valid0.2", "enginetorch"):
        assert said in text


def test_a_torn_last_row_and_an_early_end_are_told(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    rows = (folder / "history.csv").read_text().splitlines(keepends=True)
    (folder / "history.csv").write_text("".join(rows[:301]) + rows[301][:9])
    text = read(folder).text
    assert "history.csv ends inside a row, as when a run is killed; that row is left out." in text
    assert "The run stopped after 300 of 1,200 planned updates." in text


def test_an_unfinished_report_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(tmp_path)
    before = report.build(folder).read_bytes()
    (folder / "summary.json").write_text('{"loss": 7}')

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ValueError, match=r"report: .*report.html cannot be written \(No space left on device\); make"):
        report.build(folder)
    assert (folder / "report.html").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    (folder / "report.html").mkdir()
    with pytest.raises(ValueError, match=r"report.html cannot be written \(.*\); make the run directory writable"):
        report.build(folder)
