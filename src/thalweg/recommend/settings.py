"""The settings of a recommender, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thalweg.errors import check_number, unknown_name

from .dot_product import check_counts, check_range
from .effects import period_seconds

__all__ = ["RecommenderSettings"]

_SOLVERS = ("adamw", "gibbs")
_ROWS = ("dense", "lazy")


@dataclass
class RecommenderSettings:
    """What :class:`thalweg.recommend.Recommender` is told; documented there."""

    n_factors: int = 40
    y_range: tuple[float, float] | None = (0.0, 5.5)
    use_nn: bool = False
    emb_szs: tuple[int, int] | None = None
    layers: tuple[int, ...] = (100,)
    dropout: float = 0.0
    embed_p: float = 0.0
    history: bool = False
    effects: tuple[str | int, ...] = ()
    members: int = 1
    solver: str = "adamw"
    epochs: int = 5
    lr: float = 0.01
    batch_size: int = 256
    wd: float = 0.45
    user_wd: float | None = None
    item_wd: float | None = None
    bias_wd: float = 0.03
    rows: str = "dense"
    samples: int = 200
    burn_in: int = 40
    freedom: float | None = 10.0
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise for settings that cannot work; called again by ``fit``, since scikit-learn sets attributes."""
        who = "Recommender"
        counts = ("n_factors", "members", "epochs", "batch_size", "samples")
        check_counts(who, **{name: getattr(self, name) for name in counts})
        check_range(who, self.y_range)
        check_number(who, "burn_in", self.burn_in, low=0)
        for name in ("lr", "wd", "bias_wd", *(n for n in ("user_wd", "item_wd") if getattr(self, n) is not None)):
            check_number(who, name, getattr(self, name), low=0.0)
        if self.freedom is not None:
            check_number(who, "freedom", self.freedom, low=0.0, low_open=True)
        if self.solver not in _SOLVERS:
            raise unknown_name(who, "solver", self.solver, _SOLVERS)
        if self.rows not in _ROWS:
            raise unknown_name(who, "rows", self.rows, _ROWS)
        if isinstance(self.effects, (str, int)):
            raise TypeError(f"{who}: effects={self.effects!r} must be a tuple of kinds, e.g. ('day', 'hour').")
        for kind in self.effects:
            period_seconds(kind)
        if self.use_nn and (self.history or self.solver == "gibbs"):
            asked = "history=True" if self.history else "solver='gibbs'"
            raise ValueError(
                f"{who}: use_nn=True and {asked} were asked for, but the layers have no closed form and no history; "
                "leave one of them out."
            )
        if self.solver == "gibbs" and self.members > 1:
            raise ValueError(
                f"{who}: members={self.members} with solver='gibbs', whose draws are an ensemble already; ask for more "
                "samples instead."
            )
        if self.rows == "lazy" and self.history:
            raise ValueError(
                f"{who}: rows='lazy' with history=True, but a history names nearly every row in each batch; use "
                "rows='dense'."
            )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by name, as scikit-learn asks for them."""
        return {name: getattr(self, name) for name in RecommenderSettings.__dataclass_fields__}

    def set_params(self, **settings: Any) -> Any:
        """Set settings by name and return self.

        Raises:
            ValueError: an unknown name, or a value that cannot work.
        """
        known = RecommenderSettings.__dataclass_fields__
        for name, value in settings.items():
            if name not in known:
                raise unknown_name("Recommender", "setting", name, known)
            setattr(self, name, value)
        self.check()
        return self
