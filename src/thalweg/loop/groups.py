"""Which parameter gets which hyperparameters, and why."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from thalweg.errors import did_you_mean, listing
from thalweg.optim import Rule

__all__ = ["GroupRow", "LayerGroup", "build_groups", "norm_parameters"]

_NORMS = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.modules.batchnorm._NormBase,  # BatchNorm and InstanceNorm of every dimension
    nn.LocalResponseNorm,
)


@dataclass(frozen=True)
class GroupRow:
    """One parameter's line in the plan's table."""

    name: str
    shape: tuple[int, ...]
    count: int
    group: int
    lr: float | None
    weight_decay: float | None
    frozen: bool
    why: str


@dataclass(frozen=True)
class LayerGroup:
    """A part of the model with a rate of its own: a label, the parameters' names, and the rate (None: the rule's)."""

    label: str
    names: tuple[str, ...]
    lr: float | None = None


def norm_parameters(model: nn.Module) -> set[str]:
    """Return the names of parameters that belong to a normalisation layer, by type or by the class's name.

    >>> sorted(norm_parameters(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))))
    ['1.bias', '1.weight']
    """
    found: set[str] = set()
    for prefix, module in model.named_modules():
        named = type(module).__name__.lower().endswith(("norm", "norm1d", "norm2d", "norm3d"))
        if isinstance(module, _NORMS) or (named and not list(module.children())):
            found.update(f"{prefix}.{name}" if prefix else name for name, _ in module.named_parameters(recurse=False))
    return found


def _exclusion(name: str, ndim: int, norms: set[str]) -> str:
    """Return why *name* takes no decay, or an empty string."""
    if name in norms:
        return "norm layer: no decay"
    if name.rsplit(".", 1)[-1] == "bias" or name.endswith("_bias"):
        return "bias: no decay"
    if ndim <= 1:
        return "1-D: no decay"
    return ""


def build_groups(
    model: nn.Module,
    rule: Rule,
    *,
    no_decay: str | Sequence[str] | None = "auto",
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    layers: Sequence[LayerGroup] | None = None,
) -> tuple[list[dict[str, Any]], list[GroupRow]]:
    """Return param groups for the optimizer, and a row for each parameter that says what it gets and why.

    Decay is not applied to biases, normalisation layers and 1-D parameters unless asked. Frozen parameters are in the
    groups, so that they can be thawed; without gradients they get no update, no decay and no state.

    Args:
        model: its ``named_parameters()``, tied ones once.
        rule: gives the defaults.
        no_decay: ``"auto"`` as above, ``None`` to decay everything, or name patterns (``"*.bias"``) that take none.
        overrides: name pattern → hyperparameters of the parameters that match, the last match first.
        layers: parts with rates of their own; every parameter is in exactly one.

    Raises:
        ValueError: a pattern that matches nothing, a hyperparameter the rule has not, or no parameters at all.
    """
    named = dict(model.named_parameters())
    who = type(rule).__name__
    if not named:
        raise ValueError(f"Learner: {type(model).__name__} has no parameters, so there is nothing to train.")
    known = set(rule.hyper())
    overrides = overrides or {}
    for pattern, settings in overrides.items():
        if not fnmatch.filter(named, pattern):
            raise ValueError(
                f"{who}: the pattern {pattern!r} matches no parameter.{did_you_mean(pattern, named)} "
                f"Parameters: {listing(list(named)[:12])}{', …' if len(named) > 12 else ''}."
            )
        for setting in settings:
            if setting not in known:
                raise ValueError(
                    f"{who}: {setting!r} (for {pattern!r}) is not one of its hyperparameters."
                    f"{did_you_mean(setting, known)} It has: {listing(known)}."
                )
    base_decay = getattr(rule, "weight_decay", None)
    excluded = _excluded(named, model, no_decay, who) if base_decay or _any_decay(overrides) else {}
    place = {name: (index, layer) for index, layer in enumerate(layers or ()) for name in layer.names}
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    rows: list[GroupRow] = []
    for name, param in named.items():
        own: dict[str, Any] = {}
        reasons: list[str] = []
        index, layer = place.get(name, (0, None))
        if layer is not None:
            reasons.append(f"layer group {layer.label}")
            if layer.lr is not None:
                own["lr"] = layer.lr
        if name in excluded:
            own["weight_decay"] = 0.0
            reasons.append(excluded[name])
        for pattern, settings in overrides.items():
            if fnmatch.fnmatchcase(name, pattern):
                own.update(settings)
                reasons.append(f"matches {pattern!r}")
        if not param.requires_grad:
            reasons.append("frozen")
        key = (index, *sorted((k, repr(v)) for k, v in own.items()))
        if key not in groups:
            label = layer.label if layer is not None else ""
            groups[key] = {"params": [], "param_names": [], "label": label, **own}
        group = groups[key]
        group["params"].append(param)
        group["param_names"].append(name)
        decay = own.get("weight_decay", base_decay)
        lr = own.get("lr", rule.lr)
        rows.append(
            GroupRow(
                name=name,
                shape=tuple(param.shape),
                count=param.numel(),
                group=list(groups).index(key),
                lr=None if lr is None else float(lr),
                weight_decay=None if decay is None else float(decay),
                frozen=not param.requires_grad,
                why="; ".join(reasons) or "all settings of the rule",
            )
        )
    return list(groups.values()), rows


def _any_decay(overrides: Mapping[str, Mapping[str, Any]]) -> bool:
    return any(settings.get("weight_decay") for settings in overrides.values())


def _excluded(
    named: Mapping[str, nn.Parameter], model: nn.Module, no_decay: str | Sequence[str] | None, who: str
) -> dict[str, str]:
    if no_decay is None:
        return {}
    if no_decay == "auto":
        norms = norm_parameters(model)
        reasons = {name: _exclusion(name, param.ndim, norms) for name, param in named.items()}
        return {name: why for name, why in reasons.items() if why}
    patterns: Iterable[str] = [no_decay] if isinstance(no_decay, str) else no_decay
    found: dict[str, str] = {}
    for pattern in patterns:
        matches = fnmatch.filter(named, pattern)
        if not matches:
            raise ValueError(
                f"{who}: no_decay pattern {pattern!r} matches no parameter.{did_you_mean(pattern, named)} "
                "Use 'auto', None, or patterns such as '*.bias'."
            )
        found.update(dict.fromkeys(matches, f"matches no_decay {pattern!r}"))
    return found
