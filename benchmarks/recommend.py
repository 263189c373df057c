"""Recommendation on MovieLens-100k beside fastai, Surprise and myFM, and ten million generated ratings from disk.

Every part can be run alone: ``python benchmarks/recommend.py fastai random single best timed large``.

Settings are chosen inside each training part: `chosen` holds out a tenth of it, fits every candidate on the rest and
takes the one with the lowest RMSE there; the test part is looked at once, by the final fit. The candidates stand in
this file.

Peers that cannot be imported are compared by the figures that were measured for them on two cores earlier (the name
says so). THALWEG_PEERS may name a folder that is searched for them last, because some of them ask for packages that do
not go together with others here.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import thalweg as tw
from _record import compare, emit, figure, measure, say
from thalweg.recommend import DotProduct, LazyRows, Ratings, Recommender

Settings = Mapping[str, Any]
Fold = tuple[Ratings, Ratings]

SINGLE: Sequence[Settings] = (
    {"batch_size": 1024, "lr": 0.02, "wd": 0.9},
    {"batch_size": 1024, "lr": 0.02, "wd": 1.2},
    {"batch_size": 1024, "lr": 0.02, "wd": 1.5},
)
RANDOM: Sequence[Settings] = ({"wd": 0.35}, {"wd": 0.45}, {"wd": 0.55})
GIBBS: Settings = {"solver": "gibbs", "history": True, "n_factors": 16}
BEST: Sequence[Settings] = ({**GIBBS, "freedom": None}, {**GIBBS, "freedom": 10.0})
TIMED: Sequence[Settings] = (
    {**GIBBS, "effects": ("day", "hour")},
    {**GIBBS, "effects": ("day", "hour", 600)},
)


def films() -> Ratings:
    """MovieLens-100k in GroupLens' order of rows."""
    return tw.recommend.movielens()


def folds(ratings: Ratings) -> Iterator[Fold]:
    """GroupLens' u1 … u5: fold i is tested on rows 20000(i−1) … 20000i."""
    return tw.recommend.split_folds(ratings, torch.arange(len(ratings)) // 20_000)


def fitted(train: Ratings, settings: Settings, **more: Any) -> Recommender:
    return Recommender(**{**settings, **more}).fit(train)


def error(recommender: Recommender, test: Ratings) -> float:
    """RMSE."""
    return recommender.evaluate(test, relevant=None)["rmse"]


def chosen(train: Ratings, candidates: Sequence[Settings], **more: Any) -> Settings:
    """The candidate that is best on a tenth of the training part, fitted on the rest of it."""
    rest, held = tw.recommend.split_fraction(train, 0.1, seed=0)
    return min(candidates, key=lambda settings: error(fitted(rest, settings, **more), held))


def peer(name: str) -> bool:
    """Whether a peer can be imported, here or in THALWEG_PEERS."""
    extra = os.environ.get("THALWEG_PEERS")
    if extra and extra not in sys.path:
        sys.path.append(extra)
    return find_spec(name) is not None


def frame(ratings: Ratings) -> Any:
    """The ratings as a pandas table, as peers take them."""
    import pandas as pd

    return pd.DataFrame(
        {"user": ratings.users.numpy(), "item": ratings.items.numpy(), "rating": ratings.values.double().numpy()}
    )


def run_fastai() -> None:
    """The dot-product model on a random split, five epochs of one cycle."""
    ratings = films()
    found: list[float] = []
    theirs: list[float] = []
    there = peer("fastai")
    if there:
        import warnings

        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        from fastai.collab import CollabDataLoaders, collab_learner
        from fastai.data.transforms import RandomSplitter
        from fastai.torch_core import set_seed

        rows = [torch.tensor(list(part)) for part in RandomSplitter(0.1, seed=42)(range(len(ratings)))]
        train, test = ratings.part(rows[0]), ratings.part(rows[1])
    else:
        train, test = tw.recommend.split_fraction(ratings, 0.1, seed=42)

    def ours() -> None:
        recommender = Recommender(n_factors=40, y_range=(0.0, 5.5), epochs=5).fit(train)
        found.append(error(recommender, test) ** 2)

    if there:
        table = frame(ratings)

        def fastai() -> None:
            set_seed(0)
            loaders = CollabDataLoaders.from_df(table, valid_pct=0.1, seed=42, bs=64)
            learner = collab_learner(loaders, n_factors=40, y_range=(0, 5.5))
            with learner.no_bar(), learner.no_logging():
                learner.fit_one_cycle(5, 5e-3, wd=0.1)
            theirs.append(float(learner.recorder.values[-1][1]))

        started = time.perf_counter()
        fastai()
        seconds, name = time.perf_counter() - started, "fastai collab_learner, one run"
    else:
        seconds, name = 26.0, "fastai collab_learner, as measured on two cores earlier"
        theirs.append(0.826)
    ours()
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        ours()
        taken.append(time.perf_counter() - started)
    reached = all(mse <= theirs[0] for mse in found)
    say(f"ours {taken} s, MSE {found}; {name}: {seconds:.1f} s, MSE {theirs}")
    case = "random 10 % of MovieLens-100k held out, 40 factors"
    if reached:
        median = statistics.median(taken)
        emit(figure(f"{case}: time to the peer's final MSE", median, seconds, peer_name=name, unit="s", target=0.10))
    emit(
        figure(f"{case}: MSE after 5 epochs", max(found), theirs[0], peer_name=name, unit="MSE (the worst)", target=1.0)
    )


def run_random() -> None:
    """The dot-product model on five random splits."""
    ratings = films()
    alone, together = [], []
    for seed in range(5):
        train, test = tw.recommend.split_fraction(ratings, 0.1, seed=seed)
        best = chosen(train, RANDOM)
        alone.append(error(fitted(train, best, seed=seed), test) ** 2)
        together.append(error(fitted(train, best, seed=seed, members=8), test) ** 2)
        say(f"split {seed}: {dict(best)}, MSE {alone[-1]:.4f}, eight members {together[-1]:.4f}")
    case = "dot product, mean MSE of 5 seeds and random 10 % splits"
    emit(figure(case, statistics.mean(alone), 0.811, peer_name="published: 0.811", unit="MSE", target=0.81 / 0.811))
    emit(
        figure(
            f"{case}, 8 members",
            statistics.mean(together),
            0.811,
            peer_name="published: 0.811",
            unit="MSE",
            target=0.805 / 0.811,
        )
    )


def run_single() -> None:
    """u1 … u5, one dot-product model each, and how long the five fits take."""
    parts = list(folds(films()))
    settings = [chosen(train, SINGLE) for train, _ in parts]
    errors: list[float] = []

    def ours() -> None:
        models = [fitted(train, one) for (train, _), one in zip(parts, settings, strict=True)]
        errors[:] = [error(model, test) for model, (_, test) in zip(models, parts, strict=True)]

    contestants: dict[str, Callable[[], object]] = {"ours": ours}
    theirs: list[float] = []
    if peer("surprise"):
        from surprise import SVD, Dataset, Reader, accuracy

        reader = Reader(rating_scale=(1, 5))
        sets = [Dataset.load_from_df(frame(train), reader).build_full_trainset() for train, _ in parts]
        rows = [list(frame(test).itertuples(index=False, name=None)) for _, test in parts]

        def surprise() -> None:
            models = [SVD(random_state=0).fit(one) for one in sets]
            tested = [model.test(asked) for model, asked in zip(models, rows, strict=True)]
            theirs[:] = [float(accuracy.rmse(one, verbose=False)) for one in tested]

        contestants["Surprise SVD"] = surprise
    times = measure(contestants)
    say(f"u1 … u5: {[round(e, 4) for e in errors]}, {[dict(one) for one in settings]}; Surprise {theirs}")
    case = "u1 … u5, one dot-product model"
    if theirs:
        emit(compare(f"{case}: five fits and tests", times, ours="ours", peer="Surprise SVD", target=1.0))
    else:
        name = "Surprise SVD, as measured on two cores earlier"
        emit(figure(f"{case}: five fits", times["ours"].median, 4.7, peer_name=name, unit="s", target=1.0))
    against = statistics.mean(theirs) if theirs else 0.9395
    emit(
        figure(
            f"{case}: mean RMSE", statistics.mean(errors), against, peer_name="Surprise SVD", unit="RMSE",
            target=0.925 / against,
        )
    )  # fmt: skip


def _by_sampling(case: str, candidates: Sequence[Settings], goal: float, stretch: float, samples: int = 300) -> None:
    """Mean RMSE over u1 … u5, with the settings chosen in each training part."""
    errors, seconds = [], 0.0
    for number, (train, test) in enumerate(folds(films()), start=1):
        best = chosen(train, candidates, samples=40, burn_in=30)
        started = time.perf_counter()
        recommender = fitted(train, best, samples=samples, burn_in=40)
        seconds += time.perf_counter() - started
        errors.append(error(recommender, test))
        say(f"u{number}: {dict(best)}, RMSE {errors[-1]:.4f}")
    say(f"five fits took {seconds:.1f} s")
    mean, name = statistics.mean(errors), "myFM rank 10, as measured earlier: 0.8968 in 41 s"
    emit(figure(f"{case}: mean RMSE", mean, 0.8968, peer_name=name, unit="RMSE", target=goal / 0.8968))
    emit(figure(f"{case}: mean RMSE (stretch)", mean, 0.8968, peer_name=name, unit="RMSE", target=stretch / 0.8968))
    emit(figure(f"{case}: five fits", seconds, 41.0, peer_name=name, unit="s", target=None))


def run_best() -> None:
    """u1 … u5 without time stamps: Bayesian factors with histories."""
    _by_sampling("u1 … u5 without time stamps", BEST, 0.890, 0.882)


def run_timed() -> None:
    """The same with effects of a user's day and hour."""
    _by_sampling("u1 … u5 with user-day and hour effects", TIMED, 0.880, 0.873)


def generate(folder: Path, n: int, n_users: int, n_items: int, block: int = 1_000_000) -> tuple[Path, Path]:
    """Write *n* ratings of a made-up population with popular items, a block at a time."""
    rng = np.random.default_rng(0)
    taste, kind = rng.standard_normal((n_users, 4), np.float32), rng.standard_normal((n_items, 4), np.float32)
    pairs = np.lib.format.open_memmap(folder / "pairs.npy", "w+", np.int32, (n, 2))
    ratings = np.lib.format.open_memmap(folder / "ratings.npy", "w+", np.float32, (n,))
    for first in range(0, n, block):
        stop = min(n, first + block)
        users = rng.integers(1, n_users, stop - first)
        items = 1 + ((n_items - 1) * rng.random(stop - first) ** 3).astype(np.int64)
        raw = 3.5 + 0.5 * (taste[users] * kind[items]).sum(1) + 0.5 * rng.standard_normal(stop - first)
        pairs[first:stop, 0], pairs[first:stop, 1] = users, items
        ratings[first:stop] = np.clip(np.round(raw), 1, 5)
    pairs.flush()
    ratings.flush()
    return folder / "pairs.npy", folder / "ratings.npy"


def anonymous_gib() -> float:
    """Resident memory that no file backs."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 2**20
    raise RuntimeError("this system does not tell its anonymous memory")


class Watch(tw.Hook):
    """Keeps the most anonymous memory of all looks, one in fifty steps."""

    def __init__(self) -> None:
        self.most = 0.0

    def on_step_end(self, run: Any) -> None:
        if run.step % 50 == 0:
            self.most = max(self.most, anonymous_gib())


def run_large() -> None:
    """Ten million ratings of 200,000 × 50,000 from disk, and the cost of a step beside the size of the table."""
    n, n_users, n_items = 10_000_000, 200_000, 50_000
    with tempfile.TemporaryDirectory() as name:
        pairs, ratings = generate(Path(name), n, n_users, n_items)
        torch.manual_seed(0)
        model = DotProduct(n_users, n_items, 40, (0.0, 5.5), offset=0.56)
        rule = tw.optim.AdamW(lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
        learner = tw.Learner(model, rule, "mse", no_decay=None, device="cpu", seed=0)
        source = tw.data.stream(pairs, target=ratings, batch_size=8192, memory="256 MiB")
        watch = Watch()
        started = time.perf_counter()
        history = learner.fit(source, epochs=1, hooks=[LazyRows(), watch], verbose=False)
        seconds = time.perf_counter() - started
    say(f"10 M ratings: loss of the last 100 updates {float(np.mean(history['loss'][-100:])):.4f}, {seconds:.1f} s")
    case = "10 M ratings, 200,000 × 50,000 × 40, from disk"
    emit(figure(f"{case}: ratings/s", n / seconds, 1e6, peer_name="a million", unit="ratings/s", target=None))
    emit(figure(f"{case}: memory", watch.most, 1.5, peer_name="1.5 GiB", unit="GiB anonymous", target=1.0))

    def steps(n_items: int) -> Callable[[], object]:
        torch.manual_seed(0)
        model = DotProduct(100_000, n_items, 40, (0.0, 5.5))
        learner = tw.Learner(model, tw.optim.AdamW(lr=0.01), "mse", no_decay=None, device="cpu", seed=0)
        data: tuple[Tensor, Tensor] = (
            torch.stack([torch.randint(1, 100_000, (40_960,)), torch.randint(1, n_items, (40_960,))], dim=1),
            torch.rand(40_960) * 4 + 1,
        )
        return lambda: learner.fit(data, epochs=4, batch_size=512, hooks=[LazyRows()], verbose=False)

    times = measure({"10⁶ items": steps(1_000_000), "10⁴ items": steps(10_000)})
    emit(compare("320 updates of 512 ratings", times, ours="10⁶ items", peer="10⁴ items", target=1.3))


PARTS = {
    "fastai": run_fastai,
    "random": run_random,
    "single": run_single,
    "best": run_best,
    "timed": run_timed,
    "large": run_large,
}


def main() -> None:
    """Measure what was asked for and print."""
    for part in sys.argv[1:] or PARTS:
        if part not in PARTS:
            raise SystemExit(f"recommend: unknown part {part!r}; known: {', '.join(PARTS)}")
        PARTS[part]()


if __name__ == "__main__":
    main()
