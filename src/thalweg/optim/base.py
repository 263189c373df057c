"""The contract of an update rule: a frozen description and two pure functions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ..errors import check_number

__all__ = ["Hyper", "Rule", "State", "bias_correction", "bind_shell", "descent", "is_on"]

State = dict[str, Tensor]
Hyper = Mapping[str, Any]

_shell: list[Callable[..., torch.optim.Optimizer]] = []


def bind_shell(make: Callable[..., torch.optim.Optimizer]) -> None:
    """Name the class that :meth:`Rule.optimizer` builds; ``engine`` stands above this package and calls it once."""
    _shell[:] = [make]


@dataclass(frozen=True)
class Rule(ABC):
    r"""An optimizer's equation, described by its hyperparameters and free of any parameter.

    A rule holds no tensors. :meth:`init` makes the state of one parameter and :meth:`update` maps
    (parameter, gradient, state, hyperparameters) to (parameter, state) without changing its arguments, so that the same
    definition runs eagerly, compiled, and under ``torch.vmap`` over many members.

    ``hyper`` is the param group: torch's names, with numbers that may be floats or 0-dim tensors (a rate that changes
    per step, or differs per member, never recompiles) and booleans that are static. Which state there is, is decided in
    :meth:`init` and read back as ``"momentum_buffer" in state``.

    A subclass is a frozen dataclass whose fields are its hyperparameters, ``lr`` first. It states its ``scope``:
    ``"element"`` (each element on its own: may be flattened, fused, stacked freely), ``"tensor"`` (statistics over one
    parameter tensor) or ``"matrix"``.
    """

    lr: Any = 1e-3

    scope: ClassVar[Literal["element", "tensor", "matrix"]] = "element"
    sparse: ClassVar[bool] = False
    torch_class: ClassVar[str | None] = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Rule:
        given = args[0] if args else kwargs.get("params")
        if given is not None and _looks_like_parameters(given):
            raise TypeError(
                f"{cls.__name__}: got model parameters, but {cls.__name__}(...) only describes the rule; "
                f"write {cls.__name__}(lr=...).optimizer(model.parameters()) for a torch.optim.Optimizer."
            )
        return super().__new__(cls)

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raise ``TypeError``/``ValueError`` in the project's form for hyperparameters that cannot work."""
        self._check("lr", low=0.0)

    def _check(self, name: str, **bounds: Any) -> None:
        check_number(type(self).__name__, name, getattr(self, name), **bounds)

    def _check_betas(self, name: str = "betas", count: int = 2) -> None:
        who, betas = type(self).__name__, getattr(self, name)
        if not isinstance(betas, (tuple, list)) or len(betas) != count:
            raise TypeError(f"{who}: {name}={betas!r} must be a tuple of {count} numbers; pass e.g. (0.9, 0.999).")
        for index, beta in enumerate(betas):
            check_number(who, f"{name}[{index}]", beta, low=0.0, high=1.0, high_open=True)

    @abstractmethod
    def init(self, param: Tensor) -> State:
        """Return the state of one parameter before its first update; tensors shaped like *param* share its strides."""

    @abstractmethod
    def update(self, param: Tensor, grad: Tensor, state: State, hyper: Hyper) -> tuple[Tensor, State]:
        """Return the parameter and state after one update; no argument is changed."""

    def evaluation(self, param: Tensor, state: State, hyper: Hyper) -> Tensor:
        """Return the value that evaluation should use for the parameter; the parameter itself unless the rule averages."""
        return param

    def hyper(self) -> dict[str, Any]:
        """Return the hyperparameters as a fresh param-group dictionary.

        >>> import thalweg as tw
        >>> tw.optim.SGD(lr=0.1, momentum=0.9).hyper()["momentum"]
        0.9
        """
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def optimizer(
        self,
        params: Iterable[Any],
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        engine: str = "auto",
    ) -> torch.optim.Optimizer:
        """Return a ``torch.optim.Optimizer`` that runs this rule on *params*.

        Args:
            params: tensors, named tensors, or param-group dictionaries, as for any torch optimizer.
            clip_norm: largest 2-norm of all gradients together; gradients are scaled on the way in, never rewritten.
            clip_value: largest absolute value of a gradient element.
            engine: ``"auto"``, ``"reference"`` or ``"torch"``.

        >>> import torch, thalweg as tw
        >>> w = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
        >>> opt = tw.optim.SGD(lr=0.5).optimizer([w])
        >>> (w ** 2).sum().backward()
        >>> opt.step(); w.tolist()
        [0.0, 0.0]
        """
        assert _shell, "engine binds the optimizer shell when thalweg is imported"
        return _shell[0](self, params, clip_norm=clip_norm, clip_value=clip_value, engine=engine)


def _looks_like_parameters(given: object) -> bool:
    """Whether *given* is what a user hands a torch optimizer: a generator, a list of tensors or of groups."""
    if isinstance(given, (torch.nn.Module,)) or (isinstance(given, Tensor) and given.ndim > 0):
        return True
    if isinstance(given, (list, tuple)) and given:
        head = given[0]
        return isinstance(head, (Tensor, dict)) or (isinstance(head, tuple) and isinstance(head[-1], Tensor))
    return hasattr(given, "__next__")


def is_on(value: Any) -> bool:
    """Whether a term is present: a tensor always is (its value may not be looked at), a number when it is not zero."""
    return isinstance(value, Tensor) or value != 0


def descent(grad: Tensor, hyper: Hyper) -> Tensor:
    """Return the gradient of what is minimised: negated under ``maximize``."""
    return -grad if hyper.get("maximize", False) else grad


def bias_correction(beta: Any, step: Tensor) -> Tensor:
    r"""Return :math:`1 - \beta^t` for a 0-dim ``step``, in float64 where the device has it.

    Written as :math:`-\operatorname{expm1}(t \log \beta)`: at :math:`\beta = 0.999`, :math:`t = 1` the direct form in
    float32 has lost five digits.
    """
    exact = step if step.device.type == "mps" else step.to(torch.float64)
    log_beta = torch.log(beta.to(exact.dtype)) if isinstance(beta, Tensor) else _log(beta)
    return -torch.expm1(exact * log_beta)


def _log(beta: float) -> float:
    return math.log(beta) if beta > 0 else -math.inf
