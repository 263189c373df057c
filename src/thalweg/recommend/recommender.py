"""Collaborative filtering in scikit-learn's habits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.learner import Learner

from .asked import asked_pairs
from .build import make_learner, make_module, pairs_of, sample, train
from .cold import set_unseen_rows
from .effects import Effects
from .listing import Listing
from .ranking import evaluate, recommend_for
from .ratings import Ratings
from .read import read_ratings
from .reading import Reading
from .settings import RecommenderSettings
from .storing import load_recommender, save_recommender

__all__ = ["Recommender"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass
class Recommender(RecommenderSettings):
    r"""Learns from a table of ratings, predicts others, recommends, and can be read.

    ==========================  ========================================================================================
    settings                    model
    ==========================  ========================================================================================
    (default)                   :class:`DotProduct`: factors and biases within a sigmoid range, by AdamW and one cycle
    ``use_nn=True``             :class:`NeuralRecommender`: concatenated embeddings through layers, with biases
    ``history=True``            :class:`HistoryDotProduct`: what was rated at all counts too (SVD++, on both sides)
    ``solver="gibbs"``          Bayesian factors by sampling (:mod:`thalweg.recommend.gibbs`): the most accurate here,
                                with ``history=True``; about ``n_factors=16``
    ==========================  ========================================================================================

    All are plain modules in ``recommender.module``, and ``recommender.learner`` is a :class:`thalweg.Learner` of them.
    Ids that are new at prediction, and those without a rating in training, get the best constant answer: the prediction
    of the average user (item), or the mean rating where both are new; side features count where they are given.

    Args:
        n_factors: factors per user and item.
        y_range: (low, high) of the sigmoid, a little wider than the ratings; None predicts without a range. Ratings
            outside it are refused.
        use_nn, emb_szs, layers, dropout, embed_p: the neural variant and its sizes.
        history: also learn from what was rated at all.
        effects: kinds of periods, each giving every user an intercept per period: ``"day"``, ``"hour"`` or seconds.
            They need ``time``.
        members: initialisations trained side by side in one computation, and averaged.
        solver: ``"adamw"`` or ``"gibbs"``.
        epochs, lr, batch_size: passes, highest rate and rows per update.
        wd: decoupled weight decay of factors and layers; ``user_wd`` and ``item_wd`` for one side; ``bias_wd`` of
            biases.
        rows: ``"dense"`` updates whole tables, ``"lazy"`` only the rows that a batch names (:class:`LazyRows`), for
            tables that are large beside a batch.
        samples, burn_in: draws that are kept, and draws before them, with ``solver="gibbs"``.
        freedom: ν of the noise that users and items have of their own there; None gives all the same.
        seed: of everything drawn; the same seed gives the same model.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` …; ``solver="gibbs"`` draws on the CPU.

    Raises:
        TypeError, ValueError: settings or ratings that cannot work, in words.

    >>> table = {"user": [1, 1, 2, 2, 3], "item": [10, 20, 10, 30, 20], "rating": [5, 3, 4, 1, 2]}
    >>> recommender = Recommender(n_factors=2, epochs=20, batch_size=5).fit(table)
    >>> recommender.predict([(1, 30), (99, 10)]).shape
    (2,)
    >>> [one.item for one in recommender.recommend(1)]
    [30]
    """

    def fit(
        self,
        data: Any,
        *,
        user: str = "user",
        item: str = "item",
        rating: str = "rating",
        time: str | None = None,
        titles: Mapping[Any, str] | None = None,
        user_features: Any = None,
        item_features: Any = None,
        duplicates: str = "error",
        valid: Ratings | None = None,
        verbose: bool = False,
        **fit: Any,
    ) -> Recommender:
        """Learn from ratings and return self.

        Args:
            data: a table, `Ratings` (then the arguments up to *duplicates* have been said already), or a file's path.
            user, item, rating, time, titles, user_features, item_features, duplicates: as for :meth:`Ratings.of`.
            valid: ratings to measure each epoch's loss on, of the same vocabularies (the other part of a split).
            verbose: show lines and a progress bar.
            **fit: further arguments of :meth:`thalweg.Learner.fit`, such as ``run_dir`` or ``hooks``.

        Raises:
            ValueError: a column that is not there, NaN, a rating outside ``y_range``, a pair that stands twice.
        """
        self.check()
        if isinstance(data, (str, Path)):
            names = {"user": user, "item": item, "rating": rating}
            said = {key: value for key, value in names.items() if value != key}
            data = read_ratings(
                data,
                **said,
                time=time,
                features=user_features is None,
                duplicates=duplicates,
            )
        ratings = Ratings.of(
            data,
            user=user,
            item=item,
            rating=rating,
            time=time,
            titles=titles,
            user_features=user_features,
            item_features=item_features,
            duplicates=duplicates,
        )
        self._check_range(ratings)
        self._prepare(ratings)
        pairs = self._pairs(ratings)
        if self.solver == "gibbs":
            self.module.cpu()
            sample(self, self.module, ratings, self.effects_found, verbose)
        else:
            if valid is not None:
                fit["valid"] = (self._pairs(valid), valid.values)
            train(self, self.learner, pairs, ratings.values, verbose=verbose, **fit)
            self.module.cpu()
        set_unseen_rows(self.module, ratings, pairs, features_worked_in=self.solver == "gibbs")
        self.module.to(self.learner.device)
        self.module.eval()
        return self

    def build(self, ratings: Ratings) -> tuple[Learner, tuple[Tensor, Tensor]]:
        """Return an untrained learner and its data (pairs, ratings), for ``lr_find``, a race or the surface.

        >>> ratings = Ratings.of({"user": [1, 1, 2], "item": [1, 2, 1], "rating": [4, 2, 5]})
        >>> learner, data = Recommender(n_factors=2).build(ratings)
        >>> learner.plan(data, epochs=1).total_steps
        1
        """
        self.check()
        self._check_range(ratings)
        self._prepare(ratings)
        return self.learner, (self._pairs(ratings), ratings.values)

    def _prepare(self, ratings: Ratings) -> None:
        self.ratings = ratings
        self.effects_found = Effects.of(ratings, self.effects)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.module: nn.Module = make_module(self, ratings, self.effects_found)
        self.learner: Learner = make_learner(self, self.module)
        self.mean = float(ratings.values.double().mean())
        self.range = (float(ratings.values.min()), float(ratings.values.max()))

    def _check_range(self, ratings: Ratings) -> None:
        if self.y_range is None:
            return
        low, high = self.y_range
        bad = torch.where((ratings.values < low) | (ratings.values > high))[0]
        if len(bad):
            row = int(bad[0])
            raise ValueError(
                f"Recommender: the rating {float(ratings.values[row]):g} of row {row} lies outside y_range=({low:g}, "
                f"{high:g}) ({len(bad)} such rows in all); set y_range a little wider than the ratings, which go from "
                f"{float(ratings.values.min()):g} to {float(ratings.values.max()):g}."
            )

    def _fitted(self, what: str) -> None:
        if not hasattr(self, "module"):
            raise ValueError(f"Recommender.{what}: nothing has been learnt yet; call fit first, or load a model.")

    def _pairs(self, ratings: Ratings) -> Tensor:
        return pairs_of(ratings.users, ratings.items, ratings.times, self.effects_found)

    def predict(self, pairs: Any, *, user: str = "user", item: str = "item", time: str | None = None) -> Array:
        """Return the expected rating of each pair, within the range of the ratings seen in training.

        Args:
            pairs: (user, item) tuples, an array **(n, 2)**, a table, or `Ratings`.
            user, item, time: columns of a table.

        Shapes:
            **(n,)**, float32.

        Raises:
            ValueError: no such column.
            TypeError: no pairs.
        """
        self._fitted("predict")
        users, items, times = asked_pairs(pairs, self.ratings, user, item, time)
        if not len(users):
            return np.empty(0, dtype=np.float32)
        asked = pairs_of(users, items, times, self.effects_found).to(self.learner.device)
        size = max(256, (1 << 22) // (self.module_width() + 1))
        with torch.no_grad():
            self.module.eval()
            found = torch.cat([self.module(part) for part in torch.split(asked, size)]).cpu()
        counts = self.counts()
        nothing = (counts[0][users] == 0) & (counts[1][items] == 0)
        for features, rows in ((self.ratings.user_features, users), (self.ratings.item_features, items)):
            if features is not None:
                nothing &= (features.values[rows] == 0).all(1)
        found[nothing] = self.mean
        predictions: Array = found.clamp(*self.range).numpy()
        return predictions

    def module_width(self) -> int:
        """Numbers per user in the module's table of factors."""
        return int(self.module.user_factors.embedding_dim)  # type: ignore[union-attr, arg-type]

    def counts(self) -> tuple[Tensor, Tensor]:
        """Return how many training ratings each user's and each item's row has, **(n_users,)** and **(n_items,)**."""
        self._fitted("counts")
        return (
            torch.bincount(self.ratings.users, minlength=len(self.ratings.user_ids)),
            torch.bincount(self.ratings.items, minlength=len(self.ratings.item_ids)),
        )

    def recommend(self, user: Any, n: int = 10, *, exclude_seen: bool = True) -> Listing:
        """Return the *n* items with the highest predicted ratings for a user.

        A user who is not in the table gets what the average user would.

        Args:
            user: an id.
            n: how many, >= 1; fewer are returned where there are fewer items.
            exclude_seen: leave out what the user rated in training.
        """
        self._fitted("recommend")
        return recommend_for(self, user, n, exclude_seen)

    @property
    def reading(self) -> Reading:
        """What the model has learnt of the items: biases, factors, axes, neighbours."""
        self._fitted("reading")
        return Reading(self.module, self.ratings)

    def similar(self, item: Any, n: int = 10) -> Listing:
        """Return the *n* items whose factors point most in the direction of *item*'s (cosine).

        Raises:
            ValueError: an item that is not in the table.
        """
        self._fitted("similar")
        return self.reading.similar(item, n)

    def score(self, data: Any, **columns: Any) -> float:
        r"""Return the coefficient of determination :math:`R^2 = 1 - \sum (r - \hat r)^2 / \sum (r - \bar r)^2`.

        Larger is better, as scikit-learn's searches need it; :meth:`evaluate` gives errors and rankings.
        """
        ratings = data if isinstance(data, Ratings) else Ratings.of(data, **columns)
        truth = ratings.values.double().numpy()
        rest = truth - self.predict(_same_ids(ratings, self.ratings))
        spread = ((truth - truth.mean()) ** 2).sum()
        if not spread:
            raise ValueError("Recommender.score: all ratings are equal, so that R² is not defined; use evaluate.")
        return float(1 - (rest**2).sum() / spread)

    def evaluate(self, data: Any, *, k: int = 10, relevant: float | None = 4.0, **columns: Any) -> dict[str, float]:
        """Return RMSE and MAE of held-out ratings, and nDCG@k, recall@k, MAP and coverage@k of rankings.

        All items are candidates, except those the user rated in training.

        Args:
            data: `Ratings` or a table, with further arguments of :meth:`Ratings.of` for its columns.
            k: length of the lists.
            relevant: the rating from which a held-out item should have been recommended; None leaves rankings out.
        """
        self._fitted("evaluate")
        ratings = data if isinstance(data, Ratings) else Ratings.of(data, **columns)
        return evaluate(self, _same_ids(ratings, self.ratings), k, relevant)

    def save(self, path: Path | str) -> Path:
        """Write the model into the folder *path* (safetensors and JSON), whole or not at all, and return it."""
        self._fitted("save")
        return save_recommender(self, Path(path))

    @classmethod
    def load(cls, path: Path | str) -> Recommender:
        """Return a model that :meth:`save` wrote.

        Raises:
            ValueError: nothing is there, it is damaged, or it is something else.
        """
        loaded: Recommender = load_recommender(cls, Path(path))
        return loaded


def _same_ids(ratings: Ratings, own: Ratings) -> Ratings:
    """Return *ratings* with the rows of the model's vocabularies."""
    if ratings.user_ids is own.user_ids and ratings.item_ids is own.item_ids:
        return ratings
    from dataclasses import replace

    users = own.user_ids.rows(ratings.user_ids.ids)[ratings.users - 1]
    items = own.item_ids.rows(ratings.item_ids.ids)[ratings.items - 1]
    return replace(ratings, users=users, items=items, user_ids=own.user_ids, item_ids=own.item_ids)
