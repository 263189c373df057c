"""Schedules by name, and as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from torch.optim.lr_scheduler import LRScheduler

from thalweg.errors import did_you_mean, listing, unknown_name

from .base import Schedule
from .constant import Constant
from .cosine import Cosine
from .cosine_restarts import CosineRestarts
from .cyclic import Cyclic, CyclicMomentum
from .exponential import Exponential
from .function import Function, import_path
from .inverse_sqrt import InverseSqrt
from .join import Join
from .lasting import Lasting
from .linear import Linear
from .multi_step import MultiStep
from .one_cycle import OneCycle, OneCycleMomentum
from .plateau import ReduceOnPlateau
from .polynomial import Polynomial
from .product import Product
from .step import Step
from .warmup import Warmup
from .wsd import WarmupStableDecay

__all__ = ["NAMES", "from_dict", "make", "to_dict"]

NAMES: dict[str, type[Schedule]] = {
    kind.name: kind
    for kind in (
        Constant,
        Cosine,
        CosineRestarts,
        Cyclic,
        CyclicMomentum,
        Exponential,
        Function,
        InverseSqrt,
        Join,
        Lasting,
        Linear,
        MultiStep,
        OneCycle,
        OneCycleMomentum,
        Polynomial,
        Product,
        ReduceOnPlateau,
        Step,
        Warmup,
        WarmupStableDecay,
    )
}


def make(given: object, where: str = "schedule", **settings: Any) -> Schedule:
    """Return a schedule from its name, plain data, class, a function of the step, or itself.

    Args:
        given: ``"cosine"``, ``{"name": "cosine", "eta_min": 1e-5}``, ``Cosine``, ``Cosine()`` or ``lambda step: …``.
        where: who asks, for messages.
        settings: fields of the named schedule.

    Raises:
        TypeError: something that describes no schedule, or settings beside a finished one.
        ValueError: an unknown name or setting, or one that is missing.

    >>> make("cosine", eta_min=1e-5)
    Cosine(eta_min=1e-05)
    >>> make("cosin")
    Traceback (most recent call last):
    ...
    ValueError: schedule: unknown schedule 'cosin'. Did you mean 'cosine'? Known: constant, cosine, ...
    """
    if isinstance(given, str):
        key = given.lower().replace("-", "_")
        if key not in NAMES:
            raise unknown_name(where, "schedule", given, NAMES)
        return _build(NAMES[key], settings, where)
    if isinstance(given, Mapping):
        return from_dict({**given, **settings}, where)
    if isinstance(given, type) and issubclass(given, Schedule):
        return _build(given, settings, where)
    if settings:
        raise TypeError(
            f"{where}: got {given!r} and the settings {sorted(settings)} as well; put them in the schedule, or name it "
            "by a string."
        )
    if isinstance(given, Schedule):
        return given
    if _is_torch(given):
        raise TypeError(
            f"{where}: {given!r} is torch's and holds state; wrap it: schedule.from_torch(StepLR, step_size=30) or "
            "schedule.from_torch(lambda optimizer: …)."
        )
    if callable(given):
        return Function(given)
    raise TypeError(
        f"{where}: {given!r} describes no schedule; pass a name ({listing(NAMES)}), a schedule such as Cosine(), or a "
        "function of the step."
    )


def _is_torch(given: object) -> bool:
    return isinstance(given, LRScheduler) or (isinstance(given, type) and issubclass(given, LRScheduler))


def _build(kind: type[Schedule], settings: Mapping[str, Any], where: str) -> Schedule:
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]  # every schedule is a dataclass
    for name in settings:
        if name not in known:
            raise ValueError(
                f"{where}: {kind.__name__} has no setting {name!r}.{did_you_mean(name, known)} "
                f"It has: {listing(known)}."
            )
    missing = [name for name, field in known.items() if field.default is MISSING and name not in settings]
    if missing:
        raise ValueError(f"{where}: {kind.__name__} needs {listing(missing)}, and got {listing(settings)}; give it.")
    return kind(**{name: _object(value, f"{where} {name}") for name, value in settings.items()})


def _object(value: Any, where: str) -> Any:
    """Return plain data within a schedule as what it stands for."""
    if isinstance(value, Mapping):
        return from_dict(value, where)
    if isinstance(value, (list, tuple)):
        return tuple(_object(item, where) for item in value)
    return value


def to_dict(schedule: Schedule) -> dict[str, Any]:
    """Return the schedule as plain data: its name and every field that is not None.

    Raises:
        TypeError: *schedule* is none.
        ValueError: a class that has no name here; a function that cannot be imported by name.

    >>> to_dict(Cosine(100))
    {'name': 'cosine', 'every': 'step', 'steps': 100, 'eta_min': 0.0, 'num_cycles': 0.5}
    >>> from_dict(to_dict(Warmup("10%") >> Cosine())) == Warmup("10%") >> Cosine()
    True
    """
    if not isinstance(schedule, Schedule):
        raise TypeError(f"to_dict: {schedule!r} is no schedule, got {type(schedule).__name__}; see schedule.make.")
    if NAMES.get(getattr(schedule, "name", "")) is not type(schedule):
        raise ValueError(f"to_dict: {type(schedule).__name__} has no name in plain data; known: {listing(NAMES)}.")
    found = {field.name: getattr(schedule, field.name) for field in fields(schedule)}  # type: ignore[arg-type]
    return {"name": schedule.name} | {key: _plain(value) for key, value in found.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, Schedule):
        return to_dict(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if callable(value):
        path = import_path(value)
        if path is None:
            raise ValueError(
                f"to_dict: {value!r} has no name to import it by, so it cannot be written as plain data; define it "
                "with def at the top of a module."
            )
        return path
    return value


def from_dict(plain: Mapping[str, Any], where: str = "schedule") -> Schedule:
    """Return the schedule that :func:`to_dict` (or a recipe) describes.

    Raises:
        ValueError: no name, an unknown name or setting, or one that is missing.

    >>> from_dict({"name": "join", "parts": [{"name": "warmup", "steps": "10%"}, {"name": "linear"}]})
    Warmup(steps='10%') >> Linear()
    """
    if "name" not in plain:
        raise ValueError(f"{where}: the key 'name' is missing; known schedules: {listing(NAMES)}.")
    settings = {key: value for key, value in plain.items() if key != "name"}
    return make(str(plain["name"]), where, **settings)
