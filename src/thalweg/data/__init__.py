"""Data: whatever a user holds, as batches that a run can resume exactly."""

from .accept import source
from .array_pickle import read_array_pickle
from .base import Source
from .batch import Batch, Split, split, to_device
from .datasets import NAMES, load
from .description import Description, Part, describe
from .fraction import split_fraction, split_rows
from .idx import read_idx
from .loader import LoaderSource
from .map_style import MapStyleSource
from .memory import MemorySource
from .mnist_pickle import read_mnist_pickle
from .named import NamedData
from .obtain import OBTAINABLE, Obtainable, data_root, is_obtained, obtain
from .permutation import permutation
from .streams import Kernels, KeyedPermutation, StreamDataset, StreamSource, bind_kernels, stream
from .table import Table, read_table

__all__ = [
    "NAMES",
    "OBTAINABLE",
    "Batch",
    "Description",
    "Kernels",
    "KeyedPermutation",
    "LoaderSource",
    "MapStyleSource",
    "MemorySource",
    "NamedData",
    "Obtainable",
    "Part",
    "Source",
    "Split",
    "StreamDataset",
    "StreamSource",
    "Table",
    "bind_kernels",
    "data_root",
    "describe",
    "is_obtained",
    "load",
    "obtain",
    "permutation",
    "read_array_pickle",
    "read_idx",
    "read_mnist_pickle",
    "read_table",
    "source",
    "split",
    "split_fraction",
    "split_rows",
    "stream",
    "to_device",
]
