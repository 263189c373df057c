"""Run benchmarks, file their results under benchmarks/results/ and write benchmarks/RESULTS.md.

    python benchmarks/run_all.py                  every benchmark that needs no accelerator and no hours
    python benchmarks/run_all.py import_time      only these
    python benchmarks/run_all.py loop/mlp         only this part of one, in place of what was filed of its cases

Each file runs in a process of its own. What a file printed last stays in RESULTS.md, with its own date and machine,
until that file is run again; a file that fails keeps its earlier results too, and the exit status is 1.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from _record import LARGEST_DISAGREEMENT, Result, environment, say

FOLDER = Path(__file__).resolve().parent
RESULT_KEYS = set(Result.__dataclass_fields__)


def benchmark_files(folder: Path) -> dict[str, Path]:
    """Return name → file of every benchmark: the Python files that neither start with `_` nor are this one."""
    paths = sorted(folder.glob("*.py"))
    return {path.stem: path for path in paths if not path.name.startswith("_") and path.name != Path(__file__).name}


def only_by_name(path: Path) -> bool:
    """Tell whether the file says `NEEDS_ACCELERATOR = True` or `ONLY_BY_NAME = True`, without running it."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if {"NEEDS_ACCELERATOR", "ONLY_BY_NAME"} & set(names):
                return bool(node.value.value)
    return False


def read_results(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Return the lines that are results; anything else that a benchmark prints is not."""
    results = []
    for line in lines:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict) and set(row) == RESULT_KEYS:
            results.append(row)
    return results


def run(path: Path, part: str = "") -> dict[str, Any] | None:
    """Run one benchmark or a part of it, echoing what it prints, and return what is filed; None when it failed."""
    name = f"{path.stem}/{part}" if part else path.stem
    say(f"--- {name}")
    start = time.perf_counter()
    lines = []
    with subprocess.Popen(
        [sys.executable, str(path), *([part] if part else [])], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    results = read_results(lines)
    if process.returncode or not results:
        why = f"exit status {process.returncode}" if process.returncode else "no result was printed"
        say(f"{name}: failed ({why}); its earlier results stay")
        return None
    seconds = round(time.perf_counter() - start, 1)
    return {"benchmark": name, "seconds": seconds, "environment": environment(), "results": results}


def number(value: float | None) -> str:
    """Return a figure to four significant digits, or a dash."""
    return "–" if value is None else f"{value:.4g}"


def verdict(row: dict[str, Any]) -> str:
    """Return what the last column says."""
    if row["target"] is None:
        return "–"
    if row["holds"] is None:
        return "not judged"
    return "yes" if row["holds"] else "**no**"


def section(filed: dict[str, Any]) -> str:
    """Return one benchmark's part of RESULTS.md."""
    where = filed["environment"]
    machine = [where["system"], where["processor"], f"{where['cores']} cores, {where['threads']} threads"]
    if where["memory_gib"] is not None:
        machine.append(f"{where['memory_gib']} GiB")
    machine += where["accelerators"]
    lines = [
        f"## {filed['benchmark']}",
        "",
        f"{where['date']}, {filed['seconds']} s. {'; '.join(machine)}.",
        "",
        ", ".join(f"{name} {version}" for name, version in where["versions"].items()) + ".",
        "",
        "| case | peer | ours | peer's | unit | ours / peer | target | floor | holds |",
        "|---|---|--:|--:|---|--:|--:|--:|---|",
    ]
    for row in filed["results"]:
        figures = [number(row["ours"]), number(row["peer"]), row["unit"], number(row["ratio"])]
        cells = [row["case"], row["peer_name"], *figures, number(row["target"]), number(row["floor"]), verdict(row)]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def page(filed: Iterable[dict[str, Any]]) -> str:
    """Return RESULTS.md."""
    head = [
        "# Benchmark results",
        "",
        "Written by `make bench`. Ours and the peers alternate in one run; the figures are medians.",
        "A ratio of times below 1 means that ours is faster. *Not judged*: the two halves of the peer's own times",
        f"differed by more than {LARGEST_DISAGREEMENT:.0%}. *Floor*: what the machine allows at best.",
        "Each part keeps its own date and machine until that benchmark is run again.",
    ]
    return "\n\n".join(["\n".join(head), *map(section, filed)]) + "\n"


def file(filed: dict[str, Any], store: Path) -> None:
    """Keep results in place of those that they replace: a whole benchmark its parts, a part the cases it measured."""
    name = filed["benchmark"]
    whole, _, part = name.partition("/")
    if part:
        rest = store / f"{whole}.json"
        cases = {row["case"] for row in filed["results"]}
        if rest.exists():
            earlier = json.loads(rest.read_text(encoding="utf-8"))
            earlier["results"] = [row for row in earlier["results"] if row["case"] not in cases]
            if earlier["results"]:
                write(rest, earlier)
            else:
                rest.unlink()
    else:
        for path in store.glob(f"{whole}.*.json"):
            path.unlink()
    write(store / f"{name.replace('/', '.')}.json", filed)


def write(path: Path, filed: dict[str, Any]) -> None:
    """Write what is kept of a benchmark."""
    path.write_text(json.dumps(filed, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(names: list[str], folder: Path = FOLDER) -> int:
    """Run the named benchmarks (none named: all that need no accelerator) and write the page."""
    files = benchmark_files(folder)
    for name in (given.partition("/")[0] for given in names):
        if name not in files:
            from thalweg.errors import unknown_name  # imports torch, which the other ways through here can do without

            say(str(unknown_name("run_all", "benchmark", name, files)))
            return 2
    store = folder / "results"
    store.mkdir(exist_ok=True)
    chosen = names or [name for name, path in files.items() if not only_by_name(path)]
    failed = []
    for name in chosen:
        whole, _, part = name.partition("/")
        filed = run(files[whole], part)
        if filed is None:
            failed.append(name)
            continue
        file(filed, store)
        kept = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(store.glob("*.json"))]
        (folder / "RESULTS.md").write_text(page(kept), encoding="utf-8")
    say(f"filed: {len(chosen) - len(failed)} of {len(chosen)}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
