"""What came out of a run: its closing numbers, in a few lines and as one JSON object."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thalweg.report.headline import duration

__all__ = ["RunSummary"]


@dataclass(frozen=True)
class RunSummary:
    """The closing numbers of a run.

    Attributes:
        recipe: its name.
        run: its directory.
        test: loss and metrics on the test data; empty without any.
        valid: loss and metrics on the validation data after the last epoch; empty without any.
        best: the epoch with the lowest validation loss, and its values; empty without validation.
        loss: mean training loss of the last epoch.
        epochs: epochs finished.
        steps: updates made.
        seconds: from the first step to the last validation, without loading and reporting; of a resumed run the part
            after it was resumed.
        parameters: numbers in the model.
        stopped: why it ended before the planned epochs, or an empty string.
        resumed_at: the step at which it was last gone on with, or None.
        published: what others report for the same task and size, or an empty string.
    """

    recipe: str
    run: str
    test: Mapping[str, float]
    valid: Mapping[str, float]
    best: Mapping[str, float]
    loss: float
    epochs: int
    steps: int
    seconds: float
    parameters: int
    stopped: str = ""
    resumed_at: int | None = None
    published: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON-able data, metrics before losses; a number that is not finite is None.

        >>> summary = RunSummary("digits", "runs/a", {"loss": 0.1}, {}, {}, math.nan, 2, 38, 0.5, 4810)
        >>> [(key, value) for key, value in summary.to_dict().items() if key in ("test_loss", "loss", "steps")]
        [('test_loss', 0.1), ('loss', None), ('steps', 38)]
        """
        document: dict[str, Any] = {f"test_{name}": _finite(value) for name, value in _metrics_first(self.test)}
        document |= {f"val_{name}": _finite(value) for name, value in _metrics_first(self.valid)}
        document["loss"] = _finite(self.loss)
        if self.best:
            document["best"] = {name: _finite(value) for name, value in self.best.items()}
        document |= {"epochs": self.epochs, "steps": self.steps, "seconds": self.seconds}
        document |= {"parameters": self.parameters, "recipe": self.recipe, "run": self.run}
        if self.stopped:
            document["stopped"] = self.stopped
        if self.resumed_at is not None:
            document["resumed_at"] = self.resumed_at
        if self.published:
            document["published"] = self.published
        return document

    @classmethod
    def read(cls, run: Path | str) -> RunSummary | None:
        """Return the summary that a finished run wrote, or None where there is none.

        Raises:
            ValueError: the file is damaged.
        """
        path = Path(run) / "summary.json"
        if not path.is_file():
            return None
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                recipe=document["recipe"],
                run=str(run),
                test=_prefixed(document, "test_"),
                valid=_prefixed(document, "val_"),
                best={name: _number(value) for name, value in document.get("best", {}).items()},
                loss=_number(document["loss"]),
                epochs=document["epochs"],
                steps=document["steps"],
                seconds=document["seconds"],
                parameters=document["parameters"],
                stopped=document.get("stopped", ""),
                resumed_at=document.get("resumed_at"),
                published=document.get("published", ""),
            )
        except (ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"{path}: is no summary of a run ({error!r}); remove it, and resume the run.") from None

    def __str__(self) -> str:
        rows: list[tuple[str, str]] = []
        for name, values in (("test", self.test), ("validation", self.valid)):
            if values:
                rows.append((name, _values(values)))
        if self.best:
            shown = {name.removeprefix("val_"): value for name, value in self.best.items() if name != "epoch"}
            rows.append((f"best, epoch {int(self.best['epoch'])}", _values(shown)))
        if self.published:
            rows.append(("published", self.published))
        epochs = "epoch" if self.epochs == 1 else "epochs"
        since = "" if self.resumed_at is None else f", since step {self.resumed_at:,}"
        rows.append(("time", f"{duration(self.seconds)}{since}; {self.steps:,} updates in {self.epochs} {epochs}"))
        if self.stopped:
            rows.append(("stopped", self.stopped))
        rows.append(("report", str(Path(self.run) / "report.html")))
        rows.append(("again", f"thalweg run {Path(self.run) / 'recipe.toml'}"))
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def _values(values: Mapping[str, float]) -> str:
    """Return loss and metrics in words, metrics first."""
    return ", ".join(f"{name} {value:.4f}" for name, value in _metrics_first(values))


def _metrics_first(values: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(values.items(), key=lambda item: item[0] == "loss")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _prefixed(document: Mapping[str, Any], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): _number(value) for name, value in document.items() if name.startswith(prefix)}
