"""Small chains advanced by one kernel are what their members are alone."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import thalweg as tw
from tests.race.problems import alone, classes, furthest, mlp, rows
from thalweg.engine.c_compiler import builds, unavailable
from thalweg.race import Candidate, Halving, choose
from thalweg.race.stack import Stack

pytestmark = pytest.mark.skipif(bool(unavailable()), reason="no compiler here")

EPOCHS = 34  # of 6 batches of 16 rows: 204 updates
RULES: list[tw.optim.Rule] = [
    tw.optim.SGD(lr=0.1),
    tw.optim.SGD(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    tw.optim.Adam(lr=0.01, amsgrad=True),
    tw.optim.AdamW(lr=0.01),
    tw.optim.RMSprop(lr=0.003, centered=True, momentum=0.5),
    tw.optim.Adagrad(lr=0.05),
    tw.optim.Lion(lr=0.001),
    tw.optim.ScheduleFreeAdamW(lr=0.01),
    tw.optim.Lookahead(tw.optim.NAdam(lr=0.01)),
]


@pytest.fixture(autouse=True)
def whatever_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short races take the kernel too."""
    monkeypatch.setattr(choose, "_WORTH_A_KERNEL", 0)
    monkeypatch.setattr(choose, "WORTH", 1)


def race(model: nn.Module, data: Any, candidates: list[Candidate], loss: Any, **more: Any) -> Any:
    given = {"epochs": EPOCHS, "batch_size": 16, "verbose": False, **more}
    return tw.race(model, data, None, candidates, loss=loss, **given)


def is_chained(found: Any) -> bool:
    return found.notes == ("one kernel for passes and updates",)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_rules_in_float64_over_200_updates(rule: tw.optim.Rule) -> None:
    candidates = [
        Candidate(rule, clip_norm=0.5),
        Candidate(rule.with_hyper({"lr": 0.3 * float(rule.lr)}), clip_value=0.02),
    ]
    model, data = mlp(), rows()
    found = race(model, data, candidates, "mse")
    assert is_chained(found)
    for number, candidate in enumerate(candidates):
        module, history = alone(model, candidate, data, "mse", EPOCHS)
        assert furthest(found.module(number), module) < 1e-10
        assert np.allclose(found.members[number].curve, history["loss"], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid])
def test_schedules_smoothing_decay_and_orders_of_ones_own(activation: type[nn.Module]) -> None:
    torch.manual_seed(1)
    candidates = [
        Candidate(tw.optim.AdamW(lr=0.01, weight_decay=0.1), "cosine", clip_norm=1.0),
        Candidate(tw.optim.AdamW(lr=0.02, weight_decay=0.0), {"lr": "one_cycle"}, label_smoothing=0.1),
        Candidate(tw.optim.AdamW(lr=0.003, betas=(0.8, 0.99)), tw.schedule.Warmup(20) >> tw.schedule.Cosine(100)),
        Candidate(tw.optim.AdamW(lr=0.003), clip_value=0.01, order=5),
        Candidate(tw.optim.AdamW(lr=0.004), order=6, seed=3),
    ]
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 9), activation(), nn.Linear(9, 3, bias=False)).double()
    data = classes(90)  # the last batch has ten rows
    found = race(model, data, candidates, "cross_entropy")
    assert is_chained(found)
    for number, candidate in enumerate(candidates[:-1]):
        module, history = alone(model, candidate, data, "cross_entropy", EPOCHS)
        assert furthest(found.module(number), module) < 1e-10, str(candidate)
        assert np.allclose(found.members[number].curve, history["loss"], rtol=1e-10, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 70), min_size=2, max_size=4),
    st.integers(1, 70),
    st.sampled_from([torch.float32, torch.float64]),
    st.booleans(),
    st.integers(1, 3),
)
def test_any_width_and_number_of_rows(
    widths: list[int], n: int, dtype: torch.dtype, classifies: bool, threads: int
) -> None:
    generator = torch.Generator().manual_seed(sum(widths) + n)
    torch.manual_seed(n)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    model = nn.Sequential(*layers[:-1]).to(dtype)
    classifies = classifies and widths[-1] > 1
    x = torch.randn(2 * n, widths[0], generator=generator, dtype=dtype)
    y = torch.randn(2 * n, widths[-1], generator=generator, dtype=dtype)
    data = (x, y.argmax(1) if classifies else y)
    loss = "cross_entropy" if classifies else "mse"
    candidates = [Candidate(tw.optim.SGD(lr=lr)) for lr in (1.0, 0.1, 0.01)]
    kept = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        more = {"loss": loss, "steps": 2, "batch_size": n, "verbose": False}
        found = tw.race(model, data, data, candidates, **more)
        wanted = tw.race(model, data, data, candidates, stacking="never", **more)
    finally:
        torch.set_num_threads(kept)
    assert is_chained(found)
    near = 1e-10 if dtype is torch.float64 else 2e-4
    for one, other in zip(found.members, wanted.members, strict=True):
        assert np.allclose(one.curve, other.curve, rtol=near, atol=near)
        assert np.allclose(one.validations, other.validations, rtol=near, atol=near)
        assert furthest(found.module(one.number), wanted.module(one.number)) < near


def test_a_member_that_diverges_spoils_no_other() -> None:
    field = [Candidate({"name": name, "lr": lr}) for name in ("sgd", "adam") for lr in (0.01, 1e300, 0.02)]
    model = mlp()
    found = race(model, rows(), field, "mse", epochs=3)
    kept = race(model, rows(), [c for c in field if c.rule.lr < 1], "mse", epochs=3)
    assert is_chained(found)
    plain = race(model, rows(), field, "mse", epochs=3, step="eager")
    assert [(m.ended, m.step) for m in found.members] == [(m.ended, m.step) for m in plain.members]
    assert "diverged" in {member.ended for member in found.members}
    for mine, other in zip((0, 2, 3, 5), range(4), strict=True):
        assert np.array_equal(found.members[mine].curve, kept.members[other].curve)
        assert furthest(found.module(mine), kept.module(other)) == 0


def test_halving_joins_and_packs_as_the_stacks_do() -> None:
    field = [Candidate({"name": name, "lr": lr}) for name in ("sgd", "adam", "lion") for lr in (0.001, 0.01, 0.1)]
    more: dict[str, Any] = {"loss": "cross_entropy", "epochs": 9, "batch_size": 32, "verbose": False}
    more["halving"] = Halving(3, rungs=3)
    found = tw.race(mlp(3), classes(), classes(60), field, **more)
    plain = tw.race(mlp(3), classes(), classes(60), field, step="eager", **more)
    assert is_chained(found)
    assert not is_chained(plain)
    for one, other in zip(found.members, plain.members, strict=True):
        assert (one.ended, one.step) == (other.ended, other.step)
        assert np.allclose(one.curve, other.curve, rtol=1e-10)
        assert np.allclose(one.validations, other.validations, rtol=1e-10)


@pytest.mark.parametrize(
    ("model", "loss", "penalty"),
    [
        (nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3)), "cross_entropy", None),
        (nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)), "cross_entropy", None),
        (nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3)), "cross_entropy", None),
        (nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Tanh(), nn.Linear(8, 3)), "cross_entropy", None),
        (nn.Linear(6, 3), tw.loss.CrossEntropy(class_weight=(1.0, 2.0, 1.0)), None),
        (nn.Linear(6, 3), "cross_entropy", tw.L2(0.1)),
    ],
)
def test_what_the_kernel_does_not_know_runs_without_it(model: nn.Module, loss: Any, penalty: Any) -> None:
    field = [Candidate({"name": "sgd", "lr": lr}) for lr in (0.01, 0.1)]
    found = race(model.double(), classes(), field, loss, epochs=2, penalty=penalty)
    assert "tacked" in found.notes[0]


def test_ignored_targets_and_frozen_layers_run_without_it() -> None:
    x, y = classes()
    field = [Candidate({"name": "sgd", "lr": lr}) for lr in (0.01, 0.1)]
    gone = torch.where(torch.arange(len(y)) % 7 == 0, -100, y)
    assert "tacked" in race(mlp(3), (x, gone), field, "cross_entropy", epochs=2).notes[0]
    frozen = mlp(3)
    next(frozen.parameters()).requires_grad_(False)
    found = race(frozen, (x, y), field, "cross_entropy", epochs=2)
    assert "tacked" in found.notes[0]
    assert torch.equal(next(found.module(0).parameters()), next(frozen.parameters()))


def test_a_class_that_is_none_is_refused() -> None:
    x, y = classes()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=16)
    field = [Candidate({"name": "sgd", "lr": lr}) for lr in (0.01, 0.1)]
    model = mlp(3)
    every = tw.loss.CrossEntropy(ignore_index=None)
    found = tw.race(model, loader, None, field, loss=every, steps=1, verbose=False)
    stack = Stack(found.entry, field, [0, 1], 100)
    assert stack.has_kernel
    stack.update = "kernel"
    before = stack.members.params["0.weight"].clone()
    y[40] = 3
    with pytest.raises(IndexError, match=r"race: a target is no class: .* 3 outputs, so that targets are 0 to 2"):
        stack.advance(6)
    assert torch.equal(stack.members.params["0.weight"], before)


def test_state_goes_on_where_it_was_left(tmp_path: Path) -> None:
    data = classes()
    field = [Candidate(tw.optim.AdamW(lr=lr), "cosine") for lr in (0.01, 0.1)]
    found = race(mlp(3), data, field, "cross_entropy", epochs=1)
    whole, parts = (Stack(found.entry, field, [0, 1], 60) for _ in range(2))
    for stack in (whole, parts):
        assert stack.has_kernel
        stack.update = "kernel"
    losses = whole.advance(40)
    first = parts.advance(15)
    torch.save(parts.state(), tmp_path / "state.pt")
    again = Stack(found.entry, field, [0, 1], 60)
    again.load_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert again.is_chained
    assert np.array_equal(np.concatenate([first, again.advance(25)]), losses)


def test_a_second_race_compiles_nothing() -> None:
    field = [Candidate({"name": "adam", "lr": lr}) for lr in (0.01, 0.1)]
    race(mlp(3), classes(), field, "cross_entropy", epochs=1)
    made = builds()
    wide = nn.Sequential(nn.Linear(6, 30), nn.Tanh(), nn.Linear(30, 3)).double()
    assert is_chained(race(wide, classes(), field, "cross_entropy", epochs=1, batch_size=7))
    assert builds() == made
