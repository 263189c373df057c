"""Validation of averaged weights, whose batch statistics have to be estimated first."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from ..loop import evaluate
from ..loop.averaging import estimated, holding
from ..objective import Objective
from .entry import Entry
from .initial import Weights
from .lane import Losses

__all__ = ["reestimated_scores"]


def reestimated_scores(entry: Entry, weights: Sequence[Weights]) -> Losses:
    """Return the validation loss of each member's averaged weights, **(K,)**, one member after the other.

    Averaged weights have seen no batch, so the running statistics of the training weights are not theirs.
    """
    assert entry.valid is not None
    module = copy.deepcopy(entry.module)
    objective = Objective(module, entry.valid_loss, entry.penalty)
    found = []
    for params, buffers in weights:
        module.load_state_dict({**params, **buffers}, strict=False)
        with holding(module, estimated(module, entry.source)):
            found.append(evaluate(objective, entry.valid, {}, entry.precision)["loss"])
    return np.array(found)
