"""The two directions of a plane: by name, or as they are given."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import unknown_name
from .direction import check_direction, given_direction, normalised, random_direction
from .hessian import Hessian, gradient
from .lanczos import eigenpairs
from .landscape import Landscape
from .weights import Weights, flat, unflat

__all__ = ["NAMES", "two_directions"]

NAMES = ("random", "top", "top2", "bottom", "gradient")
_PARALLEL = 1e-6


def two_directions(
    who: str,
    land: Landscape,
    center: Weights,
    buffers: Weights,
    d1: Any,
    d2: Any,
    *,
    normalize: str,
    seed: int,
    orthogonal: bool,
) -> tuple[tuple[Weights, Weights], tuple[str, str]]:
    """Return two directions and their labels.

    Raises:
        ValueError: an unknown name, or directions that do not span a plane.
    """
    if d2 is None:
        d2 = "top2" if isinstance(d1, str) and d1 == "top" else "random"
    asked = {name for name in (d1, d2) if isinstance(name, str)}
    for name in asked:
        if name not in NAMES:
            raise unknown_name(who, "direction", name, NAMES)
    found = _eigenvectors(who, land, center, buffers, asked)
    if "gradient" in asked:
        found["gradient"] = gradient(land, center, buffers)
    made, labels = [], []
    for place, (name, given) in enumerate((("d1", d1), ("d2", d2))):
        if not isinstance(given, str):
            made.append(given_direction(who, name, given, center))
            labels.append("αβ"[place])
            continue
        drawn = found.get(given) or random_direction(center, seed + 7919 * place, land.trains)
        # What leads somewhere must keep its heading: scaling single filters would turn it.
        if given != "random":
            drawn = _as_long_as(drawn, center) if normalize != "none" else drawn
        else:
            drawn = normalised(who, drawn, center, normalize)
        check_direction(who, name, drawn)
        made.append(drawn)
        labels.append(f"{'αβ'[place]} ({_LABELS[given]})")
    first, second = made
    a, b = flat(first).double(), flat(second).double()
    overlap = float(a @ b / (a.norm() * b.norm()))
    if abs(overlap) > 1 - _PARALLEL:
        raise ValueError(f"{who}: d1 and d2 are parallel, so that they span no plane; give two different directions.")
    if orthogonal:
        length = b.norm()
        b = b - a * (a @ b) / (a @ a)
        second = unflat(who, "d2", b * length / b.norm(), center)
    return (first, second), (labels[0], labels[1])


_LABELS = {
    "random": "random",
    "top": "largest curvature",
    "top2": "second largest curvature",
    "bottom": "smallest curvature",
    "gradient": "gradient",
}


def _as_long_as(direction: Weights, center: Weights) -> Weights:
    """Return *direction* with the length of *center*, or 1 where that is zero."""
    wanted = float(flat(center).norm()) or 1.0
    length = float(flat(direction).norm())
    return direction if not length else {name: d * (wanted / length) for name, d in direction.items()}


def _eigenvectors(who: str, land: Landscape, center: Weights, buffers: Weights, asked: set[str]) -> dict[str, Weights]:
    found: dict[str, Weights] = {}
    if asked & {"top", "top2", "bottom"}:
        with Hessian(land, center, buffers) as hessian:
            if asked & {"top", "top2"}:
                top = eigenpairs(hessian, 2 if "top2" in asked else 1, "largest")
                for name, vector in zip(("top", "top2"), top.vectors, strict=False):
                    found[name] = hessian.named(vector)
            if "bottom" in asked:
                found["bottom"] = hessian.named(eigenpairs(hessian, 1, "smallest").vectors[0])
    return {name: {key: torch.as_tensor(value) for key, value in vector.items()} for name, vector in found.items()}
