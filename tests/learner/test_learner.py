"""The facade: what may be passed, what comes back, and what is refused before training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import thalweg as tw


def rows(n: int = 60) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 4, generator=generator)
    return x, (x[:, 0] > 0).long()


def net(out: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, out))


def learner(module: nn.Module | None = None, **options: object) -> tw.Learner:
    given = {"optimizer": "adam", "lr": 0.01, "loss": "cross_entropy", "device": "cpu", "seed": 0, **options}
    return tw.Learner(module or net(), **given)  # type: ignore[arg-type]


class Rows(Dataset):  # type: ignore[type-arg]
    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, y = rows()
        return x[index], y[index]


X, Y = rows()
FRAME = pd.DataFrame(X.numpy(), columns=list("abcd"))

FORMS = {
    "tensors": (X, Y),
    "arrays": (X.numpy(), Y.numpy()),
    "frames": (FRAME, pd.Series(Y.numpy())),
    "arrow": (pa.Table.from_pandas(FRAME), pa.array(Y.numpy())),
    "dataset": TensorDataset(X, Y),
    "map-style": Rows(),
    "loader": DataLoader(TensorDataset(X, Y), batch_size=64),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_data_trains_alike(form: str) -> None:
    expected = learner()
    expected.fit((X, Y), epochs=2, batch_size=64, shuffle=False, verbose=False)
    found = learner()
    history = found.fit(FORMS[form], epochs=2, batch_size=64, shuffle=False, verbose=False)
    for a, b in zip(expected.module.parameters(), found.module.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert len(history) == 2


def test_x_and_y_may_come_apart() -> None:
    one, other = learner(), learner()
    one.fit((X, Y), epochs=1, verbose=False)
    other.fit(X, Y, epochs=1, verbose=False)
    assert torch.equal(one.module[0].weight, other.module[0].weight)


def test_dicts_and_several_inputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 2)

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            out: Tensor = self.head(torch.cat([left, right], dim=1))
            return out

    results = []
    for data in (((X[:, :2], X[:, 2:]), Y), {"left": X[:, :2], "right": X[:, 2:], "labels": Y}):
        torch.manual_seed(0)
        fitted = learner(Two())
        fitted.fit(data, epochs=2, verbose=False)
        results.append(fitted.evaluate(data)["loss"])
    assert results[0] == results[1]


def test_predictions_are_what_the_loss_means() -> None:
    soft = learner().predict(X)
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(60))
    torch.testing.assert_close(soft, torch.softmax(net()(X), dim=1).detach())
    sigmoid = learner(net(1), loss="binary_cross_entropy").predict(X)
    torch.testing.assert_close(sigmoid, torch.sigmoid(net(1)(X)).detach())
    plain = learner(net(1), loss="mse").predict(X)
    torch.testing.assert_close(plain, net(1)(X).detach())
    own = learner(net(2), loss=lambda output, target: (output.sum(1) - target).square(), activation="softmax")
    torch.testing.assert_close(own.predict(X), torch.softmax(net()(X), dim=1).detach())


def test_evaluate_is_the_loss_over_all_rows_whatever_the_batches() -> None:
    fitted = learner(metrics=["accuracy"], penalty=tw.L2(0.1))
    whole = nn.functional.cross_entropy(fitted.module(X), Y)
    squares = sum(p.square().sum() for p in fitted.module.parameters())
    accuracy = float((fitted.module(X).argmax(1) == Y).float().mean())
    for batch_size in (7, 60):
        found = fitted.evaluate((X, Y), batch_size=batch_size)
        assert found["loss"] == pytest.approx(float((whole + 0.1 * squares).detach()), rel=1e-6)
        assert found["accuracy"] == pytest.approx(accuracy)


def test_evaluation_changes_nothing() -> None:
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 2))
    module[1].eval()
    fitted = learner(module, metrics=["accuracy"])
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    modes = [m.training for m in module.modules()]
    state = torch.get_rng_state()
    fitted.evaluate((X, Y))
    fitted.predict(X)
    fitted.plan((X, Y), epochs=3)
    assert torch.equal(state, torch.get_rng_state())
    assert modes == [m.training for m in module.modules()]
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_the_same_seed_trains_the_same_and_leaves_the_generators_alone() -> None:
    first, second = learner(), learner()
    torch.manual_seed(1)
    first.fit((X, Y), epochs=2, verbose=False)
    after = torch.rand(3)
    torch.manual_seed(1)
    second.fit((X, Y), epochs=2, verbose=False)
    assert torch.equal(after, torch.rand(3))
    assert torch.equal(first.module[0].weight, second.module[0].weight)
    first.fit((X, Y), epochs=1, verbose=False)
    second.fit((X, Y), epochs=1, verbose=False)
    assert torch.equal(first.module[0].weight, second.module[0].weight)


def test_without_a_seed_torchs_generator_governs() -> None:
    weights = []
    for seed in (1, 1, 2):
        fitted = learner(net(), seed=None)
        torch.manual_seed(seed)
        fitted.fit((X, Y), epochs=1, batch_size=8, verbose=False)
        weights.append(fitted.module[0].weight.detach().clone())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_history_speaks_keras() -> None:
    fitted = learner(metrics=["accuracy"])
    history = fitted.fit((X, Y), validation_data=(X, Y), epochs=3, verbose=False)
    assert list(history.history) == ["epoch", "step", "loss", "val_loss", "val_accuracy", "seconds"]
    assert history.history["epoch"] == [1, 2, 3]
    assert len(history["loss"]) == len(history.smoothed) == 3
    assert "<table" in history._repr_html_()
    assert history.plot().axes
    with pytest.raises(ValueError, match=r"unknown column 'los'. Did you mean 'loss'"):
        history["los"]


def test_smoothing_is_the_debiased_exponential_average() -> None:
    history = learner().fit((X, Y), epochs=10, batch_size=8, verbose=False)
    raw, beta = history["loss"], 0.98
    weights = beta ** np.arange(len(raw))[::-1]
    assert history.smoothed[-1] == pytest.approx(float((raw * weights).sum() / weights.sum()), rel=1e-12)
    assert history.smoothed[0] == pytest.approx(raw[0])


def test_the_epochs_loss_is_the_mean_over_rows() -> None:
    history = learner(lr=0.0).fit((X, Y), epochs=1, batch_size=7, verbose=False)
    assert history.history["loss"][0] == pytest.approx(nn.functional.cross_entropy(net()(X), Y).item(), rel=1e-6)


def test_early_stopping_goes_back_to_the_best() -> None:
    class Worse(tw.Hook):
        def on_epoch_end(self, run: object, row: dict[str, float]) -> None:
            with torch.no_grad():
                for param in run.module.parameters():  # type: ignore[attr-defined]
                    param.add_(1.0)

    fitted = learner(lr=1e-4)
    stopping = tw.EarlyStopping(patience=2)
    history = fitted.fit((X, Y), valid=(X, Y), epochs=20, early_stopping=stopping, hooks=[Worse()], verbose=False)
    assert len(history.epochs) < 20
    best = min(history.history["val_loss"])
    assert stopping.best == best
    # The hook spoils the weights before EarlyStopping sees them, so what was kept is the spoiled best epoch.
    assert any(kind == "early stopping" for _, kind, _ in history.events)


def test_a_hook_may_replace_the_step() -> None:
    class Twice(tw.Hook):
        """Two losses, two updates of one model."""

        def step(self, run: object, batch: tuple[Tensor, Tensor]) -> Tensor:
            x, y = batch
            for scale in (1.0, 0.5):
                loss = scale * nn.functional.cross_entropy(run.module(x), y)  # type: ignore[attr-defined]
                loss.backward()
                run.optimizer.step()  # type: ignore[attr-defined]
                run.optimizer.zero_grad()  # type: ignore[attr-defined]
            return loss.detach()

    fitted = learner()
    history = fitted.fit((X, Y), epochs=3, hooks=[Twice()], verbose=False)
    assert len(history) == 3
    assert history["loss"][-1] < history["loss"][0]
    assert all(state["step"] == 6 for state in fitted.optimizer.state.values())


def test_decay_spares_biases_norms_and_vectors_and_the_plan_says_so() -> None:
    module = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2, bias=False))
    plan = tw.Learner(module, optimizer="adamw", loss="cross_entropy", device="cpu").plan((X, Y), epochs=2)
    decay = {row.name: (row.weight_decay, row.why) for row in plan.groups}
    assert decay["0.weight"][0] == decay["2.weight"][0] == 0.01
    assert decay["0.bias"] == (0.0, "bias: no decay")
    assert decay["1.weight"] == (0.0, "norm layer: no decay")
    text = str(plan)
    assert "norm layer: no decay" in text
    assert "2 in 2 epochs of 1" in text
    everything = tw.Learner(module, optimizer="adamw", loss="cross_entropy", device="cpu", no_decay=None)
    assert {row.weight_decay for row in everything.plan((X, Y)).groups} == {0.01}


def test_overrides_reach_the_parameters_they_name() -> None:
    fitted = learner(overrides={"2.*": {"lr": 0.5}, "*.bias": {"lr": 0.0}})
    before = fitted.module[0].bias.detach().clone()
    rates = {row.name: row.lr for row in fitted.plan((X, Y)).groups}
    assert rates == {"0.weight": 0.01, "0.bias": 0.0, "2.weight": 0.5, "2.bias": 0.0}
    fitted.fit((X, Y), epochs=1, verbose=False)
    assert torch.equal(before, fitted.module[0].bias)


@pytest.mark.parametrize("name", ["weights.safetensors", "saved"])
def test_save_and_load(tmp_path: Path, name: str) -> None:
    fitted = learner()
    fitted.fit((X, Y), epochs=2, verbose=False)
    fitted.save(tmp_path / name)
    torch.manual_seed(5)
    other = learner(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
    other.load(tmp_path / name)
    assert torch.equal(other.predict(X), fitted.predict(X))
    if name == "saved":
        assert len(other.history) == 2
        fitted.fit((X, Y), epochs=1, verbose=False)
        other.fit((X, Y), epochs=1, verbose=False)
        assert torch.equal(other.predict(X), fitted.predict(X))
    (tmp_path / "cut.safetensors").write_bytes(b"not a file")
    with pytest.raises(ValueError, match="damaged or not safetensors"):
        other.load(tmp_path / "cut.safetensors")
    with pytest.raises(ValueError, match="no such file"):
        other.load(tmp_path / "none.safetensors")


def test_summary_knows_shapes() -> None:
    summary = learner().summary(X)
    assert [row[2] for row in summary.rows] == ["(2, 8)", "(2, 8)", "(2, 2)"]
    assert summary.total == 4 * 8 + 8 + 8 * 2 + 2
    assert "58 parameters, 58 trainable" in str(summary)
    assert "<table" in summary._repr_html_()


def test_show_batch_shows_images_and_tables() -> None:
    pictures = torch.rand(20, 1, 8, 8)
    assert learner().show_batch((pictures, torch.arange(20))).axes
    assert "<table" in learner().show_batch((X, Y))._repr_html_()


def test_compile_is_the_learner_and_unwrap_the_module() -> None:
    module = net()
    made = tw.compile(module, optimizer="sgd", loss="cross_entropy", device="cpu")
    assert isinstance(made, tw.Learner)
    assert made.unwrap() is module


@pytest.mark.slow
def test_a_compiled_model_trains_like_the_plain_one() -> None:
    plain, compiled = learner(), learner(compile=True)
    for each in (plain, compiled):
        each.fit((X, Y), epochs=3, batch_size=30, verbose=False)
    assert list(compiled.unwrap().state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    torch.testing.assert_close(compiled.module[0].weight, plain.module[0].weight, rtol=1e-4, atol=1e-6)
    both = learner(compile=True, step="compiled")
    both.fit((X, Y), epochs=3, batch_size=30, verbose=False)
    torch.testing.assert_close(both.module[0].weight, plain.module[0].weight, rtol=1e-4, atol=1e-6)


def test_more_lines_than_twenty_are_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    learner().fit((X, Y), epochs=200)
    assert len(capsys.readouterr().out.splitlines()) <= 22
    learner().fit((X, Y), epochs=30, log_every=10)
    assert len(capsys.readouterr().out.splitlines()) == 4  # 1, 10, 20, 30
    learner().fit((X, Y), epochs=2, batch_size=6, log_every="5 steps", flush_every=1)
    assert capsys.readouterr().out.splitlines()[0].startswith("step 5  loss")


BAD: dict[str, tuple[dict[str, object], object, dict[str, object], type[Exception], str]] = {
    "the inputs do not fit": (
        {},
        (torch.randn(9, 5), Y[:9]),
        {},
        ValueError,
        r"cannot take the data: .*\(9, 5\) float32",
    ),
    "float class indices": ({}, (X, Y.float()), {}, (TypeError, ValueError), r"CrossEntropy: "),
    "a class out of range": ({}, (X, Y + 1), {}, ValueError, r"CrossEntropy: .*2"),
    "NaN in the inputs": ({}, (X * float("nan"), Y), {}, ValueError, r"nan|NaN"),
    "no data": ({}, (X[:0], Y[:0]), {}, ValueError, r"no rows|empty|0"),
    "unequal lengths": ({}, (X, Y[:-1]), {}, ValueError, r"60.*59|59.*60"),
    "no targets": ({}, X, {}, ValueError, r"no targets"),
    "two validations": (
        {},
        (X, Y),
        {"valid": (X, Y), "validation_data": (X, Y)},
        ValueError,
        r"two names of one setting",
    ),
    "valid and a fraction": ({}, (X, Y), {"valid": (X, Y), "validation_split": 0.2}, ValueError, r"pass one of them"),
    "epochs": ({}, (X, Y), {"epochs": 0}, ValueError, r"fit: epochs=0 must be >= 1"),
    "epochs as a float": ({}, (X, Y), {"epochs": 1.5}, TypeError, r"fit: epochs=1.5 must be a whole number"),
    "log_every": ({}, (X, Y), {"log_every": "5 apples"}, ValueError, r"log_every='5 apples' is no interval"),
    "a monitor without validation": ({}, (X, Y), {"early_stopping": 3}, ValueError, r"needs validation data"),
    "a misspelt monitor": (
        {},
        (X, Y),
        {"valid": (X, Y), "early_stopping": tw.EarlyStopping("val_los")},
        ValueError,
        r"Did you mean 'val_loss'",
    ),
    "a hook that is none": ({}, (X, Y), {"hooks": [print]}, TypeError, r"is no hook"),
    "a schedule that cannot complete": (
        {"schedule": tw.schedule.Warmup(500) >> tw.schedule.Cosine()},
        (X, Y),
        {},
        ValueError,
        r"500",
    ),
    "a scalar loss under accumulation": (
        {"loss": lambda output, target: (output.sum(1) - target).square().mean()},
        (X, Y),
        {"accumulate": 2, "batch_size": 10},
        ValueError,
        r"accumulate=2",
    ),
    "a step that cannot be compiled": (
        {"step": "compiled"},
        (X, Y),
        {"accumulate": 2, "batch_size": 10},
        ValueError,
        r"step='compiled' was asked for, but accumulation",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_training(case: str) -> None:
    options, data, arguments, kind, message = BAD[case]
    fitted = learner(**options)
    before = fitted.module[0].weight.detach().clone()
    with pytest.raises(kind, match=message):
        fitted.fit(data, verbose=False, **arguments)
    assert torch.equal(before, fitted.module[0].weight)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"optimizer": "adm"}, ValueError, r"unknown optimizer 'adm'. Did you mean 'adam'"),
        ({"optimizer": 3}, TypeError, r"describes no update rule"),
        ({"loss": "cross_entropie"}, ValueError, r"Did you mean 'cross_entropy'"),
        ({"precision": "fp8"}, ValueError, r"unknown precision 'fp8'"),
        ({"device": "gpu"}, ValueError, r"device='gpu' is no device"),
        ({"clip_norm": 0.0}, ValueError, r"clip_norm=0.0 must be > 0"),
        ({"clip_norm": 1.0, "max_grad_norm": 1.0}, ValueError, r"two names of one setting"),
        ({"step": "fast"}, ValueError, r"unknown step 'fast'"),
        ({"engine": "turbo"}, ValueError, r"unknown engine 'turbo'"),
        ({"overrides": {"3.*": {"lr": 1.0}}}, ValueError, r"matches no parameter"),
        ({"overrides": {"0.*": {"lrr": 1.0}}}, ValueError, r"'lrr' .*Did you mean 'lr'"),
        ({"no_decay": "*.biass", "optimizer": "adamw"}, ValueError, r"no_decay pattern '\*.biass' matches no"),
    ],
)
def test_bad_settings_are_refused_at_once(options: dict[str, object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        learner(**{"lr": None if "optimizer" in options else 0.01, **options})


def test_a_model_must_be_a_module_with_parameters() -> None:
    with pytest.raises(TypeError, match=r"pass a torch.nn.Module instance"):
        tw.Learner(nn.Linear, device="cpu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"has no parameters"):
        tw.Learner(nn.ReLU(), device="cpu")


def test_a_foreign_instance_of_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"holds none of the model's parameters"):
        tw.Learner(net(), optimizer=torch.optim.SGD(net().parameters(), lr=0.1), device="cpu")


def test_a_diverging_loss_is_named_with_its_step() -> None:
    fitted = learner(nn.Linear(4, 1), optimizer="sgd", lr=1e6, loss="mse")
    with pytest.raises(FloatingPointError, match=r"the loss was (inf|nan) at step \d+"):
        fitted.fit((X, X[:, :1]), epochs=200, verbose=False, flush_every=4)
    assert not np.isfinite(fitted.history["loss"][-1])


def test_a_softmax_before_cross_entropy_is_said() -> None:
    module = nn.Sequential(nn.Linear(4, 2), nn.Softmax(dim=1))
    with pytest.warns(UserWarning, match=r"[Ss]oftmax"):
        learner(module).fit((X, Y), epochs=1, verbose=False)
