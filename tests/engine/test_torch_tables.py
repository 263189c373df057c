"""torch's own optimizer tables, run against our rules wherever torch has the rule."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing._internal.common_optimizers import OptimizerErrorEnum, OptimizerInfo, optim_db

import thalweg as tw

OURS = {kind.torch_class: kind for kind in vars(tw.optim).values() if getattr(kind, "torch_class", None)}
INFOS = [info for info in optim_db if info.optim_cls.__name__ in OURS]
# Arguments of torch's execution, which an engine is here; torch's own choice is the peer's.
EXECUTION = {"foreach", "fused", "capturable", "differentiable"}


def test_every_rule_that_torch_has_is_in_the_table() -> None:
    assert {info.optim_cls.__name__ for info in INFOS} == set(OURS)
    assert len(OURS) == 11


def configurations() -> Iterator[Any]:
    for info in INFOS:
        for number, row in enumerate(info.optim_inputs_func(device="cpu", dtype=torch.float64)):
            if not EXECUTION & set(row.kwargs):
                yield pytest.param(info, row.kwargs, id=f"{info.name}-{number}-{row.desc}")


@pytest.mark.parametrize("engine", ["auto", "compiled"])
@pytest.mark.parametrize(("info", "kwargs"), list(configurations()))
def test_configuration_equals_torch(info: OptimizerInfo, kwargs: dict[str, Any], engine: str) -> None:
    torch.manual_seed(0)
    shapes = ((6, 4), (4, 6)) if info.name == "Muon" else ((6, 4), (5,), (2, 3, 4))
    # torch's Muon iterates in bfloat16 whatever the dtype; so does ours up to float32.
    dtype = torch.float32 if info.name == "Muon" else torch.float64
    ours = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
    theirs = [w.detach().clone().requires_grad_() for w in ours]
    a = OURS[info.name](**kwargs).optimizer(ours, engine=engine)
    b = info.optim_cls(theirs, **copy.deepcopy(kwargs))
    scheduler_a = torch.optim.lr_scheduler.StepLR(a, step_size=3, gamma=0.5)
    scheduler_b = torch.optim.lr_scheduler.StepLR(b, step_size=3, gamma=0.5)
    for _ in range(10):
        for params, optimizer, scheduler in ((ours, a, scheduler_a), (theirs, b, scheduler_b)):

            def closure(params: list[Tensor] = params, optimizer: torch.optim.Optimizer = optimizer) -> Tensor:
                optimizer.zero_grad()
                loss = sum((torch.sin(w) ** 2).sum() + 0.1 * (w**2).sum() for w in params)
                assert isinstance(loss, Tensor)
                loss.backward()
                return loss

            optimizer.step(closure)
            scheduler.step()
    tol = {"Muon": 2e-3, "NAdam": 1e-8}.get(info.name, 1e-11)  # bfloat16 rounds apart; a float32 product in torch
    torch.testing.assert_close(ours, theirs, rtol=tol, atol=tol)


# What torch refuses and we do: a mixture of a tensor and a float in betas, and matrices of more dimensions in Muon.
ACCEPTED = ("betas must be either both floats or both Tensors",)
# Their words; ours follow the project's form, checked in tests/optim/cases.py. The class of error must be theirs.
STEP_ERRORS = {"does not support complex parameters": ValueError}


def errors() -> Iterator[Any]:
    for info in INFOS:
        rows = info.optim_error_inputs_func(device="cpu", dtype=torch.float32)
        for number, row in enumerate(rows):
            kwargs = row.optimizer_error_input.kwargs
            if not EXECUTION & set(kwargs) and not any(word in row.error_regex for word in ACCEPTED):
                yield pytest.param(info, row, id=f"{info.name}-{number}-{row.optimizer_error_input.desc}")


@pytest.mark.parametrize(("info", "row"), list(errors()))
def test_what_torch_refuses_is_refused(info: OptimizerInfo, row: Any) -> None:
    given = row.optimizer_error_input
    params = given.params if given.params is not None else [torch.randn(2, 2, requires_grad=True)]
    if given.desc == "only support 2D parameters":  # ours takes three dimensions and more
        params = [torch.randn(3, requires_grad=True)]

    def ask() -> None:
        OURS[info.name](**given.kwargs).optimizer(params)

    if row.error_type is UserWarning:
        with pytest.warns(UserWarning, match=row.error_regex):
            ask()
        return
    error = row.error_type
    if row.error_on is OptimizerErrorEnum.STEP_ERROR:
        error = ValueError  # ours refuses complex parameters when it is given them, not at the first step
    with warnings.catch_warnings(), pytest.raises(error) as refused:
        ask()
    # Our message where we check, torch's where torch's base class does.
    assert str(refused.value).startswith(f"{info.name}: ") or "all optimizer param" in str(refused.value)


@pytest.mark.parametrize("info", [info for info in INFOS if info.name != "Muon"], ids=lambda info: info.name)
def test_torchs_schedulers_move_the_loss_down(info: OptimizerInfo) -> None:
    for number, constructors in enumerate(info.scheduler_inputs):
        torch.manual_seed(1)
        w = torch.randn(4, requires_grad=True)
        optimizer = OURS[info.name](lr=0.1).optimizer([w])
        schedulers = [make(optimizer) for make in constructors]
        first = None
        for _ in range(40):
            optimizer.zero_grad()
            loss = (w**2).sum()
            first = first if first is not None else loss.item()
            loss.backward()
            optimizer.step()
            for scheduler in schedulers:
                if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                    scheduler.step(loss.item())
                else:
                    scheduler.step()
        assert (w**2).sum().item() < first, number
