"""Metrics: torchmetrics objects by name, fed with predictions."""

from thalweg.metric.names import ALIASES, CLASSIFICATION, REGRESSION, make, make_all, name_of
from thalweg.metric.task import Classification, classification
from thalweg.metric.update import update, values

__all__ = [
    "ALIASES",
    "CLASSIFICATION",
    "REGRESSION",
    "Classification",
    "classification",
    "make",
    "make_all",
    "name_of",
    "update",
    "values",
]
