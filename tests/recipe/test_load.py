"""Reading a recipe: where mistakes are named, and what is completed."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.recipe.tiny import tiny
from thalweg import loss, optim, schedule
from thalweg.recipe import NAMES, NameTable, Recipe, Train, load
from thalweg.recipe.models import MLP

GOOD = """
model = "mlp"
data = "linear"
optimizer = "sgd"
loss = "mse"
metrics = ["mae"]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_names_alone_stand_for_tables_and_every_default_is_spelled_out(tmp_path: Path) -> None:
    recipe = load(written(tmp_path, GOOD))
    assert recipe.name == "recipe"
    assert recipe.model == {
        "name": "mlp",
        "inputs": "auto",
        "outputs": "auto",
        "hidden": [64],
        "activation": "relu",
        "dropout": 0.0,
        "norm": "none",
    }
    assert recipe.data == {"name": "linear", "n": 10_000, "features": 10, "noise": 0.1, "seed": 0}
    assert recipe.optimizer == {"name": "sgd", **optim.to_dict(optim.SGD())}
    assert recipe.schedule["name"] == "constant"
    assert recipe.metrics == {"names": ["mae"]}
    assert recipe.train == Train()


def test_a_recipe_is_written_and_read_without_a_change(tmp_path: Path) -> None:
    recipe = load(tiny(train={"early_stopping": 3, "penalty": {"name": "l2", "wd": 1e-5}, "clip_norm": 1.0}))
    assert load(recipe.save(tmp_path / "recipe.toml")) == recipe
    assert load(tomllib.loads(str(recipe))) == recipe
    assert recipe.train.early_stopping is not None
    assert recipe.train.early_stopping["patience"] == 3  # type: ignore[index]
    assert "hidden = [8]\n" in str(recipe), "a short list stands on one line"


def complete(section: str, **given: Any) -> dict[str, Any]:
    """Return one section of the tiny recipe, complete."""
    recipe = load(tiny(**{section: given}))
    return dict(getattr(recipe, section))


WRAPPERS = {"lookahead": {"rule": "adam"}, "averaged": {"rule": "sgd"}}


@pytest.mark.parametrize("name", sorted(NAMES.optimizer.names))
def test_every_rule_survives_being_written(name: str) -> None:
    plain = complete("optimizer", name=name, **WRAPPERS.get(name, {}))
    assert optim.make(plain) == optim.make(name, **WRAPPERS.get(name, {}))
    assert complete("optimizer", **plain) == plain


NEEDED: dict[str, dict[str, Any]] = {
    "cosine_restarts": {"T_0": 10},
    "cyclic": {"max_lr": 1.0, "step_size_up": 5},
    "exponential": {"gamma": 0.9},
    "function": {"fn": "math:sqrt"},
    "join": {"parts": [{"name": "warmup", "steps": 3}, "cosine"]},
    "product": {"parts": ["linear", {"name": "cosine"}]},
    "multi_step": {"milestones": [3, 5]},
    "step": {"step_size": 4},
    "wsd": {"warmup": "10%", "decay": "20%"},
    "lasting": {"schedule": "constant", "steps": 5},
    "warmup": {"steps": 5},
}


@pytest.mark.parametrize("name", sorted(NAMES.schedule.names))
def test_every_schedule_survives_being_written(name: str) -> None:
    plain = complete("schedule", name=name, **NEEDED.get(name, {}))
    assert plain["name"] == name
    made = schedule.from_dict(plain)
    assert schedule.to_dict(made) == plain
    assert complete("schedule", **plain) == plain


@pytest.mark.parametrize("name", sorted(NAMES.loss.names))
def test_every_loss_survives_being_written(name: str) -> None:
    plain = complete("loss", name=name)
    assert loss.from_dict(plain) == loss.make(name)
    assert complete("loss", **plain) == plain


@pytest.mark.parametrize(
    "given",
    [
        {"name": "torch.nn:SmoothL1Loss", "beta": 0.5},
        {"name": "cross_entropy", "class_weight": [1.0, 2.0], "label_smoothing": 0.1},
        {"name": "mse", "reduction": "sum"},
    ],
)
def test_the_options_of_a_loss_survive(given: dict[str, Any]) -> None:
    plain = complete("loss", **given)
    assert given.items() <= plain.items()
    assert complete("loss", **plain) == plain


def test_a_torch_optimizer_is_named_by_its_place() -> None:
    plain = complete("optimizer", name="torch.optim:RMSprop", lr=0.02, alpha=0.5)
    assert plain["lr"] == 0.02
    assert plain["centered"] is False
    learner, _ = load(tiny(optimizer=plain)).build()
    group = learner.optimizer.param_groups[0]
    assert type(learner.optimizer).__name__ == "RMSprop"
    assert (group["lr"], group["alpha"]) == (0.02, 0.5)


def test_a_table_with_a_further_name_is_handed_in() -> None:
    from dataclasses import replace

    names = replace(NAMES, model=NameTable("model", {**NAMES.model.names, "wide": MLP}))
    learner, _ = load(tiny(model={"name": "wide", "hidden": [9]}), names=names).build(names)
    assert next(learner.module.parameters()).shape == (9, 4)
    with pytest.raises(ValueError, match=r"unknown model 'wide'"):
        load(tiny(model="wide"))


def test_the_momentum_of_one_cycle_reaches_the_learner() -> None:
    learner, data = load(tiny(schedule="one_cycle")).build()
    assert set(learner.plan(data.train, epochs=20).rates) == {"lr", "momentum"}
    learner, data = load(tiny(schedule={"lr": "cosine", "momentum": {"name": "linear", "end_factor": 0.5}})).build()
    plan = learner.plan(data.train, epochs=20, batch_size=16)
    assert plan.rates["momentum"].last < plan.rates["momentum"].first


def test_learner_and_fit_get_every_setting() -> None:
    given = {
        "epochs": 3,
        "batch_size": 8,
        "accumulate": 4,
        "shuffle": False,
        "drop_last": True,
        "seed": 7,
        "precision": "bf16",
        "device": "cpu",
        "engine": "reference",
        "state_dtype": "bfloat16",
        "step": "eager",
        "clip_norm": 2.0,
        "clip_value": 0.5,
        "no_decay": ["*.bias"],
        "overrides": {"output.*": {"lr": 0.5}},
        "penalty": {"name": "l1", "wd": 1e-3},
        "log_every": "2 epochs",
        "checkpoint_every": "5 steps",
        "keep": 3,
        "flush_every": 9,
        "guard": "skip",
        "loggers": [],
        "early_stopping": {"monitor": "loss", "patience": 2},
    }
    recipe = load(tiny(train=given))
    learner, _ = recipe.build()
    assert learner.seed == 7
    assert (learner.precision, str(learner.device)) == ("bf16", "cpu")
    assert (learner.engine, learner.state_dtype, learner.step) == ("reference", "bfloat16", "eager")
    assert (learner.clip_norm, learner.clip_value) == (2.0, 0.5)
    assert repr(learner.penalty) == "L1(wd=0.001)"
    assert {row.name: row.lr for row in learner.group_rows}["output.weight"] == 0.5
    arguments = recipe.fit_arguments()
    stopping = arguments.pop("early_stopping")
    assert (stopping.monitor, stopping.patience) == ("loss", 2)
    assert arguments == {key: given[key] for key in arguments}
    assert set(given) == {name for name in Train.__dataclass_fields__ if name not in ("compile", "dropout")}


def test_the_name_of_another_library_is_honoured() -> None:
    assert load(tiny(train={"max_grad_norm": 1.5})).train.clip_norm == 1.5


SECTION_ERRORS = [
    ({"optimizer": {"name": "adam", "lrr": 1}}, r"recipe \[optimizer\]: unknown key 'lrr'. Did you mean 'lr'\?"),
    ({"optimizer": {"name": "adam", "lr": -1}}, r"recipe \[optimizer\]: Adam: lr=-1 must be >= 0"),
    ({"optimizer": {"lr": 1}}, r"recipe \[optimizer\]: 'name' is missing"),
    ({"optimizer": {"name": 3}}, r"recipe \[optimizer\]: name = 3 is no text"),
    ({"optimizer": 3}, r"recipe \[optimizer\]: 3 is no table; write \[optimizer\] with keys beneath it"),
    ({"optimizer": {"name": "lookahead"}}, r"recipe \[optimizer\]: 'rule' is missing"),
    ({"optimizer": {"name": "torch.optim:AdamW2"}}, r"module 'torch.optim' has no 'AdamW2'. Did you mean 'AdamW'\?"),
    ({"optimizer": {"name": "torch.nn:Linear"}}, r"recipe \[optimizer\]: 'torch.nn:Linear' is <class .*>; name an"),
    ({"optimizer": {"name": "torch.optim:SGD", "lrr": 1}}, r"unknown key 'lrr'. Did you mean 'lr'\?"),
    ({"model": None}, r"recipe: \[model\] is missing; write model = \"mlp\". Known: convnet, "),
    ({"data": None}, r"recipe: \[data\] is missing; write data = \"digits\". Known: characters, digits"),
    ({"loss": None}, r"recipe: \[loss\] is missing; .*\"cross_entropy\" for classes"),
    ({"model": "mpl"}, r"recipe \[model\]: unknown model 'mpl'. Did you mean 'mlp'\?"),
    ({"model": {"name": "mlp", "hidden": "wide"}}, r"hidden = 'wide' is a text; it must be a list of whole numbers"),
    ({"model": {"name": "mlp", "hidden": [1.5]}}, r"hidden = \[1.5\] is a list; it must be a list of whole numbers"),
    ({"model": {"name": "mlp", "inputs": 1.5}}, r"inputs = 1.5 is a number; it must be a whole number or 'auto'"),
    (
        {"model": {"name": "torch.nn:Linear"}},
        r"recipe \[model\]: 'in_features' and 'out_features' are missing; give a value, or \"auto\" to",
    ),
    ({"model": "nets:Net"}, r"'nets:Net' cannot be imported, because there is no module 'nets' in .* or among the"),
    ({"model": "nets:"}, r"'nets:' is not of the form 'package.module:name'"),
    ({"data": {"name": "linear", "m": 3}}, r"recipe \[data\]: unknown key 'm'"),
    ({"data": {"name": "linear", "n": True}}, r"recipe \[data\]: n = True is a boolean; it must be a whole number"),
    ({"data": {"seed": 1}}, r"recipe \[data\]: neither 'name' nor 'path' is given"),
    ({"data": {"name": "linear", "path": "x.csv"}}, r"name = 'linear' and path = '.*x.csv' are both given; keep one"),
    ({"data": {"path": "x.csv"}}, r"recipe \[data\]: 'target' is missing"),
    ({"data": {"path": "x.csv", "target": "y", "valid": True}}, r"valid = True is a boolean; it must be a number or a"),
    ({"schedule": "cosin"}, r"recipe \[schedule\]: unknown schedule 'cosin'. Did you mean 'cosine'\?"),
    ({"schedule": {"name": "cosine", "etamin": 0}}, r"\[schedule\]: unknown key 'etamin'. Did you mean 'eta_min'\?"),
    ({"schedule": {"lr": {"name": "cosine", "etamin": 0}}}, r"\[schedule\] lr: unknown key 'etamin'"),
    ({"schedule": {"lrr": "cosine"}}, r"recipe \[schedule\]: unknown hyperparameter 'lrr'. Did you mean 'lr'\?"),
    ({"schedule": {"name": "join", "parts": [{"name": "warmup"}]}}, r"recipe \[schedule\] parts: Warmup needs steps"),
    ({"loss": "mes"}, r"recipe \[loss\]: unknown loss 'mes'. Did you mean 'mse'\?"),
    ({"loss": {"name": "huber", "delt": 1.0}}, r"recipe \[loss\]: unknown key 'delt'. Did you mean 'delta'\?"),
    ({"loss": {"name": "huber", "delta": -1.0}}, r"recipe \[loss\]: .*delta=-1.0"),
    ({"loss": {"name": "torch.nn:SmoothL1Loss", "bta": 1.0}}, r"recipe \[loss\]: .*unknown option 'bta'"),
    ({"metrics": 3}, r"recipe \[metrics\]: 3 is no list of metrics; write metrics = \[\"accuracy\"\]"),
    ({"metrics": {"name": ["mae"]}}, r"recipe \[metrics\]: unknown key 'name'. Did you mean 'names'\?"),
    ({"metrics": [3]}, r"recipe \[metrics\]: 3 is no metric"),
    ({"metrics": [{"name": "mae", "top": 1}]}, r"recipe \[metrics\]: 'mae' takes no arguments; name the class itself"),
    ({"train": {"epohcs": 3}}, r"recipe \[train\]: unknown key 'epohcs'. Did you mean 'epochs'\?"),
    ({"train": {"epochs": "ten"}}, r"recipe \[train\]: epochs = 'ten' is a text; it must be a whole number"),
    ({"train": {"epochs": 2.0}}, r"recipe \[train\]: epochs = 2.0 is a number; it must be a whole number"),
    ({"train": {"epochs": 0}}, r"recipe \[train\]: epochs=0 must be >= 1"),
    ({"train": {"batch_size": -1}}, r"recipe \[train\]: batch_size=-1 must be >= 1"),
    ({"train": {"clip_norm": 0.0}}, r"recipe \[train\]: clip_norm=0.0 must be > 0; leave it out to clip nothing"),
    ({"train": {"log_every": "5 epoks"}}, r"recipe \[train\]: log_every='5 epoks' is no interval"),
    ({"train": {"penalty": "l2"}}, r"recipe \[train\]: penalty = 'l2' is a text; it must be a table"),
    ({"train": {"penalty": {"wd": 1e-5}}}, r"recipe \[train\] penalty: 'name' is missing; write penalty = \{name"),
    ({"train": {"penalty": {"name": "l3", "wd": 1}}}, r"recipe \[train\] penalty: unknown penalty 'l3'"),
    ({"train": {"penalty": {"name": "l2"}}}, r"recipe \[train\] penalty: 'wd' is missing"),
    ({"train": {"penalty": {"name": "l2", "wd": -1}}}, r"recipe \[train\] penalty: L2: wd=-1 must be >= 0"),
    (
        {"train": {"early_stopping": {"patence": 1}}},
        r"early_stopping: unknown key 'patence'. Did you mean 'patience'\?",
    ),
    ({"train": {"early_stopping": 0}}, r"recipe \[train\] early_stopping: patience=0 must be >= 1"),
    ({"train": {"overrides": {"*.bias": 0.1}}}, r"recipe \[train\] overrides: '\*.bias' = 0.1 is no table of"),
    ({"optimiser": "sgd"}, r"recipe: unknown section 'optimiser'. Did you mean 'optimizer'\?"),
    ({"epochs": 3}, r"recipe: 'epochs' stands outside of every section; write it under \[train\]"),
    ({"description": 3}, r"recipe: description = 3 is no text; write it in quotes"),
]


@pytest.mark.parametrize(("sections", "match"), SECTION_ERRORS, ids=[str(sections) for sections, _ in SECTION_ERRORS])
def test_a_mistake_is_named_with_its_place(sections: dict[str, Any], match: str) -> None:
    with pytest.raises((ValueError, TypeError), match=match):
        load(tiny(**sections))


def test_the_place_is_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, GOOD.replace('optimizer = "sgd"', 'optimizer = {name = "sgd", lrr = 0.1}'))
    with pytest.raises(ValueError, match=r"^recipe.toml \[optimizer\]: unknown key 'lrr'. Did you mean 'lr'\? Known: "):
        load("recipe.toml")


def test_the_place_says_what_was_overridden(tmp_path: Path) -> None:
    match = r"recipe.toml \[optimizer\] \(with optimizer.lrr=1\): unknown key 'lrr'"
    with pytest.raises(ValueError, match=match):
        load(written(tmp_path, GOOD), ["optimizer.lrr=1"])


def test_all_sections_that_are_wrong_are_named_at_once() -> None:
    match = r"(?s)^recipe \[model\].*\nrecipe \[optimizer\].*\nrecipe \[train\]"
    with pytest.raises(ValueError, match=match) as caught:
        load(tiny(model="mpl", optimizer="adma", train={"epochs": 0}))
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("model = mlp\n", r"recipe.toml line 1, column 9: is no TOML: Invalid value in `model = mlp`"),
        (GOOD + "[train]\nepochs = 3\nepochs = 4\n", r"recipe.toml line 9, column 11: is no TOML: Cannot overwrite"),
        ('model = "mlp', r"recipe.toml.*: is no TOML: "),
    ],
)
def test_a_mistake_in_toml_is_named_with_its_line(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        load(written(tmp_path, text))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(b'model = "\xff"')
    with pytest.raises(ValueError, match=r"recipe.toml: is not UTF-8 \(invalid start byte at byte 9\)"):
        load(path)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"recipe 'digts': there is no such file in .* Did you mean 'digits'\?"):
        load("digts")
    with pytest.raises(ValueError, match=r"is a folder; name a TOML file\."):
        load(tmp_path)
    written(tmp_path, GOOD)
    with pytest.raises(ValueError, match=r"is a folder; name a TOML file, such as .*recipe.toml"):
        load(tmp_path)


def test_paths_are_seen_from_the_recipe_and_become_absolute(tmp_path: Path) -> None:
    text = GOOD.replace('data = "linear"', '\n[data]\npath = "t.csv"\ntarget = "y"\nvalid = "v.csv"').replace(
        'optimizer = "sgd"\nloss = "mse"\nmetrics = ["mae"]', ""
    )
    recipe = load(written(tmp_path, text.replace('model = "mlp"', 'model = "mlp"\nloss = "mse"')))
    assert recipe.data["path"] == str(tmp_path / "t.csv")
    assert recipe.data["valid"] == str(tmp_path / "v.csv")
    assert recipe.data["test"] == 0.15


def test_a_module_beside_the_recipe_names_model_data_loss_and_metric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_parts.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Linear):\n"
        "    def __init__(self, inputs, width=3, outputs=1): super().__init__(inputs, outputs)\n"
        "def make(rows=8):\n"
        "    x = torch.randn(rows, 5)\n"
        "    return (x, x.sum(1, keepdim=True)), None, (x, x.sum(1, keepdim=True))\n"
        "def distance(output, target): return (output - target).abs().mean(1)\n"
        "def a_list(): return [1, 2]\n"
        "def pair(): return torch.zeros(2, 2), torch.zeros(2)\n"
        "def three(): return 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = load(
        tiny(
            model={"name": "own_parts:Net", "inputs": "auto"},
            data={"name": "own_parts:make", "rows": 6},
            loss="own_parts:distance",
            metrics=["own_parts:distance", {"name": "torchmetrics:MeanSquaredError", "squared": False}],
        )
    )
    assert recipe.model == {"name": "own_parts:Net", "inputs": "auto", "width": 3, "outputs": 1}
    learner, data = recipe.build()
    assert learner.module.in_features == 5
    assert (data.valid, len(data.test[0])) == (None, 6)
    assert learner.metric_names == ["distance", "mean_squared_error"]
    assert load(tomllib.loads(str(recipe))) == recipe
    assert learner.evaluate(data.test)["loss"] > 0
    for name, match in (("a_list", "returned list"), ("pair", "returned 2 arrays"), ("three", "returned int")):
        with pytest.raises(TypeError, match=rf"recipe \[data\]: 'own_parts:{name}' {match}; return \(train, valid"):
            load(tiny(data=f"own_parts:{name}")).build()
    with pytest.raises(TypeError, match=r"recipe \[model\]: 'own_parts:three' made a int, and a torch.nn.Module is"):
        load(tiny(model="own_parts:three")).build()
    with pytest.raises(ValueError, match=r"\[metrics\]: 'torchmetrics:MeanSquaredError' was given .*sqared"):
        load(tiny(metrics=[{"name": "torchmetrics:MeanSquaredError", "sqared": False}]))


def test_a_module_that_fails_by_itself_shows_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "failing_parts.py").write_text("import a_module_that_is_nowhere\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_nowhere"):
        load(tiny(model="failing_parts:Net"))


def test_the_weights_begin_as_the_seed_says_and_leave_no_trace() -> None:
    import torch

    torch.manual_seed(11)
    before = torch.get_rng_state()
    first, _ = load(tiny(train={"seed": 5})).build()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    assert torch.equal(next(first.module.parameters()), next(MLP(4, 1, [8]).parameters()))


def test_a_recipe_from_python_is_the_recipe_of_the_file(tmp_path: Path) -> None:
    document = tomllib.loads(GOOD)
    assert load(document) == load(written(tmp_path, GOOD))
    assert isinstance(load(document), Recipe)
    assert document == tomllib.loads(GOOD), "the mapping is left as it was"
