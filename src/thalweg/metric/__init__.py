"""Metrics: torchmetrics objects by name, fed with predictions."""

from thalweg.metric.names import ALIASES, CLASSIFICATION, REGRESSION, display_name, make, make_all
from thalweg.metric.task import Classification, classification
from thalweg.metric.update import update, values

__all__ = [
    "ALIASES",
    "CLASSIFICATION",
    "REGRESSION",
    "Classification",
    "classification",
    "display_name",
    "make",
    "make_all",
    "update",
    "values",
]
