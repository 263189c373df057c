"""A run's loggers, open while it trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from .loggers import LOGGERS
from .run import Run

__all__ = ["logging"]


@contextmanager
def logging(run: Run) -> Iterator[None]:
    """Open the loggers that the settings name, and close them however the training ends.

    With several processes only the first one logs.
    """
    if not run.settings.loggers or not (run.processes is None or run.processes.is_first):
        yield
        return
    assert run.directory is not None, "loggers were refused without a run directory"
    facts = {
        "optimizer": repr(getattr(run.optimizer, "rule", type(run.optimizer).__name__)),
        "loss": repr(run.objective.loss),
        "epochs": run.settings.epochs,
        "batch_size": run.source.batch_size,
        "accumulate": run.settings.accumulate,
        "precision": run.precision.name,
        "seed": run.seed,
    }
    with ExitStack() as closing:
        for name in run.settings.loggers:
            logger = LOGGERS[name]()
            closing.callback(logger.close)
            logger.open(run.directory.path, run.step, facts)
            run.loggers = [*run.loggers, logger]
        yield
