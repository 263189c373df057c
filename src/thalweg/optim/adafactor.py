"""Adafactor: second moments kept as a row and a column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar, dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from thalweg.errors import check_number, did_you_mean
from thalweg.optim.base import Hyper, Rule, State, counter, descent, is_on, scalar_dtype

__all__ = ["Adafactor"]

_FORMS = ("torch", "paper")
_PAPER_EPS1 = 1e-30


@dataclass(frozen=True)
class Adafactor(Rule):
    r"""Adam's scale from row and column means of the squared gradient, so that a matrix costs its rim in memory.

    .. math::
        \hat\beta_t &= 1 - t^{\tau}, \qquad
        R_t = \hat\beta_t R_{t-1} + (1 - \hat\beta_t) \operatorname{mean}_{col}(g_t^2 + \epsilon_1), \qquad
        C_t = \hat\beta_t C_{t-1} + (1 - \hat\beta_t) \operatorname{mean}_{row}(g_t^2 + \epsilon_1) \\
        u_t &= g_t \big/ \sqrt{R_t C_t / \operatorname{mean}(R_t)}, \qquad
        \hat u_t = u_t \big/ \max(1, \operatorname{RMS}(u_t) / d) \\
        \alpha_t &= \max(\epsilon_2, \operatorname{RMS}(w_{t-1})) \, \rho_t, \qquad
        w_t = w_{t-1} - \alpha_t \hat u_t

    Vectors keep their whole second moment. The rate is :math:`\rho_t = \min(\eta, 1/\sqrt t)`, with 0.01 for
    :math:`\eta` where ``lr`` is None.

    torch and the paper (whom Hugging Face follows) differ in details, and ``form`` says which are meant:

    ============================  ================================================  ===============================
    detail                        ``"torch"``                                       ``"paper"``
    ============================  ================================================  ===============================
    :math:`\epsilon_1`            a floor, on :math:`\operatorname{mean}(R_t)` and  added to :math:`g_t^2`, as above
                                  on :math:`\sqrt{V_t}`
    ``weight_decay``              times ``lr``                                      times :math:`\alpha_t`
    names of the state            ``row_var``, ``col_var``, ``variance``            ``exp_avg_sq_row``, ...
    ============================  ================================================  ===============================

    Args:
        lr: :math:`\eta \ge 0`; None lets the rule own its rate (needs ``relative_step``).
        beta2_decay: :math:`\tau \le 0`. Hugging Face's name, ``decay_rate``, is taken too.
        eps: :math:`(\epsilon_1, \epsilon_2)`; None for :math:`\epsilon_1` is the dtype's epsilon in torch's form and
            1e-30 in the paper's.
        d: largest root mean square of an update, > 0 (torch wants >= 1). Hugging Face's name: ``clip_threshold``.
        weight_decay: decoupled decay >= 0.
        beta1: first moment of the update in [0, 1), or None for none.
        scale_parameter: multiply the rate by the root mean square of the parameter.
        relative_step: let the rate fall as :math:`1/\sqrt t`; without it :math:`\rho_t = \eta`.
        warmup_init: with ``lr=None``, start from :math:`\rho_t = \min(10^{-6} t, 1/\sqrt t)`.
        form: ``"torch"`` or ``"paper"``.
        maximize: ascend instead.

    Shapes:
        for a parameter ``(..., n, m)``: ``row_var`` ``(..., n, 1)``, ``col_var`` ``(..., 1, m)`` in torch's form,
        ``exp_avg_sq_row`` ``(..., n)``, ``exp_avg_sq_col`` ``(..., m)`` in the paper's; ``variance`` or ``exp_avg_sq``
        like the parameter for vectors and scalars; ``exp_avg`` like the parameter where ``beta1`` is given; ``step``
        0-dim. Statistics of half-precision parameters are float32.

    Raises:
        ValueError: a hyperparameter out of range, ``lr=None`` without ``relative_step``, ``warmup_init`` without both.

    References:
        Shazeer, Stern, *Adafactor: Adaptive Learning Rates with Sublinear Memory Cost*, ICML 2018, algorithms 4 and 5,
        and section 9 for the proposed hyperparameters.

    >>> import torch
    >>> rule = Adafactor(lr=None)
    >>> w = torch.full((4, 6), 2.0)
    >>> state = rule.init(w)
    >>> sum(v.numel() for name, v in state.items() if name != "step")   # a row and a column instead of 24
    10
    >>> w, _ = rule.update(w, torch.ones(4, 6), state, rule.hyper())
    >>> round(w[0, 0].item(), 4)   # 2 - 0.01 * RMS(w)
    1.98
    """

    lr: Any = 1e-2
    beta2_decay: Any = -0.8
    eps: tuple[Any, Any] = (None, 1e-3)
    d: Any = 1.0
    weight_decay: Any = 0.0
    beta1: Any = None
    scale_parameter: bool = True
    relative_step: bool = True
    warmup_init: bool = False
    form: Literal["torch", "paper"] = "torch"
    maximize: bool = False
    decay_rate: InitVar[Any] = None
    clip_threshold: InitVar[Any] = None

    scope: ClassVar[Literal["element", "tensor", "matrix"]] = "tensor"
    complex: ClassVar[bool] = False
    torch_class: ClassVar[str | None] = "Adafactor"

    def __post_init__(self, decay_rate: Any, clip_threshold: Any) -> None:
        if decay_rate is not None:
            object.__setattr__(self, "beta2_decay", decay_rate)
        if clip_threshold is not None:
            object.__setattr__(self, "d", clip_threshold)
        self.validate()

    def validate(self) -> None:
        if self.form not in _FORMS:
            raise ValueError(
                f"Adafactor: form={self.form!r} must be 'torch' or 'paper'.{did_you_mean(str(self.form), _FORMS)}"
            )
        self._check_flags("scale_parameter", "relative_step", "warmup_init", "maximize")
        if self.lr is not None:
            self._check("lr", low=0.0)
        elif not self.relative_step:
            raise ValueError(
                "Adafactor: lr=None needs relative_step=True, as there is no rate otherwise; pass one, e.g. 1e-3."
            )
        if self.warmup_init and not (self.relative_step and self.lr is None):
            raise ValueError(
                f"Adafactor: warmup_init=True needs relative_step=True and lr=None, got relative_step="
                f"{self.relative_step!r}, lr={self.lr!r}; a rate of your own is warmed up by a schedule."
            )
        self._check("beta2_decay", high=0.0)
        self._check_length("eps", 2)
        for name, value in (("eps[0]", self.eps[0]), ("eps[1]", self.eps[1])):
            if value is not None or name == "eps[1]":
                check_number("Adafactor", name, value, low=0.0)
        self._check("d", low=1.0 if self.form == "torch" else 0.0, low_open=self.form == "paper")
        self._check("weight_decay", low=0.0)
        if self.beta1 is not None:
            self._check("beta1", low=0.0, high=1.0, high_open=True)

    def adopt(self, state: Mapping[str, Any], param: Tensor) -> dict[str, Any]:
        kept = super().adopt(state, param)
        kept.pop("RMS", None)  # Hugging Face's note of the parameter's size, which is recomputed at every step
        return kept

    def init(self, param: Tensor) -> State:
        wide = param if param.dtype in (torch.float32, torch.float64) else param.to(torch.float32)
        state: State = {"step": counter()}
        if self.beta1 is not None:
            state["exp_avg"] = torch.zeros_like(wide)
        names = ("row_var", "col_var", "variance")
        if self.form == "paper":
            names = ("exp_avg_sq_row", "exp_avg_sq_col", "exp_avg_sq")
        if param.ndim < 2:
            state[names[2]] = torch.zeros_like(wide)
        else:
            keep = (1,) if self.form == "torch" else ()
            state[names[0]] = wide.new_zeros(*param.shape[:-1], *keep)
            state[names[1]] = wide.new_zeros(*param.shape[:-2], *keep, param.shape[-1])
        return state

    def update(self, param: Tensor, grad: Tensor, state: State, hyper: Hyper) -> tuple[Tensor, State]:
        step = state["step"] + 1
        if param.numel() == 0:
            return param, {**state, "step": step}
        exact = scalar_dtype(param)
        wide = grad.to(exact)
        grad = descent(wide, hyper)
        new_state: State = {"step": step}
        fresh = step.to(exact) ** hyper["beta2_decay"]
        if "row_var" in state or "variance" in state:
            scale = _floored_scale(grad, state, new_state, fresh, hyper["eps"][0], param.dtype)
        else:
            scale = _paper_scale(grad, state, new_state, fresh, hyper["eps"][0])
        update = grad * scale
        update = update / torch.clamp(_rms(update) / hyper["d"], min=1.0)

        alpha = self._rate(step.to(exact), hyper)
        if hyper["scale_parameter"]:
            alpha = torch.clamp(_rms(param.to(exact)), min=hyper["eps"][1]) * alpha
        decay = alpha if self.form == "paper" else self._ceiling(hyper)
        update = alpha * update
        if "exp_avg" in state:
            update = hyper["beta1"] * state["exp_avg"] + (1 - hyper["beta1"]) * update
            new_state["exp_avg"] = update
        if is_on(hyper["weight_decay"]):
            param = param * (1 - hyper["weight_decay"] * decay)
        return (param - update).to(param.dtype), new_state

    @staticmethod
    def _ceiling(hyper: Hyper) -> Any:
        """The largest relative rate: the rate given, or the paper's 0.01."""
        return 1e-2 if hyper["lr"] is None else hyper["lr"]

    def _rate(self, step: Tensor, hyper: Hyper) -> Any:
        r"""The relative rate :math:`\rho_t`."""
        if not hyper["relative_step"]:
            return hyper["lr"]
        ceiling = 1e-6 * step if hyper["warmup_init"] else self._ceiling(hyper)
        if not isinstance(ceiling, Tensor):
            return torch.clamp(step.rsqrt(), max=ceiling)
        return torch.minimum(step.rsqrt(), ceiling.to(step.dtype))


def _rms(x: Tensor) -> Tensor:
    return x.square().mean().sqrt()


def _blend(old: Tensor, new: Tensor, fresh: Tensor) -> Tensor:
    return old + fresh * (new - old)


def _floored_scale(
    grad: Tensor, state: State, new_state: State, fresh: Tensor, eps1: Any, dtype: torch.dtype
) -> Tensor:
    """torch's 1/sqrt(V), with eps1 as a floor; puts the new factors into *new_state*."""
    floor = torch.finfo(dtype).eps if eps1 is None else eps1
    square = grad * grad
    if "variance" in state:
        new_state["variance"] = second = _blend(state["variance"], square, fresh)
    else:
        new_state["row_var"] = row = _blend(state["row_var"], square.mean(dim=-1, keepdim=True), fresh)
        new_state["col_var"] = col = _blend(state["col_var"], square.mean(dim=-2, keepdim=True), fresh)
        second = row * col / torch.clamp(row.mean(dim=-2, keepdim=True), min=floor)
    return torch.clamp(second, min=floor * floor).rsqrt()


def _paper_scale(grad: Tensor, state: State, new_state: State, fresh: Tensor, eps1: Any) -> Tensor:
    """The paper's 1/sqrt(V), with eps1 in the squares; puts the new factors into *new_state*."""
    square = grad * grad + (_PAPER_EPS1 if eps1 is None else eps1)
    if "exp_avg_sq" in state:
        new_state["exp_avg_sq"] = second = _blend(state["exp_avg_sq"], square, fresh)
        return second.rsqrt()
    new_state["exp_avg_sq_row"] = row = _blend(state["exp_avg_sq_row"], square.mean(dim=-1), fresh)
    new_state["exp_avg_sq_col"] = col = _blend(state["exp_avg_sq_col"], square.mean(dim=-2), fresh)
    return (row / row.mean(dim=-1, keepdim=True)).rsqrt().unsqueeze(-1) * col.rsqrt().unsqueeze(-2)
