"""The head that is left to the loss: found, compared, refused; the model as it was afterwards."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import thalweg as tw
from tests.learner.language import Plain, V
from thalweg.loss import Projected, TokenCrossEntropy
from thalweg.objective import Head, Inputs, Objective, find_head, own_loss_shifts

X = torch.arange(12).view(3, 4)


class Changed(Plain):
    """Does something to its logits."""

    def __init__(self, change: str, **options: Any) -> None:
        super().__init__(**options)
        self.change = change
        self.vector = nn.Parameter(torch.randn(V)) if change == "learnt" else torch.randn(V)

    def forward(self, x: Tensor) -> Any:
        hidden = self.hidden(x)
        logits = self.out(hidden)
        return {
            "scaled": lambda: 0.25 * logits,
            "capped": lambda: 2.0 * torch.tanh(logits / 2.0),
            "scaled and capped": lambda: 2.0 * torch.tanh(0.5 * logits / 2.0),
            "added": lambda: logits + self.vector,
            "learnt": lambda: logits + self.vector,
            "constant": lambda: logits + 1.0,
            "softmax": lambda: logits.softmax(-1),
            "bent": lambda: logits * torch.sigmoid(logits),
            "twice": lambda: logits + self.out(2 * hidden),
            "turned": lambda: logits.transpose(1, 2),
            "cut": lambda: logits[:, :, : V // 2],
            "viewed": lambda: logits.view(x.shape[0], x.shape[1], V),
            "object": lambda: type("Output", (), {"logits": logits})(),
            "dict": lambda: {"logits": logits, "hidden": hidden},
        }[self.change]()


def found(model: nn.Module, name: str | None = None) -> tuple[Head | None, str]:
    model.eval()
    with torch.no_grad():
        logits = tw.objective.logits_of(model(X))
    return find_head(model, lambda: model(X), logits, name)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("change", ["scaled", "capped", "scaled and capped", "added", "object", "dict"])
def test_what_the_model_does_to_its_logits_is_taken_over(change: str, tied: bool) -> None:
    model = Changed(change, tied=tied).double()
    head, why = found(model)
    assert head is not None, why
    batch = tw.data.split((X, X))
    model.zero_grad()
    whole, left = (Objective(model, TokenCrossEntropy(), None, chosen) for chosen in (None, head))
    grads = []
    for objective in (whole, left):
        total, weight, output = objective.eager(batch)
        assert isinstance(output, Projected) == (objective is left)
        (total / weight).backward()
        grads.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        model.zero_grad()
        params = {name: p.detach() for name, p in model.named_parameters()}
        functional, _, _ = objective(params, dict(model.named_buffers()), batch)
        torch.testing.assert_close(functional, total.detach(), rtol=1e-12, atol=0)
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, rtol=1e-6, atol=1e-9)
    assert "forward" not in vars(model.out)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("learnt", "there are parameters after its head"),
        ("constant", "it adds 1 to its logits"),
        ("softmax", "it does something else with its logits|it adds|differ"),
        ("bent", "it does something else with its logits|differ"),
        ("twice", "its head 'out' was called 2 times in one forward pass"),
        ("turned", "has no linear layer at its end"),
        ("cut", "has no linear layer at its end"),
        ("viewed", r"Changed needs its logits for more than to return them \(RuntimeError: shape"),
    ],
)
def test_what_cannot_be_left_to_the_loss_is_said(change: str, match: str) -> None:
    model = Changed(change)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    head, why = found(model)
    assert head is None
    assert re.search(match, why), why
    assert "forward" not in vars(model.out)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_head_that_is_named() -> None:
    model = Plain()
    assert found(model, "out")[0] is not None
    head, why = found(model, "mix")
    assert head is None
    assert why == f"the head 'mix' has 16 outputs, and Plain returns (3, 4, {V})"
    head, why = found(model, "embedding")
    assert head is None
    assert "is a Embedding, not a plain linear layer" in why
    with pytest.raises(ValueError, match=r"head: unknown layer of Plain 'outt'. Did you mean 'out'\? Known: mix, out"):
        found(model, "outt")


def test_the_head_comes_back_where_the_model_fails() -> None:
    model = Plain()
    head, _ = found(model)
    assert head is not None

    def fails() -> Any:
        model(X)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        head.project(fails)
    assert "forward" not in vars(model.out)
    assert isinstance(model(X), Tensor)


def test_a_layer_that_was_replaced_before_is_so_afterwards() -> None:
    model = Plain()
    own = model.out.forward
    model.out.forward = lambda x: own(x)  # type: ignore[method-assign]
    mine = model.out.forward
    head, _ = found(model)
    assert head is not None
    assert model.out.forward is mine


def test_a_model_that_is_no_encoder_decoder_is_called_with_what_the_batch_holds() -> None:
    inputs = Inputs(Plain())
    assert inputs.is_plain
    batch = tw.data.split((X, X))
    assert inputs(batch)[0] is batch.args
    assert own_loss_shifts(Plain(), batch, torch.zeros(3, 4, V)) is None
