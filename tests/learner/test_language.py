"""Language models through the learner: parity with their own losses, any split of a batch, what is said and refused."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import thalweg as tw
from tests.learner.language import CAUSAL, PAIRED, Plain, V, hugging_face, tokens
from thalweg.learner.assemble import assemble, make_sources
from thalweg.loop import Run, Settings
from thalweg.loss import Projected

pytest.importorskip("transformers")


def compiled(model: nn.Module, **options: Any) -> tw.Learner:
    given: dict[str, Any] = {"optimizer": "sgd", "lr": 0.0, "loss": "token_cross_entropy", "device": "cpu", "seed": 0}
    return tw.compile(model, **{**given, **options})


def a_run(learner: tw.Learner, data: Any, accumulate: int = 1, batch_size: int = 64) -> Run:
    settings = Settings(1, accumulate, None, "1 epochs", 2, 128, False, False)
    sources = make_sources(
        learner, data, None, validation_split=0.0, batch_size=batch_size, shuffle=False, drop_last=False, seed=0
    )
    run, _ = assemble(
        learner, sources, settings, schedule=None, hooks=(), early_stopping=None, run_dir=None, resume=None, seed=0
    )
    return run


def gradients(learner: tw.Learner, data: Any, accumulate: int = 1, batch_size: int = 64) -> tuple[float, list[Tensor]]:
    """Return the loss and the gradient that the loop's own step makes of all of *data* as one update."""
    run = a_run(learner, data, accumulate, batch_size)
    for batch in run.source.batches(0):
        run.stepper.micro(batch, accumulate)
    run.stepper._settle()
    assert run.stepper.loss is not None
    loss = float(run.stepper.loss) / float(run.stepper.weight)
    return loss, [param.grad.clone() for param in learner.module.parameters() if param.grad is not None]


@pytest.mark.parametrize("head", ["auto", "logits"])
@pytest.mark.parametrize("name", [*CAUSAL, *PAIRED])
def test_loss_and_gradients_are_the_models_own(name: str, head: str) -> None:
    model, batch = hugging_face(name), tokens(name)
    model.train()
    own = model(**batch).loss
    own.backward()
    expected = [param.grad.clone() for param in model.parameters() if param.grad is not None]
    model.zero_grad(set_to_none=True)
    learner = compiled(model, head=head)
    run = a_run(learner, batch)
    assert (run.objective.head is not None) == (head == "auto"), "the loss takes the head wherever it is found"
    loss, grads = gradients(learner, batch)
    assert loss == pytest.approx(own.item(), rel=1e-5)
    assert len(grads) == len(expected)
    for grad, other in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_fit_evaluate_and_the_plan(name: str) -> None:
    data = tokens(name, rows=8)
    learner = tw.compile(
        hugging_face(name),
        optimizer=tw.optim.AdamW(lr=5e-2),
        loss="token_cross_entropy",
        metrics=["perplexity", "token_accuracy"],
        device="cpu",
        seed=0,
    )
    plan = learner.plan(data, epochs=8, batch_size=4)
    assert dict(plan.facts())["logits"] == f"the loss takes the weight of lm_head, and the (…, {V}) logits are not made"
    assert ("shift=True" in plan.loss) == (name == "gpt2")
    history = learner.fit(data, valid=data, epochs=8, batch_size=4, verbose=False)
    last = history.epochs[-1]
    assert history.epochs[0]["val_loss"] > 1.2 * last["val_loss"]
    assert last["val_perplexity"] == pytest.approx(math.exp(last["val_loss"]), rel=1e-5)
    found = learner.evaluate(data)
    assert found["loss"] == pytest.approx(learner.module.eval()(**data).loss.item(), rel=1e-5)
    with torch.no_grad():
        logits, labels = learner.module(**data).logits, data["labels"]
    if name == "gpt2":
        logits, labels = logits[:, :-1], labels[:, 1:]
    right = (logits.argmax(-1) == labels)[labels != -100].double().mean().item()
    assert found["token_accuracy"] == pytest.approx(right, abs=1e-12)
    assert learner.predict(data).shape == (8, 9, V)


def test_targets_beside_the_inputs_stand_where_they_are_compared() -> None:
    """(inputs, targets) are compared place by place; only a dict with labels follows the model's own loss."""
    batch = tokens("llama")
    model = hugging_face("llama")
    target = F.pad(batch["labels"][:, 1:], (0, 1), value=-100)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    shifted, placed = (gradients(compiled(model), data)[0] for data in (batch, (inputs, target)))
    assert placed == pytest.approx(shifted, rel=1e-6)


@pytest.mark.parametrize("precision", ["bf16"])
def test_under_autocast(precision: str) -> None:
    batch = tokens("llama")
    loss, _ = gradients(compiled(hugging_face("llama"), precision=precision), batch)
    assert loss == pytest.approx(hugging_face("llama")(**batch).loss.item(), rel=2e-2)


# torch's own word on vmap over its attention kernel, while the surface tries whether this model can be stacked
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_the_finder_and_the_surface_see_the_same_loss(name: str) -> None:
    batch = tokens(name)
    learner = compiled(hugging_face(name))
    expected = hugging_face(name)(**batch).loss.item()
    before = [param.clone() for param in learner.module.parameters()]
    found = learner.lr_find(batch, steps=20, verify=False)
    assert float(found.loss[0]) == pytest.approx(expected, rel=1e-4)
    line = tw.surface.line(learner, batch, points=3, progress=False)
    assert float(line.values[1]) == pytest.approx(expected, rel=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(before, learner.module.parameters(), strict=True))


@pytest.mark.slow
def test_the_whole_step_compiles_with_a_head_left_out() -> None:
    x = torch.randint(V, (16, 6))
    data = (x, torch.where(torch.rand(16, 6) < 0.3, -100, x.roll(1, 0)))
    weights = []
    for step in ("eager", "compiled"):
        learner = compiled(Plain(), optimizer="sgd", lr=0.5, step=step)
        learner.fit(data, epochs=3, batch_size=8, verbose=False)
        weights.append([param.detach().clone() for param in learner.module.parameters()])
    for a, b in zip(*weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------------------- splits of a batch


@settings(max_examples=15)
@given(
    masked=st.lists(st.integers(0, 6), min_size=6, max_size=6),
    size=st.integers(1, 6),
    shift=st.booleans(),
    head=st.sampled_from(["linear", "logits"]),
    smoothing=st.sampled_from([0.0, 0.1]),
)
def test_any_split_into_micro_batches_gives_the_same_gradient(
    masked: list[int], size: int, shift: bool, head: str, smoothing: float
) -> None:
    model = Plain(vocabulary=29, width=8)
    x = torch.randint(29, (6, 6), generator=torch.Generator().manual_seed(1))
    y = x.roll(1, 1).clone()
    for row, count in enumerate(masked):
        y[row, 6 - count :] = -100
    loss = tw.loss.make("token_cross_entropy", shift=shift, label_smoothing=smoothing)
    whole = gradients(compiled(model, loss=loss, head="logits"), (x, y))
    model.zero_grad(set_to_none=True)
    parts = gradients(compiled(model, loss=loss, head=head), (x, y), accumulate=-(-6 // size), batch_size=size)
    if bool((y[:, 1:] if shift else y).ne(-100).any()):
        assert parts[0] == pytest.approx(whole[0], rel=1e-6)
    for a, b in zip(parts[1], whole[1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def share(rank: int, address: str, results: str) -> None:
    """The gradient of one process's rows, added up over both: sums and weights first, one division."""
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    batch = tokens("gpt2", rows=5)
    own = {name: part[:1] if rank == 0 else part[1:] for name, part in batch.items()}
    learner = compiled(hugging_face("gpt2"))
    objective = a_run(learner, own).objective
    total, weight, _ = objective.eager(tw.data.split(own))
    total.backward()
    count = torch.as_tensor(weight, dtype=torch.float64)
    torch.distributed.all_reduce(count)
    grads = [param.grad for param in learner.module.parameters() if param.grad is not None]
    for grad in grads:
        torch.distributed.all_reduce(grad)
        grad /= count
    torch.save(grads, f"{results}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_with_different_shares_give_the_same_gradient(tmp_path: Path) -> None:
    arguments = (f"file://{tmp_path / 'meet'}", str(tmp_path))
    torch.multiprocessing.start_processes(share, arguments, nprocs=2, start_method="fork")
    _, expected = gradients(compiled(hugging_face("gpt2")), tokens("gpt2", rows=5))
    for rank in range(2):
        for grad, other in zip(torch.load(tmp_path / f"{rank}.pt"), expected, strict=True):
            torch.testing.assert_close(grad, other, rtol=1e-6, atol=1e-7)


# ------------------------------------------------------------------------------------------- what is said and refused


class Doubled(Plain):
    """Calls its head twice."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.hidden(x)
        doubled: Tensor = self.out(hidden) + self.out(hidden)
        return doubled


def test_falling_back_is_said_aloud() -> None:
    x = torch.randint(V, (4, 5))
    learner = compiled(Doubled())
    with pytest.warns(UserWarning, match=r"fit: the logits are made whole: Doubled: its head 'out' was called 2 times"):
        history = learner.fit((x, x), verbose=False)
    assert history.events[0][:2] == (0, "logits")
    assert "its head 'out' was called 2 times" in history.events[0][2]
    assert dict(learner.plan((x, x)).facts())["logits"].startswith("made: Doubled: its head")
    with pytest.raises(ValueError, match=r"Learner: head='linear' was asked for, but Doubled: its head 'out' was"):
        compiled(Doubled(), head="linear").fit((x, x), verbose=False)
    with pytest.raises(ValueError, match=r"Learner: head: unknown layer of Doubled 'ut'. Did you mean 'out'\?"):
        compiled(Doubled(), head="ut").fit((x, x), verbose=False)


def test_what_does_not_pay_is_not_done_and_not_warned_of() -> None:
    x = torch.randint(20, (4, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner = compiled(Plain(vocabulary=20))
        learner.fit((x, x), verbose=False)
    assert dict(learner.plan((x, x)).facts())["logits"].startswith("made: of fewer than 512 classes")
    assert a_run(compiled(Plain(vocabulary=20), head="out"), (x, x)).objective.head is not None


def test_other_losses_have_no_head() -> None:
    x = torch.randint(V, (4, 5))
    learner = compiled(nn.Sequential(Plain(), nn.Flatten(0, 1)), loss="cross_entropy")
    assert "logits" not in dict(learner.plan((x, x)).facts())
    with pytest.raises(ValueError, match=r"head='linear' was asked for, but CrossEntropy takes whole logits only"):
        compiled(nn.Linear(3, 2), loss="cross_entropy", head="linear").fit(
            (torch.randn(4, 3), torch.tensor([0, 1, 0, 1])), verbose=False
        )


def test_a_model_that_returns_its_hidden_states_itself() -> None:
    class Bare(Plain):
        def forward(self, x: Tensor) -> Any:
            return Projected(self.hidden(x), self.out.weight, self.out.bias)

    x = torch.randint(V, (4, 5))
    whole, bare = gradients(compiled(Plain()), (x, x)), gradients(compiled(Bare()), (x, x))
    assert bare[0] == pytest.approx(whole[0], rel=1e-6)
    assert dict(compiled(Bare()).plan((x, x)).facts())["logits"].startswith("not made: the model returns")
    metrics = compiled(Bare(), metrics=["perplexity"]).evaluate((x, x))
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["loss"]), rel=1e-5)


def test_a_cap_in_the_model_and_one_in_the_loss() -> None:
    batch = tokens("gemma2")
    learner = compiled(hugging_face("gemma2"), loss=tw.loss.make("token_cross_entropy", softcap=5.0))
    with pytest.warns(UserWarning, match=r"the model caps its logits at 3, and the loss caps them once more"):
        learner.fit(batch, verbose=False)


@pytest.mark.parametrize("form", ["memory", "loader"])
def test_labels_outside_of_the_vocabulary_are_refused_before_the_first_step(form: str) -> None:
    batch = tokens("llama", rows=6)
    batch["labels"][5, 3] = V + 4  # not in the row that is looked at closely
    rows = [{name: part[i] for name, part in batch.items()} for i in range(6)]
    data: Any = batch if form == "memory" else torch.utils.data.DataLoader(rows, batch_size=6)
    learner = compiled(hugging_face("llama"), lr=0.1)
    before = [param.clone() for param in learner.module.parameters()]
    with pytest.raises(
        ValueError, match=rf"TokenCrossEntropy: target holds class {V + 4} at row 5, and .* {V} classes"
    ):
        learner.fit(data, verbose=False)
    assert all(torch.equal(a, b) for a, b in zip(before, learner.module.parameters(), strict=True))


def test_batches_without_labels_are_refused() -> None:
    batch = tokens("llama")
    del batch["labels"]
    with pytest.raises(ValueError, match=r"the data have no targets"):
        compiled(hugging_face("llama")).fit(batch, verbose=False)


def test_the_labels_do_not_go_into_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model = hugging_face("t5")
    run = a_run(compiled(model), tokens("t5"))
    own = type(model).forward
    seen: list[set[str]] = []

    def spy(self: Any, **kwargs: Any) -> Any:
        seen.append(set(kwargs))
        return own(self, **kwargs)

    monkeypatch.setattr(type(model), "forward", spy)
    for batch in run.source.batches(0):
        run.stepper.micro(batch)
    assert seen == [{"input_ids", "attention_mask", "decoder_input_ids", "use_cache"}]
