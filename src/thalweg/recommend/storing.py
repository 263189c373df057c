"""A recommender on disk: safetensors and JSON, no pickle."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from thalweg.checkpoint import flatten, load, save, unflatten
from thalweg.learner import Learner

from .build import make_learner, make_module
from .effects import Effects
from .features import Features
from .ratings import Ratings
from .settings import RecommenderSettings
from .vocabulary import Vocabulary

__all__ = ["load_recommender", "save_recommender"]

_KIND = "thalweg recommender 1"


class Stored(Protocol):
    """The recommender as this module sees it."""

    module: nn.Module
    learner: Learner
    ratings: Ratings
    effects_found: Effects
    mean: float
    range: tuple[float, float]

    def get_params(self) -> dict[str, Any]:
        """The settings by name."""


def save_recommender(recommender: Stored, path: Path) -> Path:
    """Write settings, weights, vocabularies, titles, features and the training ratings into the folder *path*."""
    ratings = recommender.ratings
    tree = {
        "kind": _KIND,
        "settings": recommender.get_params(),
        "module": dict(recommender.module.state_dict()),
        "users": _ids(ratings.user_ids),
        "items": _ids(ratings.item_ids),
        "titles": list(ratings.titles.items()),
        "user_features": _features(ratings.user_features),
        "item_features": _features(ratings.item_features),
        "ratings": [ratings.users.int(), ratings.items.int(), ratings.values, ratings.times],
        "effects": [list(recommender.effects_found.seconds), list(recommender.effects_found.keys)],
    }
    return save(path, *flatten(tree))


def load_recommender(cls: Any, path: Path) -> Any:
    """Return a recommender of class *cls* from *path*."""
    tensors, plain = load(path)
    if plain.get("kind") != _KIND:
        raise ValueError(
            f"Recommender.load: {path} holds no recommender of this version (kind {plain.get('kind')!r}); give a "
            "folder that Recommender.save or `thalweg recommend fit` wrote."
        )
    tree = unflatten(tensors, plain)
    known = {field.name for field in fields(RecommenderSettings)}
    recommender = cls(**{name: value for name, value in tree["settings"].items() if name in known})
    users, items, values, times = tree["ratings"]
    recommender.ratings = ratings = Ratings(
        users=users.long(),
        items=items.long(),
        values=values,
        times=times,
        user_ids=Vocabulary(tree["users"], "user"),
        item_ids=Vocabulary(tree["items"], "item"),
        titles=dict(tree["titles"]),
        user_features=None if tree["user_features"] is None else Features(*tree["user_features"]),
        item_features=None if tree["item_features"] is None else Features(*tree["item_features"]),
    )
    seconds, keys = tree["effects"]
    recommender.effects_found = Effects(tuple(seconds), tuple(keys))
    with torch.random.fork_rng(devices=[]):
        recommender.module = make_module(recommender, ratings, recommender.effects_found)
    recommender.module.load_state_dict(tree["module"])
    recommender.learner = make_learner(recommender, recommender.module)
    recommender.mean = float(values.double().mean())
    recommender.range = (float(values.min()), float(values.max()))
    recommender.module.eval()
    return recommender


def _ids(vocabulary: Vocabulary) -> Any:
    """Return whole numbers as a tensor, texts as a list."""
    return vocabulary.ids.tolist() if vocabulary.is_text else torch.from_numpy(vocabulary.ids)


def _features(features: Features | None) -> tuple[Tensor, tuple[str, ...]] | None:
    return None if features is None else (features.values, features.names)
