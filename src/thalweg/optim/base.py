"""The contract of an update rule: a frozen description and two pure functions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from thalweg.errors import check_number

from .materialise import materialise

__all__ = [
    "Hyper",
    "Rule",
    "State",
    "bias_correction",
    "bind_shell",
    "counter",
    "descent",
    "is_on",
    "same_shape_state",
    "scalar_dtype",
]

State = dict[str, Tensor]
Hyper = Mapping[str, Any]

_shell: list[Callable[..., torch.optim.Optimizer]] = []


def bind_shell(make: Callable[..., torch.optim.Optimizer]) -> None:
    """Name the class that :meth:`Rule.optimizer` builds; ``engine`` stands above this package and calls it once."""
    _shell[:] = [make]


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
    parameter tensor) or ``"matrix"``; whether it takes ``sparse`` gradients and ``complex`` parameters; and in
    ``torch_class`` the ``torch.optim`` class whose state has the same layout.
    """

    lr: Any

    scope: ClassVar[Literal["element", "tensor", "matrix"]] = "element"
    sparse: ClassVar[bool] = False
    complex: ClassVar[bool] = True
    torch_class: ClassVar[str | None] = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
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
        _check_scalar(type(self).__name__, name, getattr(self, name), **bounds)

    def _check_pair(self, name: str, *, high: float = math.inf, high_open: bool = False) -> None:
        self._check_length(name, 2)
        for index, value in enumerate(getattr(self, name)):
            _check_scalar(type(self).__name__, f"{name}[{index}]", value, low=0.0, high=high, high_open=high_open)

    def _check_length(self, name: str, count: int) -> None:
        value = getattr(self, name)
        if not isinstance(value, (tuple, list)) or len(value) != count:
            raise TypeError(
                f"{type(self).__name__}: {name}={value!r} must be a tuple of {count} numbers; its default is "
                f"{type(self).__dataclass_fields__[name].default!r}."  # type: ignore[attr-defined]
            )

    def _check_betas(self) -> None:
        self._check_pair("betas", high=1.0, high_open=True)

    def _check_flags(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise TypeError(f"{type(self).__name__}: {name}={value!r} must be True or False.")

    @abstractmethod
    def init(self, param: Tensor) -> State:
        """Return the state of one parameter before its first update; tensors shaped like *param* share its strides."""

    @abstractmethod
    def update(self, param: Tensor, grad: Tensor, state: State, hyper: Hyper) -> tuple[Tensor, State]:
        """Return the parameter and state after one update; no argument is changed."""

    def evaluation(self, param: Tensor, state: State, hyper: Hyper) -> Tensor:
        """Return the value that evaluation should use for the parameter; itself unless the rule ``averages``."""
        return param

    @property
    def averages(self) -> bool:
        """Whether :meth:`evaluation` differs from the parameter, so that evaluating needs a swap."""
        return False

    @property
    def owns_rate(self) -> bool:
        """Whether the rule computes its own rate, so that there is none to schedule (``lr`` is None)."""
        return self.lr is None

    def hyper(self) -> dict[str, Any]:
        """Return the hyperparameters as a fresh param-group dictionary.

        >>> import thalweg as tw
        >>> tw.optim.SGD(lr=0.1, momentum=0.9).hyper()["momentum"]
        0.9
        """
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    def with_hyper(self, group: Hyper) -> Self:
        """Return the rule with the settings of a param group, checked; what the group does not name stays."""
        own: dict[str, Any] = {}
        for field in fields(self):  # type: ignore[arg-type]
            mine = getattr(self, field.name)
            value = group.get(field.name, mine)
            value = tuple(value) if isinstance(value, list) else value
            if value is not mine:
                own[field.name] = value
        return replace(self, **own) if own else self  # type: ignore[type-var]

    def check_param(self, param: Tensor, name: str, group: Hyper) -> None:
        """Raise ``ValueError`` for a parameter that this rule cannot update."""
        if param.is_complex() and not self.complex:
            raise ValueError(
                f"{type(self).__name__}: {name} is complex ({param.dtype}), but the rule is for real parameters; "
                "give it another rule, e.g. AdamW, or keep it as torch.view_as_real."
            )

    def is_local(self, state: State, hyper: Hyper) -> bool:
        """Whether an element with a zero gradient keeps its value and state, so that sparse rows can go alone."""
        return False

    def adopt(self, state: Mapping[str, Any], param: Tensor) -> dict[str, Any]:
        """Return a loaded state under this rule's names, where another class of the same rule writes it differently."""
        return {name: value for name, value in state.items() if value is not None}

    def optimizer(
        self,
        params: Iterable[Any],
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        engine: str = "auto",
        stochastic_rounding: bool = False,
        rounding_seed: int = 0,
        state_dtype: str | torch.dtype | None = None,
    ) -> torch.optim.Optimizer:
        """Return a ``torch.optim.Optimizer`` that runs this rule on *params*.

        Args:
            params: tensors, named tensors, or param-group dictionaries, as for any torch optimizer.
            clip_norm: largest 2-norm of all gradients together; gradients are scaled on the way in, never rewritten.
            clip_value: largest absolute value of a gradient element.
            engine: ``"auto"``, ``"reference"``, ``"torch"`` or ``"compiled"``.
            stochastic_rounding: round bfloat16 parameters and states up or down at random, so that they are right on
                average and steps below half a unit in the last place are not lost.
            rounding_seed: seed of those draws, which the optimizer's ``state_dict`` carries on.
            state_dtype: ``"bfloat16"`` halves the moments, rounded at random; None keeps them in the parameter's dtype.

        >>> import torch, thalweg as tw
        >>> w = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
        >>> opt = tw.optim.SGD(lr=0.5).optimizer([w])
        >>> (w ** 2).sum().backward()
        >>> opt.step(); w.tolist()
        [0.0, 0.0]
        """
        assert _shell, "engine binds the optimizer shell when thalweg is imported"
        return _shell[0](
            self,
            params,
            clip_norm=clip_norm,
            clip_value=clip_value,
            engine=engine,
            stochastic_rounding=stochastic_rounding,
            rounding_seed=rounding_seed,
            state_dtype=state_dtype,
        )


def _looks_like_parameters(given: object) -> bool:
    """Whether *given* is what a user hands a torch optimizer: a generator, a list of tensors or of groups."""
    if isinstance(given, torch.nn.Module) or (isinstance(given, Tensor) and given.ndim > 0 and given.numel() != 1):
        return True
    if isinstance(given, (list, tuple)) and given:
        head = given[0]
        return isinstance(head, (Tensor, dict)) or (isinstance(head, tuple) and isinstance(head[-1], Tensor))
    return hasattr(given, "__next__")


def _check_scalar(who: str, name: str, value: Any, **bounds: Any) -> None:
    if isinstance(value, Tensor) and value.numel() != 1:
        raise ValueError(
            f"{who}: {name} is a tensor of shape {tuple(value.shape)}, but must be one number; pass a float or a 0-dim "
            "tensor."
        )
    check_number(who, name, value, **bounds)


def is_on(value: Any) -> bool:
    """Whether a term is present: a tensor always is (its value may not be looked at), a number when it is not zero."""
    return isinstance(value, Tensor) or value != 0


def descent(grad: Tensor, hyper: Hyper) -> Tensor:
    """Return the gradient of what is minimised: negated under ``maximize``."""
    return -grad if hyper.get("maximize", False) else grad


def counter(start: float = 0.0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a 0-dim state tensor on the host, as torch keeps ``step``."""
    return torch.full((), start, dtype=dtype, device="cpu")


def same_shape_state(param: Tensor, *names: str) -> State:
    """Return zeros with the shape, dtype and strides of *param* under each name."""
    return {name: torch.zeros_like(param) for name in names}


def bias_correction(beta: Any, step: Tensor, like: Tensor) -> Tensor:
    r"""Return :math:`1 - \beta^t` for a 0-dim ``step``, computed in float64, in the precision of *like*.

    Written as :math:`-\operatorname{expm1}(t \log \beta)`: at :math:`\beta = 0.999`, :math:`t = 1` the direct form in
    float32 has lost five digits.
    """
    exact = step if step.device.type == "mps" else step.to(torch.float64)
    log_beta = torch.log(beta.to(exact.dtype)) if isinstance(beta, Tensor) else _log(beta)
    return materialise((-torch.expm1(exact * log_beta)).to(scalar_dtype(like)))


def scalar_dtype(like: Tensor) -> torch.dtype:
    """Return the dtype for a 0-dim factor on *like*: its own, and float32 where that is shorter."""
    return torch.float64 if like.dtype in (torch.float64, torch.complex128) else torch.float32


def _log(beta: float) -> float:
    return math.log(beta) if beta > 0 else -math.inf
