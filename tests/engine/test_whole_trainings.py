"""Two thousand steps on the compiled engine end where the reference ends, to the noise of float32 itself.

The yardstick is the reference run again from parameters that are one unit in the last place away, up or down at random:
what rounding the start once more does to the loss at the end. Losses are evaluated in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import thalweg as tw
from thalweg.engine import RuleOptimizer, c_compiler

pytestmark = pytest.mark.skipif(bool(c_compiler.unavailable()), reason="there is no C compiler here")

O = tw.optim  # noqa: E741 - as in the table of cases

#: How many times the largest of two such distances: the kernels round at every step, the neighbours only once.
NOISE = 4.0
Training = Callable[[str, int | None], float]


@torch.no_grad()
def to_a_neighbour(model: nn.Module, seed: int) -> None:
    """Move every parameter by one unit in the last place."""
    generator = torch.Generator().manual_seed(seed)
    for param in model.parameters():
        upwards = torch.rand(param.shape, generator=generator) < 0.5
        param.copy_(torch.nextafter(param, torch.where(upwards, torch.inf, -torch.inf)))


def cross_entropy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float(nn.functional.cross_entropy(model.double()(x), y))


def digits(engine: str, neighbour: int | None) -> float:
    """Train on scikit-learn's digits; return the loss over all of them."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = torch.tensor(data.data / 16, dtype=torch.float32), torch.tensor(data.target)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    if neighbour is not None:
        to_a_neighbour(model, neighbour)
    learner = tw.compile(model, optimizer=O.AdamW(lr=1e-3), loss="cross_entropy", clip_norm=1.0, engine=engine, seed=0)
    learner.fit((x, y), epochs=72, batch_size=64, verbose=False)
    assert learner.optimizer.engine.name == engine
    assert len(learner.history) == 72 * 29 > 2000
    return cross_entropy(model, x.double(), y)


def characters(engine: str, neighbour: int | None) -> float:
    """Train a model of the next character with every wrapper; return the loss of its averaged weights."""
    text = (Path(tw.__file__).parent / "engine" / "reference.py").read_text(encoding="utf-8")
    symbols = sorted(set(text))
    codes = torch.tensor([symbols.index(c) for c in text])
    starts = torch.randint(0, len(codes) - 9, (2000, 16), generator=torch.Generator().manual_seed(0))
    rows = codes[starts[..., None] + torch.arange(9)]
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Embedding(len(symbols), 16), nn.Flatten(), nn.Linear(128, 48), nn.GELU(), nn.Linear(48, len(symbols))
    )
    if neighbour is not None:
        to_a_neighbour(model, neighbour)
    rule = O.Averaged(O.Lookahead(O.AdamW(lr=2e-3), k=5), decay=0.99)
    optimizer = rule.optimizer(model.parameters(), engine=engine, clip_norm=1.0)
    assert isinstance(optimizer, RuleOptimizer)
    assert optimizer.engine.name == engine
    for batch in rows:
        loss = nn.functional.cross_entropy(model(batch[:, :8]), batch[:, 8])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    whole = rows[:500].flatten(0, 1)
    with optimizer.evaluating():
        return cross_entropy(model, whole[:, :8], whole[:, 8])


@pytest.mark.slow
@pytest.mark.parametrize("train", [digits, characters])
def test_two_thousand_steps_end_within_the_noise_of_float32(train: Training) -> None:
    reference = train("reference", None)
    noise = max(abs(train("reference", seed) - reference) for seed in (1, 2))
    assert 0 < noise < 1e-5 * reference  # these trainings contract: a yardstick, not a licence
    unit = torch.finfo(torch.float32).eps * reference  # what a loss in float32 shows at all
    assert abs(train("compiled", None) - reference) <= NOISE * max(noise, unit)
