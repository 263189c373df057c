"""The levels of an adaptive plane that are done, kept in a file so that an interrupted plane goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checkpoint import write_whole
from .cut import Cut
from .evaluate import Evaluated, evaluate
from .landscape import Landscape
from .settings import computation_key, partial_of

__all__ = ["Levels"]

Array = NDArray[np.float64]


class Levels:
    """Computes one level of points after the other, or takes it from the file where it was done before.

    Which points a level holds follows from the values of those above it, so that the same computation asks for the same
    levels in the same order and their values alone need be kept.

    Args:
        who: the function, for messages.
        land: model, loss and data.
        cut: the plane.
        statistics: of batch-norm layers.
        progress: whether a bar is shown.
        path: the file, or None to keep nothing.
        settings: what else decides the points: the grid **(n·m, 2)** and the tolerance.
    """

    def __init__(
        self,
        who: str,
        land: Landscape,
        cut: Cut,
        statistics: str,
        progress: bool,
        path: Path | str | None,
        settings: tuple[Array, float],
    ) -> None:
        self._who, self._land, self._cut, self._statistics, self._progress = who, land, cut, statistics, progress
        self._path = None if path is None else Path(path)
        self._key = "" if path is None else f"{computation_key(land, cut, settings[0], None, statistics)} {settings[1]}"
        self._values: list[Array] = []
        self._asked = 0
        self.run: Evaluated | None = None
        if self._path is not None and self._path.exists():
            self._read(self._path)

    def compute(self, at: Array) -> Array:
        """Return the losses at the points *at*, **(P, 2)** → **(P,)**."""
        self._asked += 1
        if self._asked <= len(self._values):
            return self._values[self._asked - 1]
        part = None if self._path is None else self._path.with_name(f"{self._path.name}.level")
        with partial_of(part, self._land, self._cut, at, None, self._statistics) as partial:
            run = evaluate(
                self._who,
                self._land,
                self._cut,
                at,
                batch_norm=self._statistics,
                partial=partial,
                progress=self._progress,
            )
        seconds = run.seconds + (0.0 if self.run is None else self.run.seconds)
        self.run = replace(run if self.run is None else self.run, seconds=seconds)
        self._values.append(run.values)
        self._write()
        return run.values

    @contextmanager
    def finished(self) -> Iterator[None]:
        """Remove the file when what is inside has ended well."""
        yield
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        if self._path is None or self.run is None:
            return
        facts = json.dumps({name: value for name, value in asdict(self.run).items() if name != "values"})
        arrays: dict[str, Any] = {f"level{place}": level for place, level in enumerate(self._values)}

        def fill(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(file, key=np.array(self._key), facts=np.array(facts), **arrays)

        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._path, fill)

    def _read(self, path: Path) -> None:
        advice = "remove the file, or give another name."
        try:
            with np.load(path, allow_pickle=False) as file:
                key, facts = str(file["key"]), json.loads(str(file["facts"]))
                values = [file[f"level{place}"] for place in range(len(file.files) - 2)]
        except (KeyError, OSError, ValueError, EOFError) as error:
            raise ValueError(f"{self._who}: resume={str(path)!r} cannot be read ({error}); {advice}") from error
        if key != self._key:
            raise ValueError(
                f"{self._who}: resume={str(path)!r} belongs to another computation (other weights, directions, grid, "
                f"tolerance or data); {advice}"
            )
        self._values = values
        self.run = Evaluated(values=values[0], **facts)
