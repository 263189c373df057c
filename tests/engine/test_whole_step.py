"""The compiled whole step is the eager step: same weights, same record, for every shape of batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import thalweg as tw
from thalweg.engine import whole_step
from thalweg.loop.compiled import PAYS_AFTER, auto_compiles
from thalweg.loop.precision import Precision

X = torch.randn(70, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = torch.randint(0, 3, (70,), generator=torch.Generator().manual_seed(1))


def net() -> nn.Module:
    torch.manual_seed(0)
    # No bias before the BatchNorm: its gradient is rounding alone, which Adam would blow up to full steps.
    return nn.Sequential(nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).double()


def train(step: str, target: Tensor = Y, **options: object) -> tuple[tw.Learner, tw.History]:
    given = {"optimizer": "adamw", "lr": 0.01, "loss": "cross_entropy", "device": "cpu", "seed": 0, **options}
    learner = tw.Learner(net(), step=step, **given)  # type: ignore[arg-type]
    return learner, learner.fit((X, target), epochs=3, batch_size=16, verbose=False)  # the last batch has 6 rows


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "one_cycle", "clip_norm": 0.5, "penalty": tw.L2(1e-3)},
        {"optimizer": tw.optim.SGD(lr=0.1, momentum=0.9, nesterov=True), "schedule": "cosine", "clip_value": 0.05},
        {"optimizer": tw.optim.Lookahead(tw.optim.Adam(lr=0.01), k=2)},
    ],
)
def test_compiled_equals_eager(options: dict[str, object]) -> None:
    eager, expected = train("eager", **options)
    compiled, found = train("compiled", **options)
    for name, tensor in eager.module.state_dict().items():
        torch.testing.assert_close(compiled.module.state_dict()[name], tensor, rtol=1e-10, atol=1e-12)
    for column in ("loss", "grad_norm", "lr"):
        torch.testing.assert_close(torch.tensor(found[column]), torch.tensor(expected[column]), rtol=1e-10, atol=1e-12)
    for ours, theirs in zip(compiled.optimizer.state.values(), eager.optimizer.state.values(), strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_masked_rows_and_a_schedule_do_not_recompile(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Y.clone()
    target[::3] = -100
    compilations: list[int] = []
    compile_graph = torch._inductor.compile

    def counting(*args: object, **kwargs: object) -> object:
        compilations.append(1)
        return compile_graph(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(torch._inductor, "compile", counting)
    eager, expected = train("eager", target, schedule="one_cycle")
    compiled, found = train("compiled", target, schedule="one_cycle")
    assert len(compilations) == 1
    assert len(set(found["lr"].tolist())) > 10
    torch.testing.assert_close(torch.tensor(found["loss"]), torch.tensor(expected["loss"]), rtol=1e-10, atol=0)
    assert found["weight"].tolist() == expected["weight"].tolist()
    torch.testing.assert_close(compiled.module[0].weight, eager.module[0].weight, rtol=1e-10, atol=1e-12)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out if out.sum() > 0 else 2 * out


def test_a_model_that_branches_on_values_is_refused_by_name() -> None:
    learner = tw.Learner(Branching(), optimizer="sgd", loss="cross_entropy", step="compiled", device="cpu")
    with pytest.raises(ValueError, match=r"step='compiled' was asked for, but the model cannot be traced"):
        learner.fit((X, Y), epochs=1, verbose=False)


def test_other_dtypes_are_refused_by_name() -> None:
    module = nn.Linear(6, 3, dtype=torch.bfloat16)
    learner = tw.Learner(module, optimizer="sgd", loss="cross_entropy", step="compiled", device="cpu")
    with pytest.raises(ValueError, match=r"the parameter 'weight' is bfloat16"):
        learner.fit((X.bfloat16(), Y), epochs=1, verbose=False)


def test_auto_compiles_past_the_number_of_steps_that_pay() -> None:
    optimizer = tw.optim.Adam().optimizer(net().parameters())
    precision = Precision("fp32", torch.device("cpu"))
    few, why_not = auto_compiles(optimizer, PAYS_AFTER - 1, 1, precision)
    many, why = auto_compiles(optimizer, PAYS_AFTER, 1, precision)
    assert (few, many) == (False, True)
    assert f"pays after about {PAYS_AFTER:,}" in why_not
    assert "is compiled" in why
    assert not auto_compiles(optimizer, None, 1, precision)[0]
    assert not auto_compiles(torch.optim.SGD(net().parameters()), 10**9, 1, precision)[0]


def test_auto_goes_on_eagerly_and_says_so_where_compiling_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.loop.compiled.PAYS_AFTER", 1)

    def no_compiler(*args: object, **kwargs: object) -> object:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch._inductor, "compile", no_compiler)
    with pytest.warns(UserWarning, match="could not be compiled"):
        learner, history = train("auto")
    assert isinstance(whole_step.CannotCompile("x"), ValueError)
    assert len(history) == 15
    assert any("no C++ compiler" in text for _, _, text in history.events)
    expected, _ = train("eager")
    assert torch.equal(learner.module[0].weight, expected.module[0].weight)
