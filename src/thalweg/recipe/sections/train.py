"""``[train]``: everything else that ``Learner`` and ``fit`` take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from thalweg.errors import check_number
from thalweg.loop import Cadence, EarlyStopping, Every, Guard, check_loggers

from ..arguments import check_keys, check_types, plain, with_defaults
from ..names import Names
from .loss import check_penalty

__all__ = ["Train", "check"]

# Hugging Face's name for it.
_ALIASES = {"max_grad_norm": "clip_norm"}


@dataclass(frozen=True)
class Train:
    """How a recipe trains; the fields are those of :class:`thalweg.Learner` and its ``fit``.

    Attributes:
        epochs: passes over the data, >= 1.
        batch_size: rows per micro-batch, >= 1.
        accumulate: micro-batches per update, >= 1.
        shuffle, drop_last: as in torch's ``DataLoader``.
        seed: of the initial weights, the order of the data and everything drawn in training.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``.
        device: ``"auto"``, ``"cpu"``, ``"cuda:0"``, ….
        compile: run the model through ``torch.compile``.
        engine: how updates are executed: ``"auto"``, ``"reference"``, ``"torch"`` or ``"compiled"``.
        state_dtype: ``"bfloat16"`` keeps the rule's moments at half the size; None: in the parameters' dtype.
        dropout: where masks come from: ``"torch"``'s generator, or ``"counter"``: from seed, update and layer, as in a
            race.
        step: ``"eager"``, ``"compiled"`` (the whole step as one compiled call), or ``"auto"``.
        clip_norm: largest 2-norm of all gradients together, > 0; None: not clipped.
        clip_value: largest absolute gradient element, > 0; None: not clipped.
        no_decay: ``"auto"``, or name patterns of parameters without decay; an empty list decays everything.
        overrides: name pattern → hyperparameters of the parameters that match.
        penalty: of the loss, such as ``{name = "l2", wd = 1e-5}``; None: none.
        early_stopping: the arguments of :class:`thalweg.EarlyStopping`, or its patience; None: all epochs.
        log_every: epochs, ``"5 epochs"`` or ``"500 steps"`` between two lines; None: about twenty lines.
        checkpoint_every: likewise, between two checkpoints; also ``"10 minutes"``, ``"best"``, or a list of those.
        keep: newest checkpoints that are kept, >= 1.
        flush_every: updates between two reads of the device, >= 1.
        guard: the arguments of :class:`thalweg.Guard`, or its policy: ``"raise"``, ``"skip"`` or ``"rollback"``.
        loggers: names of what else gets the values: ``"tensorboard"``, ``"wandb"``.
    """

    epochs: int = 1
    batch_size: int = 64
    accumulate: int = 1
    shuffle: bool = True
    drop_last: bool = False
    seed: int = 0
    precision: str = "fp32"
    device: str = "auto"
    compile: bool = False
    engine: str = "auto"
    state_dtype: str | None = None
    step: str = "auto"
    dropout: Literal["torch", "counter"] = "torch"
    clip_norm: float | None = None
    clip_value: float | None = None
    no_decay: str | Sequence[str] = "auto"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    penalty: Mapping[str, Any] | None = None
    early_stopping: int | Mapping[str, Any] | None = None
    log_every: int | str | None = None
    checkpoint_every: int | str | Sequence[int | str] = "1 epochs"
    keep: int = 2
    flush_every: int = 128
    guard: str | Mapping[str, Any] = "raise"
    loggers: Sequence[str] = field(default_factory=list)


def check(given: Mapping[str, Any], place: str, names: Names) -> Train:
    """Return the section as plain frozen data.

    Raises:
        ValueError: an unknown key, a value of the wrong type or out of range.
    """
    settings = {_ALIASES.get(key, key): value for key, value in given.items()}
    check_keys(place, Train, settings)
    check_types(place, Train, settings)
    for key in ("epochs", "batch_size", "accumulate", "keep", "flush_every"):
        if key in settings:
            check_number(place, key, settings[key], low=1)
    for key in ("clip_norm", "clip_value"):
        if key in settings:
            check_number(place, key, settings[key], low=0.0, low_open=True, advice="leave it out to clip nothing")
    for key, parse in (("log_every", _parse_log_every), ("checkpoint_every", Cadence.parse)):
        if key in settings:
            _check_with(place, parse, settings[key])
    if "loggers" in settings:
        _check_with(place, check_loggers, settings["loggers"])
    if "guard" in settings:
        settings["guard"] = _guard(settings["guard"], f"{place} guard")
    if "penalty" in settings:
        settings["penalty"] = check_penalty(settings["penalty"], f"{place} penalty", names)
    if "early_stopping" in settings:
        settings["early_stopping"] = _early_stopping(settings["early_stopping"], f"{place} early_stopping")
    for pattern, hyper in settings.get("overrides", {}).items():
        if not isinstance(hyper, Mapping):
            raise ValueError(
                f"{place} overrides: {pattern!r} = {hyper!r} is no table of hyperparameters; write "
                f'"{pattern}" = {{lr = 1e-4}}.'
            )
    return Train(**plain(settings))


def _parse_log_every(value: int | str) -> Every:
    return Every.parse("log_every", value)


def _check_with(place: str, parse: Callable[[Any], object], value: Any) -> None:
    try:
        parse(value)
    except ValueError as error:
        raise ValueError(f"{place}: {str(error).removeprefix('fit: ')}") from None


def _guard(given: str | Mapping[str, Any], place: str) -> str | dict[str, Any]:
    """Return a policy as it is, or the complete arguments of :class:`thalweg.Guard`."""
    settings = {"policy": given} if isinstance(given, str) else dict(given)
    check_keys(place, Guard, settings)
    check_types(place, Guard, settings)
    try:
        Guard(**settings)
    except ValueError as error:
        raise ValueError(f"{place}: {str(error).removeprefix('Guard: ')}") from None
    return given if isinstance(given, str) else with_defaults(Guard, settings)


def _early_stopping(given: int | Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return the complete arguments of :class:`thalweg.EarlyStopping`."""
    settings = {"patience": given} if isinstance(given, int) else dict(given)
    check_keys(place, EarlyStopping, settings)
    check_types(place, EarlyStopping, settings)
    try:
        EarlyStopping(**settings)
    except ValueError as error:
        raise ValueError(f"{place}: {str(error).removeprefix('EarlyStopping: ')}") from None
    return with_defaults(EarlyStopping, settings)
