"""Lines, planes and curvature beside loss-landscapes, PyHessian and curvlinops, and a plain loop.

The peers do the same number of evaluations over the same rows; loss-landscapes draws its own directions and shifts
every other column of its planes, which costs it nothing. Eigenvalues are compared at equal residual: PyHessian's power
iteration runs until its worst pair is as good as ours, or its own limit of iterations is reached.

    python benchmarks/surface.py               every part
    python benchmarks/surface.py lines planes  only these

On two cores `lines` takes half a minute, `planes` two and a half minutes, `convolutions` three to four.
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import thalweg as tw
from _record import all_known, compare, emit, figure, measure, say

Data = tuple[Tensor, Tensor]
TOLERANCE = 1e-3
FINE = 1.5e-6  # what ARPACK reaches when it is asked for 1e-3: it looks only after every restart
TOP = 10


def small_network() -> nn.Module:
    """10-40-20-1."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 40), nn.ReLU(), nn.Linear(40, 20), nn.ReLU(), nn.Linear(20, 1))


def mnist_network() -> nn.Module:
    """784-50-10."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))


def convnet() -> nn.Module:
    """Two convolutions over 28×28 images."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(784, 10),
    )  # fmt: skip


def trained(model: nn.Module, train: Data, loss: str) -> tw.Learner:
    """One epoch of Adam, so that there is something to see."""
    learner = tw.compile(model, optimizer="adam", lr=1e-3, loss=loss, seed=0)
    learner.fit(train, epochs=1, batch_size=64, verbose=False)
    return learner


def peer_planes(model: nn.Module, criterion: nn.Module, data: Data, steps: int) -> Any:
    """Return loss-landscapes' random plane of *steps* × *steps*."""
    import loss_landscapes
    from loss_landscapes.metrics import Loss

    metric = Loss(criterion, *data)
    return loss_landscapes.random_plane(model, metric, 1, steps, "filter", deepcopy_model=True)


def lines() -> None:
    """Five batches of 10,000 rows, 100 points each."""
    import loss_landscapes
    from loss_landscapes.metrics import Loss

    x, y = torch.randn(50_000, 10), torch.randn(50_000, 1)
    model, criterion = small_network(), nn.MSELoss()
    learner = tw.compile(model, optimizer="adam", lr=1e-3, loss="mse", seed=0)
    batches = list(zip(x.split(10_000), y.split(10_000), strict=True))
    settings = {"points": 100, "batches": 5, "batch_size": 10_000, "progress": False}

    def ours() -> None:
        tw.surface.random_line(learner, (x, y), **settings)

    def peer() -> None:
        for batch in batches:
            loss_landscapes.random_line(model, Loss(criterion, *batch), 1, 100, "filter", deepcopy_model=True)

    walker = copy.deepcopy(model).eval()
    start = [param.detach().clone() for param in walker.parameters()]
    direction = [torch.randn_like(param) for param in start]

    @torch.no_grad()
    def loop() -> None:
        for xb, yb in batches:
            for alpha in np.linspace(-1.0, 1.0, 100):
                for param, w, d in zip(walker.parameters(), start, direction, strict=True):
                    param.copy_(w + alpha * d)
                criterion(walker(xb), yb).item()

    times = measure({"ours": ours, "loss-landscapes": peer, "plain loop": loop}, repeats=11)
    case = "5 batches × 100 points, MLP 10-40-20-1, batch 10,000"
    emit(compare(case, times, ours="ours", peer="loss-landscapes", target=0.40))
    emit(compare(case, times, ours="ours", peer="plain loop", target=0.20, peer_name="a plain loop with .item()"))


def planes() -> None:
    """51 × 51 points of an MNIST network, in full and adaptively."""
    data = tw.data.load("mnist")
    learner = trained(mnist_network(), data.train, "cross_entropy")
    shown = data.valid
    kept: dict[str, tw.surface.Plane] = {}

    def full() -> None:
        kept["full"] = tw.surface.plane(learner, shown, points=51, progress=False)

    def adaptive() -> None:
        kept["adaptive"] = tw.surface.plane(learner, shown, points=51, adaptive=True, progress=False)

    times = measure(
        {
            "ours": full,
            "adaptive": adaptive,
            "loss-landscapes": lambda: peer_planes(learner.module, nn.CrossEntropyLoss(), shown, 51),
        }
    )
    case = "51×51 plane, 784-50-10 on 10,000 MNIST images"
    emit(compare(case, times, ours="ours", peer="loss-landscapes", target=0.33))
    case = "adaptive 51×51 plane, MNIST MLP"
    emit(compare(case, times, ours="adaptive", peer="ours", target=0.40, peer_name="our full plane"))
    whole, found = kept["full"].values, kept["adaptive"]
    error = float(np.linalg.norm(found.values - whole) / np.linalg.norm(whole))
    emit(figure("adaptive plane: relative L2 error", error, 0.02, peer_name="the tolerance", unit="error", target=1.0))
    share = float(found.computed.mean())
    emit(figure("adaptive plane: share computed", share, 1.0, peer_name="the full plane", unit="points", target=0.35))


def convolutions() -> None:
    """25 × 25 points of a small convnet on 2,000 images, twice each: the peer alone would take eight minutes of six."""
    data = tw.data.load("mnist", flat=False)
    learner = trained(convnet(), (data.train[0][:10_000], data.train[1][:10_000]), "cross_entropy")
    shown = data.valid[0][:2000], data.valid[1][:2000]
    contestants: dict[str, Callable[[int], object]] = {
        "ours": lambda points: tw.surface.plane(learner, shown, points=points, progress=False),
        "loss-landscapes": lambda points: peer_planes(learner.module, nn.CrossEntropyLoss(), shown, points),
    }
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for name in ("ours", "loss-landscapes", "loss-landscapes", "ours"):
        contestants[name](2)
        start = time.perf_counter()
        contestants[name](25)
        taken[name].append(time.perf_counter() - start)
    for name, seconds in taken.items():
        say(f"25×25 plane of the convnet, {name}: " + ", ".join(f"{one:.1f} s" for one in seconds))
    case = "25×25 plane, small convnet on 2,000 images (the faster of two runs of each)"
    best = {name: min(seconds) for name, seconds in taken.items()}
    emit(figure(case, best["ours"], best["loss-landscapes"], peer_name="loss-landscapes", unit="s", target=0.75))


def worst_residual(product: Any, values: Any, vectors: Any) -> float:
    """Return the largest ‖Hv − λv‖ over λ_max; *product* maps a vector (n,) to Hv."""
    pairs = list(zip(values, vectors, strict=True))
    return max(float((product(v) - value * v).norm()) for value, v in pairs) / max(abs(float(v)) for v in values)


def eigenvalues() -> None:
    """The ten largest eigenvalues over 10,000 images, residuals of 1e-3 of the largest."""
    from curvlinops import HessianLinearOperator
    from pyhessian import hessian as pyhessian
    from scipy.sparse.linalg import eigsh

    mnist = tw.data.load("mnist")
    data = mnist.valid
    learner = trained(mnist_network(), mnist.train, "cross_entropy")
    criterion = nn.CrossEntropyLoss()
    land = tw.surface.landscape("benchmark", learner, data)
    found: dict[str, tuple[Any, Any]] = {}

    def lanczos(name: str, tolerance: float) -> None:
        with tw.surface.Hessian(land, land.params, land.buffers) as operator:
            pairs = tw.surface.eigenpairs(operator, TOP, "largest", tol=tolerance)
        found[name] = pairs.values, pairs.vectors

    def power() -> None:
        model = copy.deepcopy(learner.module)
        operator = pyhessian(model, criterion, data=data, cuda=False)
        values, vectors = operator.eigenvalues(maxIter=200, tol=1e-6, top_n=TOP)
        flat = [torch.cat([part.reshape(-1) for part in vector]).double() for vector in vectors]
        found["PyHessian"] = values, flat

    def arpack() -> None:
        model = copy.deepcopy(learner.module).eval()
        params = [param for param in model.parameters() if param.requires_grad]
        operator = HessianLinearOperator(model, criterion, params, [data], check_deterministic=False)
        values, vectors = eigsh(operator.to_scipy(), k=TOP, which="LA", tol=TOLERANCE)
        found["curvlinops"] = values, torch.from_numpy(np.ascontiguousarray(vectors.T)).double()

    times = measure(
        {
            "ours": lambda: lanczos("ours", TOLERANCE),
            "ours, fine": lambda: lanczos("ours, fine", FINE),
            "PyHessian": power,
            "curvlinops": arpack,
        }
    )
    with tw.surface.Hessian(land, land.params, land.buffers) as operator:
        for name, (values, vectors) in found.items():
            away = worst_residual(lambda v: (operator @ v[None])[0], values, vectors)
            say(f"top-{TOP} eigenvalues, {name}: largest residual {away:.1e} of λ_max {float(max(values)):.4g}")
    case = f"top-{TOP} eigenvalues, MNIST MLP"
    emit(compare(case, times, ours="ours", peer="PyHessian", target=0.33))
    emit(
        compare(case, times, ours="ours, fine", peer="curvlinops", target=0.70, peer_name="curvlinops with SciPy eigsh")
    )


PARTS: dict[str, Callable[[], None]] = {
    "lines": lines,
    "planes": planes,
    "convolutions": convolutions,
    "eigenvalues": eigenvalues,
}


def main(names: list[str]) -> int:
    """Run the named parts, or all of them."""
    if not all_known("surface", names, PARTS):
        return 2
    for name in names or PARTS:
        PARTS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
