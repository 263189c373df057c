"""Batches from whatever a user holds."""

from .accept import source
from .base import Source
from .batch import Batch, Split, split
from .fraction import split_fraction
from .memory import MemorySource

__all__ = ["Batch", "MemorySource", "Source", "Split", "source", "split", "split_fraction"]
