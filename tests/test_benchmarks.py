"""The benchmarks' shared parts: how times are taken and judged, and how results are filed. Nothing is timed here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
KEYS = ["case", "ours", "peer", "peer_name", "unit", "ratio", "target", "holds", "floor"]


@pytest.fixture(scope="module")
def record() -> Iterator[ModuleType]:
    """`benchmarks/_record.py`, imported as the benchmarks do: by its bare name, from their folder."""
    sys.path.insert(0, str(FOLDER))
    try:
        import _record

        yield _record
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture(autouse=True)
def no_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """`measure` collects garbage before each call: seconds in a process that has loaded every library tested."""
    monkeypatch.setattr("gc.collect", lambda: 0)


def test_contestants_alternate_and_every_other_round_is_reversed(record: ModuleType) -> None:
    calls: list[str] = []
    times = record.measure({name: lambda name=name: calls.append(name) for name in "ab"}, repeats=5, warmup=1)
    assert "".join(calls) == "ba" + "ab" + "ba" + "ab" + "ba" + "ab"
    assert {name: len(taken.seconds) for name, taken in times.items()} == {"a": 5, "b": 5}


def test_returned_seconds_are_taken_in_order(record: ModuleType) -> None:
    values = iter([9.0, 1.0, 5.0, 2.0, 4.0, 3.0])
    times = record.measure({"a": lambda: next(values)}, repeats=5, warmup=1, returned=True)
    assert times["a"].seconds == (1.0, 5.0, 2.0, 4.0, 3.0)
    assert times["a"].median == 3.0


def test_fewer_than_five_repeats_are_refused(record: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"repeats=4 gives no median to judge by; use 5 or more"):
        record.measure({"a": lambda: None}, repeats=4)


@pytest.mark.parametrize(
    ("seconds", "disagreement"),
    [((1.0, 1.0, 9.0, 1.2, 1.2), 0.2), ((2.0, 2.0, 2.0, 1.0, 1.0, 1.0), 1.0), ((1.0, 3.0, 2.0, 3.0, 1.0), 0.0)],
)
def test_disagreement_is_that_of_the_two_halves(
    record: ModuleType, seconds: tuple[float, ...], disagreement: float
) -> None:
    assert record.Times(seconds).disagreement == pytest.approx(disagreement)


@pytest.mark.parametrize(
    ("ours", "peer", "target", "holds"),
    [
        ((0.9,) * 5, (1.0,) * 5, 0.9, True),
        ((0.95,) * 5, (1.0,) * 5, 0.9, False),
        ((0.1,) * 5, (1.0, 1.0, 1.0, 1.3, 1.3), 0.9, None),  # the peer's halves: 1.0 and 1.3
        ((0.1,) * 5, (1.0,) * 5, None, None),
    ],
)
def test_a_comparison_is_judged_by_medians_or_not_at_all(
    record: ModuleType, ours: tuple[float, ...], peer: tuple[float, ...], target: float | None, holds: bool | None
) -> None:
    times = {"ours": record.Times(ours), "peer": record.Times(peer)}
    result = record.compare("case", times, ours="ours", peer="peer", target=target, unit="ms", floor=0.05)
    assert result.holds is holds
    assert (result.ours, result.peer, result.floor) == pytest.approx((ours[0] * 1e3, 1e3, 50.0))
    assert result.ratio == pytest.approx(ours[0])


def test_the_fastest_peer_is_that_with_the_smallest_median(record: ModuleType) -> None:
    times = {"a": record.Times((1.0, 9.0, 9.0)), "b": record.Times((2.0, 2.0, 9.0)), "ours": record.Times((1.0,) * 3)}
    assert record.fastest(times, ["a", "b"]) == "b"


def test_a_figure_says_in_which_direction_it_is_better(record: ModuleType) -> None:
    given = {"peer_name": "peer", "unit": "rows/s"}
    assert record.figure("case", 12.0, 4.0, target=3.0, larger_is_better=True, **given).holds is True
    assert record.figure("case", 12.0, 4.0, target=2.9, **given).holds is False
    with pytest.raises(ValueError, match=r"'case': peer's figure is 0, so there is no ratio"):
        record.figure("case", 12.0, 0.0, target=3.0, **given)


def test_a_result_is_one_line_with_the_agreed_keys(record: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    record.emit(record.figure("case", 1.0, 3.0, peer_name="peer", unit="MB", target=0.5))
    (line,) = capsys.readouterr().out.splitlines()
    assert list(json.loads(line)) == KEYS
    assert json.loads(line)["ratio"] == 0.333333


def test_the_machine_is_described(record: ModuleType) -> None:
    found = record.environment()
    assert found["cores"] >= 1
    assert {"python", "thalweg", "torch", "numpy"} <= set(found["versions"])
    assert "pytest" not in found["versions"], "only what runs in a benchmark is listed"


# ------------------------------------------------------------------------------------------------------- run_all.py

PRINTS = """
import json
print("a remark")
print(json.dumps(dict(case="case {mark}", ours=1.0, peer=2.0, peer_name="a|b", unit="s", ratio=0.5, target={target},
                      holds={holds}, floor=None)))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of made-up benchmarks beside the real run_all.py."""
    for name in ("run_all.py", "_record.py"):
        (tmp_path / name).write_text((FOLDER / name).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "first.py").write_text(PRINTS.format(mark="one", target=0.9, holds=True), encoding="utf-8")
    (tmp_path / "second.py").write_text(PRINTS.format(mark="two", target=0.4, holds=False), encoding="utf-8")
    (tmp_path / "gpu.py").write_text("NEEDS_ACCELERATOR = True\nraise SystemExit(3)\n", encoding="utf-8")
    return tmp_path


def run_all(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "run_all.py"), *names]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_results_are_filed_and_stay_until_the_benchmark_is_run_again(folder: Path) -> None:
    run = run_all(folder)
    assert run.returncode == 0, run.stderr
    assert "--- gpu" not in run.stderr, "what needs an accelerator runs only when it is named"
    page = (folder / "RESULTS.md").read_text(encoding="utf-8")
    assert "| case one | a\\|b | 1 | 2 | s | 0.5 | 0.9 | – | yes |" in page
    assert "| case two | a\\|b | 1 | 2 | s | 0.5 | 0.4 | – | **no** |" in page

    (folder / "first.py").write_text(PRINTS.format(mark="new", target=None, holds=None), encoding="utf-8")
    (folder / "second.py").write_text("print('nothing measured')", encoding="utf-8")
    run = run_all(folder)
    assert run.returncode == 1
    assert "second: failed (no result was printed); its earlier results stay" in run.stderr
    page = (folder / "RESULTS.md").read_text(encoding="utf-8")
    assert "case one" not in page
    assert "| case new | a\\|b | 1 | 2 | s | 0.5 | – | – | – |" in page
    assert "case two" in page


def test_one_benchmark_is_run_by_its_name(folder: Path) -> None:
    assert run_all(folder, "first").returncode == 0
    assert "## second" not in (folder / "RESULTS.md").read_text(encoding="utf-8")
    failed = run_all(folder, "gpu")
    assert failed.returncode == 1
    assert "gpu: failed (exit status 3)" in failed.stderr
    unknown = run_all(folder, "frist")
    assert unknown.returncode == 2
    assert "run_all: unknown benchmark 'frist'. Did you mean 'first'?" in unknown.stderr


PARTED = """
import json, sys
for mark in sys.argv[1:] or ("one", "two"):
    print(json.dumps(dict(case=f"case {mark}", ours=float(len(sys.argv)), peer=2.0, peer_name="peer", unit="s",
                          ratio=0.5, target=None, holds=None, floor=None)))
"""


def test_a_part_takes_the_place_of_its_cases_and_the_whole_that_of_its_parts(folder: Path) -> None:
    (folder / "first.py").write_text(PARTED, encoding="utf-8")

    def filed() -> dict[str, list[tuple[str, float]]]:
        found = {}
        for path in (folder / "results").glob("first*.json"):
            rows = json.loads(path.read_text(encoding="utf-8"))["results"]
            found[path.stem] = [(row["case"], row["ours"]) for row in rows]
        return found

    assert run_all(folder, "first").returncode == 0
    assert filed() == {"first": [("case one", 1.0), ("case two", 1.0)]}
    assert run_all(folder, "first/two").returncode == 0
    assert filed() == {"first": [("case one", 1.0)], "first.two": [("case two", 2.0)]}
    assert "## first/two" in (folder / "RESULTS.md").read_text(encoding="utf-8")
    assert run_all(folder, "first/one").returncode == 0
    assert filed() == {"first.one": [("case one", 2.0)], "first.two": [("case two", 2.0)]}
    assert run_all(folder, "first").returncode == 0
    assert filed() == {"first": [("case one", 1.0), ("case two", 1.0)]}


def test_every_benchmark_is_found() -> None:
    sys.path.insert(0, str(FOLDER))
    try:
        import run_all as module
    finally:
        sys.path.remove(str(FOLDER))
    found = module.benchmark_files(FOLDER)
    assert "import_time" in found
    assert not {"_record", "run_all"} & set(found)
