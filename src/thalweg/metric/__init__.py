"""Metrics: torchmetrics objects by name, fed with predictions."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from thalweg.metric.names import ALIASES, CLASSIFICATION, REGRESSION, make, make_all, name_of
from thalweg.metric.task import Classification, classification
from thalweg.metric.token_names import TOKENS, is_token_loss
from thalweg.metric.token_scores import Reading, TokenScores, token_scores
from thalweg.metric.update import update, update_all, values

if _TYPE_CHECKING:
    from thalweg.metric.token_metric import BitsPerByte, BitsPerCharacter, Perplexity, TokenAccuracy

__all__ = [
    "ALIASES",
    "CLASSIFICATION",
    "REGRESSION",
    "TOKENS",
    "BitsPerByte",
    "BitsPerCharacter",
    "Classification",
    "Perplexity",
    "Reading",
    "TokenAccuracy",
    "TokenScores",
    "classification",
    "is_token_loss",
    "make",
    "make_all",
    "name_of",
    "token_scores",
    "update",
    "update_all",
    "values",
]

_WHEN_USED = ("BitsPerByte", "BitsPerCharacter", "Perplexity", "TokenAccuracy")  # torchmetrics is imported with them


def __getattr__(name: str) -> _Any:
    """Import a class of metrics when it is first used."""
    if name in _WHEN_USED:
        return getattr(_import_module("thalweg.metric.token_metric"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
