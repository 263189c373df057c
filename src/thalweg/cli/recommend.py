"""``thalweg recommend``: learn from ratings, and ask what was learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from thalweg.recommend import Recommender, read_ratings, split_fraction

__all__ = ["recommend"]

recommend = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Recommend from ratings.")

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="What `thalweg recommend fit` wrote.", show_default=False)]


@recommend.command("fit")
def fit(
    ratings: Annotated[
        Path,
        typer.Argument(
            metavar="RATINGS",
            help="A .csv, .tsv or .parquet file with names, u.data, *.inter, or a folder with one of these.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="MODEL", help="The folder of the model.")],
    user: Annotated[str | None, typer.Option(help="The column of users.")] = None,
    item: Annotated[str | None, typer.Option(help="The column of items.")] = None,
    rating: Annotated[str | None, typer.Option(help="The column of ratings.")] = None,
    time: Annotated[str | None, typer.Option(help="The column of times.")] = None,
    duplicates: Annotated[str, typer.Option(help="Pairs that stand twice: error, last, mean or keep.")] = "error",
    y_range: Annotated[
        tuple[float, float] | None,
        typer.Option(help="A little wider than the ratings; by default from them, half a point more at each end."),
    ] = None,
    factors: Annotated[int | None, typer.Option(help="Factors per user and item.")] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the ratings.")] = 5,
    members: Annotated[int, typer.Option(help="Initialisations trained side by side and averaged.")] = 1,
    gibbs: Annotated[bool, typer.Option("--gibbs", help="Sample Bayesian factors with histories.")] = False,
    held: Annotated[float, typer.Option(help="Share of the ratings to test on first; 0 for none.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of everything drawn.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the model's folder.")] = False,
) -> int:
    """Learn from a file of ratings, and write a model.

    \b
    thalweg recommend fit ratings.csv --out MODEL
    thalweg recommend fit data/ml-100k --out films --gibbs
    """
    table = read_ratings(ratings, user=user, item=item, rating=rating, time=time, duplicates=duplicates)
    low, high = float(table.values.min()), float(table.values.max())
    settings: dict[str, Any] = {
        "n_factors": factors or (16 if gibbs else 40),
        "y_range": y_range or (low - 0.5, high + 0.5),
        "epochs": epochs,
        "members": members,
        "seed": seed,
        **({"solver": "gibbs", "history": True} if gibbs else {}),
    }
    if not quiet:
        print(f"{ratings}: {table}")
    if held:
        train, test = split_fraction(table, held, seed=seed)
        found = Recommender(**settings).fit(train, verbose=not quiet).evaluate(test, relevant=None)
        if not quiet:
            print(
                f"learnt from {len(train):,}, tested on {len(test):,}: RMSE {found['rmse']:.4f}, MAE {found['mae']:.4f}"
            )
    written = Recommender(**settings).fit(table, verbose=not quiet).save(out)
    print(written if quiet else f"learnt from all {len(table):,}: {written}")
    return 0


@recommend.command("for")
def for_user(
    model: Model,
    user: Annotated[str, typer.Option("--user", help="The user's id; one who is not known gets what most like.")],
    n: Annotated[int, typer.Option("-n", help="How many.")] = 10,
    seen: Annotated[bool, typer.Option("--seen", help="Also what the user has rated.")] = False,
) -> int:
    """Recommend to a user.

    \b
    thalweg recommend for MODEL --user 196 -n 10
    """
    recommender = Recommender.load(model)
    one = recommender.ratings.user_ids.parse(user)
    if one not in recommender.ratings.user_ids:
        typer.echo(f"recommend: user {user} has rated nothing, so these are for the average user", err=True)
    print(recommender.recommend(one, n, exclude_seen=not seen))
    return 0


@recommend.command("similar")
def similar(
    model: Model,
    item: Annotated[str, typer.Option("--item", help="The item's id.")],
    n: Annotated[int, typer.Option("-n", help="How many.")] = 10,
) -> int:
    """List the items nearest to one by their factors."""
    recommender = Recommender.load(model)
    print(recommender.similar(recommender.ratings.item_ids.parse(item), n))
    return 0


@recommend.command("show")
def show(
    model: Model,
    n: Annotated[int, typer.Option("-n", help="How many in each list.")] = 10,
    at_least: Annotated[int, typer.Option(help="Items with fewer ratings are not listed by bias.")] = 20,
) -> int:
    """Show what a model has learnt of the items: by bias, and along three axes."""
    reading = Recommender.load(model).reading
    print(reading.liked_beyond_factors(n, at_least=at_least), end="\n\n")
    print(reading.disliked_beyond_factors(n, at_least=at_least), end="\n\n")
    print(reading.pca(3).ends(min(n, 5)))
    return 0
