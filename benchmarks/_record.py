"""What every benchmark shares: alternating timing, the judgement, the result's form, a description of the machine.

A benchmark file measures ours and the peers in one run and prints one JSON object per line::

    times = measure({"ours": train_ours, "torch": train_torch}, repeats=5)
    emit(compare("mlp, one epoch", times, ours="ours", peer="torch", target=0.92))

`python benchmarks/FILE.py` prints the lines; `benchmarks/run_all.py` also files them and writes RESULTS.md.
A file that needs an accelerator says `NEEDS_ACCELERATOR = True` at its top.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FEWEST_REPEATS = 5
LARGEST_DISAGREEMENT = 0.20


@dataclass(frozen=True)
class Times:
    """The seconds that one contestant took, in the order in which they were measured."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median in seconds: the figure that is compared."""
        return statistics.median(self.seconds)

    @property
    def disagreement(self) -> float:
        """How far the medians of the first and the last half lie apart, relative to the smaller (0 = not at all).

        The middle one of an odd number belongs to neither half. A machine that became busy on the way shows here.
        """
        half = len(self.seconds) // 2
        first, last = statistics.median(self.seconds[:half]), statistics.median(self.seconds[-half:])
        return abs(first - last) / min(first, last)


@dataclass(frozen=True)
class Result:
    """One line of a benchmark.

    Args:
        case: What was done, in a few words.
        ours: Our figure, in `unit`.
        peer: The peer's figure, in `unit`.
        peer_name: The peer and how it was run.
        unit: `"s"`, `"ms"` …: time, smaller is better; another unit says what it counts.
        ratio: ours / peer.
        target: The ratio that was promised; None where the line only informs.
        holds: Whether the target is met; None where there is no target or where the peer's own times disagreed
            too much to judge by them.
        floor: What the machine allows at best, in `unit` (a memory bound, say); None where it was not worked out.
    """

    case: str
    ours: float
    peer: float
    peer_name: str
    unit: str
    ratio: float
    target: float | None
    holds: bool | None
    floor: float | None


def measure(
    contestants: Mapping[str, Callable[[], object]],
    *,
    repeats: int = FEWEST_REPEATS,
    warmup: int = 1,
    returned: bool = False,
) -> dict[str, Times]:
    """Time the contestants in alternation: every round runs each of them once, and every other round in reverse.

    Args:
        contestants: Name → what is run. Preparation that should not count belongs outside of it; work on an
            accelerator ends with a synchronisation inside of it.
        repeats: Rounds that count, at least 5.
        warmup: Rounds before them that do not (imports, caches, the first allocation).
        returned: The contestants return the seconds that count (a subprocess that times its inner part).

    Raises:
        ValueError: Fewer than 5 repeats.
    """
    if repeats < FEWEST_REPEATS:
        raise ValueError(f"measure: repeats={repeats} gives no median to judge by; use {FEWEST_REPEATS} or more.")
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(-warmup, repeats):
        names = list(contestants)
        for name in names if turn % 2 == 0 else reversed(names):
            gc.collect()  # nobody pays for what the one before left behind
            start = time.perf_counter()
            value = contestants[name]()
            seconds = time.perf_counter() - start
            if turn >= 0:
                taken[name].append(float(value) if returned else seconds)  # type: ignore[arg-type]
    return {name: Times(tuple(seconds)) for name, seconds in taken.items()}


def all_known(where: str, names: Iterable[str], parts: Mapping[str, object]) -> bool:
    """Whether a benchmark has all the parts named; it says which it has not."""
    for name in names:
        if name not in parts:
            from thalweg.errors import unknown_name  # imports torch, which import_time does not want here

            say(str(unknown_name(where, "part", name, parts)))
            return False
    return True


def fastest(times: Mapping[str, Times], names: Iterable[str]) -> str:
    """Return the name with the smallest median: "the fastest trainer"."""
    return min(names, key=lambda name: times[name].median)


def compare(
    case: str,
    times: Mapping[str, Times],
    *,
    ours: str,
    peer: str,
    target: float | None,
    peer_name: str | None = None,
    unit: str = "s",
    floor: float | None = None,
) -> Result:
    """Judge the contestant *ours* against *peer* by their medians: does ours / peer stay within *target*?

    Args:
        unit: `"s"`, `"ms"` or `"µs"`.
        floor: The least time that the machine allows, in seconds.
        peer_name: The peer's name in the result, where it should say more than *peer*.
    """
    scale = {"s": 1.0, "ms": 1e3, "µs": 1e6}[unit]
    mine, theirs = times[ours].median, times[peer].median
    ratio = mine / theirs
    judged = target is not None
    if target is not None and times[peer].disagreement > LARGEST_DISAGREEMENT:
        judged = False
        say(f"{case}: not judged; the two halves of {peer}'s own times differ by {times[peer].disagreement:.0%}")
    return Result(
        case=case,
        ours=mine * scale,
        peer=theirs * scale,
        peer_name=peer_name or peer,
        unit=unit,
        ratio=ratio,
        target=target,
        holds=ratio <= target if judged and target is not None else None,
        floor=None if floor is None else floor * scale,
    )


def figure(
    case: str,
    ours: float,
    peer: float,
    *,
    peer_name: str,
    unit: str,
    target: float | None,
    larger_is_better: bool = False,
    floor: float | None = None,
) -> Result:
    """Judge a figure that is not a time (bytes, an error, an accuracy, rows per second); *unit* says what it is.

    Raises:
        ValueError: The peer's figure is 0: there is no ratio.
    """
    if peer == 0:
        raise ValueError(f"figure: {case!r}: {peer_name}'s figure is 0, so there is no ratio; compare another figure.")
    ratio = ours / peer
    holds = None if target is None else ratio >= target if larger_is_better else ratio <= target
    return Result(case, ours, peer, peer_name, unit, ratio, target, holds, floor)


def emit(result: Result) -> None:
    """Print the result as one line of JSON, figures to six significant digits."""
    line = {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in asdict(result).items()}
    print(json.dumps(line, ensure_ascii=False, allow_nan=False), flush=True)


def say(text: str) -> None:
    """Print a remark where it does not mix with the results."""
    print(text, file=sys.stderr, flush=True)


def processor() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), flags=re.MULTILINE) if info.exists() else None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def memory_gib() -> float | None:
    """Return the machine's memory in GiB, or None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return None


def versions(extra: Sequence[str] = ("bench",)) -> dict[str, str]:
    """Return name → installed version of thalweg, of what it depends on, and of the named extras."""
    marks = [f'extra == "{name}"' for name in extra]
    found = {"python": platform.python_version(), "thalweg": importlib.metadata.version("thalweg")}
    for line in importlib.metadata.requires("thalweg") or []:
        wanted, _, condition = line.replace("'", '"').partition(";")
        name = re.match(r"[\w.-]+", wanted)
        assert name is not None, line
        if not condition or any(mark in condition for mark in marks):
            try:
                found[name.group()] = importlib.metadata.version(name.group())
            except importlib.metadata.PackageNotFoundError:
                continue  # a peer that is not installed is not in the run either
    return found


def environment() -> dict[str, Any]:
    """Describe where and when: date (UTC), machine, accelerators, threads, versions; imports torch."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = memory_gib()
    accelerators = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "memory_gib": None if memory is None else round(memory, 1),
        "accelerators": accelerators,
        "versions": versions(),
    }
