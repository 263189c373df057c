"""Executions of an update rule, and the ``torch.optim.Optimizer`` around them."""

from thalweg.data import Kernels, bind_kernels
from thalweg.engine.base import Engine
from thalweg.engine.c_columns import columns_to_rows, take_columns
from thalweg.engine.c_pages import page_headers, unpack_dictionary
from thalweg.engine.c_rows import take_rows
from thalweg.engine.c_vocabulary import vocabulary_kernel
from thalweg.engine.choice import choose_engine
from thalweg.engine.clip import clip_coefficient, total_norm
from thalweg.engine.compiled import CompiledEngine
from thalweg.engine.native import NativeEngine
from thalweg.engine.optimizer import RuleOptimizer
from thalweg.engine.reference import ReferenceEngine
from thalweg.engine.rounding import Rounder, round_stochastically
from thalweg.loss import bind_vocabulary
from thalweg.optim import bind_shell

bind_shell(RuleOptimizer)
bind_vocabulary(vocabulary_kernel)
bind_kernels(Kernels(take_rows, columns_to_rows, take_columns, page_headers, unpack_dictionary))

__all__ = [
    "CompiledEngine",
    "Engine",
    "NativeEngine",
    "ReferenceEngine",
    "Rounder",
    "RuleOptimizer",
    "choose_engine",
    "clip_coefficient",
    "round_stochastically",
    "total_norm",
]
