"""Files larger than memory as batches that a run can leave and take up exactly."""

from .dataset import StreamDataset
from .entrance import stream
from .kernels import Kernels, bind_kernels
from .permutation import KeyedPermutation
from .source import StreamSource

__all__ = ["Kernels", "KeyedPermutation", "StreamDataset", "StreamSource", "bind_kernels", "stream"]
