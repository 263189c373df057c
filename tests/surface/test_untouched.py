"""Nothing of the model is different afterwards, also after an exception or Ctrl-C, and interrupted work goes on."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw
from tests.surface.models import CASES, Case, learner_of, rows
from thalweg.surface import ways


def everything(learner: tw.Learner) -> tuple[Any, ...]:
    module = learner.module
    held = [*module.named_parameters(), *module.named_buffers()]
    return (
        [(name, id(tensor), tensor.detach().clone(), tensor.grad) for name, tensor in held],
        [(name, part.training, sorted(vars(part))) for name, part in module.named_modules()],
        [getattr(part, "momentum", None) for part in module.modules()],
        torch.get_rng_state(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002 - the global generator is what must not move
        random.getstate(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
    )


def same(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    tensors = all(
        x[0] == y[0] and x[1] == y[1] and torch.equal(x[2], y[2]) and x[3] is y[3]
        for x, y in zip(a[0], b[0], strict=True)
    )
    return tensors and a[1:3] == b[1:3] and torch.equal(a[3], b[3]) and a[4:] == b[4:]


CALLS: dict[str, Callable[[tw.Learner, Any], Any]] = {
    "plane": lambda learner, data: tw.surface.plane(learner, data, points=3),
    "reestimated": lambda learner, data: tw.surface.plane(learner, data, points=2, batch_norm="reestimated"),
    "adaptive": lambda learner, data: tw.surface.plane(learner, data, points=9, adaptive=True),
    "line": lambda learner, data: tw.surface.random_line(learner, data, points=3, batches=2, batch_size=16),
    "curvature": lambda learner, data: tw.surface.curvature(
        learner, data, trace=1, noise_batches=2, batch_size=16, max_products=3
    ),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "case", [c for c in CASES if c.name in ("batch norm", "convnet", "recurrent")], ids=lambda c: c.name
)
def test_the_model_is_untouched(case: Case, call: str) -> None:
    learner, data = learner_of(case), case.data()
    learner.module.train()
    next(iter(learner.module.children())).eval()  # modes that differ must come back as they were
    before = everything(learner)
    CALLS[call](learner, data)
    assert same(before, everything(learner))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("where", ["Chained", "Stacked", "Single"])
def test_the_model_is_untouched_after_an_end_in_the_middle(
    error: type[BaseException], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = {"Chained": "batch norm", "Stacked": "layer norm", "Single": "convnet"}[where]
    case = next(case for case in CASES if case.name == name)
    learner, data = learner_of(case), case.data()
    calls = 0
    forward = nn.Linear.forward

    def interrupted(self: nn.Linear, x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls >= 6:  # for good: a way that fails once is only given up for the next one
            raise error("in the middle")
        return forward(self, x)

    before = everything(learner)
    if where == "Chained":
        from thalweg.surface.chain import Chain

        outputs = Chain.outputs

        def late(self: Chain, first: int, last: int) -> torch.Tensor:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise error("in the middle")
            return outputs(self, first, last)

        monkeypatch.setattr(Chain, "outputs", late)
    else:
        monkeypatch.setattr(nn.Linear, "forward", interrupted)
    with pytest.raises(error, match="in the middle"):
        tw.surface.plane(learner, data, points=6)
    assert same(before, everything(learner))


@pytest.mark.parametrize("case", [c for c in CASES if c.name in ("mlp", "layer norm", "convnet")], ids=lambda c: c.name)
@pytest.mark.parametrize("after", [1, 3, 7])
def test_an_interrupted_grid_goes_on(case: Case, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from thalweg.surface import evaluate as module

    learner, data = learner_of(case), case.data()
    whole = tw.surface.plane(learner, data, points=(5, 3))
    choose, calls, limit = module.choose, [0], [after]

    def counting(*given: Any) -> ways.Way:
        way = choose(*given)
        way.rows, way.points = 30, 4
        totals = way.totals

        def counted(first: int, last: int) -> Any:
            if calls[0] == limit[0]:
                raise KeyboardInterrupt
            calls[0] += 1
            return totals(first, last)

        way.totals = counted  # type: ignore[method-assign]
        return way

    monkeypatch.setattr(module, "choose", counting)
    kept = tmp_path / "plane.npz"
    with pytest.raises(KeyboardInterrupt):
        tw.surface.plane(learner, data, points=(5, 3), resume=kept)
    assert kept.exists()
    done, limit[0] = calls[0], -1
    again = tw.surface.plane(learner, data, points=(5, 3), resume=kept)
    np.testing.assert_array_equal(again.values, tw.surface.plane(learner, data, points=(5, 3)).values)
    np.testing.assert_allclose(again.values, whole.values, rtol=1e-12)
    full = calls[0] - done
    assert not kept.exists()
    calls[0] = 0
    tw.surface.plane(learner, data, points=(5, 3))
    assert full < 2 * calls[0]  # the second call and the plain one: what was done was not done again


def test_an_adaptive_plane_goes_on_where_it_was_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, data = learner_of(CASES[1]), CASES[1].data()
    settings: dict[str, Any] = {"points": 25, "adaptive": 1e-5}
    module = sys.modules["thalweg.surface.levels"]
    evaluate = module.evaluate
    asked: list[int] = []

    def counted(*args: Any, **more: Any) -> Any:
        if len(asked) == limit:
            raise KeyboardInterrupt
        asked.append(len(args[3]))
        return evaluate(*args, **more)

    monkeypatch.setattr(module, "evaluate", counted)
    limit = -1
    whole = tw.surface.plane(learner, data, **settings)
    levels = [*asked]
    assert len(levels) == 3, "it is refined twice"
    assert sum(levels) == whole.computed.sum()
    for limit in range(3):  # broken off once in each level
        kept = tmp_path / f"at level {limit}" / "plane.npz"
        asked.clear()
        with pytest.raises(KeyboardInterrupt):
            tw.surface.plane(learner, data, resume=kept, **settings)
        assert asked == levels[:limit]
        if limit == 1:
            with pytest.raises(ValueError, match="belongs to another computation"):
                tw.surface.plane(learner, data, resume=kept, points=25, adaptive=0.1)
    limit = -1
    asked.clear()
    again = tw.surface.plane(learner, data, resume=kept, **settings)
    assert asked == levels[2:], "what was done is not done again"
    np.testing.assert_array_equal(again.values, whole.values)
    np.testing.assert_array_equal(again.computed, whole.computed)
    assert again.facts.rows == whole.facts.rows
    assert list(kept.parent.iterdir()) == [], "nothing is left"


def test_what_belongs_to_other_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[1]
    learner, data = learner_of(case), case.data()
    kept = tmp_path / "plane.npz"
    from thalweg.surface.chain import Chain

    def late(self: Chain, first: int, last: int) -> torch.Tensor:
        if self._params and len(self._host) > 2:
            raise KeyboardInterrupt
        return outputs(self, first, last)

    outputs = Chain.outputs
    with monkeypatch.context() as patch:
        patch.setattr(Chain, "outputs", late)
        with pytest.raises(KeyboardInterrupt):
            tw.surface.plane(learner, data, points=3, resume=kept)
    with pytest.raises(ValueError, match="belongs to another computation"):
        tw.surface.plane(learner, data, points=3, seed=1, resume=kept)
    with torch.no_grad():
        next(learner.module.parameters()).add_(1.0)
    with pytest.raises(ValueError, match="belongs to another computation"):
        tw.surface.plane(learner, data, points=3, resume=kept)
    kept.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be read"):
        tw.surface.plane(learner, data, points=3, resume=kept)


def test_threads_give_the_same_bits() -> None:
    x, y = rows(5000)
    model = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3)).double()
    learner = tw.compile(model, optimizer="sgd", lr=0.1, loss="cross_entropy")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = tw.surface.plane(learner, (x, y), points=4).values
        torch.set_num_threads(3)
        before = everything(learner)
        three = tw.surface.plane(learner, (x, y), points=4).values
        assert same(before, everything(learner))
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(one, three)
