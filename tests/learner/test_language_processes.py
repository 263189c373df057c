"""A causal model on two gloo processes, its head left to the loss: the training of one process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as distributed

import thalweg as tw
from tests.learner.language import hugging_face, tokens
from tests.loop.test_processes import one_thread, together

pytest.importorskip("transformers")
pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked from this one"),
    pytest.mark.skipif(not distributed.is_gloo_available(), reason="gloo is not built in"),
]
__all__ = ["one_thread"]


def train(name: str, accumulate: int) -> dict[str, Any]:
    learner = tw.compile(
        hugging_face(name),
        optimizer=tw.optim.AdamW(lr=1e-3),
        loss="token_cross_entropy",
        metrics=["perplexity", "token_accuracy"],
        clip_norm=0.5,
        device="cpu",
        seed=0,
    )
    data, valid = tokens(name, rows=22), tokens(name, rows=7, seed=1)
    history = learner.fit(data, valid=valid, epochs=4, batch_size=4, accumulate=accumulate, verbose=False)
    return {
        "weights": {key: value.clone() for key, value in learner.module.state_dict().items()},
        "loss": np.array(history["loss"]),
        "weight": np.array(history.steps["weight"]),
        "epochs": [{key: value for key, value in row.items() if key != "seconds"} for row in history.epochs],
    }


@pytest.mark.parametrize(("name", "accumulate"), [("gpt2", 1), ("t5", 1), ("gpt2", 2)])
def test_two_processes_train_as_one(tmp_path: Path, name: str, accumulate: int) -> None:
    alone = train(name, accumulate)
    for found in together(tmp_path / "two", 2, lambda rank: train(name, accumulate)):
        assert np.array_equal(found["weight"], alone["weight"])  # tokens of both ranks, none counted twice
        np.testing.assert_allclose(found["loss"], alone["loss"], rtol=1e-5)
        for key, value in alone["weights"].items():
            torch.testing.assert_close(found["weights"][key], value, rtol=1e-4, atol=1e-5)
        for mine, theirs in zip(found["epochs"], alone["epochs"], strict=True):
            assert mine == pytest.approx(theirs, rel=1e-4)
