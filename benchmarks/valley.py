"""A crowded valley: ten rules × ten rates × three seeds on five small tasks, tuned on validation, reported on test.

    python benchmarks/valley.py                        all tasks: 81 minutes on one thread of a busy machine
    python benchmarks/valley.py --share 0.5            half of the updates, in half of the time
    python benchmarks/valley.py digits rnn --small     some tasks, a fifth of the updates, four rates, two seeds

Resumable: every race keeps its state in the folder `--out` (by default benchmarks/results/valley), finished ones are
read from there. Written at the end: valley.md (one table, and the ablations) and valley.png (the test losses).
Data that are not obtained are left out, and the page says so. Not among `make bench`: it is run by name.
"""

from __future__ import annotations

import argparse
import ast
import doctest
import inspect
import json
import math
import optparse
import pickle
import tarfile
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import thalweg as tw
from _record import environment, say

ONLY_BY_NAME = True

Rows = tuple[Tensor, Tensor]

RULES: dict[str, tuple[Callable[[], tw.optim.Rule], float, float]] = {
    "sgd": (lambda: tw.optim.SGD(), 1e-3, 3.0),
    "sgd, momentum 0.9": (lambda: tw.optim.SGD(momentum=0.9), 1e-4, 1.0),
    "adam": (lambda: tw.optim.Adam(), 1e-4, 1e-1),
    "adamw": (lambda: tw.optim.AdamW(), 1e-4, 1e-1),
    "nadam": (lambda: tw.optim.NAdam(), 1e-4, 1e-1),
    "radam": (lambda: tw.optim.RAdam(), 1e-4, 1e-1),
    "rmsprop": (lambda: tw.optim.RMSprop(), 1e-5, 1e-1),
    "adagrad": (lambda: tw.optim.Adagrad(), 1e-3, 1.0),
    "lion": (lambda: tw.optim.Lion(), 1e-5, 1e-2),
    "schedule-free adamw": (lambda: tw.optim.ScheduleFreeAdamW(), 3e-4, 3e-1),
}

# What is changed about a rule for itself, at every rate: name → arguments of the candidate.
ABLATIONS: dict[str, Callable[[tw.optim.Rule], dict[str, Any]]] = {
    "constant": lambda rule: {"optimizer": rule},
    "clip_norm=1": lambda rule: {"optimizer": rule, "clip_norm": 1.0},
    "warm-up 10 %": lambda rule: {"optimizer": rule, "schedule": tw.schedule.Warmup("10%")},
    "Lookahead": lambda rule: {"optimizer": tw.optim.Lookahead(rule)},
    "one-cycle": lambda rule: {"optimizer": rule, "schedule": tw.schedule.OneCycle(moms=())},
}
ABLATED = ("sgd, momentum 0.9", "adamw")


@dataclass(frozen=True)
class Task:
    """A model and data in three parts."""

    model: Callable[[], nn.Module]
    train: Rows
    valid: Rows
    test: Rows
    loss: str
    batch: int
    steps: int


class Recurrent(nn.Module):
    """An Elman net, step by step: a kernel would have no batching rule."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.enter, self.again = nn.Linear(inputs, width), nn.Linear(width, width, bias=False)
        self.leave = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.enter(x)
        h = torch.tanh(seen[:, 0])
        for step in range(1, x.shape[1]):
            h = torch.tanh(seen[:, step] + self.again(h))
        out: Tensor = self.leave(h)
        return out


class Factors(nn.Module):
    """Ratings as a product of factors, with biases; the input is (user, item)."""

    def __init__(self, users: int, items: int, width: int, mean: float) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(users, width + 1), nn.Embedding(items, width + 1)
        for part in (self.user, self.item):
            nn.init.normal_(part.weight, std=0.05)
        self.mean = mean

    def forward(self, pairs: Tensor) -> Tensor:
        u, i = self.user(pairs[:, 0]), self.item(pairs[:, 1])
        out: Tensor = (u[:, 1:] * i[:, 1:]).sum(1) + u[:, 0] + i[:, 0] + self.mean
        return out


class Characters(nn.Module):
    """The next character from the last sixteen."""

    def __init__(self, known: int, width: int = 16, hidden: int = 128) -> None:
        super().__init__()
        self.embed = nn.Embedding(known, width)
        self.mix, self.leave = nn.Linear(16 * width, hidden), nn.Linear(hidden, known)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.leave(torch.tanh(self.mix(self.embed(x).flatten(1))))
        return out


def mlp(*widths: int) -> nn.Module:
    layers: list[nn.Module] = []
    for place in range(len(widths) - 1):
        layers += [nn.Linear(widths[place], widths[place + 1]), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _tensors(pair: Any) -> Rows:
    x, y = (torch.as_tensor(part) for part in pair)
    return x.float(), y.long()


def digits() -> Task:
    found = tw.data.load("digits")
    parts = [_tensors(part) for part in (found.train, found.valid, found.test)]
    return Task(lambda: mlp(64, 32, 10), *parts, "cross_entropy", 32, 600)


def mnist() -> Task:
    found = tw.data.load("mnist")
    parts = [_tensors(part) for part in (found.train, found.valid, found.test)]
    return Task(lambda: mlp(784, 50, 10), *parts, "cross_entropy", 64, 1500)


def rnn() -> Task:
    """The sign of the first of twenty numbers."""
    x = torch.randn(6000, 20, 1, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0, 0] > 0).long()
    cut = ((x[a:b], y[a:b]) for a, b in ((0, 4000), (4000, 5000), (5000, 6000)))
    return Task(lambda: Recurrent(1, 24, 2), *cut, "cross_entropy", 50, 800)


def movielens() -> Task:
    """MovieLens-100k, the ratings in a random order of one seed."""
    path = tw.data.data_root() / "ml-100k" / "ml-100k.inter"
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    pairs = torch.tensor([[int(user) - 1, int(item) - 1] for user, item, *_ in rows])
    ratings = torch.tensor([float(rating) for _, _, rating, *_ in rows])
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))
    x, y = pairs[order], ratings[order]
    cut = [(x[a:b], y[a:b]) for a, b in ((0, 80_000), (80_000, 90_000), (90_000, 100_000))]
    users, items, mean = int(x[:, 0].max()) + 1, int(x[:, 1].max()) + 1, float(cut[0][1].mean())
    return Task(lambda: Factors(users, items, 16, mean), *cut, "mse", 512, 800)


def chars() -> Task:
    """The standard library's own source, every third window; the last tenths validate and test."""
    modules = (argparse, ast, doctest, inspect, optparse, pickle, tarfile, typing)
    text = "".join(inspect.getsource(module) for module in modules)
    known = sorted(set(text))
    numbers = torch.tensor([known.index(letter) for letter in text])
    windows = numbers.unfold(0, 17, 3)
    x, y = windows[:, :16].contiguous(), windows[:, 16].contiguous()
    a, b = int(0.8 * len(x)), int(0.9 * len(x))
    cut = ((x[:a], y[:a]), (x[a:b], y[a:b]), (x[b:], y[b:]))
    return Task(lambda: Characters(len(known)), *cut, "cross_entropy", 128, 800)


TASKS: dict[str, Callable[[], Task]] = {
    "digits": digits,
    "mnist": mnist,
    "rnn": rnn,
    "movielens": movielens,
    "chars": chars,
}


def raced(
    name: str, task: Task, label: str, field: list[tw.race.Candidate], folder: Path, steps: int
) -> dict[str, Any]:
    """Race, or read what an earlier call has raced; the winner's seeds are tested."""
    path = folder / f"{name}-{label}.json".replace(" ", "_").replace(",", "")
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    say(f"{name}, {label}: {len(field)} trainings of {steps} updates")
    state = folder / f"state-{path.stem}"
    given: dict[str, Any] = {"loss": task.loss, "steps": steps, "batch_size": task.batch, "resume": state}
    result = tw.race(task.model, task.train, task.valid, field, **given)
    state.rmdir()
    best = result.best
    losses = []
    for number in best.numbers:
        if number in result.weights:
            learner = tw.Learner(result.module(number), "sgd", task.loss, device="cpu")
            losses.append(learner.evaluate(task.test, batch_size=1024)["loss"])
    tested = torch.tensor(losses, dtype=torch.float64)
    found = {
        "lr": best.candidate.rule.lr,
        "valid": _finite(best.mean),
        "test": _finite(float(tested.mean())) if losses else None,
        "spread": _finite(float(tested.std())) if len(losses) > 1 else None,
        "diverged": sum(member.ended == "diverged" for member in result.members),
        "members": len(result.members),
        "close": sum(s.mean < 1.1 * best.mean for s in result.leaderboard if s.verdict != "diverged"),
        "seconds": round(result.seconds, 1),
        "notes": list(result.notes),
        "steps": steps,
    }
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def run(names: list[str], folder: Path, small: bool, share: float) -> dict[str, dict[str, dict[str, Any]]]:
    """Return task → rule or ablation → what came out."""
    folder.mkdir(parents=True, exist_ok=True)
    rates, seeds = (4, 2) if small else (10, 3)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name in names:
        try:
            task = TASKS[name]()
        except (OSError, ValueError) as error:
            say(f"{name}: left out ({error})")
            continue
        steps = round(share * task.steps)
        lines: dict[str, dict[str, Any]] = {}
        for rule, (make, low, high) in RULES.items():
            field = tw.race.grid(make(), lr=tw.race.log(low, high, rates), seeds=seeds)
            lines[rule] = raced(name, task, rule, field, folder, steps)
        for rule in ABLATED:
            make, low, high = RULES[rule]
            for label, change in ABLATIONS.items():
                if label == "constant":
                    continue
                field = [
                    tw.race.Candidate(**change(make().with_hyper({"lr": lr})), seed=seed)
                    for lr in tw.race.log(low, high, rates)
                    for seed in range(seeds)
                ]
                lines[f"{rule}, {label}"] = raced(name, task, f"{rule} {label}", field, folder, steps)
        found[name] = lines
    return found


def page(found: dict[str, dict[str, dict[str, Any]]], small: bool) -> str:
    """Return the table: test losses at the rate that validation chose."""
    where = environment()
    how = "a trial with four rates and two seeds" if small else "ten rates, three seeds"
    updates = "; ".join(f"{name} {next(iter(task.values()))['steps']:,}" for name, task in found.items())
    lines = [
        "# A crowded valley",
        "",
        f"Test loss at the rate that validation chose, mean ± standard deviation over seeds ({how}). In brackets: that",
        "rate, with an arrow where it is the highest (↑) or lowest (↓) of the ten, so that the best may lie beyond;",
        "and how many of the rates came within 10 % of the best validation loss. A best of ten that lies within the",
        "spread of another is no winner. Written by `benchmarks/valley.py`.",
        "",
        f"Updates: {updates}.",
        "Constant rates but for the ablations, which are of one rule each, at all ten rates again.",
        "",
        f"{where['date']}; {where['processor']}, {where['cores']} cores.",
        "",
        "| rule | " + " | ".join(found) + " |",
        "|---|" + "---|" * len(found),
    ]
    for rule in dict.fromkeys(rule for task in found.values() for rule in task):
        cells = []
        for task in found.values():
            line = task.get(rule)
            if line is None or line["test"] is None:
                cells.append("diverged" if line else "–")
                continue
            spread = "" if line["spread"] is None else f" ± {line['spread']:.2g}"
            cells.append(f"{line['test']:.4g}{spread} ({line['lr']:.2g}{_edge(rule, line['lr'])}; {line['close']})")
        lines.append(f"| {rule} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _edge(line: str, lr: float) -> str:
    """Return an arrow where a rate is the last of its rule's range."""
    rule = max((name for name in RULES if line == name or line.startswith(f"{name}, ")), key=len)
    _, low, high = RULES[rule]
    return " ↑" if lr > 0.999 * high else " ↓" if lr < 1.001 * low else ""


def picture(found: dict[str, dict[str, dict[str, Any]]]) -> Any:
    """Return one panel per task: rules against their test loss relative to the best rule's."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(2.6 * max(1, len(found)) + 1.6, 3.4), layout="constrained")
    panels = drawn.subplots(1, max(1, len(found)), sharey=True, squeeze=False)[0]
    for axes, (name, lines) in zip(panels, found.items(), strict=False):
        shown = {rule: lines[rule] for rule in RULES if lines.get(rule, {}).get("test") is not None}
        if not shown:
            continue
        best = min(line["test"] for line in shown.values())
        for place, rule in enumerate(RULES):
            if rule in shown:
                error = (shown[rule]["spread"] or 0.0) / best
                axes.errorbar(shown[rule]["test"] / best, place, xerr=error, fmt="o", color="#0168aa", markersize=4)
        axes.axvline(1.0, color="#e4e7eb", zorder=0)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("test loss / best rule's", fontsize=8)
        axes.set_yticks(range(len(RULES)), list(RULES), fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return drawn


def main() -> None:
    """Race what was asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", choices=[[], *TASKS], default=[])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--share", type=float, default=None, help="of the updates of a whole run; 1, or 0.2 if --small")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=None)
    asked = parser.parse_args()
    share = asked.share if asked.share is not None else 0.2 if asked.small else 1.0
    if asked.threads is not None:
        torch.set_num_threads(asked.threads)
    folder = asked.out or Path(__file__).resolve().parent / "results" / ("valley-small" if asked.small else "valley")
    found = run(asked.tasks or list(TASKS), folder, asked.small, share)
    (folder / "valley.md").write_text(page(found, asked.small), encoding="utf-8")
    picture(found).savefig(folder / "valley.png", dpi=130)
    print((folder / "valley.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
