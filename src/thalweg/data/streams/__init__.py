"""Files larger than memory as batches that a run can leave and take up exactly."""

from .columns import bind_columns_to_rows
from .dataset import StreamDataset
from .entrance import stream
from .feed import bind_take_rows
from .permutation import KeyedPermutation
from .source import StreamSource

__all__ = ["KeyedPermutation", "StreamDataset", "StreamSource", "bind_columns_to_rows", "bind_take_rows", "stream"]
