r"""Newton's method for logistic and softmax regression, one pass over the rows per iteration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .blocks import Array
from .coordinates import Coordinates
from .link import Link, Softmax

__all__ = ["LARGEST_HESSIAN", "Newton", "Objective", "Pass", "in_data_coordinates", "minimise"]

LARGEST_HESSIAN = 1500
"""Parameters up to which the Hessian is formed; with more it is only multiplied with, by conjugate gradients."""

Rows = Callable[[], Iterator[tuple[Tensor, Tensor, Tensor | None]]]
"""Begins a pass over features **(b, p)**, targets **(b, 1)** and weights **(b,)** or None."""


@dataclass
class Pass:
    """What one pass over all rows gives at θ: sums, not means.

    Attributes:
        loss: penalty included.
        gradient: shape of θ, **(k, p + 1)**.
        hessian: **(k (p + 1), k (p + 1))**, or None where it is only multiplied with.
    """

    loss: float
    gradient: Tensor
    hessian: Tensor | None


@dataclass
class Newton:
    """What came out of the iterations.

    Attributes:
        theta: coefficients and intercept of the rule's coordinates, **(k, p + 1)**.
        iterations: passes that were steps.
        converged: whether the decrement fell below the tolerance.
        last: the pass at ``theta``.
        thetas, losses: the way.
    """

    theta: Tensor
    iterations: int
    converged: bool
    last: Pass
    thetas: list[Tensor]
    losses: list[float]


class Objective:
    r""":math:`\sum_i w_i \ell(z_i, y_i) + \frac{α}{2} \lVert W \rVert^2` in standardised coordinates, with derivatives.

    For softmax the sum of the classes' parameters changes nothing but the penalty, and is 0 at the optimum; a quadratic
    term in that sum alone makes the Hessian definite there without moving the optimum.

    Args:
        link: `Logistic` or `Softmax`.
        outputs: k.
        at: coordinates.
        alpha: ridge, >= 0.
        intercept: whether there is one.
    """

    def __init__(self, link: Link, outputs: int, at: Coordinates, alpha: float, intercept: bool) -> None:
        self.link, self.outputs, self.alpha, self.intercept = link, outputs, alpha, intercept
        self._shift, self._scale = torch.from_numpy(at.shift), torch.from_numpy(at.scale)
        self.width = len(at.scale) + 1
        self._penalty = torch.cat([alpha / self._scale**2, torch.zeros(1, dtype=torch.float64)])

    @property
    def forms_hessian(self) -> bool:
        """Whether the Hessian is small enough to be formed."""
        return self.outputs * self.width <= LARGEST_HESSIAN

    def _predictor(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return z **(b, k)**; the rows stay in the data's own coordinates."""
        coef = theta[:, :-1] / self._scale
        offset = theta[:, -1] * self.intercept - coef @ self._shift
        return torch.addmm(offset, x, coef.T)

    def _pulled_back(self, r: Tensor, x: Tensor) -> Tensor:
        """Return rᵀ (u, 1), **(k, d)**, of the standardised rows u."""
        sums = r.sum(0)
        slope = (r.T @ x - torch.outer(sums, self._shift)) / self._scale
        return torch.cat([slope, (sums * self.intercept).unsqueeze(1)], 1)

    def _mean(self, z: Tensor) -> Tensor:
        return torch.softmax(z, 1) if isinstance(self.link, Softmax) else torch.sigmoid(z)

    def over(self, theta: Tensor, blocks: Rows) -> Pass:
        """Return loss, gradient and, where it is formed, the Hessian of all rows at *theta*."""
        k, d = self.outputs, self.width
        loss = torch.zeros((), dtype=torch.float64)
        gradient = torch.zeros(k, d, dtype=torch.float64)
        hessian = torch.zeros(k, d, k, d, dtype=torch.float64) if self.forms_hessian else None
        for given, y, w in blocks():
            x = given.to(torch.float64)
            z = self._predictor(theta, x)
            each = self.link.losses(z, y)
            loss += (each if w is None else each * w).sum()
            if hessian is not None:
                self._add_hessian(hessian, x, self._mean(z), w)
            r = self.link.residual_(z, y)
            gradient += self._pulled_back(r if w is None else r.mul_(w.unsqueeze(1)), x)
        loss += (theta**2 * self._penalty).sum() / 2
        gradient += theta * self._penalty
        if hessian is None:
            return Pass(float(loss), gradient, None)
        for a in range(k):
            hessian[a, :, a] += torch.diag(self._penalty)
        return Pass(float(loss), gradient, hessian.reshape(k * d, k * d))

    def _add_hessian(self, hessian: Tensor, x: Tensor, mean: Tensor, w: Tensor | None) -> None:
        last = torch.full((len(x), 1), float(self.intercept), dtype=torch.float64)
        u = torch.cat([(x - self._shift) / self._scale, last], 1)
        for a in range(self.outputs):
            for b in range(a, self.outputs):
                bend = mean[:, a] * (float(a == b) - mean[:, b])
                block = u.T @ (u * (bend if w is None else bend * w).unsqueeze(1))
                hessian[a, :, b] += block
                if a != b:
                    hessian[b, :, a] += block

    def product(self, means: list[Tensor], direction: Tensor, blocks: Rows) -> Tensor:
        """Return the Hessian times *direction*, **(k, d)**, by a pass over the rows.

        Args:
            means: the mean of every row at θ, block by block.
            direction: **(k, d)**.
            blocks: begins a pass.
        """
        found = direction * self._penalty
        for (given, _, w), mean in zip(blocks(), means, strict=True):
            x = given.to(torch.float64)
            z = self._predictor(direction, x)
            if isinstance(self.link, Softmax):
                r = mean * (z - (mean * z).sum(1, keepdim=True))
            else:
                r = mean * (1 - mean) * z
            found = found + self._pulled_back(r if w is None else r.mul_(w.unsqueeze(1)), x)
        return found

    def step(self, theta: Tensor, found: Pass, blocks: Rows) -> tuple[Tensor, float]:
        """Return Newton's step **(k, d)** and the squared decrement gᵀ H⁻¹ g."""
        if found.hessian is None:
            return self._conjugate_gradients(theta, found, blocks)
        k, d = self.outputs, self.width
        hessian = found.hessian.clone()
        diagonal = hessian.diagonal()
        if k > 1:
            hessian.view(k, d, k, d).add_(_between_classes(k, d, float(diagonal.mean()) / k))
        # Where the data say nothing (a constant column, a missing intercept) the gradient is 0, and the step shall be.
        scale = torch.where(diagonal > 0, diagonal, 1.0).sqrt()
        values, Q = torch.linalg.eigh(hessian / torch.outer(scale, scale))
        flat = Q.T @ (found.gradient.reshape(-1) / scale)
        kept = values > 1e-15 * values[-1] * len(values)
        parts = torch.where(kept, flat / torch.where(kept, values, 1.0), 0.0)
        return (Q @ parts / scale).reshape(k, d), float((flat * parts).sum())

    def _conjugate_gradients(self, theta: Tensor, found: Pass, blocks: Rows) -> tuple[Tensor, float]:
        """Return an inexact step, the more exact the smaller the gradient (Nocedal and Wright, algorithm 7.1)."""
        means = [self._mean(self._predictor(theta, x.to(torch.float64))) for x, _, _ in blocks()]
        weight = sum(float(len(m)) for m in means)
        size = float(found.gradient.norm())
        enough = min(0.1, (size / weight) ** 0.5) * size
        step = torch.zeros_like(theta)
        rest = found.gradient.clone()
        direction = rest.clone()
        square = float((rest**2).sum())
        for _ in range(500):
            if square**0.5 <= enough:
                break
            bent = self.product(means, direction, blocks)
            curvature = float((direction * bent).sum())
            if curvature <= 0:
                break
            step = step + square / curvature * direction
            rest = rest - square / curvature * bent
            before, square = square, float((rest**2).sum())
            direction = rest + square / before * direction
        return step, float((found.gradient * step).sum())


def _between_classes(k: int, d: int, size: float) -> Tensor:
    """Return ``size`` · (11ᵀ over classes) ⊗ (identity over columns), **(k, d, k, d)**."""
    return size * torch.eye(d, dtype=torch.float64).reshape(1, d, 1, d).expand(k, d, k, d)


def minimise(objective: Objective, blocks: Rows, max_iter: int, tol: float, weight: float) -> Newton:
    r"""Return the minimum by Newton's method; where a step does not descend it is halved until it does.

    Stops when half of the squared decrement :math:`g^\top H^{-1} g`, which is how much loss is left to gain, is at most
    :math:`\text{tol}^2` per unit of weight; one more step is made then, whose gain is the square of that.

    Args:
        objective: what is minimised.
        blocks: begins a pass over the rows.
        max_iter: steps at most.
        tol: see above.
        weight: Σw.
    """
    theta = torch.zeros(objective.outputs, objective.width, dtype=torch.float64)
    found = objective.over(theta, blocks)
    thetas, losses = [theta], [found.loss]
    for iteration in range(1, max_iter + 1):
        step, decrement = objective.step(theta, found, blocks)
        done = decrement / 2 <= tol**2 * weight
        length = 1.0
        while True:
            trial = theta - length * step
            there = objective.over(trial, blocks)
            slack = 1e-13 * abs(found.loss)  # of rounding, where hardly anything is left to gain
            if np.isfinite(there.loss) and there.loss <= found.loss - 1e-4 * length * decrement + slack:
                break
            length /= 2
            if length < 1e-10:
                return Newton(theta, iteration, done, found, thetas, losses)
        theta, found = trial, there
        thetas.append(theta)
        losses.append(found.loss)
        if done:
            return Newton(theta, iteration, True, found, thetas, losses)
    return Newton(theta, max_iter, False, found, thetas, losses)


def in_data_coordinates(theta: Tensor, at: Coordinates) -> tuple[Array, Array]:
    """Return coefficients **(k, p)** and intercepts **(k,)** of the data's own coordinates."""
    coef: Array = theta[:, :-1].numpy() / at.scale
    return coef, theta[:, -1].numpy() - coef @ at.shift
