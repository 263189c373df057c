"""A run's values as TensorBoard's event files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from .history import Array
from .logger import Logger, epoch_values, step_values

__all__ = ["TensorBoard"]


class TensorBoard(Logger):
    """Writes ``tensorboard/events…`` in the run directory: ``tensorboard --logdir runs`` shows all runs.

    One event holds all values of an update. Where a run is gone on with, values of updates after the checkpoint, which
    are made again, are marked as void, as TensorBoard does after a crash.
    """

    package: ClassVar[str] = "tensorboard"

    def __init__(self) -> None:
        self._writer: Any = None

    def open(self, run_dir: Path, step: int, facts: Mapping[str, Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from torch.utils.tensorboard import FileWriter

        self._writer = FileWriter(str(run_dir / "tensorboard"))
        if step:
            self._writer.add_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))
        lines = "\n".join(f"    {name}: {value}" for name, value in facts.items())
        self._writer.add_summary(_text("run", lines), step)

    def steps(self, block: Mapping[str, Array]) -> None:
        for step, values in step_values(block):
            self._add(step, values)

    def epoch(self, row: Mapping[str, float]) -> None:
        self._add(*epoch_values(row))
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _add(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        parts = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._writer.add_summary(Summary(value=parts), step)


def _text(tag: str, text: str) -> Any:
    from torch.utils.tensorboard.summary import text as summary

    return summary(tag, text)  # type: ignore[no-untyped-call]
