"""What a user may write for optimizer and schedule, made into objects."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from thalweg import optim
from thalweg import schedule as schedules
from thalweg.engine import RuleOptimizer
from thalweg.errors import listing
from thalweg.loop import GroupRow, LayerGroup, build_groups
from thalweg.optim import Rule
from thalweg.schedule import Schedule, TorchSchedule

__all__ = ["OptimizerSpec", "make_optimizer", "make_rule", "make_schedules", "pick_device"]

OptimizerSpec = str | Rule | Mapping[str, Any] | type | torch.optim.Optimizer | Callable[..., torch.optim.Optimizer]


def make_rule(given: OptimizerSpec, lr: float | None) -> Rule | None:
    """Return the rule that *given* names or is, with *lr* put in; None where it is torch's own."""
    if isinstance(given, torch.optim.Optimizer) or _makes_torch_optimizer(given):
        return None
    settings = {} if lr is None else {"lr": lr}
    if isinstance(given, Rule):
        return given.with_hyper(settings) if settings else given
    return optim.make(given, "Learner: optimizer", **settings)  # type: ignore[arg-type]


def _makes_torch_optimizer(given: object) -> bool:
    if inspect.isclass(given):
        return issubclass(given, torch.optim.Optimizer)
    return callable(given) and not isinstance(given, Rule)


def make_optimizer(
    given: OptimizerSpec,
    rule: Rule | None,
    module: nn.Module,
    *,
    lr: float | None,
    no_decay: str | Sequence[str] | None,
    overrides: Mapping[str, Mapping[str, Any]] | None,
    layers: Sequence[LayerGroup] | None,
    clip_norm: float | None,
    clip_value: float | None,
    engine: str,
    state_dtype: str | torch.dtype | None,
) -> tuple[torch.optim.Optimizer, list[GroupRow]]:
    """Return the optimizer over the module's parameters, and the table of what each parameter gets.

    A torch optimizer instance is used as it is; a torch class or factory gets the same parameters, one group.

    Raises:
        ValueError: an instance that does not hold the model's parameters.
    """
    if rule is not None:
        groups, rows = build_groups(module, rule, no_decay=no_decay, overrides=overrides, layers=layers)
        return RuleOptimizer(
            rule, groups, clip_norm=clip_norm, clip_value=clip_value, engine=engine, state_dtype=state_dtype
        ), rows
    if overrides or layers:
        raise ValueError(
            "Learner: overrides and layer groups need one of Thalweg's rules; with torch's own optimizer give it param "
            "groups yourself and pass the instance."
        )
    if state_dtype is not None:
        raise ValueError(
            f"Learner: state_dtype={state_dtype!r} needs one of Thalweg's rules, because torch's own optimizers keep "
            "states in the parameter's dtype; pass a rule, or leave it out."
        )
    if isinstance(given, torch.optim.Optimizer):
        optimizer = given
    else:
        settings = {} if lr is None else {"lr": lr}
        optimizer = given(list(module.parameters()), **settings)  # type: ignore[operator]
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(
                f"Learner: optimizer={given!r} returned {type(optimizer).__name__}, not a torch.optim.Optimizer; pass "
                f"a name ({listing(optim.NAMES)}), a rule, or a torch optimizer."
            )
    return optimizer, _foreign_rows(module, optimizer)


def _foreign_rows(module: nn.Module, optimizer: torch.optim.Optimizer) -> list[GroupRow]:
    place = {id(p): (i, group) for i, group in enumerate(optimizer.param_groups) for p in group["params"]}
    rows = []
    for name, param in module.named_parameters():
        index, group = place.get(id(param), (-1, {}))
        why = f"as {type(optimizer).__name__} was given" if group else "not in the optimizer: stays as it is"
        rows.append(
            GroupRow(
                name=name,
                shape=tuple(param.shape),
                count=param.numel(),
                group=index,
                lr=float(group["lr"]) if "lr" in group else None,
                weight_decay=float(group["weight_decay"]) if group.get("weight_decay") is not None else None,
                frozen=not param.requires_grad or not group,
                why=why,
            )
        )
    if all(row.group < 0 for row in rows):
        raise ValueError(
            f"Learner: the {type(optimizer).__name__} instance holds none of the model's parameters; build it from "
            "model.parameters() of this very model (after moving it to its device)."
        )
    return rows


def make_schedules(
    given: Any, total_steps: int | None, steps_per_epoch: int | None
) -> tuple[dict[str, Schedule], TorchSchedule | None]:
    """Return hyperparameter → resolved schedule, or a torch scheduler that sets the rates instead.

    Args:
        given: None, a schedule, its name or plain data, a function of the step, a mapping of these by hyperparameter
            (a bare one is of the rate and brings its companions), or a torch scheduler (class, factory, instance).
        total_steps: real updates of the run, or None.
        steps_per_epoch: real updates per epoch, or None.

    Raises:
        ValueError: a schedule that cannot complete in the run.
    """
    if given is None:
        return {}, None
    if isinstance(given, LRScheduler) or (inspect.isclass(given) and issubclass(given, LRScheduler)):
        return {}, schedules.from_torch(given)
    if isinstance(given, TorchSchedule):
        return {}, given
    return schedules.resolve(given, total_steps, steps_per_epoch), None


def pick_device(given: str | torch.device, module: nn.Module) -> torch.device:
    """Return the device: as asked, or CUDA, then MPS, then CPU."""
    if str(given) != "auto":
        try:
            device = torch.device(given)
        except RuntimeError as error:
            raise ValueError(
                f"Learner: device={given!r} is no device torch knows; use 'auto', 'cpu', 'cuda:0', …"
            ) from error
        if device.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                f"Learner: device={given!r} was asked for, but torch finds no CUDA device; use device='cpu'."
            )
        return device
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
