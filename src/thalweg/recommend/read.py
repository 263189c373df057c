"""Ratings out of files: GroupLens' layouts old and new, RecBole's `.inter`, and any table with a line of names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from thalweg.errors import listing, unknown_name

from .delimited import read_delimited
from .ratings import Ratings

__all__ = ["read_ratings"]

_WHO = "recommend.read_ratings"
_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
_FILMS, _PEOPLE = "MovieLens100k_items.parquet.brotli", "MovieLens100k_users.parquet.brotli"
_ITEM_COLUMNS = ("item", "title", "released", "video released", "address", *_GENRES)


def read_ratings(
    path: str | Path,
    *,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    time: str | None = None,
    features: bool = False,
    duplicates: str = "error",
) -> Ratings:
    """Return the ratings of a file or of a folder in one of the known layouts.

    ==========================  ====================================================================================
    *path*                      what is read
    ==========================  ====================================================================================
    ``u.data``, ``u1.base`` …   GroupLens' 100k layout: tabs, no names; titles out of ``u.item`` beside it (latin-1,
                                bars), features out of ``u.item`` and ``u.user``
    ``ratings.csv``             GroupLens' newer layout (userId, movieId, rating, timestamp); titles and genres out of
                                ``movies.csv`` beside it
    ``NAME.inter``              RecBole's: tabs, names with types (``user_id:token``); titles out of ``NAME.item``, or,
                                for what `thalweg data ml-100k` obtains, out of the tables beside it
    ``.csv`` ``.tsv``           a table with a line of names: commas or tabs
    ``.parquet``                an Arrow table
    a folder                    the first of ``u.data``, ``ratings.csv``, ``*.inter`` that lies in it
    ==========================  ====================================================================================

    Args:
        path: the file or the folder.
        user, item, rating, time: columns of a table whose layout is not one of the known; by default the usual names
            (``user``, ``user_id``, ``userId`` …) are looked for. *time* may be absent.
        features: also read side features (age, gender and occupation of users; year and genres of films).
        duplicates: as for :meth:`Ratings.of`.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: another layout, delimiter or encoding than expected, or a column that is not there.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "u.data").write_text("196\\t242\\t3\\t881250949\\n186\\t302\\t3\\t891717742\\n")
    ...     read_ratings(folder)
    2 ratings by 2 users of 2 items, from 3 to 3, mean 3.000
    """
    path = _file(Path(path))
    columns = {"user": user, "item": item, "rating": rating, "time": time}
    if path.suffix == ".data" or path.suffix in (".base", ".test"):
        read: Callable[..., Ratings] = _read_100k
    elif path.suffix == ".inter":
        read = _read_recbole
    else:
        read = _read_named
    return read(path, columns, features, duplicates)


def _file(path: Path) -> Path:
    """Return the file of ratings itself."""
    if path.is_dir():
        found = [path / "u.data", path / "ratings.csv", *sorted(path.glob("*.inter"))]
        for candidate in found:
            if candidate.is_file():
                return candidate
        raise FileNotFoundError(
            f"{_WHO}: {path} holds no u.data, ratings.csv or *.inter (it holds "
            f"{listing(entry.name for entry in path.iterdir())[:200]}); give the file itself."
        )
    if not path.exists():
        raise FileNotFoundError(f"{_WHO}: {path} is not there; check the path (now in {Path.cwd()}).")
    return path


def _read_100k(path: Path, columns: dict[str, str | None], features: bool, duplicates: str) -> Ratings:
    _refuse_columns(path, columns)
    table = read_delimited(path, "\t", names=("user", "item", "rating", "time"), who=_WHO)
    titles, films, people = None, None, None
    if (path.parent / "u.item").is_file():
        items = read_delimited(path.parent / "u.item", "|", names=_ITEM_COLUMNS, who=_WHO, encoding="latin-1")
        titles = dict(zip(items["item"].tolist(), items["title"].tolist(), strict=True))
        if features:
            films = _film_features(items["item"], items["released"], items, "item")
    if features and (path.parent / "u.user").is_file():
        people = read_delimited(
            path.parent / "u.user", "|", names=("user", "age", "gender", "occupation", "zip"), who=_WHO
        )
        people = {name: people[name] for name in ("user", "age", "gender", "occupation")}
    return Ratings.of(
        table,
        time="time",
        titles=titles,
        item_features=films,
        user_features=people,
        duplicates=duplicates,
    )


def _read_recbole(path: Path, columns: dict[str, str | None], features: bool, duplicates: str) -> Ratings:
    table = {name.split(":")[0]: values for name, values in read_delimited(path, "\t", who=_WHO).items()}
    found = _found(table, columns, path)
    titles, films, people = None, None, None
    beside = path.with_suffix(".item")
    if beside.is_file():
        items = {name.split(":")[0]: values for name, values in read_delimited(beside, "\t", who=_WHO).items()}
        named = next((name for name in ("movie_title", "title", "item_name", "name") if name in items), None)
        key = next((name for name in ("item_id", "movie_id") if name in items), None)
        if named and key:
            titles = dict(zip(items[key].tolist(), items[named].tolist(), strict=True))
    elif (path.parent / _FILMS).is_file():
        listed = _read_parquet(path.parent / _FILMS)
        titles = dict(zip(listed["movie_id"], listed["movie_title"], strict=True))
        if features:
            films = _film_features(listed["movie_id"], listed["release_date"], listed, found["item"])
    if features and (path.parent / _PEOPLE).is_file():
        listed = _read_parquet(path.parent / _PEOPLE)
        people = {found["user"]: listed["user_id"], **{name: listed[name] for name in ("age", "gender", "occupation")}}
    return Ratings.of(table, **found, titles=titles, item_features=films, user_features=people, duplicates=duplicates)


def _film_features(ids: Any, released: Any, flags: Any, key: str) -> dict[str, Any]:
    """Return year and genres of GroupLens' films; a film without a date gets the mean year."""
    years = [str(text)[-4:] for text in released]
    known = [int(year) for year in years if year.isdigit()]
    middle = sum(known) / max(1, len(known))
    return {
        key: ids,
        "year": [float(year) if year.isdigit() else middle for year in years],
        **{name: [float(flag) for flag in flags[name]] for name in _GENRES},
    }


def _read_parquet(path: Path) -> dict[str, list[Any]]:
    from pyarrow import parquet

    table = parquet.read_table(path)
    return {name: table.column(name).to_pylist() for name in table.column_names}


def _read_named(path: Path, columns: dict[str, str | None], features: bool, duplicates: str) -> Ratings:
    ending = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if ending == "parquet":
        from pyarrow import parquet

        whole = parquet.read_table(path)
        table = {name: whole.column(name).to_numpy() for name in whole.column_names}
    elif ending in ("csv", "tsv", "txt"):
        table = read_delimited(path, "\t" if ending == "tsv" else ",", who=_WHO)
    else:
        raise ValueError(
            f"{_WHO}: {path} ends in {path.suffix or 'nothing'!r}, so that its layout is not known; give u.data, "
            "*.inter, or a .csv, .tsv or .parquet file with a line of names."
        )
    found = _found(table, columns, path)
    titles, films = None, None
    movies = path.parent / "movies.csv"
    if path.name == "ratings.csv" and movies.is_file():
        listed = read_delimited(movies, ",", who=_WHO)
        titles = dict(zip(listed["movieId"].tolist(), listed["title"].tolist(), strict=True))
        if features and "genres" in listed:
            kinds = sorted({kind for text in listed["genres"] for kind in str(text).split("|")})
            films = {
                found["item"]: listed["movieId"],
                **{kind: [float(kind in str(text).split("|")) for text in listed["genres"]] for kind in kinds},
            }
    return Ratings.of(table, **found, titles=titles, item_features=films, duplicates=duplicates)


_USUAL = {
    "user": ("user", "user_id", "userid", "uid"),
    "item": ("item", "item_id", "itemid", "movieid", "movie_id", "movie", "iid"),
    "rating": ("rating", "ratings", "score", "stars"),
    "time": ("time", "timestamp", "date"),
}


def _found(table: dict[str, Any], columns: dict[str, str | None], path: Path) -> dict[str, Any]:
    """Return the column of each role: as said, else the one with a usual name.

    Raises:
        ValueError: a column is not there.
    """
    found: dict[str, Any] = {}
    folded = {name.lower(): name for name in table}
    for role, said in columns.items():
        if said is not None:
            if said not in table:
                raise unknown_name(f"{_WHO}: {path}", "column", said, table)
            found[role] = said
            continue
        usual = next((folded[name] for name in _USUAL[role] if name in folded), None)
        if usual is None and role != "time":
            if len(table) == 1:
                raise ValueError(
                    f"{_WHO}: {path} has the single column {next(iter(table))!r}, so that it is separated by something "
                    "else; write it with commas (.csv) or tabs (.tsv)."
                )
            raise ValueError(
                f"{_WHO}: {path} has no column named like a {role} (it has {listing(table)}); say which it is with "
                f"{role}=…"
            )
        found[role] = usual
    return found


def _refuse_columns(path: Path, columns: dict[str, str | None]) -> None:
    named = [name for name, said in columns.items() if said is not None]
    if named:
        raise ValueError(
            f"{_WHO}: {path} has no line of names, so that {listing(named)} cannot be chosen; leave them out."
        )
