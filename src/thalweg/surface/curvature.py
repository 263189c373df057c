r"""The curvature of the loss at a point: eigenvalues, trace, gradient noise."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..draw import html_table, spectrum
from ..errors import check_number
from .hessian import Hessian, batch_gradients
from .interactive import spectrum_figure
from .lanczos import Eigenpairs, eigenpairs
from .landscape import Landscape, Trained, landscape
from .storing import read_arrays, write_arrays, write_figure
from .weights import Weights, weights_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Curvature", "curvature", "hutchinson", "noise_scale"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curvature:
    r"""What the second derivatives say about a point.

    Attributes:
        largest: the largest eigenvalues of the Hessian with sign, falling, **(k,)**.
        smallest: the smallest, rising, **(l,)**.
        residuals: :math:`\lVert H v - \lambda v \rVert` of all of them, **(k + l,)**.
        trace: Hutchinson's estimate, or NaN where it was not asked for.
        trace_error: its standard error.
        noise_scale: the gradient-noise scale in samples, or NaN.
        gradient_norm: length of the gradient.
        lr: the learning rate that 2/lr is shown for, or None.
        parameters: how many were differentiated.
        products: products with the Hessian that it took.
        converged: whether every residual is within the tolerance.
        vectors: eigenvectors of ``largest`` then ``smallest``, each by parameter name.
    """

    largest: Array
    smallest: Array
    residuals: Array
    trace: float
    trace_error: float
    noise_scale: float
    gradient_norm: float
    lr: float | None
    parameters: int
    products: int
    converged: bool
    vectors: tuple[Weights, ...] = ()

    @property
    def edge(self) -> float | None:
        r"""2/lr: gradient descent at this rate is stable only along directions of less curvature."""
        return None if self.lr is None else 2.0 / self.lr

    def __repr__(self) -> str:
        parts = [f"λ_max={self.largest[0]:.4g}"] if self.largest.size else []
        if self.edge is not None:
            parts.append(f"2/lr={self.edge:.4g} (lr={self.lr:g})")
        parts += [f"λ_min={self.smallest[0]:.4g}"] if self.smallest.size else []
        if math.isfinite(self.trace):
            parts.append(f"trace={self.trace:.4g} ± {self.trace_error:.2g}")
        if math.isfinite(self.noise_scale):
            parts.append(f"noise scale={self.noise_scale:.4g}")
        done = "" if self.converged else "; not converged"
        return f"Curvature({', '.join(parts)}, |gradient|={self.gradient_norm:.3g}; {self.products} products{done})"

    def _repr_html_(self) -> str:
        rows: list[list[object]] = [["largest eigenvalues", ", ".join(f"{v:.4g}" for v in self.largest)]]
        if self.edge is not None:
            rows.append(["2/lr", f"{self.edge:.4g} at lr={self.lr:g}"])
        if self.smallest.size:
            rows.append(["smallest eigenvalues", ", ".join(f"{v:.4g}" for v in self.smallest)])
        if math.isfinite(self.trace):
            rows.append(["trace", f"{self.trace:.4g} ± {self.trace_error:.2g}"])
        if math.isfinite(self.noise_scale):
            rows.append(["gradient-noise scale", f"{self.noise_scale:.4g} samples"])
        rows += [
            ["length of the gradient", f"{self.gradient_norm:.4g}"],
            ["products with the Hessian", f"{self.products:,}"],
        ]
        if not self.converged:
            rows.append(["converged", f"no: largest residual {self.residuals.max():.2g}"])
        return html_table(rows, ["curvature", ""])

    def plot(self) -> Figure:
        """Return a figure of the eigenvalues, with 2/lr where a rate is known."""
        label = "" if self.lr is None else f"2/lr at {self.lr:g}"
        smallest = self.smallest if self.smallest.size else None
        return spectrum(self.largest, smallest, edge=self.edge, edge_label=label)

    def figure(self) -> dict[str, Any]:
        """Return the eigenvalues beside 2/lr as plotly's JSON, for ``figures/NAME.json`` of a run directory."""
        return spectrum_figure(self.largest, self.smallest, self.edge, self.lr, repr(self))

    def write(self, run: Path | str, name: str = "surface-curvature") -> Path:
        """Add the figure to a run's report (made anew by ``thalweg report``); return the file's path."""
        return write_figure(run, name, self.figure())

    def save(self, path: Path | str) -> Path:
        """Write everything but the vectors to a file; return its path.

        ``.npz`` without pickle, or a Parquet table with a row per eigenvalue where the name ends in ``.parquet``.
        """
        plain = {name: value for name, value in asdict(self).items() if name not in (*_ARRAYS, "vectors")}
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays["eigenvalues"] = np.concatenate([self.largest, self.smallest])
        return write_arrays(path, "Curvature", arrays, plain, ("eigenvalues",))

    @classmethod
    def load(cls, path: Path | str) -> Curvature:
        """Return what :meth:`save` wrote.

        Raises:
            ValueError: the file is not one of these.
        """
        arrays, plain = read_arrays(path, "Curvature")
        arrays.pop("eigenvalues", None)
        fields: dict[str, Any] = {**arrays, **plain}
        return cls(**fields)


_ARRAYS = ("largest", "smallest", "residuals")


def curvature(
    of: Trained,
    data: Any,
    center: Any = None,
    *,
    largest: int = 1,
    smallest: int = 1,
    trace: int = 0,
    noise_batches: int = 0,
    batch_size: int = 256,
    tol: float = 1e-4,
    block: int = 1,
    max_products: int = 1000,
    seed: int = 0,
) -> Curvature:
    r"""Return eigenvalues of the Hessian of the loss over *data*, its trace, and how noisy the gradient is.

    Args:
        of: a learner, or anything with ``module``, ``loss``, ``penalty`` and ``device``; where it has an optimizer,
            2/lr is shown beside the largest eigenvalue.
        data: ``(X, y)`` or whatever training takes; the Hessian is over all of it.
        center: the point; None: the present weights.
        largest: how many of the largest eigenvalues (block Lanczos), >= 0.
        smallest: how many of the smallest, with sign.
        trace: probes of Hutchinson's estimate; 0 leaves it out.
        noise_batches: batches that the gradient-noise scale is estimated from, >= 2; 0 leaves it out.
        batch_size: their rows.
        tol: relative size of the residuals at which an eigenvalue counts as found.
        block: vectors per step of Lanczos; more than one finds multiple eigenvalues.
        max_products: products with the Hessian for each end at most.
        seed: of starting vectors, probes and batches.

    Raises:
        ValueError: settings out of range, or a Hessian that is not finite.

    >>> import torch, thalweg as tw
    >>> learner = tw.compile(torch.nn.Linear(2, 1, bias=False), optimizer="sgd", lr=0.1, loss="mse")
    >>> X = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    >>> found = tw.surface.curvature(learner, (X, torch.zeros(2, 1)))    # 2 XᵀX / N = diag(9, 1)
    >>> found.largest.round(4), found.smallest.round(4), found.edge
    (array([9.]), array([1.]), 20.0)
    """
    who = "surface.curvature"
    for name, value in (("largest", largest), ("smallest", smallest), ("trace", trace)):
        check_number(who, name, value, low=0)
    if noise_batches:
        check_number(who, "noise_batches", noise_batches, low=2)
    land = landscape(who, of, data)
    held, given = (land.params, {}) if center is None else weights_of(who, "center", center, land.params)
    buffers = {**land.buffers, **{n: t.to(land.buffers[n]) for n, t in given.items() if n in land.buffers}}
    with Hessian(land, held, buffers) as hessian:
        norm = float(torch.linalg.vector_norm(hessian.gradient()))
        if not math.isfinite(norm):
            raise ValueError(
                f"{who}: the gradient at this point is not finite, so there is no curvature; move to another."
            )
        ends: list[Eigenpairs] = []
        settings: dict[str, Any] = {"tol": tol, "block": block, "max_products": max_products, "seed": seed}
        size = hessian.size
        ends.append(eigenpairs(hessian, min(largest, size), "largest", **settings) if largest else _NONE)
        ends.append(eigenpairs(hessian, min(smallest, size), "smallest", **settings) if smallest else _NONE)
        total, error = hutchinson(hessian, trace, seed) if trace else (math.nan, math.nan)
        vectors = tuple(hessian.named(vector) for end in ends for vector in end.vectors)
        products = hessian.products
    noise = math.nan
    if noise_batches:
        drawn = landscape(who, of, data, batch_size=batch_size, seed=seed)
        noise = _noise(drawn, held, buffers, noise_batches)
    return Curvature(
        largest=ends[0].values.double().numpy(),
        smallest=ends[1].values.double().numpy(),
        residuals=torch.cat([end.residuals.double() for end in ends]).numpy(),
        trace=total,
        trace_error=error,
        noise_scale=noise,
        gradient_norm=norm,
        lr=_rate(of),
        parameters=size,
        products=products,
        converged=all(end.converged for end in ends),
        vectors=vectors,
    )


_NONE = Eigenpairs(torch.zeros(0), torch.zeros(0, 0), torch.zeros(0), 0, True)


def _rate(of: Any) -> float | None:
    """Return the learning rate of the last group of *of*'s optimizer, or None."""
    groups = getattr(getattr(of, "optimizer", None), "param_groups", None)
    rate = groups[-1].get("lr") if groups else None
    return float(rate) if rate is not None and float(rate) > 0 else None


def hutchinson(operator: Any, probes: int, seed: int = 0) -> tuple[float, float]:
    r"""Return Hutchinson's estimate of the trace and its standard error.

    .. math:: \operatorname{tr} H \approx \frac{1}{m} \sum_{i=1}^{m} z_i^\top H z_i, \qquad z_i \in \{-1, 1\}^n

    Args:
        operator: symmetric, n × n; ``operator @ rows`` multiplies each row.
        probes: m >= 1; with one there is no error to speak of (NaN).
        seed: of the probes.

    Source: Hutchinson, *A stochastic estimator of the trace of the influence matrix*, Commun. Stat. Simul. 18, 1989.
    """
    check_number("hutchinson", "probes", probes, low=1)
    generator = torch.Generator().manual_seed(seed)
    wide = torch.float32 if operator.device.type == "mps" else torch.float64
    found = []
    for _ in range(probes):
        z = (2.0 * torch.randint(0, 2, (1, operator.size), generator=generator) - 1.0).to(operator.device, wide)
        found.append(float((z * (operator @ z)).sum()))
    values = np.array(found)
    error = float(values.std(ddof=1) / math.sqrt(probes)) if probes > 1 else math.nan
    return float(values.mean()), error


def noise_scale(gradients: Tensor, batch_size: float) -> float:
    r"""Return the gradient-noise scale, in samples, from the gradients of batches.

    .. math:: B_{simple} = \frac{\operatorname{tr} \Sigma}{\lVert G \rVert^2}

    with :math:`\Sigma` the covariance of single samples' gradients and :math:`G` their mean. From m batches of B rows
    both are estimated without bias: the batches' sample covariance has the trace :math:`\operatorname{tr} \Sigma / B`,
    and the squared length of the mean of all batches exceeds :math:`\lVert G \rVert^2` by :math:`\operatorname{tr}
    \Sigma / mB`. Where noise hides the gradient the estimate of :math:`\lVert G \rVert^2` may be negative; the scale is
    then infinite.

    Args:
        gradients: **(m, n)**, m >= 2, each the gradient of the mean loss of a batch.
        batch_size: rows B of each batch.

    Source: McCandlish, Kaplan, Amodei et al., *An Empirical Model of Large-Batch Training*, 2018, section 2.2, appendix
    A.

    >>> noise_scale(torch.tensor([[3.0, 1.0], [3.0, -1.0]]), batch_size=10)   # tr Σ = 20, |G|² = 9 - 1
    2.5
    """
    count = len(gradients)
    mean = gradients.mean(0)
    spread = float(((gradients - mean) ** 2).sum() / (count - 1))
    squared = float((mean**2).sum()) - spread / count
    return batch_size * spread / squared if squared > 0 else math.inf


def _noise(land: Landscape, center: Weights, buffers: Weights, batches: int) -> float:
    """Return the noise scale from *batches* batches, without holding more than sums of their gradients."""
    found = list(batch_gradients(land, center, buffers, batches))
    if len(found) > 2 and found[-1][1] < found[0][1]:
        found = found[:-1]  # a last batch that is not full is noisier than the others
    if len(found) < 2:
        raise ValueError(
            f"surface.curvature: the data gave {len(found)} full batch, and the noise of the gradient shows only "
            "between two or more; lower batch_size."
        )
    return noise_scale(torch.stack([gradient for gradient, _ in found]), found[0][1])
