"""Each member equals its training alone: a learner's own fit from the same weights through the same batches."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw
from tests.optim.cases import CASES, Case
from tests.race.problems import Residual, alone, classes, furthest, mlp, rows
from thalweg.race import Candidate

EPOCHS = 34  # of 6 batches of 16 rows: 204 updates


def race(model: nn.Module, data: Any, candidates: list[Candidate], loss: Any, **settings: Any) -> Any:
    given = {"epochs": EPOCHS, "batch_size": 16, "stacking": "always", "verbose": False, **settings}
    return tw.race(model, data, None, candidates, loss=loss, **given)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_rule_in_float64_over_200_updates(case: Case) -> None:
    # Ascending, the loss runs off to 1e200, where nothing equals anything to 1e-10.
    case = dataclasses.replace(case, rule=case.rule.with_hyper({"maximize": False}))
    rates = [case.rule.lr] if case.rule.owns_rate else [float(case.rule.lr), 0.3 * float(case.rule.lr)]
    rules = [case.rule if case.rule.owns_rate else case.rule.with_hyper({"lr": rate}) for rate in rates]
    if case.rule.owns_rate:
        rules.append(case.rule.with_hyper({"weight_decay": 0.01}))
    candidates = [Candidate(rule, clip_norm=limit) for rule, limit in zip(rules, (None, 0.5), strict=True)]
    model, data = mlp(), rows()
    found = race(model, data, candidates, "mse")
    assert "tacked" in found.notes[0]
    for number, candidate in enumerate(candidates):
        module, history = alone(model, candidate, data, "mse", EPOCHS)
        assert len(history) == 204
        assert furthest(found.module(number), module) < 1e-10
        assert np.allclose(found.members[number].curve, history["loss"], rtol=1e-10, atol=1e-10)


MODELS = {
    "chain": mlp(3),
    "vmap": Residual(3).double(),
    "batch norm, chain": nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).double(),
    "batch norm, vmap": nn.Sequential(
        nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    ).double(),
}


@pytest.mark.parametrize("name", MODELS)
def test_schedules_clipping_smoothing_and_orders_of_ones_own(name: str) -> None:
    torch.manual_seed(1)
    candidates = [
        Candidate(tw.optim.AdamW(lr=0.01, weight_decay=0.1), "cosine", clip_norm=1.0),
        Candidate(tw.optim.AdamW(lr=0.02), {"lr": "one_cycle"}, label_smoothing=0.1),
        Candidate(tw.optim.AdamW(lr=0.003, betas=(0.8, 0.99)), tw.schedule.Warmup(20) >> tw.schedule.Cosine(100)),
        Candidate(tw.optim.AdamW(lr=0.003), clip_value=0.01, order=5),
        Candidate(tw.optim.AdamW(lr=0.004), order=6),
    ]
    model, data = MODELS[name], classes()
    found = race(model, data, candidates, "cross_entropy", penalty=tw.L2(1e-3))
    for number, candidate in enumerate(candidates):
        module, history = alone(model, candidate, data, "cross_entropy", EPOCHS, penalty=tw.L2(1e-3))
        assert furthest(found.module(number), module) < 1e-10, str(candidate)
        assert np.allclose(found.members[number].curve, history["loss"], rtol=1e-10, atol=1e-10)
        for (_, a), (_, b) in zip(found.module(number).named_buffers(), module.named_buffers(), strict=True):
            assert torch.allclose(a, b, rtol=1e-9)


@pytest.mark.parametrize("update", ["stacked", "each"])
@pytest.mark.parametrize("kind", ["chain", "vmap"])
def test_dropout_is_the_same_stacked_and_alone(kind: str, update: str) -> None:
    torch.manual_seed(0)
    middle = nn.ReLU() if kind == "chain" else nn.Softmax(1)
    model = nn.Sequential(nn.Linear(6, 16), middle, nn.Dropout(0.4), nn.Linear(16, 8), nn.Dropout(0.2), nn.Linear(8, 1))
    model.double()
    data = rows()
    candidates = [Candidate(tw.optim.SGD(lr=0.05), seed=seed) for seed in (3, 4)]
    found = race(model, data, candidates, "mse", epochs=10)
    for number, candidate in enumerate(candidates):
        single = race(model, data, [candidate], "mse", epochs=10, stacking="never")
        assert furthest(found.module(number), single.module(0)) < 1e-12
    own = found.entry.initial(3)
    begun = nn.Sequential(*(layer for layer in model)).requires_grad_(True)
    begun.load_state_dict({**own[0], **own[1]})
    learner = tw.Learner(begun, tw.optim.SGD(lr=0.05), "mse", seed=0, device="cpu")
    with tw.race.CounterMasks(seed=3) as masks:
        learner.fit(data, epochs=10, batch_size=16, verbose=False, hooks=[masks])
    assert furthest(found.module(0), begun.eval()) < 1e-12


def test_float32_where_a_solo_run_is_itself_stable(capsys: pytest.CaptureFixture[str]) -> None:
    """Compared where a run whose weights are moved by 1e-7 stays within 1e-4 of itself; the others are counted."""
    data = rows(dtype=torch.float32)
    rates = tw.race.log(1e-4, 1.0, 7)
    chaotic, compared = [], 0
    for name in ("sgd", "adamw", "rmsprop"):
        candidates = [Candidate({"name": name, "lr": rate}) for rate in rates]
        model = mlp(dtype=torch.float32)
        moved = mlp(dtype=torch.float32)
        with torch.no_grad():
            for param in moved.parameters():
                param.mul_(1 + 1e-7 * torch.randn(param.shape, generator=torch.Generator().manual_seed(0)))
        found = race(model, data, candidates, "mse")
        for number, candidate in enumerate(candidates):
            if found.members[number].ended == "diverged":
                with pytest.raises(FloatingPointError, match=f"at step {found.members[number].step}"):
                    alone(model, candidate, data, "mse", EPOCHS)
                continue
            module, _ = alone(model, candidate, data, "mse", EPOCHS)
            other, _ = alone(moved, candidate, data, "mse", EPOCHS)
            if furthest(module, other) > 1e-4:
                chaotic.append(str(candidate))
                continue
            compared += 1
            assert furthest(found.module(number), module) < 1e-4, str(candidate)
    with capsys.disabled():
        print(f"\nfloat32: {compared} members equal their solo runs; chaotic, not compared: {len(chaotic)} {chaotic}")
    assert compared >= 12, chaotic
