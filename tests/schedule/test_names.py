"""Schedules by name, from plain data, from functions, and per hyperparameter."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tests.schedule.cases import halving
from thalweg import schedule as sched
from thalweg.schedule import NAMES, Cosine, Function, Linear, OneCycle, Step, Warmup, by_hyper, from_dict, make, resolve


def test_every_name_is_its_class_s() -> None:
    assert {name: kind.name for name, kind in NAMES.items()} == {name: name for name in NAMES}
    assert {kind.__name__ for kind in NAMES.values()} < set(sched.__all__)


@pytest.mark.parametrize(
    "given",
    ["cosine", "Cosine", "COSINE", Cosine, Cosine(), {"name": "cosine"}],
    ids=repr,
)
def test_make_takes_what_names_a_schedule(given: object) -> None:
    assert make(given) == Cosine()


def test_make_takes_settings() -> None:
    assert make("one-cycle", pct_start=0.3) == OneCycle(pct_start=0.3)
    assert make({"name": "step", "step_size": 3}, gamma=0.5) == Step(3, gamma=0.5)
    assert make(Warmup, steps="10%") == Warmup("10%")
    assert make("product", parts=[Cosine(), Step(3)]) == Cosine() * Step(3)


def test_make_takes_functions() -> None:
    assert make(halving) == Function(halving)
    assert make(lambda step: 0.5**step).resolve(9).value(2, 1.0) == 0.25


def test_nested_plain_data() -> None:
    plain = {
        "name": "product",
        "parts": [
            {"name": "join", "parts": [{"name": "warmup", "steps": "10%"}, {"name": "cosine"}]},
            {"name": "lasting", "steps": 20, "schedule": {"name": "multi_step", "milestones": [5, "1 epoch"]}},
        ],
    }
    made = from_dict(plain)
    assert made == (Warmup("10%") >> Cosine()) * sched.MultiStep((5, "1 epoch")).lasting(20)
    assert from_dict(json.loads(json.dumps(sched.to_dict(made)))) == made


def test_functions_in_plain_data() -> None:
    plain = sched.to_dict(Function(halving))
    assert plain == {"name": "function", "every": "step", "fn": "tests.schedule.cases:halving", "vectorized": False}
    assert from_dict(plain) == Function(halving)
    assert repr(Function(halving, every="epoch")) == "Function('tests.schedule.cases:halving', every='epoch')"
    with pytest.raises(ValueError, match=r"to_dict: <function .*lambda.* has no name to import it by"):
        sched.to_dict(Function(lambda step: 1.0))


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (
            lambda: make("cosin"),
            ValueError,
            r"schedule: unknown schedule 'cosin'\. Did you mean 'cosine'\? Known: const",
        ),
        (
            lambda: make("cosine", where="recipe [schedule]", eta_mim=1),
            ValueError,
            r"recipe \[schedule\]: Cosine has no",
        ),
        (lambda: make("cosine", eta_mim=1), ValueError, r"no setting 'eta_mim'\. Did you mean 'eta_min'\? It has: eta"),
        (lambda: make("step"), ValueError, r"schedule: Step needs step_size, and got none; give it"),
        (
            lambda: make("wsd", warmup=3),
            ValueError,
            r"schedule: WarmupStableDecay needs decay, and got warmup; give it",
        ),
        (lambda: make(3), TypeError, r"schedule: 3 describes no schedule; pass a name \(constant"),
        (lambda: make(None), TypeError, r"schedule: None describes no schedule"),
        (lambda: make(Cosine(), eta_min=0.1), TypeError, r"and the settings \['eta_min'\] as well; put them in"),
        (
            lambda: make(torch.optim.lr_scheduler.StepLR),
            TypeError,
            r"is torch's and holds state; wrap it: schedule\.from",
        ),
        (
            lambda: from_dict({"eta_min": 0.1}),
            ValueError,
            r"schedule: the key 'name' is missing; known schedules: const",
        ),
        (
            lambda: from_dict({"name": "join", "parts": [{"name": "warmpu", "steps": 3}]}),
            ValueError,
            r"schedule parts: unknown schedule 'warmpu'\. Did you mean 'warmup'\?",
        ),
        (lambda: sched.to_dict("cosine"), TypeError, r"to_dict: 'cosine' is no schedule, got str"),  # type: ignore[arg-type]
        (lambda: by_hyper({"lr": "cosine", "momentun": "constant"}), ValueError, r"Did you mean 'momentum'\?"),
        (
            lambda: by_hyper({"momentum": "constant", "beta1": "constant"}),
            ValueError,
            r"'beta1' is another name of 'mom",
        ),
        (lambda: by_hyper({"lr": "cosin"}), ValueError, r"schedule lr: unknown schedule 'cosin'"),
        (lambda: resolve("cosine", None), ValueError, r"Cosine: the total steps are unknown"),
    ],
)
def test_refuses(call: object, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()  # type: ignore[operator]


def test_a_class_of_one_s_own_has_no_name() -> None:
    class Mine(Cosine):
        pass

    with pytest.raises(ValueError, match=r"to_dict: Mine has no name in plain data; known: constant"):
        sched.to_dict(Mine())
    assert repr(Mine(9)) == "Mine(steps=9)"
    assert make(Mine()).resolve(9) == Mine(9)


def test_a_bare_schedule_acts_on_the_rate() -> None:
    assert by_hyper("cosine") == {"lr": Cosine()}
    assert by_hyper(halving) == {"lr": Function(halving)}
    assert by_hyper({"name": "cosine", "eta_min": 0.1}) == {"lr": Cosine(eta_min=0.1)}
    assert by_hyper({"beta1": Linear(), "weight_decay": "cosine"}) == {"momentum": Linear(), "weight_decay": Cosine()}


def test_resolve_adds_the_momentum_of_a_cycle_unless_it_is_given() -> None:
    assert list(resolve(OneCycle(), 100)) == ["lr", "momentum"]
    given = resolve({"lr": OneCycle(), "momentum": "constant"}, 100)
    assert given["momentum"] == sched.Constant()
    assert resolve({"weight_decay": Cosine("1 epoch")}, 100, 20) == {"weight_decay": Cosine(20)}


def test_reads_and_writes_what_a_group_has() -> None:
    sgd = {"params": [], "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    adam = {"params": [], "lr": torch.tensor(0.1), "betas": (0.9, 0.999)}
    for group in (sgd, adam):
        sched.write(group, "lr", 0.25)
        sched.write(group, "momentum", 0.5)
        assert (sched.read(group, "lr"), sched.read(group, "momentum")) == (0.25, 0.5)
    assert adam["betas"] == (0.5, 0.999)
    assert isinstance(adam["lr"], torch.Tensor)
    sched.write(sgd, "weight_decay", 0.0)
    assert sgd == {"params": [], "lr": 0.25, "momentum": 0.5, "weight_decay": 0.0}
    captured = {"betas": (torch.tensor(0.9), torch.tensor(0.999))}
    first = captured["betas"][0]
    sched.write(captured, "momentum", 0.5)
    assert first.item() == 0.5
    for call in (lambda: sched.read({"lr": 0.1}, "momentum"), lambda: sched.write({"lr": 0.1}, "momentum", 0.5)):
        with pytest.raises(ValueError, match=r"group has no 'momentum' to act on \(it has lr\); use an optimizer that"):
            call()


def test_numpy_numbers_become_plain_ones() -> None:
    schedule = Cosine(np.int64(9), eta_min=np.float32(0.5))  # type: ignore[arg-type]
    assert repr(schedule) == "Cosine(steps=9, eta_min=0.5)"
    assert type(schedule.steps) is int
