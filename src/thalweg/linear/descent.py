r"""Gradient descent and SGD on a linear predictor, by any rule under any schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg import schedule as schedules
from thalweg.engine import RuleOptimizer
from thalweg.loop import Rates
from thalweg.optim import Rule

from .blocks import Array
from .c_gradient import GradientKernel
from .coordinates import Coordinates
from .link import Link
from .path import PathKeeper
from .workers import one_core

__all__ = ["Descent", "over_batches", "over_blocks", "over_rows"]

_SMALL_BATCH = 1 << 20
"""Numbers of a batch up to which its products are computed on one core."""


class Descent:
    r"""The parameters of :math:`z = x W^\top + b`, their gradient in closed form, and the rule that moves them.

    Minimises :math:`\frac{1}{\sum w} \left[ \sum_i w_i \ell(z_i, y_i) + \frac{α}{2} \lVert W \rVert^2 \right]`. The
    rule works on ``weight`` :math:`V = W \operatorname{diag}(s)` **(k, p)** and ``bias`` **(k,)** of `Coordinates`; the
    data are never transformed, only the gradient is.

    Args:
        link: the loss of a row.
        outputs: predictors k.
        at: the rule's coordinates.
        ridge: α / Σw.
        intercept: whether there is a bias.
        rule: any update rule; it runs through the engine that its optimizer chooses.
        schedule: anything that ``schedule.resolve`` takes, or None for constant hyperparameters.
        total_steps: updates of the run, or None where they are unknown.
        steps_per_epoch: or None.
        mean_weight: Σw / n, by which a batch's gradient stays an unbiased estimate of the whole.
        dtype: float32 or float64.

    Attributes:
        kernel: what makes the gradient of batches that it can read, or None.

    Raises:
        ValueError: the schedule does not fit into the run, or the rule cannot update the parameters.
    """

    def __init__(
        self,
        link: Link,
        outputs: int,
        at: Coordinates,
        *,
        ridge: float,
        intercept: bool,
        rule: Rule,
        schedule: Any = None,
        total_steps: int | None = None,
        steps_per_epoch: int | None = None,
        mean_weight: float = 1.0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        features = len(at.scale)
        self.link, self.ridge, self.intercept, self.mean_weight = link, ridge, intercept, mean_weight
        self.dtype = dtype
        self.shift = torch.from_numpy(at.shift).to(dtype)
        self.scale = torch.from_numpy(at.scale).to(dtype)
        self._shifted = bool(at.shift.any())
        self.weight = torch.nn.Parameter(torch.zeros(outputs, features, dtype=dtype))
        self.bias = torch.nn.Parameter(torch.zeros(outputs, dtype=dtype), requires_grad=intercept)
        self._make_grads()
        optimizer = rule.optimizer([self.weight, self.bias] if intercept else [self.weight])
        assert isinstance(optimizer, RuleOptimizer), "a rule's optimizer is the shell that the engine binds"
        self.optimizer = optimizer
        found: Mapping[str, Any] = {} if schedule is None else schedules.resolve(schedule, total_steps, steps_per_epoch)
        self.rates = Rates(self.optimizer, found)
        self.steps = 0
        self._at = self.values()
        self.kernel: GradientKernel | None = None
        self.keeper = PathKeeper()

    def _make_grads(self) -> None:
        self.weight.grad = torch.zeros_like(self.weight)
        if self.intercept:
            self.bias.grad = torch.zeros_like(self.bias)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "kernel": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._make_grads()  # torch pickles parameters without them

    def values(self) -> tuple[Tensor, Tensor]:
        """Return W **(k, p)** and b **(k,)** as they stand, in the data's coordinates; new tensors."""
        coef = self.weight.detach() / self.scale
        offset = self.bias.detach()
        return coef, offset - coef @ self.shift if self._shifted else offset.clone()

    def final(self) -> tuple[Array, Array]:
        """Return W and b as evaluation should use them: the averages of a rule that averages."""
        with self.optimizer.evaluating():
            coef, offset = self.values()
        return coef.numpy(), offset.numpy()

    @torch.no_grad()
    def gradient(self, x: Tensor, y: Tensor, w: Tensor | None, loss: bool = False) -> Tensor | None:
        """Write the gradient over these rows into ``weight.grad`` and ``bias.grad``.

        Args:
            x: features **(b, p)**.
            y: targets **(b, k)**, or as the link takes them.
            w: row weights **(b,)** or None.
            loss: whether to return the mean loss, 0-dim, penalty included.
        """
        weights = None if w is None else w.numpy()
        if self.kernel is not None and self.kernel.attach(x.numpy(), y.numpy()[:, 0], weights):
            self.kernel(range(len(x)), self.ridge)
            if not loss:
                return None
            self._at, mean = self.compiled_result(self.kernel)
            return mean
        coef, offset = self._at = self.values()
        single = len(coef) == 1
        z = torch.mv(x, coef[0]).add_(offset).unsqueeze(1) if single else torch.addmm(offset, x, coef.T)
        share = 1.0 / (len(x) * self.mean_weight)
        value = None
        if loss:
            each = self.link.losses(z, y)
            value = (each if w is None else each * w).sum() * share + self.ridge / 2 * coef.square().sum()
        r = self.link.residual_(z, y)
        if w is not None:
            r.mul_(w.unsqueeze(1))
        sums = r.sum(0).mul_(share)
        slope = torch.mv(x.T, r[:, 0]).unsqueeze(0) if single else r.T @ x
        slope.mul_(share)
        if self._shifted:
            slope.addr_(sums, self.shift, alpha=-1.0)
        if self.ridge:
            slope.add_(coef, alpha=self.ridge)
        assert self.weight.grad is not None, "made with the parameter"
        torch.div(slope, self.scale, out=self.weight.grad)
        if self.bias.grad is not None:
            self.bias.grad.copy_(sums)
        return value

    def compiled_result(self, kernel: GradientKernel) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Return W and b at which a kernel has made its last gradient, and the mean loss there."""
        loss, intercept = kernel.found[:2].tolist()
        at = torch.from_numpy(kernel.coef[None].copy()), torch.tensor([intercept], dtype=self.dtype)
        return at, torch.tensor(loss, dtype=self.dtype)

    def update(self) -> None:
        """Let the rule make one update from the gradients."""
        if self.rates.active:
            self.rates.apply(self.steps)
        self.optimizer.apply()
        self.steps += 1

    def step(self, x: Tensor, y: Tensor, w: Tensor | None, loss: bool = False) -> Tensor | None:
        """Make one update from these rows; return their mean loss before it where it is asked for."""
        keep = self.keeper.wants(self.steps)
        value = self.gradient(x, y, w, loss or keep)
        if keep and value is not None:
            self.keeper.add(self.steps, *self._at, value)
        self.update()
        return value

    def finish(self) -> None:
        """Put the last iterate on the path."""
        self.keeper.stride = 1
        self.keeper.add(self.steps, *self.values(), torch.tensor(float("nan"), dtype=self.dtype))

    def gradient_norm(self) -> float:
        """Return the Euclidean norm of the gradient that was written last."""
        grads = [param.grad for param in (self.weight, self.bias) if param.grad is not None]
        return float(torch.stack([grad.square().sum() for grad in grads]).sum().sqrt())


def over_rows(descent: Descent, x: Tensor, y: Tensor, w: Tensor | None, max_iter: int, stop_at: float) -> bool:
    """Descend over all rows at once until the gradient's norm is at most *stop_at*; return whether it is.

    Args:
        descent: what is moved.
        x, y, w: all rows.
        max_iter: updates at most.
        stop_at: in the rule's coordinates.

    Raises:
        FloatingPointError: the parameters are no numbers any more.
    """
    for _ in range(max_iter):
        descent.step(x, y, w)
        if descent.gradient_norm() <= stop_at:
            return True
        if descent.steps % 64 == 0:
            check_finite(descent)
    check_finite(descent)
    descent.gradient(x, y, w)
    return descent.gradient_norm() <= stop_at


def over_blocks(
    descent: Descent,
    blocks: Callable[[], Iterable[tuple[Tensor, Tensor, Tensor | None]]],
    weight: float,
    max_iter: int,
    stop_at: float,
) -> bool:
    """Descend over all rows, whose gradient is added up block by block, as `over_rows` does over rows at once.

    Args:
        descent: what is moved, with ``mean_weight`` 1.
        blocks: begins a pass over features, targets and weights.
        weight: Σw of all rows.
        max_iter: updates at most.
        stop_at: norm of the gradient, in the rule's coordinates.

    Raises:
        FloatingPointError: the parameters are no numbers any more.
    """
    grads = [param.grad for param in (descent.weight, descent.bias) if param.grad is not None]
    ridge, descent.ridge = descent.ridge, 0.0
    for iteration in range(max_iter + 1):
        sums = [torch.zeros_like(grad) for grad in grads]
        coef, offset = descent.values()
        total = ridge / 2 * coef.square().sum()
        for x, y, w in blocks():
            x, y, w = x.to(descent.dtype), y.to(descent.dtype), None if w is None else w.to(descent.dtype)
            loss = descent.gradient(x, y, w, loss=True)
            assert loss is not None, "it was asked for"
            share = len(x) / weight
            total = total + loss * share
            for sum_, grad in zip(sums, grads, strict=True):
                sum_.add_(grad, alpha=share)
        for grad, sum_ in zip(grads, sums, strict=True):
            grad.copy_(sum_)
        if ridge:
            grads[0].add_(coef / descent.scale, alpha=ridge)
        if descent.gradient_norm() <= stop_at:
            return True
        if iteration == max_iter:
            break
        if descent.keeper.wants(descent.steps):
            descent.keeper.add(descent.steps, coef, offset, total)
        descent.update()
        check_finite(descent)
    return False


def over_batches(descent: Descent, epochs: Iterable[Iterable[Any]], who: str, advance: Any = None) -> None:
    """Make one update per batch.

    Args:
        descent: what is moved.
        epochs: batches (x, y) or (x, y, w) of tensors, epoch by epoch.
        who: who asks, for messages.
        advance: called with the rows of every batch, for a progress bar.

    Raises:
        FloatingPointError: the parameters are no numbers any more.
    """
    controlled = descent.rates.is_controlled
    features = len(descent.scale)
    with ExitStack() as stack:
        settled = False
        for batches in epochs:
            losses: list[Tensor] = []
            for x, y, *rest in batches:
                if not settled:  # on one core where a batch is small; the others are left to who feeds them
                    stack.enter_context(one_core(len(x) * features <= _SMALL_BATCH))
                    settled = True
                w = rest[0].to(descent.dtype) if rest else None
                y = (y.unsqueeze(1) if y.dim() == 1 else y).to(descent.dtype)
                loss = descent.step(x.to(descent.dtype), y, w, controlled)
                if controlled and loss is not None:
                    losses.append(loss)
                if advance is not None:
                    advance(len(x))
            check_finite(descent, who)
            if controlled and losses:
                descent.rates.observe({"loss": float(np.mean([float(loss) for loss in losses]))})


def check_finite(descent: Descent, who: str = "gradient descent") -> None:
    """Raise where the parameters have become infinite or NaN.

    Raises:
        FloatingPointError: with the number of updates and what to change.
    """
    if not all(bool(torch.isfinite(param).all()) for param in (descent.weight, descent.bias)):
        rate = descent.optimizer.param_groups[0].get("lr")
        raise FloatingPointError(
            f"{who}: after {descent.steps} updates the parameters are not finite: the rate {rate!r} is too large for "
            "these data, or they hold NaN or infinities; take a smaller rate, or optimizer=None, which chooses one "
            "from the data."
        )
