"""Layer groups of a learner: rates of their own, frozen and thawed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from thalweg.engine import RuleOptimizer
from thalweg.errors import check_number
from thalweg.loop import LayerGroup

from .held import Held
from .split import Split, split_model

__all__ = [
    "Rate",
    "adopt_layers",
    "check_rate",
    "freeze",
    "freeze_to",
    "reset_rates",
    "split_layers",
    "spread_rates",
    "unfreeze",
]

Rate = float | slice | Sequence[float]


def split_layers(learner: Held, split: Split | None = None) -> list[LayerGroup]:
    """Divide the model into layer groups, lowest first, and return them; optimizer state is kept.

    Args:
        split: None: lower half of the body, upper half, head, by structure. Otherwise the groups, or a function of the
            model that returns them; a group is a module, a prefix of parameter names, a parameter, or a list of these.

    Raises:
        ValueError: a parameter is in no group or in two, or a group is empty.

    >>> import torch, thalweg as tw
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
    >>> learner = tw.Learner(model, "adam", "cross_entropy", device="cpu")
    >>> [group.label for group in learner.split_layers([model[0], model[2]])]
    ['0', '2']
    """
    _take(learner, split_model(learner.module, split))
    assert learner.layers is not None
    return learner.layers


def freeze(learner: Held, *, update_stats: bool = False) -> None:
    """Train only the last layer group: :meth:`freeze_to` of -1."""
    _freeze_to(learner, -1, update_stats, "freeze")


def unfreeze(learner: Held) -> None:
    """Train every layer group."""
    _freeze_to(learner, 0, False, "unfreeze")


def freeze_to(learner: Held, n: int, *, update_stats: bool = False) -> None:
    """Freeze the layer groups before number *n* and train those from it on.

    Frozen means: no gradient, no update, no decay, state as it was; and BatchNorm layers among them normalise with the
    statistics they have and do not change them, unless *update_stats*. The groups are those of :meth:`split_layers`,
    made by structure where there are none yet. A checkpoint and a saved learner keep all of this.

    Args:
        n: index of the first group that trains; negative counts from the end, as in a list.
        update_stats: let frozen BatchNorm layers go on estimating mean and variance.

    Raises:
        ValueError: *n* would freeze every group, or there are not so many.

    >>> import torch, thalweg as tw
    >>> learner = tw.Learner(torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Linear(4, 3)), device="cpu")
    >>> learner.freeze_to(-1)
    >>> [name for name, param in learner.module.named_parameters() if param.requires_grad]
    ['1.weight', '1.bias']
    """
    _freeze_to(learner, n, update_stats, "freeze_to")


def _freeze_to(learner: Held, n: int, update_stats: bool, who: str) -> None:
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"{who}: n={n!r} must be a whole number, got {type(n).__name__}.")
    layers = learner.layers or split_layers_or_one(learner)
    first = n if n >= 0 else len(layers) + n
    labels = ", ".join(layer.label for layer in layers)
    if who == "freeze" and len(layers) == 1:
        raise ValueError(
            f"freeze: the model has one layer group ({labels}), so freezing all but the last freezes nothing; split "
            "the model with split_layers."
        )
    if first < 0:
        raise ValueError(
            f"{who}: n={n} counts back beyond the {len(layers)} layer groups ({labels}); choose a larger n."
        )
    if first >= len(layers):
        raise ValueError(
            f"{who}: n={n} would freeze everything, because there {_are(len(layers))} ({labels}), and nothing would "
            "train; choose a smaller n."
        )
    named = dict(learner.module.named_parameters())
    frozen = {name for layer in layers[:first] for name in layer.names}
    for name, param in named.items():
        param.requires_grad_(name not in frozen)
    ids = {id(named[name]) for name in frozen}
    for group in learner.optimizer.param_groups:
        group.pop("update_stats", None)
        if update_stats and any(id(param) in ids for param in group["params"]):
            group["update_stats"] = True
    _tell_rows(learner, frozen)


def _are(count: int) -> str:
    return "is only one layer group" if count == 1 else f"are only {count} layer groups"


def split_layers_or_one(learner: Held) -> list[LayerGroup]:
    """Return the groups by structure, put to use where the optimizer can have groups of ours."""
    layers = split_model(learner.module)
    if learner.rule is None:
        learner.layers = layers  # a torch optimizer keeps the groups it was given; freezing needs none
        return layers
    _take(learner, layers)
    return layers


def _tell_rows(learner: Held, frozen: set[str]) -> None:
    """Bring the plan's table up to date."""
    rows = []
    for row in learner.group_rows:
        why = [reason for reason in row.why.split("; ") if reason != "frozen"]
        is_frozen = row.name in frozen or row.group < 0
        rows.append(replace(row, frozen=is_frozen, why="; ".join([*why, *(["frozen"] if row.name in frozen else [])])))
    learner.group_rows = rows


def _take(learner: Held, layers: list[LayerGroup]) -> None:
    """Give the learner these groups: a new optimizer over the same parameters, with the state of the old one."""
    before = learner.layers
    old = learner.optimizer
    learner.layers = layers
    try:
        learner.optimizer = learner._new_optimizer()
    except BaseException:
        learner.layers = before
        raise
    move_state(old, learner.optimizer)


def move_state(old: torch.optim.Optimizer, new: torch.optim.Optimizer) -> None:
    """Give *new* the state that *old* has for the same parameters, and its generators."""
    for group in new.param_groups:
        for param in group["params"]:
            if param in old.state:
                new.state[param] = old.state[param]
    kept = {id(param) for group in old.param_groups if group.get("update_stats") for param in group["params"]}
    for group in new.param_groups:
        if any(id(param) in kept for param in group["params"]):
            group["update_stats"] = True
    if isinstance(old, RuleOptimizer) and isinstance(new, RuleOptimizer) and old.rounder is not None:
        new.rounder = old.rounder


def adopt_layers(learner: Held, groups: Sequence[Mapping[str, Any]]) -> None:
    """Take up the layer groups of a saved optimizer, where they are others than the learner's.

    Args:
        groups: ``param_groups`` of its ``state_dict``; ours carry ``label`` and ``param_names``.
    """
    if learner.rule is None:
        return
    names: dict[str, list[str]] = {}
    for group in groups:
        label = group.get("label")
        if label and group.get("param_names"):
            names.setdefault(str(label), []).extend(group["param_names"])
    stored = [(label, set(members)) for label, members in names.items()]
    mine = [(layer.label, set(layer.names)) for layer in learner.layers or []]
    if stored == mine or not stored:
        return
    known = set(dict(learner.module.named_parameters()))
    if set().union(*(members for _, members in stored)) != known:
        return  # another model, which the check of its tensors says better
    order = list(dict(learner.module.named_parameters()))
    layers = [LayerGroup(label, tuple(n for n in order if n in members)) for label, members in stored]
    _take(learner, layers)


def spread_rates(lr: slice | Sequence[float], count: int, who: str = "lr") -> list[float]:
    r"""Return a rate for each of *count* layer groups, lowest first.

    ``slice(a, b)`` is geometric, :math:`\eta_i = a\,(b/a)^{i/(n-1)}`; ``slice(b)`` gives the last group *b* and the
    others a third of it; a list gives each its own.

    Args:
        lr: a slice or one number per group, each > 0 (in a list 0 is a rate too).
        count: layer groups, at least 2 for a slice.

    Raises:
        ValueError: one group and a slice, a slice without an end, a list of another length.

    Source: Howard and Ruder, *Universal Language Model Fine-tuning*, ACL 2018, section 3.2; fastai's
    ``Learner.lr`` slices.

    >>> [f"{rate:.0e}" for rate in spread_rates(slice(1e-5, 1e-3), 3)]
    ['1e-05', '1e-04', '1e-03']
    >>> spread_rates(slice(3.0), 3)
    [1.0, 1.0, 3.0]
    """
    if isinstance(lr, slice):
        if lr.step is not None:
            raise ValueError(f"{who}: {lr!r} has a step, which means nothing here; write slice(lowest, highest).")
        if lr.stop is None:
            raise ValueError(f"{who}: {lr!r} has no end; write slice(lowest, highest) or slice(highest).")
        ends = [lr.stop] if lr.start is None else [lr.start, lr.stop]
        for end in ends:
            check_number(who, "slice", end, low=0.0, low_open=True)
        if count < 2:
            raise ValueError(
                f"{who}: {lr!r} spreads the rate over layer groups, but the model has one group; pass a number, or "
                "split the model with split_layers."
            )
        if lr.start is None:
            return [lr.stop / 3] * (count - 1) + [float(lr.stop)]
        low, high = float(lr.start), float(lr.stop)
        return [*(low * (high / low) ** (i / (count - 1)) for i in range(count - 1)), high]
    rates = list(lr)
    if len(rates) != count:
        raise ValueError(
            f"{who}: {len(rates)} rates were given for {count} layer groups; give each group one, lowest first."
        )
    for index, rate in enumerate(rates):
        check_number(who, f"lr[{index}]", rate, low=0.0)
    return [float(rate) for rate in rates]


def check_rate(who: str, lr: Any) -> None:
    """Raise where the rate is None, which is what a finder suggests when nothing is reliable.

    Raises:
        ValueError: it is.
    """
    if lr is None:
        raise ValueError(
            f"{who}: lr=None is no rate. A finder suggests None where no rate is reliable, and its .reason says why; "
            'give a number, or leave lr out ("own") for the learner\'s own rate.'
        )


def reset_rates(learner: Held, lr: Any = "own") -> None:
    """Set every group back to its own base (a schedule has moved it), and to *lr* where one is given.

    Args:
        lr: ``"own"``: the bases; a number: of the last group, the others keep their ratio to it; a slice or a list:
            each layer group gets its own, and a group of *overrides* within it keeps its ratio to the rule's rate.

    Raises:
        ValueError: *lr* is None, negative or not finite, or does not fit the groups.
    """
    check_rate("lr", lr)
    own = isinstance(lr, str)
    if own and lr != "own":
        raise ValueError(f"lr: {lr!r} is no rate; give a number, a slice, a list, or 'own' for the learner's own rate.")
    spread = isinstance(lr, slice) or (isinstance(lr, Sequence) and not own)
    if spread:
        rates = _rates_by_label(learner, lr)
    elif not own:
        check_number("lr", "lr", lr, low=0.0, high=math.inf, high_open=True)
    reference = learner.bases[-1].get("lr")
    for group, base in zip(learner.optimizer.param_groups, learner.bases, strict=True):
        group.update(base)
        if spread:
            assert learner.rule is not None
            ratio = base["lr"] / learner.rule.lr if learner.rule.lr and base.get("lr") is not None else 1.0
            group["lr"] = rates[group["label"]] * ratio
        elif not own:
            ratio = 1.0 if not reference or base.get("lr") is None else base["lr"] / reference
            group["lr"] = lr * ratio


def _rates_by_label(learner: Held, lr: slice | Sequence[float]) -> dict[str, float]:
    if learner.rule is None:
        raise ValueError(
            f"lr: {lr!r} spreads the rate over layer groups, which {type(learner.optimizer).__name__} has not; give "
            "the optimizer param groups of its own and a number here, or use one of Thalweg's rules."
        )
    if learner.layers is None:
        _take(learner, split_model(learner.module))
    assert learner.layers is not None
    return dict(zip((layer.label for layer in learner.layers), spread_rates(lr, len(learner.layers)), strict=True))
