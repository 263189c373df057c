"""What a model makes, shown after each epoch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from torch import nn

from thalweg.loop import Hook, Run, eval_mode

__all__ = ["Samples"]

Show = Callable[[nn.Module, int], str]


class Samples(Hook):
    """Prints what the model makes after each epoch, and keeps it in ``samples.txt`` of the run directory.

    Args:
        show: (model, epoch) → text; draws from no global generator.
        verbose: whether to print it as well.
    """

    def __init__(self, show: Show, verbose: bool = True) -> None:
        self.show, self.verbose = show, verbose

    def on_epoch_end(self, run: Run, row: dict[str, float]) -> None:
        """Show the weights that evaluation uses."""
        weights = nullcontext() if run.before_evaluation is None else run.before_evaluation()
        with weights, eval_mode(run.module):
            text = self.show(run.module, run.epoch)
        shown = "\n".join(f"  | {line}" for line in text.splitlines())
        if run.directory is not None:
            with (Path(run.directory.path) / "samples.txt").open("a", encoding="utf-8") as file:
                file.write(f"after epoch {run.epoch}\n{shown}\n")
        if self.verbose:
            print(f"after epoch {run.epoch}\n{shown}", flush=True)
