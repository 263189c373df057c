"""The finder, handed a learner's parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thalweg.checkpoint import restore_rng, snapshot_rng
from thalweg.loop import Precision, Settings, prepare_loss
from thalweg.objective import Objective

from .assemble import make_sources, updates_per_epoch
from .held import Held
from .layers import reset_rates
from .seeding import seeded
from .sharing import draw_apart, sharers
from .tokens import choose_logits

if TYPE_CHECKING:
    from thalweg.find import Draws, Finding
    from thalweg.find.sweep import Kind

__all__ = ["lr_find"]


def lr_find(
    learner: Held,
    data: Any,
    y: Any = None,
    *,
    valid: Any = None,
    validation_split: float = 0.0,
    epochs: int = 1,
    batch_size: int = 64,
    accumulate: int = 1,
    shuffle: bool = True,
    drop_last: bool = False,
    low: float | None = None,
    high: float | None = None,
    steps: int = 100,
    sweep: Kind = "exponential",
    pretrained: bool = False,
    verify: bool | None = None,
    verify_steps: int = 20,
) -> Finding:
    """Look for a learning rate, leaving no trace, and return the curve with what it suggests.

    A sweep trains with a rate that rises from update to update. Its curve gives ``steepest``, ``valley``, ``minimum``
    and ``slide``; with *verify*, short trainings at round rates around decide by their validation losses. Afterwards
    weights, buffers, rule state, generators, sampler, modes and history are bit for bit as before, also after an error
    or Ctrl-C, and :meth:`fit` does what it would have done. With several processes each finds the same: from the data
    where each reads all of them, and together, all of them calling, where they are shared out (``tw.data.stream``).

    Args:
        data, y, batch_size, accumulate, shuffle, drop_last: as for the :meth:`fit` that is to come.
        valid, validation_split: likewise; they decide when verifying, and without them training batches in another
            order do.
        epochs: of the training to come, by which the cost of verifying is measured.
        low, high: the range of rates; None: by the rule, e.g. 1e-7 … 1 for Adam and 1e-6 … 10 for SGD.
        steps: updates of the sweep, >= 20.
        sweep: ``"exponential"`` or ``"linear"``.
        pretrained: the weights come from an earlier training: the range begins 10 and ends 100 times lower.
        verify: whether to verify; None: where it costs at most a tenth of the updates to come.
        verify_steps: updates of a short training; the verification makes 11 times as many at most.

    Returns:
        a :class:`thalweg.find.Finding`; its ``suggestion`` is None, with a ``reason``, where no rate is reliable.

    Raises:
        ValueError: an empty range, a loss that is not finite from the start, a rule that computes its own rate.
        TypeError: data that can be read only once.

    Source: Smith, *Cyclical Learning Rates for Training Neural Networks*, WACV 2017, section 3.3, for the sweep.

    >>> import torch, thalweg as tw
    >>> _ = torch.manual_seed(0)
    >>> X = torch.randn(512, 4); y = X @ torch.ones(4, 1)
    >>> learner = tw.Learner(torch.nn.Linear(4, 1), "sgd", "mse", device="cpu", seed=0)
    >>> found = learner.lr_find((X, y), verify=True)
    >>> 0.02 < found.suggestion < 1
    True
    """
    settings = Settings(epochs, accumulate)
    rng = snapshot_rng()
    # Only who looks for a rate pays for importing what finds it.
    from thalweg.find import Draws, Parts, find

    draws: Draws | None = None
    groups = [dict(group) for group in learner.optimizer.param_groups]
    try:
        with seeded(learner._fit_seed()) as seed:
            source, held = make_sources(
                learner,
                data if y is None else (data, y),
                valid,
                validation_split=validation_split,
                batch_size=batch_size,
                shuffle=shuffle,
                drop_last=drop_last,
                seed=seed,
            )
            among = sharers(learner, source, "lr_find")
            if among is not None:
                draw_apart(among)
            # Looking at an example may draw from a generator that the data set holds.
            draws = Draws([s for s in (source, held) if s is not None], learner.module)
            reset_rates(learner)
            precision = Precision(learner.precision, learner.device)
            loss, _, _ = prepare_loss(learner.loss, learner.module, source, precision)
            head = choose_logits(learner, loss, source, precision).head
            if accumulate > 1:
                loss.require_splittable(f"accumulate={accumulate}")
            objective = Objective(learner.model, loss, learner.penalty, head)
            valid_objective = None
            if held is not None:
                valid_loss, _, _ = prepare_loss(learner.loss, learner.module, held, precision)
                valid_objective = Objective(learner.model, valid_loss, learner.penalty, head)
            per_epoch = updates_per_epoch(source, accumulate)
            parts = Parts(
                module=learner.module,
                objective=objective,
                optimizer=learner.optimizer,
                source=source,
                precision=precision,
                accumulate=settings.accumulate,
                clip_norm=learner.clip_norm,
                clip_value=learner.clip_value,
                valid=held,
                valid_objective=valid_objective,
                evaluating=learner.evaluating,
                processes=among,
                valid_processes=None if held is None else sharers(learner, held, "lr_find"),
            )
            return find(
                parts,
                low=low,
                high=high,
                steps=steps,
                kind=sweep,
                pretrained=pretrained,
                check=verify,
                check_steps=verify_steps,
                planned=None if per_epoch is None else per_epoch * epochs,
            )
    finally:
        for group, kept in zip(learner.optimizer.param_groups, groups, strict=True):
            group.update(kept)
        if draws is not None:
            draws.restore()
        restore_rng(*rng)
