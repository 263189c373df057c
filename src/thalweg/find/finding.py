"""What a finder found."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..draw import finder, html_table
from .suggest import Suggestions
from .verify import Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Finding"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Finding:
    """The curve of a sweep, the rates that it suggests, and what verification made of them.

    Attributes:
        lr: rates of the sweep, shape **(n,)**.
        loss: the loss at each, shape **(n,)**.
        smoothed: the smoothed losses, shape **(n,)**.
        suggestions: method → rate: ``steepest``, ``valley``, ``minimum``, ``slide``.
        suggestion: the one rate to train with, or None where none is reliable.
        method: where it comes from: ``"verified"`` or a method's name; empty without a suggestion.
        reason: why there is no suggestion, or an empty string.
        band: (lowest, highest) rate that noise cannot tell from the sweep's suggestion; None without one.
        noise: standard deviation of the loss from batch to batch.
        trials: the short trainings of the verification, by rate; empty without one.
        decided_by: ``"validation data"``, ``"training data"`` or an empty string.
        stopped: why the sweep ended.
        updates: updates made in all, sweep and verification.
        low, high: the range that was asked for.
    """

    lr: Array
    loss: Array
    smoothed: Array
    suggestions: dict[str, float]
    suggestion: float | None
    method: str
    reason: str
    band: tuple[float, float] | None
    noise: float
    trials: tuple[Trial, ...] = ()
    decided_by: str = ""
    stopped: str = ""
    updates: int = 0
    low: float = field(default=0.0, repr=False)
    high: float = field(default=0.0, repr=False)

    def __getattr__(self, name: str) -> float:
        if not name.startswith("_") and name in self.suggestions:
            return self.suggestions[name]
        raise AttributeError(
            f"Finding has no {name!r}; it has suggestion, {', '.join(self.suggestions)}, lr, loss, band, plot."
        )

    def __repr__(self) -> str:
        head = "Finding(no reliable suggestion: " + self.reason if self.suggestion is None else self._verdict()
        others = ", ".join(f"{name}={rate:.2e}" for name, rate in self.suggestions.items())
        return f"{head}; {others or 'nothing suggested'}; {self.updates} updates, {self.stopped})"

    def _verdict(self) -> str:
        how = f"{self.method} on {self.decided_by}" if self.decided_by else self.method
        band = "" if self.band is None or self.decided_by else f", noise: {self.band[0]:.1e} to {self.band[1]:.1e}"
        return f"Finding(suggestion={self.suggestion:.2e} ({how}{band})"

    def lines(self) -> list[tuple[str, str]]:
        """Return (label, text) lines: the suggestion, what else the curve says, and the trials."""
        verdict = f"none is reliable: {self.reason}"
        if self.suggestion is not None:
            verdict = f"{self.suggestion:.2e} ({self.method}{' on ' + self.decided_by if self.decided_by else ''})"
        found = [("suggestion", verdict), *((name, f"{rate:.2e}") for name, rate in self.suggestions.items())]
        if self.band is not None:
            found.append(("noise", f"cannot tell rates from {self.band[0]:.1e} to {self.band[1]:.1e}"))
        found += [("tried", f"{t.lr:g}: loss {t.loss:.4g} after {t.steps} updates") for t in self.trials]
        return [*found, ("sweep", f"{len(self.lr)} updates, {self.stopped}")]

    def _repr_html_(self) -> str:
        return html_table(self.lines(), ["", "learning rate"])

    def plot(self, skip_start: int = 10, skip_end: int = 5) -> Figure:
        """Return a figure of the sweep: raw and smoothed loss against the rate, the suggestions, the band.

        Args:
            skip_start: first points that are left out; fewer where the sweep is short.
            skip_end: last points that are left out (where the loss explodes).
        """
        most = max(0, len(self.lr) - 2)
        start = min(skip_start, most)
        marks = dict(self.suggestions)
        if self.suggestion is not None and self.method == "verified":
            marks["verified"] = self.suggestion
        end = min(skip_end, most - start)
        return finder(self.lr, self.loss, self.smoothed, marks, start, end, self.band)

    def save(self, path: Path | str) -> Path:
        """Write everything to an ``.npz`` file; no pickle is in it."""
        path = Path(path)
        if path.suffix != ".npz":
            path = path.with_name(path.name + ".npz")
        arrays = {name: getattr(self, name) for name in ("lr", "loss", "smoothed")}
        plain = {name: value for name, value in asdict(self).items() if name not in arrays}
        np.savez(path, **arrays, plain=np.array(json.dumps(plain)))
        return path

    @classmethod
    def load(cls, path: Path | str) -> Finding:
        """Return what :meth:`save` wrote.

        Raises:
            ValueError: the file is not one of these.
        """
        try:
            with np.load(Path(path), allow_pickle=False) as file:
                arrays = {name: file[name] for name in ("lr", "loss", "smoothed")}
                plain = json.loads(str(file["plain"]))
        except (KeyError, OSError, ValueError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise ValueError(
                f"Finding.load: {path} cannot be read ({error}); give a file that Finding.save wrote."
            ) from error
        plain["trials"] = tuple(Trial(**trial) for trial in plain["trials"])
        plain["band"] = None if plain["band"] is None else tuple(plain["band"])
        return cls(**arrays, **plain)


def finding_of(found: Suggestions, lr: Array, loss: Array, **facts: object) -> Finding:
    """Return the finding of a sweep alone."""
    return Finding(
        lr=lr,
        loss=loss,
        smoothed=found.smoothed,
        suggestions=found.rates,
        suggestion=found.suggestion,
        method=found.method,
        reason=found.reason,
        band=found.band,
        noise=found.noise,
        **facts,  # type: ignore[arg-type]
    )
