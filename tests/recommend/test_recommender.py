"""The estimator: what it learns, what the unknown are told, what it refuses, and what is left after saving."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.recommend.tables import ratings, table
from thalweg.recommend import Ratings, Recommender, split_fraction, write_reading

FAST: dict[str, Any] = {"n_factors": 4, "epochs": 15, "batch_size": 64, "lr": 0.05, "wd": 0.1}
KINDS: dict[str, dict[str, Any]] = {
    "dot": FAST,
    "neural": {**FAST, "use_nn": True, "emb_szs": (4, 4), "layers": (8,)},
    "history": {**FAST, "history": True},
    "members": {**FAST, "members": 3},
    "lazy": {**FAST, "rows": "lazy"},
    "no range": {**FAST, "y_range": None},
    "gibbs": {"solver": "gibbs", "n_factors": 3, "samples": 20, "burn_in": 15, "history": True},
}


@pytest.fixture(scope="module")
def parts() -> tuple[Ratings, Ratings]:
    return split_fraction(ratings(), 0.2, seed=3)


@pytest.fixture(scope="module")
def fitted(parts: tuple[Ratings, Ratings]) -> dict[str, Recommender]:
    return {name: Recommender(**settings).fit(parts[0]) for name, settings in KINDS.items()}


def biases_alone(train: Ratings, test: Ratings) -> float:
    """RMSE of a ridge regression on user and item alone, in closed form."""
    users, items = len(train.user_ids), len(train.item_ids)

    def design(part: Ratings) -> np.ndarray:  # type: ignore[type-arg]
        x = np.zeros((len(part), users + items))
        x[np.arange(len(part)), part.users] = 1
        x[np.arange(len(part)), users + part.items.numpy()] = 1
        return x

    x, y = design(train), train.values.double().numpy()
    w = np.linalg.solve(x.T @ x + np.eye(users + items), x.T @ (y - y.mean()))
    return float(np.sqrt(((design(test) @ w + y.mean() - test.values.numpy()) ** 2).mean()))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_beats_the_biases_alone(kind: str, fitted: Any, parts: Any) -> None:
    assert fitted[kind].evaluate(parts[1], relevant=None)["rmse"] < biases_alone(*parts)


@pytest.mark.parametrize("kind", KINDS)
def test_the_unknown_get_the_best_constant_answer(kind: str, fitted: Any, parts: Any) -> None:
    recommender, train = fitted[kind], parts[0]
    mean = float(train.values.double().mean())
    assert recommender.predict([(-1, -1)])[0] == pytest.approx(mean, abs=1e-5)
    items = [train.item_ids.id_of(int(row)) for row in train.items]
    users = [train.user_ids.id_of(int(row)) for row in train.users]
    # Over the training ratings, a stranger in the user's or the item's place is right on average.
    near = 0.1 if kind in ("gibbs", "neural") else 0.04
    assert recommender.predict([(-1, item) for item in items]).mean() == pytest.approx(mean, abs=near)
    assert recommender.predict([(user, -1) for user in users]).mean() == pytest.approx(mean, abs=near)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_it_is_the_same(kind: str, fitted: Any, parts: Any, tmp_path: Path) -> None:
    recommender = fitted[kind]
    loaded = Recommender.load(recommender.save(tmp_path / "model"))
    assert np.array_equal(loaded.predict(parts[1]), recommender.predict(parts[1]))
    assert loaded.recommend(1000) == recommender.recommend(1000)
    assert loaded.get_params() == recommender.get_params()
    assert not list((tmp_path / "model").glob("*.p*kl*"))


@pytest.mark.parametrize("kind", ["dot", "gibbs", "members"])
def test_the_same_seed_gives_the_same_model(kind: str, fitted: Any, parts: Any) -> None:
    again = Recommender(**KINDS[kind]).fit(parts[0])
    assert np.array_equal(again.predict(parts[1]), fitted[kind].predict(parts[1]))
    other = Recommender(**KINDS[kind], seed=1).fit(parts[0])
    assert not np.array_equal(other.predict(parts[1]), fitted[kind].predict(parts[1]))


@pytest.mark.parametrize("kind", KINDS)
def test_recommendations_hold_nothing_that_was_seen(kind: str, fitted: Any, parts: Any) -> None:
    recommender, train = fitted[kind], parts[0]
    for user in train.user_ids.ids[:10].tolist():
        row = train.user_ids.row(user)
        seen = {train.item_ids.id_of(int(i)) for i in train.items[train.users == row]}
        listed = [one.item for one in recommender.recommend(user, 100)]
        assert not seen & set(listed)
        assert len(listed) == len(train.item_ids) - 1 - len(seen)
        every = recommender.recommend(user, 100, exclude_seen=False)
        assert len(every) == len(train.item_ids) - 1
        values = [one.value for one in every]
        assert values == sorted(values, reverse=True)
        assert values == pytest.approx(recommender.predict([(user, one.item) for one in every]), abs=1e-4)


def test_a_stranger_is_recommended_to(fitted: Any) -> None:
    assert len(fitted["dot"].recommend(-5, 3)) == 3


def test_members_are_trained_as_alone(parts: Any) -> None:
    """One member of a stack follows the same path as a stack of one with its initial weights."""
    stack = Recommender(**{**FAST, "members": 2, "epochs": 1})
    learner, data = stack.build(parts[0])
    alone = Recommender(**{**FAST, "epochs": 1})
    single, _ = alone.build(parts[0])
    with torch.no_grad():
        for name, param in single.module.named_parameters():
            whole = dict(learner.module.named_parameters())[name]
            param.copy_(whole[:, param.shape[1] :])
    for one in (learner, single):
        one.fit_one_cycle(data, 1, 0.05, batch_size=64, moms=None, verbose=False)
    for name, param in single.module.named_parameters():
        whole = dict(learner.module.named_parameters())[name]
        torch.testing.assert_close(whole[:, param.shape[1] :], param, rtol=1e-3, atol=1e-4)


def test_items_rated_only_in_the_test_part_have_a_row() -> None:
    whole = Ratings.of(table(200))
    item = int(whole.items[0])
    train = whole.part(torch.where(whole.items != item)[0])
    recommender = Recommender(**FAST).fit(train)
    known = whole.item_ids.id_of(item)
    assert recommender.predict([(1000, known)])[0] == pytest.approx(recommender.predict([(1000, -1)])[0], abs=1e-5)


def test_features_speak_for_those_without_ratings() -> None:
    given = table(1500)
    liked = {5 + i: float(i % 2) for i in range(40)}
    given["rating"] = np.array([4.5 if liked[int(i)] else 1.5 for i in given["item"]])
    features = {"item": [*liked, 900, 901], "kind": [*liked.values(), 1.0, 0.0]}
    for extra in (FAST, {"solver": "gibbs", "n_factors": 2, "samples": 20, "burn_in": 20}):
        recommender = Recommender(**extra).fit(given, item_features=features)
        high, low = recommender.predict([(1000, 900), (1000, 901)])
        assert high > low + 1.0


def test_effects_of_a_day() -> None:
    rng = np.random.default_rng(0)
    given = table(1500)
    day = rng.integers(0, 4, 1500)
    shift = rng.standard_normal((3000, 4))
    given["rating"] = np.clip(given["rating"] + shift[given["user"] - 1000, day], 0, 6)
    given["when"] = day * 86_400 + rng.integers(0, 86_000, 1500)
    whole = Ratings.of(given, time="when")
    train, test = split_fraction(whole, 0.2)
    settings = {"solver": "gibbs", "n_factors": 2, "samples": 30, "burn_in": 20, "y_range": (-1, 7)}
    plain = Recommender(**settings).fit(train).evaluate(test, relevant=None)["rmse"]
    timed = Recommender(**settings, effects=("day",)).fit(train).evaluate(test, relevant=None)["rmse"]
    assert timed < 0.9 * plain
    with pytest.raises(ValueError, match=r"effects=\('day',\) need the time of each rating"):
        Recommender(effects=("day",)).fit(ratings(n=50))


def test_it_is_a_scikit_learn_estimator(parts: Any) -> None:
    recommender = Recommender().set_params(n_factors=3, epochs=1)
    assert recommender.get_params()["n_factors"] == 3
    assert Recommender(**recommender.get_params()).n_factors == 3
    score = recommender.fit(parts[0]).score(parts[1])
    truth = parts[1].values.numpy()
    rest = truth - recommender.predict(parts[1])
    assert score == pytest.approx(1 - (rest**2).sum() / ((truth - truth.mean()) ** 2).sum(), abs=1e-5)


def test_tables_are_evaluated_too(fitted: Any, parts: Any) -> None:
    test = parts[1]
    users = [test.user_ids.id_of(int(row)) for row in test.users]
    items = [test.item_ids.id_of(int(row)) for row in test.items]
    given = {"user": users, "item": items, "rating": test.values.numpy()}
    for kind in ("dot", "gibbs"):
        assert fitted[kind].evaluate(given) == pytest.approx(fitted[kind].evaluate(test))
        assert fitted[kind].predict(given) == pytest.approx(fitted[kind].predict(test))


def test_one_user_only() -> None:
    recommender = Recommender(n_factors=2).fit({"user": [1] * 5, "item": list(range(5)), "rating": [1, 2, 3, 4, 5]})
    assert recommender.recommend(1) == []
    assert len(recommender.recommend(2)) == 5


def test_reading(fitted: Any, parts: Any) -> None:
    for kind in ("dot", "history", "members", "gibbs", "neural"):
        reading = fitted[kind].reading
        assert reading.bias().shape == (40,)
        assert reading.factors([5, 7]).shape[0] == 2
        assert reading.bias([7])[0] == pytest.approx(reading.bias()[2])
        assert 0 < reading.pca(2).share.sum() <= 1 + 1e-9
    reading = fitted["dot"].reading
    liked, disliked = reading.liked_beyond_factors(40), reading.disliked_beyond_factors(40)
    assert [row[0] for row in liked.rows] == [row[0] for row in disliked.rows][::-1]
    bias = {row[0]: row[1] for row in liked.rows}
    counts = torch.bincount(parts[0].items, minlength=41)[1:]
    assert reading.counts().tolist() == counts.tolist()
    assert bias["5"] == pytest.approx(reading.bias([5])[0], abs=1e-3)
    near = fitted["dot"].similar(5, 3)
    factors = reading.factors()
    cosine = factors @ factors[0] / np.linalg.norm(factors, axis=1) / np.linalg.norm(factors[0])
    expected = [place + 5 for place in np.argsort(-cosine)[1:4]]
    assert [one.item for one in near] == expected
    assert reading.map(labels=3, most_rated=20).axes
    with pytest.raises(ValueError, match=r"similar: there is no item 4 among the 40"):
        fitted["dot"].similar(4)


def test_reading_as_figures(fitted: Any, tmp_path: Path) -> None:
    reading = fitted["dot"].reading
    written = {path.stem: json.loads(path.read_text()) for path in write_reading(reading, tmp_path, at_least=1)}
    assert list(written) == ["items-by-bias", "items-by-axis", "items-map", "items-neighbours"]
    axes = reading.pca(3, most_rated=300)
    for axis, bar in enumerate(written["items-by-axis"]["data"]):
        found = dict(zip(axes.titles, axes.places[:, axis].tolist(), strict=True))
        assert {title: found[title] for title in bar["y"]} == dict(zip(bar["y"], bar["x"], strict=True))
        assert bar["y"][0] == min(found, key=found.__getitem__)
        assert bar["y"][-1] == max(found, key=found.__getitem__)
    item, nearest, *_ = (column[0] for column in written["items-neighbours"]["data"][0]["cells"]["values"])
    assert nearest == reading.similar(int(item), 1)[0].title


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"solver": "als"}, ValueError, "unknown solver 'als'"),
        ({"use_nn": True, "history": True}, ValueError, "use_nn=True and history=True were asked for"),
        ({"solver": "gibbs", "members": 4}, ValueError, "whose draws are an ensemble already"),
        ({"rows": "lazy", "history": True}, ValueError, "a history names nearly every row"),
        ({"effects": ("dya",)}, ValueError, r"unknown effect 'dya'. Did you mean 'day'\?"),
        ({"effects": "day"}, TypeError, "must be a tuple of kinds"),
        ({"members": 0}, ValueError, "members=0 must be >= 1"),
    ],
)
def test_settings_that_cannot_work(settings: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        Recommender(**settings)
    with pytest.raises(ValueError, match=r"unknown setting 'n_factor'. Did you mean 'n_factors'\?"):
        Recommender().set_params(n_factor=3)


def test_ratings_outside_the_range_are_refused_with_their_row() -> None:
    given = {"user": [1, 2], "item": [1, 2], "rating": [3, 10]}
    with pytest.raises(ValueError, match=r"the rating 10 of row 1 lies outside y_range=\(0, 5.5\) \(1 such rows"):
        Recommender().fit(given)
    assert Recommender(y_range=(0, 11), n_factors=2).fit(given).predict([(1, 1)]).shape == (1,)


def test_what_cannot_be_asked(fitted: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Recommender.predict: nothing has been learnt yet"):
        Recommender().predict([(1, 2)])
    with pytest.raises(TypeError, match="3 is no pair"):
        fitted["dot"].predict([3])
    with pytest.raises(ValueError, match=r"unknown column 'item'. Did you mean 'itm'\?"):
        fitted["dot"].predict({"user": [1], "itm": [2]})
    with pytest.raises(TypeError, match="user ids of the table are whole numbers, but '1000' was asked for"):
        fitted["dot"].recommend("1000")
    assert len(fitted["dot"].predict([])) == 0
    (tmp_path / "no").mkdir()
    with pytest.raises(ValueError, match="is missing"):
        Recommender.load(tmp_path / "no")
