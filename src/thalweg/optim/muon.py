"""Muon: momentum made orthogonal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from thalweg.errors import check_number, did_you_mean
from thalweg.optim.base import Hyper, Rule, State, descent, is_on, same_shape_state

__all__ = ["Muon", "orthogonalize", "products_in"]

_ADJUSTMENTS = ("original", "match_rms_adamw")
_PREFIX = "other_"


_products = [torch.bfloat16]


@contextmanager
def products_in(dtype: torch.dtype) -> Iterator[None]:
    """Form the products of :func:`orthogonalize` in *dtype*, where an engine knows that this is faster, not coarser."""
    _products.append(dtype)
    try:
        yield
    finally:
        _products.pop()


def orthogonalize(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    r"""Return roughly :math:`U V^\top` of the singular value decomposition :math:`U S V^\top` of *matrix*.

    Newton-Schulz iterations :math:`X \leftarrow a X + (b A + c A^2) X`, :math:`A = X X^\top`, from
    :math:`X = G / \lVert G \rVert_F`. With Jordan's coefficients the singular values end between about 0.7 and 1.2
    rather than at 1. Runs in bfloat16 as torch and the author do (an engine may ask for more), and in float64 where
    *matrix* is float64.

    Shapes:
        *matrix* ``(n, m)``; the result has its shape and dtype.

    >>> q = orthogonalize(torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64)), (2.0, -1.5, 0.5), 10, 1e-7)
    >>> [round(x, 4) for x in q.diagonal().tolist()]   # these coefficients do converge to 1
    [1.0, 1.0]
    """
    a, b, c = coefficients
    x = matrix if matrix.dtype is torch.float64 else matrix.to(_products[-1])
    tall = x.shape[0] > x.shape[1]
    x = x.mT if tall else x
    x = x / torch.clamp(torch.linalg.matrix_norm(x), min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrix.dtype)


@dataclass(frozen=True)
class Muon(Rule):
    r"""Momentum whose matrix is replaced by its nearest orthogonal one: each update has singular values near 1.

    .. math::
        b_t &= \mu b_{t-1} + (1 - \mu) g_t, \qquad
        u_t = (1 - \mu) g_t + \mu b_t \text{ if Nesterov, else } b_t \\
        w_t &= (1 - \eta\lambda) w_{t-1} - \eta \, s(n, m) \operatorname{NewtonSchulz}(u_t)

    with :math:`s = \sqrt{\max(1, n/m)}` (``"original"``) or :math:`0.2 \sqrt{\max(n, m)}` (``"match_rms_adamw"``, with
    which AdamW's rates carry over). A parameter of three or more dimensions is taken as the matrix
    ``(shape[0], the rest)``. Vectors and scalars have no singular values: they follow a second rule, ``other``, whose
    rate keeps its ratio to Muon's when a schedule changes that. Embeddings and the last layer are better off with the
    second rule too: put them in a group with ``use_muon=False``.

    Args:
        lr: rate :math:`\eta \ge 0`, in units of spectral norm per update.
        weight_decay: :math:`\lambda \ge 0`, decoupled, multiplied by the rate.
        momentum: :math:`\mu` in [0, 1).
        nesterov: look ahead along the buffer.
        ns_coefficients: :math:`(a, b, c)` of the iteration.
        eps: floor of the norm that the matrix is divided by, >= 0.
        ns_steps: iterations, 1 to 99.
        adjust_lr_fn: ``"original"``, ``"match_rms_adamw"``, or None, which is ``"original"``.
        other: the rule for what is not a matrix, or None.
        use_muon: False in a group sends its matrices to ``other`` too.
        maximize: ascend instead.

    Shapes:
        ``momentum_buffer`` is shaped and laid out like its parameter; what follows ``other`` has that rule's state.

    Raises:
        ValueError: a hyperparameter out of range, or a vector where there is no ``other``.

    References:
        Jordan et al., *Muon: An optimizer for hidden layers in neural networks*, 2024; Liu et al., *Muon is Scalable
        for LLM Training*, 2025, section 2.2 (``match_rms_adamw``).

    >>> import torch
    >>> rule = Muon(lr=0.1, weight_decay=0.0)
    >>> w = torch.zeros(2, 2, dtype=torch.float64)
    >>> w, _ = rule.update(w, torch.diag(torch.tensor([5.0, 0.5], dtype=torch.float64)), rule.init(w), rule.hyper())
    >>> [round(x, 2) for x in w.diagonal().tolist()]   # a tenth of the gradient, and yet the same step
    [-0.07, -0.07]
    """

    lr: Any = 1e-3
    weight_decay: Any = 0.1
    momentum: Any = 0.95
    nesterov: bool = True
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315)
    eps: Any = 1e-7
    ns_steps: int = 5
    adjust_lr_fn: str | None = None
    other: Rule | None = None
    use_muon: bool = True
    maximize: bool = False

    scope: ClassVar[Literal["element", "tensor", "matrix"]] = "matrix"
    complex: ClassVar[bool] = False
    torch_class: ClassVar[str | None] = "Muon"

    def validate(self) -> None:
        self._check("lr", low=0.0)
        self._check("weight_decay", low=0.0)
        self._check("momentum", low=0.0, high=1.0, high_open=True)
        self._check("eps", low=0.0)
        self._check_flags("nesterov", "use_muon", "maximize")
        self._check_length("ns_coefficients", 3)
        if not isinstance(self.ns_steps, int):
            raise TypeError(f"Muon: ns_steps={self.ns_steps!r} must be a whole number; 5 is usual.")
        check_number("Muon", "ns_steps", self.ns_steps, low=1, high=99)
        if self.adjust_lr_fn is not None and self.adjust_lr_fn not in _ADJUSTMENTS:
            raise ValueError(
                f"Muon: adjust_lr_fn={self.adjust_lr_fn!r} must be 'original', 'match_rms_adamw' or None."
                f"{did_you_mean(str(self.adjust_lr_fn), _ADJUSTMENTS)}"
            )
        if self.other is not None:
            if isinstance(self.other, Muon) or not hasattr(self.other, "update"):
                raise TypeError(f"Muon: other={self.other!r} must be a rule for vectors such as AdamW(lr=3e-4).")
            if not self.other.owns_rate and float(self.lr) == 0:
                raise ValueError(
                    "Muon: lr=0 leaves the second rule no ratio to keep; give a positive rate and schedule it."
                )

    def hyper(self) -> dict[str, Any]:
        own = super().hyper()
        other = own.pop("other")
        if other is not None:
            own.update({_PREFIX + name: value for name, value in other.hyper().items() if name != "lr"})
        return own

    def with_hyper(self, group: Hyper) -> Self:
        rule = super().with_hyper({name: value for name, value in group.items() if name != "other"})
        if rule.other is None:
            return rule
        theirs = {name: group[_PREFIX + name] for name in rule.other.hyper() if _PREFIX + name in group}
        other = rule.other.with_hyper(theirs)
        return rule if other is rule.other else replace(rule, other=other)

    def check_param(self, param: Tensor, name: str, group: Hyper) -> None:
        if self._is_mine(param, group):
            super().check_param(param, name, group)
        elif self.other is None:
            raise ValueError(
                f"Muon: {name} has the shape {tuple(param.shape)} and is not a matrix, or its group says "
                "use_muon=False, and there is no second rule; pass e.g. Muon(lr=0.02, other=AdamW(lr=3e-4))."
            )
        else:
            self.other.check_param(param, name, self._other_hyper(group))

    @staticmethod
    def _is_mine(param: Tensor, hyper: Hyper) -> bool:
        return param.ndim >= 2 and bool(hyper.get("use_muon", True))

    def _other_hyper(self, hyper: Hyper) -> dict[str, Any]:
        assert self.other is not None
        theirs = {name: hyper[_PREFIX + name] for name in self.other.hyper() if name != "lr"}
        theirs["lr"] = None if self.other.owns_rate else hyper["lr"] * (self.other.lr / self.lr)
        return theirs

    def adopt(self, state: Mapping[str, Any], param: Tensor) -> dict[str, Any]:
        return super().adopt(state, param) if self.other is None else self.other.adopt(state, param)

    def init(self, param: Tensor) -> State:
        if self._is_mine(param, {"use_muon": self.use_muon}):
            return same_shape_state(param, "momentum_buffer")
        assert self.other is not None, "check_param refuses vectors without a second rule"
        return self.other.init(param)

    def update(self, param: Tensor, grad: Tensor, state: State, hyper: Hyper) -> tuple[Tensor, State]:
        if not self._is_mine(param, hyper):
            assert self.other is not None, "check_param refuses vectors without a second rule"
            return self.other.update(param, grad, state, self._other_hyper(hyper))
        if param.numel() == 0:
            return param, dict(state)
        grad = descent(grad, hyper)
        lr, momentum = hyper["lr"], hyper["momentum"]
        buffer = momentum * state["momentum_buffer"] + (1 - momentum) * grad
        direction = (1 - momentum) * grad + momentum * buffer if hyper["nesterov"] else buffer
        flat = direction.reshape(direction.shape[0], -1)
        rows, columns = flat.shape
        if hyper["adjust_lr_fn"] == "match_rms_adamw":
            size = 0.2 * math.sqrt(max(rows, columns))
        else:
            size = math.sqrt(max(1.0, rows / columns))
        step = orthogonalize(flat, tuple(hyper["ns_coefficients"]), hyper["ns_steps"], hyper["eps"])
        if is_on(hyper["weight_decay"]):
            param = param * (1 - lr * hyper["weight_decay"])
        return param - (lr * size) * step.reshape(param.shape), {"momentum_buffer": buffer}
