"""A race's dropout in a learner's own training."""

from __future__ import annotations

from types import TracebackType

import numpy as np
import torch

from ..engine.counter_dropout import CounterDropout, dropout_keys
from ..loop import Hook, Run

__all__ = ["CounterMasks"]

_MOST = 256  # dropouts of a forward pass for which keys are made


class CounterMasks(Hook):
    """Let a fit drop what the same training dropped in a race.

    Without it a fit draws its masks from torch's generator, so that models with dropout train alike on average only.
    Used around the fit, so that the masks are torch's again afterwards, also after an exception.

    Args:
        seed: of the member: its own, or the race's where it had none.

    >>> import torch, thalweg as tw
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
    >>> learner = tw.Learner(model, "sgd", "mse", device="cpu", seed=0)
    >>> X = torch.ones(8, 4); y = torch.ones(8, 1)
    >>> with tw.race.CounterMasks(seed=0) as masks:
    ...     history = learner.fit((X, y), epochs=2, verbose=False, hooks=[masks])
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._mode = CounterDropout()

    def __enter__(self) -> CounterMasks:
        self._mode.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mode.__exit__(kind, error, trace)  # type: ignore[no-untyped-call]

    def _set(self, run: Run) -> None:
        table = dropout_keys([self.seed], np.array([run.step]), _MOST)
        self._mode.begin(torch.from_numpy(table[0, 0]).to(run.device))

    def on_fit_begin(self, run: Run) -> None:
        """Take the first update's masks."""
        self._set(run)

    def on_step_end(self, run: Run) -> None:
        """Go on to the next update's masks."""
        self._set(run)
