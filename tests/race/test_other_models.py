"""Language models on dict batches and the recommender's modules: each member equals a learner's own fit."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import thalweg as tw
from tests.learner.language import hugging_face, tokens
from tests.race.problems import furthest
from thalweg.race import Candidate
from thalweg.recommend import DotProduct, NeuralRecommender


def check_members(model: nn.Module, data: Any, candidates: list[Candidate], loss: str, epochs: int, **how: Any) -> Any:
    """Race, train each member alone, and compare weights, curves and validation losses to 1e-10."""
    found = tw.race(model, data, data, candidates, loss=loss, epochs=epochs, batch_size=8, verbose=False, **how)
    for number, candidate in enumerate(candidates):
        own = copy.deepcopy(model)
        learner = tw.Learner(own, candidate.rule, loss, clip_norm=candidate.clip_norm, seed=0, device="cpu")
        history = learner.fit(data, valid=data, epochs=epochs, batch_size=8, verbose=False)
        assert furthest(found.module(number), own) < 1e-10, str(candidate)
        assert np.allclose(found.members[number].curve, history["loss"], rtol=1e-10)
        last = learner.evaluate(data, batch_size=16)["loss"]
        assert found.members[number].validations[-1][1] == pytest.approx(last, rel=1e-10)
    return found


@pytest.mark.parametrize(
    ("name", "stacking"), [("gpt2", "always"), ("gpt2", "never"), ("llama", "always"), ("t5", "auto")]
)
def test_a_language_model_on_dict_batches(name: str, stacking: str) -> None:
    pytest.importorskip("transformers")
    model = hugging_face(name, 37).double()
    data = tokens(name, rows=24, vocabulary=37)
    candidates = [Candidate(tw.optim.AdamW(lr=lr), clip_norm=limit) for lr, limit in ((1e-3, None), (1e-2, 1.0))]
    found = check_members(model, data, candidates, "token_cross_entropy", 5, stacking=stacking)
    # T5's attention has a learned bias, which torch's kernel does not differentiate under vmap: one after the other.
    assert found.notes[0].startswith("stacked") == (stacking == "always")
    # Causal models shift in their own loss and are given labels equal to the inputs; the encoder–decoder does not.
    assert found.entry.loss.shift == (name != "t5")


def ratings(effects: bool) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = (12, 9, 5) if effects else (12, 9)
    pairs = torch.stack([torch.randint(1, size, (96,), generator=generator) for size in sizes], 1)
    return pairs, torch.randint(1, 6, (96,), generator=generator).double()


@pytest.mark.parametrize("kind", ["dot product", "dot product with effects", "neural"])
@pytest.mark.parametrize("stacking", ["always", "never"])
def test_the_recommenders_modules(kind: str, stacking: str) -> None:
    torch.manual_seed(0)
    effects = (5,) if kind.endswith("effects") else ()
    if kind == "neural":
        model: nn.Module = NeuralRecommender(12, 9, emb_szs=(4, 3), layers=(8,))
    else:
        model = DotProduct(12, 9, n_factors=4, effects=effects, std=0.3)
    candidates = [Candidate(tw.optim.AdamW(lr=lr, weight_decay=decay)) for lr, decay in ((3e-3, 0.1), (3e-2, 0.0))]
    check_members(model.double(), ratings(bool(effects)), candidates, "mse", 9, stacking=stacking)
