"""Trainings under a one-cycle schedule: one of them, or a frozen one and a thawed one in a row."""

from __future__ import annotations

from typing import Any, Literal

from thalweg.errors import check_number
from thalweg.loop import History
from thalweg.schedule import OneCycle

from .held import Held
from .layers import Rate, check_rate

__all__ = ["MOMENTUMS", "fine_tune", "fit_one_cycle"]

MOMENTUMS = (0.95, 0.85, 0.95)


def fit_one_cycle(
    learner: Held,
    data: Any,
    epochs: int | None = None,
    lr: Rate | Literal["own"] = "own",
    *,
    div: float = 25.0,
    div_final: float = 1e5,
    pct_start: float = 0.25,
    moms: tuple[float, float, float] | None = MOMENTUMS,
    n_epoch: int | None = None,
    lr_max: Rate | None = None,
    **fit: Any,
) -> History:
    r"""Train with the rate rising to *lr* and falling to almost nothing, the momentum doing the opposite.

    The rate goes from :math:`\eta/\text{div}` to :math:`\eta` in *pct_start* of the updates and then to
    :math:`\eta/\text{div\_final}`, along cosines. The momentum (``betas[0]`` for Adam) moves between *moms* where the
    rule has one; with plain SGD, without momentum, it stays off.

    Args:
        data: as for :meth:`fit`; ``(X, y)``.
        epochs: passes over the data; ``n_epoch`` is the same.
        lr: the highest rate; a slice or a list spreads it over the layer groups; ``"own"``: the learner's. ``lr_max``
            is the same.
        div: highest over first rate, >= 1.
        div_final: highest over last rate, >= 1.
        pct_start: share of the updates that the rise takes, in (0, 1).
        moms: (first, at the highest rate, last), each in [0, 1); None leaves the momentum alone.
        **fit: anything else that :meth:`fit` takes, except a schedule.

    Raises:
        ValueError: *pct_start* outside (0, 1), *lr* is None, or what :meth:`fit` refuses.

    Source: Smith and Topin, *Super-Convergence*, 2018; fastai's ``fit_one_cycle``, whose names and defaults these are
    (torch's ``OneCycleLR`` has pct_start 0.3 and ends at 1/1e4 of the first rate).

    >>> import torch, thalweg as tw
    >>> _ = torch.manual_seed(0)
    >>> X = torch.randn(256, 3); y = X.sum(1, keepdim=True)
    >>> learner = tw.Learner(torch.nn.Linear(3, 1), "adam", "mse", device="cpu", seed=0)
    >>> history = learner.fit_one_cycle((X, y), epochs=4, lr=0.25, verbose=False)
    >>> f"{history['lr'][0]:.2f}", f"{history['lr'].max():.2f}", f"{history['momentum'].min():.2f}"
    ('0.01', '0.25', '0.85')
    """
    who = "fit_one_cycle"
    if "schedule" in fit:
        raise ValueError(f"{who}: the schedule is the one cycle; for another call fit(schedule=...).")
    passes = _one_of(who, "epochs", epochs, "n_epoch", n_epoch)
    if passes is None:
        passes = 1
    if isinstance(passes, bool) or not isinstance(passes, int):
        raise TypeError(
            f"{who}: epochs is a {type(passes).__name__}, not a whole number; give inputs and targets as one, (X, y)."
        )
    if lr_max is not None:
        if lr != "own":
            raise ValueError(f"{who}: lr and lr_max are two names of one setting; give one of them.")
        lr = lr_max
    check_number(who, "pct_start", pct_start, low=0.0, low_open=True, high=1.0, high_open=True)
    cycle = OneCycle(pct_start=pct_start, div=div, div_final=div_final, moms=_momentums(learner, moms))
    return learner.fit(data, epochs=passes, lr=lr, schedule=cycle, **fit)


def _momentums(learner: Held, moms: tuple[float, float, float] | None) -> tuple[float, float, float] | tuple[()]:
    """Return the momentums of the cycle; the default ones only where a group has momentum that is on."""
    if moms is None:
        return ()
    on = any(group.get("momentum") or "betas" in group for group in learner.optimizer.param_groups)
    return () if moms == MOMENTUMS and not on else moms


def _one_of(who: str, name: str, value: Any, alias: str, other: Any) -> Any:
    if value is not None and other is not None:
        raise ValueError(f"{who}: {name} and {alias} are two names of one setting; give one of them.")
    return value if other is None else other


def fine_tune(
    learner: Held,
    data: Any,
    epochs: int,
    lr: float = 2e-3,
    *,
    freeze_epochs: int = 1,
    lr_mult: float = 100.0,
    div: float = 5.0,
    pct_start: float = 0.3,
    **fit: Any,
) -> History:
    r"""Train the head with the body frozen, then everything with lower rates below, each under one cycle.

    First :meth:`freeze` and one cycle to *lr* over *freeze_epochs*; then :meth:`unfreeze` and one cycle over *epochs*
    with ``slice(lr / 2 / lr_mult, lr / 2)``: geometric from the lowest layer group to the head.

    Args:
        data: as for :meth:`fit`; ``(X, y)``.
        epochs: passes with everything training.
        lr: highest rate of the head in the first part.
        freeze_epochs: passes with only the head training.
        lr_mult: highest over lowest rate in the second part, >= 1.
        div, pct_start: of the second cycle.
        **fit: anything else that :meth:`fit` takes, except a schedule and a run directory.

    Returns:
        the history of the second part.

    Raises:
        ValueError: the model has one layer group, or *lr* is None.

    Source: fastai's ``fine_tune``, whose defaults these are.
    """
    who = "fine_tune"
    check_rate(who, lr)
    check_number(who, "lr", lr, low=0.0, low_open=True)
    check_number(who, "lr_mult", lr_mult, low=1.0)
    for name in ("run_dir", "resume"):
        if fit.get(name) is not None:
            raise ValueError(
                f"{who}: {name} is of one training, and this makes two; call freeze, fit_one_cycle, unfreeze and "
                "fit_one_cycle with a run directory each."
            )
    learner.freeze()
    learner.fit_one_cycle(data, freeze_epochs, slice(lr), pct_start=0.99, **fit)
    learner.unfreeze()
    rates = slice(lr / 2 / lr_mult, lr / 2)
    return learner.fit_one_cycle(data, epochs, rates, pct_start=pct_start, div=div, **fit)
