"""What races: a rule with its settings, a schedule, clipping, smoothing, a seed."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from ..errors import check_number
from ..optim import Rule
from ..optim import make as make_rule
from ..optim import to_dict as rule_to_dict
from ..schedule import Schedule, by_hyper

__all__ = ["Candidate", "Setting", "rule_name", "rule_settings"]

_WHO = "race: candidate"


@dataclass(frozen=True)
class Setting:
    """What candidates that differ only in seed and order of the data have in common."""

    rule: Rule
    schedules: tuple[tuple[str, Schedule], ...]
    clip_norm: float | None
    clip_value: float | None
    label_smoothing: float | None


@dataclass(frozen=True)
class Candidate:
    """A training that races: everything about it that may differ from the others'.

    Args:
        optimizer: a rule, its name, or plain data.
        schedule: of the rate, or a mapping hyperparameter → schedule, in any form that a learner takes; durations
            resolve against the race's length, so a schedule of 100 steps is over after 100. None: constant.
        clip_norm: largest 2-norm of all gradients together, > 0, or None.
        clip_value: largest absolute gradient element, > 0, or None.
        label_smoothing: share of the target spread over all classes, 0 to 1; None: the loss's own. It is trained with,
            and not validated with: all candidates are compared by the same loss.
        seed: of the initial weights and of dropout; None: the model's present weights.
        order: seed of a data order of its own; None: the batches that all candidates share.

    Raises:
        ValueError, TypeError: an unknown rule or schedule, a number out of range.

    >>> print(Candidate("adamw", clip_norm=1.0, seed=3))
    adamw lr=0.001 clip_norm=1 seed=3
    """

    optimizer: Any
    schedule: Any = None
    clip_norm: float | None = None
    clip_value: float | None = None
    label_smoothing: float | None = None
    seed: int | None = None
    order: int | None = None
    setting: Setting = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("clip_norm", "clip_value"):
            if getattr(self, name) is not None:
                check_number(_WHO, name, getattr(self, name), low=0.0, low_open=True, advice="None clips nothing")
        if self.label_smoothing is not None:
            check_number(_WHO, "label_smoothing", self.label_smoothing, low=0.0, high=1.0)
        for name in ("seed", "order"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise TypeError(f"{_WHO}: {name}={value!r} must be a whole number or None.")
        rule = make_rule(self.optimizer, _WHO)
        schedules = () if self.schedule is None else tuple(by_hyper(self.schedule, _WHO).items())
        for name, one in schedules:
            if one.controllers:
                raise ValueError(
                    f"{_WHO}: the schedule of {name} waits for an epoch's metric ({one!r}), and a race's schedules are "
                    "known beforehand; use a closed form such as Cosine(), and plateaus in the training that follows."
                )
        held = Setting(rule, schedules, self.clip_norm, self.clip_value, self.label_smoothing)
        object.__setattr__(self, "setting", held)

    @property
    def rule(self) -> Rule:
        """The update rule."""
        return self.setting.rule

    def settings(self) -> dict[str, Any]:
        """Return everything that may differ, as flat plain data: ``optimizer``, its settings, ``schedule``, …."""
        found: dict[str, Any] = {"optimizer": rule_name(self.rule), **rule_settings(self.rule)}
        if self.setting.schedules:
            found["schedule"] = _schedules_said(self.setting.schedules)
        for name in ("clip_norm", "clip_value", "label_smoothing", "seed", "order"):
            if getattr(self, name) is not None:
                found[name] = getattr(self, name)
        return found

    def __str__(self) -> str:
        named = self.settings()
        default = rule_settings(type(self.rule)()) if not _wraps(self.rule) else {}
        shown = {
            name: value
            for name, value in named.items()
            if name not in ("optimizer",) and (name == "lr" or default.get(name, ...) != value)
        }
        words = [
            f"{name}={value:g}" if isinstance(value, (int, float)) else f"{name}={value}"
            for name, value in shown.items()
        ]
        return " ".join([named["optimizer"], *words])


def _wraps(rule: Rule) -> bool:
    return hasattr(rule, "rule")


def rule_name(rule: Rule) -> str:
    """Return the rule's name in recipes, wrapped rules in brackets.

    >>> from thalweg.optim import Adam, Lookahead
    >>> rule_name(Lookahead(Adam()))
    'lookahead(adam)'
    """
    try:
        name = str(rule_to_dict(rule)["name"])
    except ValueError:  # a rule of the user's own
        name = type(rule).__name__
    inner = getattr(rule, "rule", None) or getattr(rule, "other", None)
    return f"{name}({rule_name(inner)})" if isinstance(inner, Rule) else name


def rule_settings(rule: Rule) -> dict[str, Any]:
    """Return the rule's hyperparameters by their names in a param group."""
    return {name: value for name, value in rule.hyper().items() if name != "maximize" or value}


def _schedules_said(schedules: tuple[tuple[str, Schedule], ...]) -> str:
    if len(schedules) == 1 and schedules[0][0] == "lr":
        return repr(schedules[0][1])
    return ", ".join(f"{name}: {one!r}" for name, one in schedules)


def field_names() -> list[str]:
    """Return what a candidate may be given."""
    return [entry.name for entry in fields(Candidate) if entry.init]
