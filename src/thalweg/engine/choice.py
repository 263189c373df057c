"""Which engine executes a rule, and why."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from thalweg.engine.base import Engine
from thalweg.engine.c_compiler import unavailable
from thalweg.engine.compiled import CompiledEngine
from thalweg.engine.kernels import kernel_of
from thalweg.engine.native import NativeEngine
from thalweg.engine.plans import say_once
from thalweg.engine.reference import ReferenceEngine
from thalweg.errors import unknown_name
from thalweg.optim import Rule, Wrapper

__all__ = ["ENGINES", "choose_engine", "saved_per_step"]

ENGINES = ("auto", "reference", "torch", "compiled")

#: Updates that are expected where nobody has said how many there will be.
_EXPECTED = 1_000
#: Seconds that a kernel costs before the first step with an empty cache: half a second of compiling, rounded up.
_START = 0.6
# What a step with the kernel saves against (torch's fused kernel, its for-each operators, the equation): seconds per
# tensor and per element. Rounded down from benchmarks/optimizer_step.py on two cores.
_SAVED = {"fused": (4e-6, 8e-11), "for-each": (2e-5, 1e-9), "equation": (5e-5, 1e-9)}


def saved_per_step(rule: Rule, params: Iterable[Tensor], *, at_random: bool = False) -> float:
    """Return an estimate of the seconds per update that the kernel saves against the best without compiling.

    Args:
        rule: the rule.
        params: the parameters of all groups.
        at_random: whether states or parameters are rounded at random, which no kernel of torch does.

    >>> import torch
    >>> from thalweg.optim import AdamW
    >>> saved_per_step(AdamW(), [torch.empty(512, 512)] * 100) < 0.005
    True
    """
    inner = rule
    while isinstance(inner, Wrapper):
        inner = inner.rule
    kernel = kernel_of(inner, {}, inner.hyper())
    kind = "equation" if kernel is None or inner is not rule or at_random else "fused" if kernel.fused else "for-each"
    per_tensor, per_element = _SAVED[kind]
    return sum(per_tensor + per_element * param.numel() for param in params)


def choose_engine(
    name: str, rule: Rule, params: list[Tensor], steps: int | None = None, *, at_random: bool = False
) -> tuple[Engine, str]:
    """Return the engine of that name for *rule*, and in words why ``"auto"`` took it.

    ``"auto"`` looks at the device, the sizes and the number of updates, never at a clock or at what is on disk, so that
    a run that is taken up again is executed as it was before.

    Args:
        name: ``"auto"``, ``"reference"``, ``"torch"`` or ``"compiled"``.
        rule: the rule.
        params: the parameters of all groups.
        steps: updates to come, or None where that is not known.
        at_random: whether states or parameters are rounded at random, which no kernel of torch does.

    Raises:
        ValueError: an unknown engine, or ``"torch"`` for a rule that torch has no kernel for.
    """
    if name not in ENGINES:
        raise unknown_name(type(rule).__name__, "engine", name, ENGINES)
    if name == "reference":
        return ReferenceEngine(), "asked for"
    if name == "torch":
        if not NativeEngine.knows(rule):
            raise ValueError(
                f"{type(rule).__name__}: engine='torch' was asked for, but torch has no kernel for {rule!r}; "
                "use engine='auto'."
            )
        return NativeEngine(), "asked for"
    if name == "compiled":
        reason = unavailable()
        if not reason:
            return CompiledEngine(), "asked for"
        engine, best = _uncompiled(rule, at_random)
        say_once(f"engine='compiled': {reason}. Going on with engine={engine.name!r}.", reason)
        return engine, f"{best}; compiled was asked for, but {reason}"
    return _automatic(rule, params, steps, at_random)


def _automatic(rule: Rule, params: list[Tensor], steps: int | None, at_random: bool) -> tuple[Engine, str]:
    engine, best = _uncompiled(rule, at_random)
    devices = {param.device.type for param in params}
    if devices != {"cpu"}:
        return engine, best
    count = _EXPECTED if steps is None else steps
    saved = saved_per_step(rule, params, at_random=at_random) * count
    known = f"an assumed {count:,}" if steps is None else f"{count:,}"
    if saved < _START:
        return engine, f"{best}; a kernel of our own would not pay for its {_START} s within {known} updates"
    reason = unavailable()
    if reason:
        slower = f"so updates run on engine={engine.name!r}, which is slower here."
        say_once(f"{type(rule).__name__}: {reason}, {slower}", reason)
        return engine, f"{best}; {reason}"
    return CompiledEngine(), f"one pass per update, made for this rule; saves about {saved:.2g} s in {known} updates"


def _uncompiled(rule: Rule, at_random: bool) -> tuple[Engine, str]:
    if at_random:
        return ReferenceEngine(), "torch has no kernel that rounds at random"
    if NativeEngine.knows(rule):
        return NativeEngine(), "torch has a kernel for this rule"
    return ReferenceEngine(), "torch has no kernel for this rule"
