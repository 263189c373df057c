"""A race, handed a learner's parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .held import Held

if TYPE_CHECKING:
    from thalweg.race import Candidate, RaceResult

__all__ = ["race"]


def race(
    learner: Held,
    data: Any,
    candidates: Sequence[Candidate],
    *,
    valid: Any = None,
    **settings: Any,
) -> RaceResult:
    """Train all candidates from the learner's present weights, which stay as they are, and say who is best.

    Model, loss, penalty, precision and which parameters take no decay are the learner's; the candidates bring rules,
    rates, schedules and clipping of their own. A candidate's seed draws the weights anew, and a race of seeds therefore
    does not begin at the learner's weights.

    Args:
        data: as for :meth:`fit`; ``(X, y)``.
        candidates: from :func:`thalweg.race.grid`, or a list of :class:`thalweg.race.Candidate`.
        valid: by whose loss candidates are compared.
        **settings: anything else that :func:`thalweg.race.race` takes: ``epochs``, ``batch_size``, ``halving``, ….

    Returns:
        a :class:`thalweg.race.RaceResult`.

    Raises:
        ValueError: what :func:`thalweg.race.race` refuses.

    >>> import torch, thalweg as tw
    >>> _ = torch.manual_seed(0)
    >>> X = torch.randn(128, 4); y = X.sum(1, keepdim=True)
    >>> learner = tw.Learner(torch.nn.Linear(4, 1), "adam", "mse", device="cpu", seed=0)
    >>> found = learner.race((X, y), tw.race.grid("adam", lr=[1e-4, 1e-1]), epochs=5, verbose=False)
    >>> found.winner.rule.lr
    0.1
    """
    # Only who races pays for importing the race.
    from thalweg.race import race as run

    own: dict[str, Any] = {
        "loss": learner.loss,
        "penalty": learner.penalty,
        "precision": learner.precision,
        "no_decay": learner._no_decay,
        "overrides": learner._overrides,
        "seed": learner.seed or 0,
    }
    return run(learner.module, data, valid, candidates, **{**own, **settings})
