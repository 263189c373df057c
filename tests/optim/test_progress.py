"""Each rule gets as far as torch's (or the author's) class from the same start, in the same number of steps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from tests.optim.cases import BY_ID, CASES

PEERED = [case.id for case in CASES if case.peer is not None and not getattr(case.rule, "maximize", False)]


def rosenbrock(params: list[Tensor]) -> Tensor:
    x, y = params[0][0], params[0][1]
    return ((1 - x) ** 2 + 100 * (y - x**2) ** 2).mean()


def quadratic(params: list[Tensor]) -> Tensor:
    # Condition number 10^4, in a rotated basis.
    generator = torch.Generator().manual_seed(5)
    basis = torch.linalg.qr(torch.randn(10, 10, generator=generator, dtype=torch.float64))[0]
    return 0.5 * (torch.logspace(-4, 0, 10, dtype=torch.float64) * (basis @ params[0]).squeeze() ** 2).sum()


DIGITS = load_digits()
X, Y = torch.from_numpy(DIGITS.data[:600] / 16.0), torch.from_numpy(DIGITS.target[:600])


def digits(params: list[Tensor]) -> Tensor:
    w1, b1, w2, b2 = params
    return F.cross_entropy(torch.tanh(X @ w1 + b1) @ w2 + b2, Y)


def seeded(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(11)
    return [torch.randn(s, generator=generator, dtype=torch.float64) * s[0] ** -0.5 for s in shapes]


PROBLEMS: dict[str, tuple[Callable[[list[Tensor]], Tensor], Callable[[], list[Tensor]], int]] = {
    "rosenbrock": (rosenbrock, lambda: [torch.tensor([[-1.2], [1.0]], dtype=torch.float64)], 100),
    "quadratic": (quadratic, lambda: seeded((10, 1)), 100),
    "digits": (digits, lambda: seeded((64, 16), (16,), (16, 10), (10,)), 40),
}
# Other rates than the row's: plain gradient descent leaves Rosenbrock's valley above 1/500 (its curvature is about 1000
# there), and an Adafactor that jumps about the minimum of the quadratic multiplies rounding errors until they count.
RATES = {
    ("rosenbrock", "sgd"): 1e-3,
    ("rosenbrock", "sgd-momentum"): 1e-4,
    ("rosenbrock", "sgd-dampening"): 1e-4,
    ("rosenbrock", "schedule-free-sgd"): 1e-3,
    ("rosenbrock", "schedule-free-sgd-warmup"): 1e-3,
    ("quadratic", "adafactor-decay"): 5e-3,
}


def final(
    optimizer: torch.optim.Optimizer, loss: Callable[[list[Tensor]], Tensor], params: list[Tensor], n: int
) -> float:
    for _ in range(n):
        optimizer.zero_grad()
        loss(params).backward()
        optimizer.step()
    return loss(params).item()


@pytest.mark.parametrize("id", PEERED)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_loss_is_at_most_the_peers(id: str, problem: str) -> None:
    case = BY_ID[id]
    assert case.peer is not None
    loss, start, n = PROBLEMS[problem]
    ours, theirs = ([w.requires_grad_() for w in start()] for _ in range(2))
    a, b = case.rule.optimizer(ours), case.peer(theirs)
    for group in (*a.param_groups, *b.param_groups):
        group["lr"] = RATES.get((problem, id), group["lr"])
    if hasattr(b, "train"):
        b.train()
    before = loss(ours).item()
    mine, other = final(a, loss, ours, n), final(b, loss, theirs, n)
    assert mine <= 1.01 * other + 1e-12
    if problem != "rosenbrock":
        assert mine < before


def test_muon_against_torch_on_digits() -> None:
    import thalweg as tw

    # In float32, where both iterate in bfloat16; matrices only, because torch's Muon takes nothing else.
    x = X.float()

    def run(make: Callable[[list[Tensor]], torch.optim.Optimizer]) -> float:
        params = [w.float().requires_grad_() for w in seeded((64, 16), (16, 10))]
        return final(make(params), lambda p: F.cross_entropy(torch.tanh(x @ p[0]) @ p[1], Y), params, 40)

    ours = run(lambda params: tw.optim.Muon(lr=0.02).optimizer(params))
    theirs = run(lambda params: torch.optim.Muon(params, lr=0.02))
    assert ours <= 1.01 * theirs
    assert ours < 2.0
