"""A training run as plain data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from thalweg.checkpoint import write_text
from thalweg.learner import Learner
from thalweg.learner.seeding import seeded
from thalweg.loop import EarlyStopping, Guard

from .arguments import plain
from .names import NAMES, Names
from .parts import Parts
from .places import at
from .sections import data, loss, metrics, model, optimizer, schedule
from .sections.train import Train
from .sizes import Sizes, sizes_of

__all__ = ["SECTIONS", "Recipe"]

# A list of numbers or texts as tomli_w writes it, one to a line; a text holds no line break of its own there.
_SHORT = re.compile(r"\[\n((?:    [^\n{\[]*,\n)+)\]")
_WIDTH = 100

SECTIONS = ("model", "data", "optimizer", "schedule", "loss", "metrics", "train")


@dataclass(frozen=True)
class Recipe:
    """A training run as plain data, complete: every default is spelled out.

    :func:`thalweg.recipe.load` makes one of a TOML file; :meth:`build` makes the learner and its data of it;
    ``str(recipe)`` is TOML again, which runs to the same result. What has no default and is not given (``clip_norm``)
    is left out, because TOML has no word for nothing.

    Attributes:
        name: what run directories begin with.
        description: one line.
        published: what others report for the same task and size, with its source; stands beside the closing numbers.
        model, data, optimizer, schedule, loss, metrics: the sections.
        train: everything else that learner and fit take.
        source: where it was read, for messages.
        notes: what overriding it changed besides.
    """

    name: str
    description: str
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    schedule: Mapping[str, Any]
    loss: Mapping[str, Any]
    metrics: Mapping[str, Any]
    train: Train
    published: str = ""
    source: str = field(default="recipe", compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as nested plain data, as TOML has it."""
        document: dict[str, Any] = {"name": self.name}
        if self.description:
            document["description"] = self.description
        if self.published:
            document["published"] = self.published
        for section in SECTIONS[:-1]:
            document[section] = plain(getattr(self, section))
        train = plain({entry.name: getattr(self.train, entry.name) for entry in fields(self.train)})
        document["train"] = {key: value for key, value in train.items() if value != {}}
        return document

    def to_toml(self) -> str:
        """Return the recipe as TOML."""
        import tomli_w

        return _SHORT.sub(_one_line, tomli_w.dumps(self.to_dict()))

    def __str__(self) -> str:
        return self.to_toml()

    def save(self, path: Path | str) -> Path:
        """Write the recipe as TOML, whole or not at all, and return the path."""
        write_text(Path(path), self.to_toml())
        return Path(path)

    def build(self, names: Names = NAMES) -> tuple[Learner, Parts]:
        """Return the learner, its weights drawn by the recipe's seed, and the data.

        Args:
            names: what names stand for.

        Raises:
            FileNotFoundError: a file of the data is not there.
            ValueError, TypeError: what cannot work together; the message begins with the section.

        >>> import thalweg.recipe as recipes
        >>> learner, data = recipes.load("digits", ["model.hidden=[8]"]).build()
        >>> learner.module.output, data
        (Linear(in_features=8, out_features=10, bias=True), digits: 1,197 to train, 300 to validate, 300 to test)
        """
        with at(self.place("loss")):
            criterion = loss.make(self.loss, self.place("loss"), names)
        with at(self.place("data")):
            parts = data.make(self.data, self.place("data"), names, criterion)
        found: list[Sizes] = []

        def sizes() -> Sizes:
            found.extend([] if found else [sizes_of(parts, criterion)])
            return found[0]

        with at(self.place("model")), seeded(self.train.seed):
            module = model.make(self.model, self.place("model"), names, sizes)
        train = self.train
        penalty = None if train.penalty is None else loss.make_penalty(train.penalty, self.place("train"), names)
        rule = optimizer.make(self.optimizer, self.place("optimizer"), names)
        schedules = schedule.make(self.schedule, self.place("schedule"), names)
        with at(self.source):
            learner = Learner(
                module,
                rule,
                criterion,
                metrics.make(self.metrics, self.place("metrics")),
                schedule=schedules or None,
                penalty=penalty,
                clip_norm=train.clip_norm,
                clip_value=train.clip_value,
                no_decay=train.no_decay,
                overrides=train.overrides or None,
                precision=train.precision,
                device=train.device,
                seed=train.seed,
                compile=train.compile,
                engine=train.engine,
                state_dtype=train.state_dtype,
                step=train.step,
            )
        return learner, parts

    def plan_arguments(self) -> dict[str, Any]:
        """Return what ``learner.plan`` and ``learner.lr_find`` take of the training besides data.

        >>> import thalweg.recipe as recipes
        >>> recipes.load("digits", ["train.epochs=3"]).plan_arguments()["epochs"]
        3
        """
        return {name: getattr(self.train, name) for name in ("epochs", "batch_size", "accumulate", "drop_last")}

    def fit_arguments(self) -> dict[str, Any]:
        """Return what ``learner.fit`` takes besides data and directories.

        >>> import thalweg.recipe as recipes
        >>> recipes.load("digits", ["train.epochs=3"]).fit_arguments()["epochs"]
        3
        """
        train = self.train
        stopping = train.early_stopping
        more = ("shuffle", "log_every", "checkpoint_every", "keep", "flush_every", "loggers")
        return {
            **self.plan_arguments(),
            **{name: getattr(train, name) for name in more},
            "early_stopping": EarlyStopping(**stopping) if isinstance(stopping, Mapping) else None,
            "guard": Guard(**train.guard) if isinstance(train.guard, Mapping) else train.guard,
        }

    def place(self, section: str) -> str:
        """Return where a section stands, for messages."""
        return f"{self.source} [{section}]"


def _one_line(found: re.Match[str]) -> str:
    """Return a short list on one line."""
    line = f"[{', '.join(item.strip().rstrip(',') for item in found[1].splitlines())}]"
    return line if len(line) <= _WIDTH else found[0]
