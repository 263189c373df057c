"""A bar while it runs, a line now and then: in a terminal, a notebook, or a log file."""

from __future__ import annotations

from types import TracebackType

from thalweg.draw import Bar

from .history import Array
from .run import Run

__all__ = ["Progress", "epoch_line"]


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


class Progress:
    """Shows a run's progress; silent unless ``settings.verbose``.

    In a terminal a bar is redrawn a few times a second and lines scroll above it; in a notebook one display is updated
    in place; elsewhere only lines are printed. Which epochs get a line is ``settings.log_every``.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._on = run.settings.verbose
        self._interval = run.settings.log_interval
        self._bar = Bar("training", self._on, after=0.0)
        self._bar.total = run.total_steps
        self._told = len(run.history.events)
        self._next_step_line = run.step + self._interval.count

    def __enter__(self) -> Progress:
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, trace)

    def step(self, block: dict[str, Array]) -> None:
        """Show the newest flushed values, at most a few times a second."""
        if not self._on or not block:
            return
        if self._interval.unit == "steps":
            self._step_lines(block)
        self._events()
        if self._bar.is_due:
            self._draw(f"loss {block['smoothed'][-1]:.4f}")

    def _step_lines(self, block: dict[str, Array]) -> None:
        for step, loss, smoothed in zip(block["step"], block["loss"], block["smoothed"], strict=True):
            if step >= self._next_step_line:
                self._bar.say(f"step {int(step)}  loss {loss:.4f}  smoothed {smoothed:.4f}")
                self._next_step_line += self._interval.count

    def epoch(self, row: dict[str, float]) -> None:
        """Say the epoch's line if it is due."""
        if not self._on:
            return
        epochs = self._run.settings.epochs
        if self._interval.epoch_is_due(int(row["epoch"]), int(row["epoch"]) == epochs):
            rates = self._run.optimizer.param_groups[-1].get("lr")
            self._bar.say(epoch_line(row, epochs, None if rates is None else float(rates)))
        self._events()
        if self._bar.is_due:
            self._draw(f"loss {row['loss']:.4f}")

    def _events(self) -> None:
        events = self._run.history.events
        if self._run.settings.log_events:
            for step, kind, text in events[self._told :]:
                self._bar.say(f"step {step}  {kind}: {text}")
        self._told = len(events)

    def stopped(self, reason: str) -> None:
        """Say why training ended early."""
        if self._on:
            self._bar.say(f"stopped at step {self._run.step}: {reason}")

    def _draw(self, note: str) -> None:
        run = self._run
        self._bar.update(run.step, note, f"epoch {min(run.epoch + 1, run.settings.epochs)}")
