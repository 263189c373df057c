"""The one table in which the names of a recipe resolve.

It is handed in from the top: ``load(..., names=NAMES)``. A recipe may also name anything that can be imported, as
``"package.module:name"``, so that the table need not grow for one's own models and data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from thalweg import data, loss, optim, schedule
from thalweg.errors import did_you_mean, listing
from thalweg.recommend import DotProduct, NeuralRecommender, movielens_pairs

from .importing import import_object
from .language import characters, tinyshakespeare, translation
from .models import MLP, ConvNet, Decoder, EncoderDecoder, LinearModel

__all__ = ["NAMES", "NameTable", "Names"]


@dataclass(frozen=True)
class NameTable:
    """The names of one section.

    Attributes:
        what: of what kind they are, for messages.
        names: name → the class or function that it stands for.
        aliases: other spellings → name.
    """

    what: str
    names: Mapping[str, Callable[..., Any]]
    aliases: Mapping[str, str] = field(default_factory=dict)

    def find(self, name: object, place: str) -> tuple[str, Callable[..., Any]]:
        """Return (name as the table writes it, what it stands for); case and ``-``/``_`` do not matter.

        Raises:
            ValueError: no text, an unknown name (with the nearest known one), or one that cannot be imported.

        >>> NAMES.optimizer.find("AdamW", "recipe.toml [optimizer]")[0]
        'adamw'
        >>> NAMES.data.find("fashion_mnist", "recipe.toml [data]")[0]
        'fashion-mnist'
        """
        if not isinstance(name, str):
            raise ValueError(f"{place}: name = {name!r} is no text; name the {self.what}.")
        if ":" in name:
            return name, import_object(name, place)
        folded = {_fold(known): known for known in self.names}
        folded |= {_fold(alias): known for alias, known in self.aliases.items()}
        if _fold(name) in folded:
            found = folded[_fold(name)]
            return found, self.names[found]
        hint = did_you_mean(name, self.names) or did_you_mean(name, self.aliases)
        raise ValueError(
            f"{place}: unknown {self.what} {name!r}.{hint} Known: {listing(self.names)}, or 'package.module:name'."
        )


def _fold(name: str) -> str:
    return name.lower().replace("-", "_")


@dataclass(frozen=True)
class Names:
    """A table per section; ``dataclasses.replace`` makes one with further names.

    >>> from dataclasses import replace
    >>> mine = replace(NAMES, model=NameTable("model", {**NAMES.model.names, "wide": MLP}))
    >>> mine.model.find("wide", "here")[1] is MLP
    True
    """

    model: NameTable
    data: NameTable
    optimizer: NameTable
    schedule: NameTable
    loss: NameTable
    penalty: NameTable


NAMES = Names(
    model=NameTable(
        "model",
        {
            "mlp": MLP,
            "linear": LinearModel,
            "convnet": ConvNet,
            "decoder": Decoder,
            "encoder-decoder": EncoderDecoder,
            "dot-product": DotProduct,
            "neural-recommender": NeuralRecommender,
        },
    ),
    data=NameTable(
        "data set",
        {
            **data.NAMES,
            "characters": characters,
            "tinyshakespeare": tinyshakespeare,
            "translation": translation,
            "movielens": movielens_pairs,
        },
    ),
    optimizer=NameTable("optimizer", optim.NAMES, optim.ALIASES),
    schedule=NameTable("schedule", schedule.NAMES),
    loss=NameTable("loss", loss.NAMES, loss.ALIASES),
    penalty=NameTable("penalty", loss.PENALTIES),
)
"""The names that recipes know by themselves."""
