"""Layer groups: the split, spread rates, freezing, and all of it through save and resume."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import thalweg as tw
from thalweg.learner.layers import spread_rates
from thalweg.learner.split import split_model

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
Y = (X[:, 0] > 0).long()
QUIET: dict[str, Any] = {"batch_size": 16, "verbose": False}


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)
    )


def learner(optimizer: Any = "adamw", **settings: Any) -> tw.Learner:
    settings = {"lr": 0.01, "device": "cpu", "seed": 0, **settings}
    return tw.Learner(settings.pop("model", None) or mlp(), optimizer, "cross_entropy", **settings)


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)


class Transformer(nn.Module):
    """Parameters at the top, an embedding, four blocks, a norm, a head in the middle of the order."""

    def __init__(self) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.zeros(4))
        self.head = nn.Linear(4, 3)
        self.embed = nn.Embedding(5, 4)
        self.blocks = nn.ModuleList(Block(4) for _ in range(4))
        self.norm = nn.LayerNorm(4)


def test_the_default_split_is_lower_upper_head() -> None:
    groups = {group.label: group.names for group in split_model(mlp())}
    assert list(groups) == ["lower", "upper", "head"]
    assert groups["lower"] == ("0.weight", "0.bias", "1.weight", "1.bias"), "a norm stays with the layer before it"
    assert groups["upper"] == ("3.weight", "3.bias", "4.weight", "4.bias")
    assert groups["head"] == ("6.weight", "6.bias")


def test_the_body_is_cut_between_blocks_and_the_head_is_found_by_structure() -> None:
    groups = {group.label: set(group.names) for group in split_model(Transformer())}
    assert groups["head"] == {"head.weight", "head.bias"}
    assert {"cls", "embed.weight", "blocks.1.fc2.weight"} <= groups["lower"]
    assert {"blocks.2.norm.weight", "norm.bias"} <= groups["upper"]


@pytest.mark.parametrize(
    ("model", "labels"),
    [(nn.Linear(3, 2), ["head"]), (nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)), ["upper", "head"])],
)
def test_small_models_have_fewer_groups(model: nn.Module, labels: list[str]) -> None:
    assert [group.label for group in split_model(model)] == labels


def test_every_parameter_is_in_one_group_whatever_the_split() -> None:
    model = mlp()
    splits: list[Any] = [
        None,
        ["0", ["1", "3", "4"], "6"],
        [model[:3], model[3:]],
        lambda m: [list(m[:3].parameters()), list(m[3:].parameters())],
    ]
    for split in splits:
        names = [name for group in split_model(model, split) for name in group.names]
        assert sorted(names) == sorted(name for name, _ in model.named_parameters())


@pytest.mark.parametrize(
    ("split", "error", "message"),
    [
        (["0", "3"], ValueError, r"6 parameters are in no group: 1.weight, 1.bias"),
        ([["0", "1"], ["1", "3", "4", "6"]], ValueError, r"1.weight is in group 0 and in group 1"),
        (["0", "nine"], ValueError, r"prefix 'nine' matches no parameter\. The model's parts: 0, 1"),
        ([["0", "1", "3", "4", "6"], nn.ReLU()], ValueError, r"group 1 .* holds no parameters"),
        ("0", TypeError, r"the split is a str; pass a list of groups"),
        ([3], TypeError, r"group 0 holds 3, a int; pass modules, prefixes"),
        ([nn.Parameter(torch.zeros(1))], ValueError, r"holds a tensor that is no parameter of the model"),
    ],
)
def test_splits_that_cannot_work_say_why(split: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        learner().split_layers(split)


@pytest.mark.parametrize(
    ("lr", "rates"),
    [(slice(1e-5, 1e-3), [1e-5, 1e-4, 1e-3]), (slice(3e-3), [1e-3, 1e-3, 3e-3]), ([0.0, 0.1, 0.2], [0.0, 0.1, 0.2])],
)
def test_rates_are_spread(lr: Any, rates: list[float]) -> None:
    assert spread_rates(lr, 3) == pytest.approx(rates, rel=1e-12)
    one = learner()
    history = one.fit((X, Y), lr=lr, **QUIET)
    found = [history[f"lr/{label}"][0] for label in ("lower", "upper", "head")]
    assert found == pytest.approx(rates, rel=1e-12)


@pytest.mark.parametrize(
    ("lr", "count", "message"),
    [
        (slice(1e-3), 1, r"spreads the rate over layer groups, but the model has one group"),
        (slice(1e-5, 1e-3, 2), 3, "has a step, which means nothing here"),
        (slice(1e-5, None), 3, "has no end"),
        (slice(-1.0, 1.0), 3, r"slice=-1.0 must be > 0"),
        ([0.1, 0.2], 3, "2 rates were given for 3 layer groups"),
        ([0.1, -0.2, 0.1], 3, r"lr\[1\]=-0.2 must be >= 0"),
    ],
)
def test_rates_that_cannot_be_spread_say_why(lr: Any, count: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spread_rates(lr, count)


def test_a_slice_on_a_model_with_one_group_is_refused() -> None:
    with pytest.raises(ValueError, match="the model has one group; pass a number, or split the model"):
        learner(model=nn.Linear(6, 2)).fit((X, Y), lr=slice(1e-3), **QUIET)


@pytest.mark.parametrize("method", ["fit", "fit_one_cycle", "plan"])
def test_no_rate_is_an_error_and_not_the_default(method: str) -> None:
    with pytest.raises(ValueError, match=r"lr=None is no rate\. A finder suggests None where no rate is reliable"):
        getattr(learner(), method)((X, Y), lr=None)


def test_a_schedule_keeps_the_ratio_and_the_base_comes_back() -> None:
    one = learner()
    history = one.fit((X, Y), lr=slice(1e-4, 1e-2), schedule="cosine", **QUIET)
    assert np.allclose(history["lr/head"] / history["lr/lower"], 100.0, rtol=1e-12)
    assert one.fit((X, Y), **QUIET)["lr/lower"][0] == pytest.approx(0.01)


def test_an_override_keeps_its_ratio_within_a_layer_group() -> None:
    one = learner(overrides={"6.bias": {"lr": 0.02}})
    one.fit((X, Y), lr=slice(1e-4, 1e-2), **QUIET)
    rates = {name: group["lr"] for group in one.optimizer.param_groups for name in group["param_names"]}
    assert rates["6.bias"] == pytest.approx(2 * rates["6.weight"])
    assert rates["0.weight"] == pytest.approx(1e-4)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", torch.optim.AdamW])
def test_frozen_layers_keep_everything(optimizer: Any) -> None:
    one = learner(optimizer)
    one.fit((X, Y), **QUIET)
    one.freeze_to(1)
    names = {"0.weight", "0.bias", "1.weight", "1.bias"}
    held = {name: p.detach().clone() for name, p in one.module.named_parameters() if name in names}
    states = {name: copy.deepcopy(one.optimizer.state[p]) for name, p in one.module.named_parameters() if name in names}
    one.fit((X, Y), epochs=2, **QUIET)
    for name, param in one.module.named_parameters():
        assert (name in names) == (not param.requires_grad)
        if name in names:
            assert torch.equal(param, held[name])
            assert param.grad is None
            for key, value in states[name].items():
                assert torch.equal(torch.as_tensor(one.optimizer.state[param][key]), torch.as_tensor(value)), key
    one.unfreeze()
    one.fit((X, Y), **QUIET)
    assert not torch.equal(one.module.get_parameter("0.weight"), held["0.weight"])


def test_decay_does_not_reach_frozen_layers() -> None:
    one = learner(tw.optim.AdamW(lr=0.1, weight_decay=0.9), lr=None)
    one.freeze()
    before = one.module.get_parameter("0.weight").detach().clone()
    one.fit((X, Y), **QUIET)
    assert torch.equal(one.module.get_parameter("0.weight"), before)


@pytest.mark.parametrize("update_stats", [False, True])
def test_frozen_batchnorm_holds_its_statistics_unless_asked(update_stats: bool) -> None:
    one = learner()
    one.freeze_to(1, update_stats=update_stats)
    first, second = one.module[1].running_mean.clone(), one.module[4].running_mean.clone()
    one.fit((X, Y), **QUIET)
    assert torch.equal(one.module[1].running_mean, first) is not update_stats
    assert not torch.equal(one.module[4].running_mean, second)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda one: one.freeze_to(3), r"freeze_to: n=3 would freeze everything, because there are only 3"),
        (lambda one: one.freeze_to(-4), r"freeze_to: n=-4 counts back beyond the 3 layer groups"),
    ],
)
def test_freezing_everything_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(learner())


def test_freezing_a_model_of_one_group_is_refused() -> None:
    with pytest.raises(ValueError, match=r"freeze: the model has one layer group \(head\)"):
        learner(model=nn.Linear(6, 2)).freeze()
    with pytest.raises(ValueError, match=r"n=1 would freeze everything, because there is only one layer group"):
        learner(model=nn.Linear(6, 2)).freeze_to(1)


def test_the_plan_says_what_is_frozen() -> None:
    one = learner()
    one.freeze()
    rows = {row.name: row for row in one.plan((X, Y)).groups}
    assert rows["0.weight"].frozen
    assert "layer group lower" in rows["0.weight"].why
    assert "frozen" in rows["0.weight"].why
    assert not rows["6.weight"].frozen
    one.unfreeze()
    assert not any(row.frozen or "frozen" in row.why for row in one.plan((X, Y)).groups)


def test_state_is_kept_when_the_groups_change() -> None:
    one = learner()
    one.fit((X, Y), **QUIET)
    moments = {name: one.optimizer.state[p]["exp_avg"].clone() for name, p in one.module.named_parameters()}
    one.split_layers()
    for name, param in one.module.named_parameters():
        assert torch.equal(one.optimizer.state[param]["exp_avg"], moments[name])


def test_groups_change_nothing_where_the_rates_are_alike() -> None:
    plain, split = learner(), learner()
    split.split_layers()
    for one in (plain, split):
        one.fit((X, Y), epochs=2, **QUIET)
    for a, b in zip(plain.module.parameters(), split.module.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-7)


class StopAt(tw.Hook):
    def __init__(self, step: int) -> None:
        self.at = step

    def on_step_end(self, run: Any) -> None:
        if run.step == self.at:
            run.stop("asked")


def test_frozen_groups_and_rates_survive_a_resume(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"epochs": 3, "lr": [1e-4, 1e-3, 1e-2], "schedule": "cosine", **QUIET}
    whole = learner()
    whole.freeze_to(1, update_stats=True)
    whole.fit((X, Y), hooks=[StopAt(-1)], **settings)
    broken = learner()
    broken.freeze_to(1, update_stats=True)
    broken.fit((X, Y), hooks=[StopAt(5)], run_dir=tmp_path / "run", **settings)
    resumed = learner()  # neither split nor frozen: the checkpoint says it all
    resumed.fit((X, Y), hooks=[StopAt(-1)], resume=tmp_path / "run", **settings)
    for (name, a), b in zip(whole.module.state_dict().items(), resumed.module.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert [p.requires_grad for p in resumed.module.parameters()] == [False] * 4 + [True] * 6
    assert [layer.label for layer in resumed.layers or []] == ["lower", "upper", "head"]


def test_frozen_groups_survive_save_and_load(tmp_path: Path) -> None:
    one = learner()
    one.split_layers([["0", "1"], ["3", "4", "6"]])
    one.freeze()
    one.fit((X, Y), **QUIET)
    again = learner().load(one.save(tmp_path / "saved"))
    assert [layer.names for layer in again.layers or []] == [layer.names for layer in one.layers or []]
    assert [p.requires_grad for p in again.module.parameters()] == [p.requires_grad for p in one.module.parameters()]
    for each in (one, again):
        each.fit((X, Y), **QUIET)
    for a, b in zip(one.module.parameters(), again.module.parameters(), strict=True):
        assert torch.equal(a, b)


def test_torch_optimizers_can_be_frozen_but_not_spread() -> None:
    one = learner(torch.optim.SGD)
    one.freeze()
    assert [p.requires_grad for p in one.module.parameters()] == [False] * 8 + [True] * 2
    with pytest.raises(ValueError, match="which SGD has not; give the optimizer param groups"):
        one.fit((X, Y), lr=slice(1e-3), **QUIET)


def test_fine_tune_trains_the_head_first_and_then_everything() -> None:
    one = learner()
    seen: list[tuple[list[bool], float]] = []

    class See(tw.Hook):
        def on_fit_begin(self, run: Any) -> None:
            seen.append(([p.requires_grad for p in run.module.parameters()], 0.0))

    history = one.fine_tune((X, Y), 2, 0.02, hooks=[See()], **QUIET)
    assert [flags[0] for flags, _ in seen] == [False, True]
    assert history["lr/head"].max() == pytest.approx(0.01, rel=0.05)
    assert history["lr/lower"].max() == pytest.approx(1e-4, rel=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": None}, "fine_tune: lr=None is no rate"),
        ({"run_dir": "x"}, "run_dir is of one training, and this makes two"),
        ({"lr_mult": 0.5}, "lr_mult=0.5 must be >= 1"),
    ],
)
def test_fine_tune_refuses(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learner().fine_tune((X, Y), 1, **{"lr": 0.01, **settings})


def test_a_model_with_free_parameters_trains_in_groups() -> None:
    class Free(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(6))
            self.inner = mlp()

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.inner(x * self.scale)
            return result

    one = learner(model=Free())
    labels = {name: group.label for group in one.split_layers() for name in group.names}
    assert labels["scale"] == "lower"
    one.fit((X, Y), lr=slice(1e-4, 1e-2), **QUIET)
