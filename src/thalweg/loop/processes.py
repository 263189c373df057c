"""Several processes that train one model: started by torchrun, each with its share of every batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor

from thalweg.engine.sharded import check_sharded as check_parameter

__all__ = ["Processes", "check_sharded", "is_first", "shared"]


def is_first() -> bool:
    """Whether this process writes and prints: the first of several, or the only one.

    >>> is_first()
    True
    """
    processes = Processes.present(torch.device("cpu"))
    return processes is None or processes.is_first


def shared(call: Callable[[], Any]) -> Any:
    """Let the first process alone make a call, and return what it returned in all of them.

    Raises:
        Exception: what the call raised, in the first one.
        ValueError: with its message, in the others, which would wait for it otherwise.

    >>> shared(lambda: 3)
    3
    """
    processes = Processes.present(torch.device("cpu"))
    if processes is None:
        return call()
    if processes.is_first:
        try:
            value = call()
        except Exception as error:
            processes.share((str(error) or type(error).__name__, None))
            raise
        processes.share(("", value))
        return value
    failed, value = processes.share(None)
    if failed:
        raise ValueError(failed)
    return value


class Processes:
    """The processes of a training, as one of them sees them.

    Attributes:
        rank: number of this one, from 0.
        world_size: how many there are.
        device: where tensors are added up.
    """

    def __init__(self, device: torch.device) -> None:
        self.rank, self.world_size = distributed.get_rank(), distributed.get_world_size()
        self.device = device

    @classmethod
    def present(cls, device: torch.device) -> Processes | None:
        """Return the processes of ``torch.distributed``; None where there is only this one.

        >>> Processes.present(torch.device("cpu")) is None
        True
        """
        if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() < 2:
            return None
        return cls(device)

    @staticmethod
    def join(device: str = "auto") -> bool:
        """Join the other processes if torchrun started this one; return whether it did.

        Args:
            device: ``"auto"`` takes NCCL where there is a GPU for each process of this machine, else gloo.

        Raises:
            ValueError: a GPU was asked for where there is none for this process.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) < 2 or distributed.is_initialized():
            return distributed.is_initialized()
        local = int(os.environ.get("LOCAL_RANK", "0"))
        wants = device.startswith("cuda")
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if wants and found <= local:
            raise ValueError(
                f"processes: device={device!r} asks for NCCL with one GPU for each process, but process {local} of "
                f"this machine has none ({found} GPUs); start fewer processes, or set train.device=cpu for gloo."
            )
        use_gpu = wants or (device == "auto" and found > local)
        if use_gpu:
            torch.cuda.set_device(local)
        distributed.init_process_group("nccl" if use_gpu else "gloo")
        return True

    @staticmethod
    def leave() -> None:
        """Part from the other processes."""
        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def total(self, values: Sequence[Tensor | float]) -> Tensor:
        """Return the sums of values over all processes, one after the other, shape **(k,)**, float64."""
        parts = [torch.as_tensor(value, dtype=torch.float64, device=self.device) for value in values]
        together = torch.cat([part.reshape(-1) for part in parts])
        distributed.all_reduce(together)
        return together

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over all processes, in one exchange for each dtype."""
        _in_place(tensors, distributed.all_reduce)

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by those of the first process, in one exchange for each dtype."""
        _in_place(tensors, lambda flat: distributed.broadcast(flat, src=0))

    def any(self, mine: bool) -> bool:
        """Return whether it holds in any process; all of them must ask."""
        flag = torch.tensor(float(mine), device=self.device)
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag > 0)

    def share(self, mine: Any) -> Any:
        """Return the first process's value in all of them."""
        held = [mine]
        distributed.broadcast_object_list(held, src=0)
        return held[0]

    def gather(self, mine: Any) -> list[Any]:
        """Return every process's value, in all of them, by rank."""
        held: list[Any] = [None] * self.world_size
        distributed.all_gather_object(held, mine)
        return held


def _in_place(tensors: Sequence[Tensor], exchange: Callable[[Tensor], Any]) -> None:
    dense = [tensor for tensor in tensors if tensor.layout is torch.strided]
    for dtype in dict.fromkeys(tensor.dtype for tensor in dense):
        mine = [tensor for tensor in dense if tensor.dtype is dtype]
        flat = torch.cat([tensor.reshape(-1) for tensor in mine])
        exchange(flat)
        for tensor, part in zip(mine, torch.split(flat, [t.numel() for t in mine]), strict=True):
            tensor.copy_(part.view_as(tensor))
    for tensor in tensors:
        if tensor.layout is not torch.strided:  # a sparse gradient holds other rows in each process
            exchange(tensor)


def check_sharded(optimizer: torch.optim.Optimizer) -> None:
    """Raise where a rule of ours that needs whole tensors is to update parameters that were sharded after it was made.

    Raises:
        ValueError: naming the rule.
    """
    rule: Any = getattr(optimizer, "rule", None)
    if rule is None:
        return
    for group in optimizer.param_groups:
        for param in group["params"]:
            check_parameter(rule, param)
