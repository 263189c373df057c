"""What a training will do, before it does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.draw import html_table, terminal_curve
from thalweg.engine.state_dtype import lowered
from thalweg.optim import Rule
from thalweg.schedule import has

from .groups import GroupRow
from .history import Array
from .rates import Rates

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Plan", "Span", "make_plan", "span"]

_SAMPLES = 1 << 16
_TOPS = 8
_POINTS = 512


@dataclass(frozen=True)
class Span:
    """A hyperparameter over the run: at the first update, at its highest, at the last."""

    first: float
    highest: float
    last: float


@dataclass(frozen=True)
class Plan:
    """Real updates, rates, engine, memory, and what each parameter gets.

    ``steps_per_epoch`` and ``total_steps`` count updates of the parameters, after accumulation and ``drop_last``.
    """

    samples: int | None
    batch_size: int | None
    accumulate: int
    steps_per_epoch: int | None
    epochs: int
    total_steps: int | None
    dropped_samples: int
    engine: str
    engine_why: str
    step: str
    step_why: str
    precision: str
    device: str
    memory: Mapping[str, int]
    rates: Mapping[str, Span]
    groups: Sequence[GroupRow]
    rule: str
    loss: str
    schedule: str
    curves: Mapping[str, tuple[Array, Array]]
    logits: str = ""  # whether a loss over tokens has them made, and why; empty for other losses

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-able data, curves left out."""
        return {
            "samples": self.samples,
            "batch_size": self.batch_size,
            "accumulate": self.accumulate,
            "steps_per_epoch": self.steps_per_epoch,
            "epochs": self.epochs,
            "total_steps": self.total_steps,
            "dropped_samples": self.dropped_samples,
            "engine": {"name": self.engine, "why": self.engine_why},
            "step": {"name": self.step, "why": self.step_why},
            "precision": self.precision,
            "device": self.device,
            "memory": dict(self.memory),
            "rates": {name: asdict(value) for name, value in self.rates.items()},
            "groups": [{**asdict(row), "shape": list(row.shape)} for row in self.groups],
            "rule": self.rule,
            "loss": self.loss,
            **({"logits": self.logits} if self.logits else {}),
            "schedule": self.schedule,
        }

    def facts(self) -> list[tuple[str, str]]:
        """Return the plan's facts as (name, text) lines."""
        unknown = "unknown (the data do not say how many batches they have)"
        parts = [f"{self.total_steps:,} in {self.epochs} epochs of {self.steps_per_epoch:,}"]
        updates = parts[0] if self.total_steps is not None and self.steps_per_epoch is not None else unknown
        if self.accumulate > 1:
            updates += f", each from {self.accumulate} micro-batches"
        samples = "unknown" if self.samples is None else f"{self.samples:,}"
        if self.batch_size is not None:
            samples += f" in batches of {self.batch_size}"
        if self.dropped_samples:
            samples += f"; {self.dropped_samples} per epoch are left out (drop_last)"
        lines = [("samples", samples), ("updates", updates), ("rule", self.rule), ("loss", self.loss)]
        if self.logits:
            lines.append(("logits", self.logits))
        lines.append(("schedule", self.schedule))
        lines += [
            (name, f"first {value.first:.3g}, highest {value.highest:.3g}, last {value.last:.3g}")
            for name, value in self.rates.items()
        ]
        lines.append(("engine", f"{self.engine} ({self.engine_why})"))
        lines.append(("step", f"{self.step} ({self.step_why})"))
        lines.append(("device", f"{self.device}, {self.precision}"))
        lines.append(("memory", ", ".join(f"{name} {_bytes(count)}" for name, count in self.memory.items())))
        return lines

    def _table(self) -> tuple[list[str], list[list[Any]]]:
        columns = ["parameter", "shape", "count", "lr", "weight decay", "frozen", "why"]
        rows = [
            [
                row.name,
                "×".join(map(str, row.shape)) or "scalar",
                row.count,
                "the rule's own" if row.lr is None else f"{row.lr:g}",
                "none" if not row.weight_decay else f"{row.weight_decay:g}",
                "yes" if row.frozen else "no",
                row.why,
            ]
            for row in self.groups
        ]
        return columns, rows

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self.facts())
        text = [f"{name:<{width}}  {value}" for name, value in self.facts()]
        for name, (steps, values) in self.curves.items():
            last = int(steps[-1])
            if values.size > 1 and np.ptp(values) > 0:
                text += ["", terminal_curve(values, title=f"{name} over {last + 1:,} updates", steps=(0, last))]
        columns, rows = self._table()
        cells = [columns, *[[str(cell) for cell in row] for row in rows]]
        widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
        text += [
            "",
            *["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells],
        ]
        return "\n".join(text)

    def _repr_html_(self) -> str:
        columns, rows = self._table()
        return html_table([list(fact) for fact in self.facts()], ["", "plan"]) + html_table(rows, columns)

    def plot(self) -> Figure:
        """Return the planned rate and momentum over the updates as a figure."""
        from thalweg.draw import schedule

        steps = next(iter(self.curves.values()))[0] if self.curves else np.zeros(1)
        return schedule(steps, {name: values for name, (_, values) in self.curves.items()})


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError


def span(rates: Rates, name: str, group: int, total: int) -> Span:
    """Return first, highest and last value of a hyperparameter over *total* updates.

    Up to 65,536 updates every one is evaluated. Beyond, as many evenly spaced ones are, and then every update around
    the highest of them, so that a plan of ten million updates takes no longer; a peak narrower than the spacing and
    away from those would be missed.
    """
    steps = np.unique(np.linspace(0, total - 1, min(total, _SAMPLES)).astype(np.int64))
    values = rates.curve(name, group, steps)
    first, last = float(values[0]), float(values[-1])
    if total > steps.size:
        spacing = -(-total // _SAMPLES)
        tops = steps[np.argsort(-values, kind="stable")[:_TOPS]]
        around = np.unique(np.clip(tops[:, None] + np.arange(-spacing, spacing + 1), 0, total - 1))
        values = np.concatenate([values, rates.curve(name, group, around)])
    return Span(first=first, highest=float(values.max()), last=last)


def memory(module: nn.Module, rule: Rule | None, state_dtype: torch.dtype | None = None) -> dict[str, int]:
    """Return bytes of parameters, gradients and rule state; the state is made on the meta device and costs nothing.

    Args:
        module: the model.
        rule: the rule, or None where it is not ours.
        state_dtype: of the moments; None: that of the parameters.
    """
    params = list(module.parameters())
    sizes = {
        "parameters": sum(p.numel() * p.element_size() for p in params),
        "gradients": sum(p.numel() * p.element_size() for p in params if p.requires_grad),
    }
    if rule is not None:
        state: list[Tensor] = []
        for param in params:
            if param.requires_grad:
                made = rule.init(torch.empty_like(param, device="meta"))
                state.extend((made if state_dtype is None else lowered(rule, made, param, state_dtype)).values())
        sizes["state"] = sum(value.numel() * value.element_size() for value in state)
    return sizes


def make_plan(
    rates: Rates,
    total_steps: int | None,
    optimizer: torch.optim.Optimizer,
    foreign_rates: Array | None = None,
    **facts: Any,
) -> Plan:
    """Return the plan with its curves and spans; *facts* are the remaining fields of :class:`Plan`.

    Args:
        foreign_rates: the rate per update where a torch scheduler sets it.
    """
    names = [name for name in ("lr", "momentum") if name in rates.schedules or _constant(optimizer, name)]
    names += [name for name in rates.schedules if name not in names]
    group = len(optimizer.param_groups) - 1
    total = total_steps if total_steps is not None else 1
    steps = np.unique(np.linspace(0, total - 1, min(total, _POINTS)).astype(np.int64))
    curves = {name: (steps.astype(np.float64), rates.curve(name, group, steps)) for name in names}
    rates_over_run = {name: span(rates, name, group, total) for name in names}
    if foreign_rates is not None:
        curves["lr"] = (steps.astype(np.float64), foreign_rates[steps])
        first, last = float(foreign_rates[0]), float(foreign_rates[-1])
        rates_over_run["lr"] = Span(first=first, highest=float(foreign_rates.max()), last=last)
    return Plan(rates=rates_over_run, curves=curves, total_steps=total_steps, **facts)


def _constant(optimizer: torch.optim.Optimizer, name: str) -> bool:
    return has(optimizer.param_groups[-1], name)
