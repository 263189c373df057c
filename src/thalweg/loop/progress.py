"""A bar while it runs, a line now and then: in a terminal, a notebook, or a log file."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from .history import Array
from .run import Run

__all__ = ["Progress", "epoch_line"]

_REDRAW = 0.25  # seconds between two drawings of the bar


def epoch_line(row: dict[str, float], epochs: int, lr: float | None) -> str:
    """Return one epoch's line.

    >>> epoch_line({"epoch": 1, "step": 9, "loss": 0.5, "val_loss": 0.25, "seconds": 1.5}, 10, 0.001)
    'epoch  1/10  loss 0.5000  val_loss 0.2500  lr 1.0e-03  1.5 s'
    """
    width = len(str(epochs))
    parts = [f"epoch {int(row['epoch']):>{width}}/{epochs}"]
    parts += [f"{name} {value:.4f}" for name, value in row.items() if name not in ("epoch", "step", "seconds")]
    if lr is not None:
        parts.append(f"lr {lr:.1e}")
    parts.append(f"{row['seconds']:.1f} s")
    return "  ".join(parts)


def _in_notebook() -> bool:
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


class Progress:
    """Shows a run's progress; silent unless ``settings.verbose``.

    In a terminal a bar is redrawn a few times a second and lines scroll above it; in a notebook one display is updated
    in place; elsewhere only lines are printed. Which epochs get a line is ``settings.log_every``.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._on = run.settings.verbose
        self._interval = run.settings.log_interval
        self._notebook = self._on and _in_notebook()
        self._terminal = self._on and not self._notebook and sys.stderr.isatty()
        self._bar: Any = None
        self._task: Any = None
        self._display: Any = None
        self._lines: list[str] = []
        self._told = len(run.history.events)
        self._drawn = time.monotonic()
        self._next_step_line = run.step + self._interval.count

    def __enter__(self) -> Progress:
        if self._terminal:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                auto_refresh=False,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("training", total=self._run.total_steps, completed=self._run.step, note="")
        elif self._notebook:
            from IPython.display import display

            self._display = display(_Text(""), display_id=True)  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, block: dict[str, Array]) -> None:
        """Show the newest flushed values, at most a few times a second."""
        if not self._on or not block:
            return
        if self._interval.unit == "steps":
            self._step_lines(block)
        self._events()
        now = time.monotonic()
        if now - self._drawn < _REDRAW:
            return
        self._drawn = now
        self._draw(f"loss {block['smoothed'][-1]:.4f}")

    def _step_lines(self, block: dict[str, Array]) -> None:
        for step, loss, smoothed in zip(block["step"], block["loss"], block["smoothed"], strict=True):
            if step >= self._next_step_line:
                self._say(f"step {int(step)}  loss {loss:.4f}  smoothed {smoothed:.4f}")
                self._next_step_line += self._interval.count

    def epoch(self, row: dict[str, float]) -> None:
        """Say the epoch's line if it is due."""
        if not self._on:
            return
        epochs = self._run.settings.epochs
        if self._interval.epoch_is_due(int(row["epoch"]), int(row["epoch"]) == epochs):
            rates = self._run.optimizer.param_groups[-1].get("lr")
            self._say(epoch_line(row, epochs, None if rates is None else float(rates)))
        self._events()
        now = time.monotonic()
        if now - self._drawn >= _REDRAW:
            self._drawn = now
            self._draw(f"loss {row['loss']:.4f}")

    def _events(self) -> None:
        events = self._run.history.events
        if self._run.settings.log_events:
            for step, kind, text in events[self._told :]:
                self._say(f"step {step}  {kind}: {text}")
        self._told = len(events)

    def stopped(self, reason: str) -> None:
        """Say why training ended early."""
        if self._on:
            self._say(f"stopped at step {self._run.step}: {reason}")

    def _draw(self, note: str) -> None:
        run = self._run
        if self._bar is not None:
            epoch = min(run.epoch + 1, run.settings.epochs)
            self._bar.update(self._task, completed=run.step, note=note, description=f"epoch {epoch}")
            self._bar.refresh()
        elif self._display is not None:
            of = f"/{run.total_steps}" if run.total_steps else ""
            self._display.update(_Text("\n".join([*self._lines, f"step {run.step}{of}  {note}"])))

    def _say(self, line: str) -> None:
        if self._display is not None:
            self._lines.append(line)
            self._display.update(_Text("\n".join(self._lines)))
        elif self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, flush=True)


class _Text:
    """Plain text that a notebook shows in place."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text
