"""Presets hold the published numbers, work in a learner as they are, and become recipes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg.presets import NAMES, Preset, make


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head = nn.Embedding(20, 8), nn.Linear(8, 20)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.embedding(x))
        return logits


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_trains_and_becomes_a_recipe(name: str) -> None:
    preset = make(name, warmup=2) if name in ("pretraining", "translation") else make(name)
    assert isinstance(preset, Preset)
    assert preset.name == name
    assert len(preset.source) > 40
    x = torch.randint(20, (64, 5))
    learner = tw.compile(Model(), **preset, metrics=["perplexity"], device="cpu", seed=0)
    history = learner.fit((x, x), epochs=4, batch_size=8, verbose=False)
    assert history.epochs[-1]["loss"] <= history.epochs[0]["loss"] * 1.001
    document: dict[str, Any] = {"model": {"name": "linear"}, "data": {"name": "linear"}, **preset.sections()}
    recipe = tw.recipe.load(document)
    assert tw.optim.from_dict(recipe.optimizer) == preset.optimizer
    assert tw.loss.from_dict(recipe.loss) == preset.loss


def curve(preset: Preset, total: int, steps: list[int]) -> list[float]:
    assert preset.schedule is not None
    values = preset.schedule.resolve(total).value(np.array(steps), preset.optimizer.hyper()["lr"])
    return [float(value) for value in values]


def test_fine_tuning_is_hugging_faces_linear_schedule() -> None:
    preset = make("fine-tuning", lr=1e-4)
    assert curve(preset, 10_000, [0, 250, 500, 5250, 9999]) == pytest.approx(
        [0.0, 0.5e-4, 1e-4, 0.5e-4, 1e-4 / 9500], rel=1e-12
    )
    rule = preset.optimizer.hyper()
    assert (rule["betas"], rule["eps"], rule["weight_decay"]) == ((0.9, 0.999), 1e-8, 0.01)
    assert preset.loss.label_smoothing == 0.1


def test_pretraining_ends_at_a_tenth() -> None:
    assert curve(make("pretraining"), 1000, [10, 999])[0] == pytest.approx(6e-4)
    assert curve(make("pretraining"), 1000, [999])[0] == pytest.approx(6e-5, rel=1e-2)
    assert make("pretraining").clip_norm == 1.0


def test_translation_is_the_formula_of_the_paper() -> None:
    """d^-0.5 · min(s^-0.5, s · w^-1.5) with the base (d · w)^-0.5."""
    preset = make("translation", lr=(512 * 4000) ** -0.5)
    steps = [1000, 4000, 16_000]
    expected = [512**-0.5 * min(s**-0.5, s * 4000**-1.5) for s in steps]
    assert curve(preset, 100_000, steps) == pytest.approx(expected, rel=1e-6)


def test_adafactor_owns_its_rate() -> None:
    preset = make("adafactor")
    assert "schedule" not in preset
    assert preset.optimizer.hyper()["relative_step"] is True
    slow = make("adafactor", warmup_init=True).optimizer
    assert (slow.hyper()["lr"], slow.hyper()["warmup_init"]) == (None, True)


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(ValueError, match=r"presets: unknown preset 'fine-tunning'. Did you mean 'fine-tuning'\?"):
        make("fine-tunning")
    with pytest.raises(ValueError, match=r"lr=-1"):
        make("fine-tuning", lr=-1)
