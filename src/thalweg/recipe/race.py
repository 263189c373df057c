"""A race between variants of a recipe, whose winner is a recipe again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thalweg import report
from thalweg.errors import listing
from thalweg.optim import NAMES as RULES
from thalweg.optim import Rule
from thalweg.optim import make as make_rule
from thalweg.race import Candidate, Halving, RaceResult, grid
from thalweg.race import race as run_race

from .directory import claim, release
from .load import load
from .names import NAMES, Names
from .recipe import Recipe
from .sections import loss as loss_section
from .sections import model as model_section
from .sections import optimizer as optimizer_section
from .sizes import Sizes, sizes_of

__all__ = ["candidates_of", "race", "winner_of"]


def candidates_of(
    recipe: Recipe,
    optimizers: Sequence[str] = (),
    *,
    seeds: int = 1,
    names: Names = NAMES,
    **hyper: Any,
) -> list[Candidate]:
    """Return the grid of a recipe's variants; its schedule and clipping are everybody's.

    Args:
        recipe: whose own rule keeps its settings; the others begin from their defaults.
        optimizers: names; none: the recipe's own.
        seeds: how many, from the recipe's own on.
        names: what names stand for.
        **hyper: hyperparameter → values.

    Raises:
        ValueError: an unknown name, a hyperparameter that a rule has not, zero seeds.

    >>> import thalweg.recipe as recipes
    >>> field = candidates_of(recipes.load("digits"), ["sgd", "adamw"], lr=[0.01, 0.1], seeds=2)
    >>> len(field), str(field[0])
    (8, "sgd lr=0.01 schedule=Warmup(steps='10%') >> Cosine() seed=0")
    """
    own = optimizer_section.make(recipe.optimizer, recipe.place("optimizer"), names)
    if not optimizers and not isinstance(own, Rule):
        raise ValueError(
            f"{recipe.place('optimizer')}: {recipe.optimizer['name']!r} is none of Thalweg's rules, which are what "
            f"races; name rules that do ({listing(RULES)})."
        )
    rules: list[Any] = [own] if not optimizers else []
    for name in optimizers:
        made = make_rule(name, "race")
        rules.append(own if type(made) is type(own) else made)
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise ValueError(f"race: seeds={seeds!r} leaves nobody to race; give a number >= 1.")
    schedule = None if recipe.schedule.get("name") == "constant" else dict(recipe.schedule)
    train = recipe.train
    return grid(
        rules,
        seeds=[train.seed + number for number in range(seeds)],
        schedule=schedule,
        clip_norm=train.clip_norm,
        clip_value=train.clip_value,
        **hyper,
    )


def race(
    recipe: Recipe | Path | str | Mapping[str, Any] = "digits",
    candidates: Sequence[Candidate] | None = None,
    out: Path | str | None = None,
    *,
    overrides: Iterable[str] = (),
    optimizers: Sequence[str] = (),
    seeds: int = 1,
    halving: Halving | float | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    resume: Path | str | None = None,
    verbose: bool = True,
    names: Names = NAMES,
    hyper: Mapping[str, Any] | None = None,
) -> tuple[RaceResult, Recipe, Path]:
    """Race variants of a recipe; return (result, the winner as a recipe, the directory).

    The directory holds ``race.csv`` (a row per member), ``race.json`` (the leaderboard), ``winner.toml`` (which runs to
    the winner's validation loss: its first member has the recipe's seed), ``recipe.toml``, figures and ``report.html``.

    Args:
        recipe: a recipe, or what :func:`thalweg.recipe.load` takes.
        candidates: who races; None: :func:`candidates_of` from *optimizers*, *seeds* and *hyper*.
        out: the directory, which must hold no run; None: a new ``runs/NAME-race-…``.
        overrides: as for :func:`thalweg.recipe.load`.
        halving, minutes, steps: as for :func:`thalweg.race.race`; without *minutes* and *steps* the recipe's epochs.
        resume: the directory of an interrupted race, to go on with.
        verbose: show progress.
        names: what names stand for.

    Raises:
        ValueError, TypeError: what cannot work, in words, before the first step.
        KeyboardInterrupt: after Ctrl-C; *resume* goes on.
    """
    if not isinstance(recipe, Recipe):
        recipe = load(recipe, overrides, names)
    elif list(overrides):
        recipe = load(recipe.to_dict(), overrides, names)
    train = recipe.train
    if train.accumulate > 1:
        raise ValueError(
            f"{recipe.place('train')}: accumulate = {train.accumulate} does not race; race with batches of that size."
        )
    if candidates is None:
        candidates = candidates_of(recipe, optimizers, seeds=seeds, names=names, **(hyper or {}))
    learner, data = recipe.build(names)
    criterion = loss_section.make(recipe.loss, recipe.place("loss"), names)
    found: list[Sizes] = []

    def sizes() -> Sizes:
        found.extend([] if found else [sizes_of(data, criterion)])
        return found[0]

    def model() -> nn.Module:
        return model_section.make(recipe.model, recipe.place("model"), names, sizes)

    directory, is_new = (Path(resume), False) if resume is not None else claim(f"{recipe.name}-race", out)
    try:
        recipe.save(directory / "recipe.toml")
        result = run_race(
            model, data.train, data.valid, candidates, loss=learner.loss, penalty=learner.penalty,
            epochs=None if minutes is not None or steps is not None else train.epochs, steps=steps, minutes=minutes,
            batch_size=train.batch_size, shuffle=train.shuffle, drop_last=train.drop_last, halving=halving,
            no_decay=train.no_decay if train.no_decay else None, overrides=train.overrides or None,
            precision=train.precision, device=torch.device(learner.device), seed=train.seed,
            resume=directory, verbose=verbose,
        )  # fmt: skip
    except BaseException as error:
        if not (directory / "race.checkpoint").exists():
            release(directory, is_new)
        elif verbose and isinstance(error, KeyboardInterrupt):
            print(f"stopped; the same call goes on with --resume {directory} (resume={str(directory)!r})")
        raise
    winner = winner_of(recipe, result, names)
    winner.save(directory / "winner.toml")
    result.write(directory)
    report.build(directory)
    return result, winner, directory


def winner_of(recipe: Recipe, result: RaceResult, names: Names = NAMES) -> Recipe:
    """Return the recipe with the winner's rule, schedule, clipping and seed; nobody had early stopping, nor has it."""
    sections = result.sections()
    document = recipe.to_dict()
    train = {key: value for key, value in document["train"].items() if key not in ("early_stopping",)}
    for key in ("clip_norm", "clip_value"):
        train.pop(key, None)
    document["optimizer"] = sections["optimizer"]
    document["schedule"] = sections.get("schedule", {"name": "constant"})
    document["train"] = {**train, **sections["train"]}
    if "loss" in sections:
        document["loss"] = {**document["loss"], **sections["loss"]}
    if result.entry.layers:
        document["train"]["dropout"] = "counter"
    document["name"] = f"{recipe.name}-winner"
    document["description"] = f"the best of {len(result.leaderboard)} settings in a race of {recipe.name}"
    return replace(load(document, (), names), source=recipe.source)
