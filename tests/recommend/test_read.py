from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from thalweg.recommend import Ratings, read_ratings

DATA = "196\t242\t3\t881250949\n186\t302\t4\t891717742\n"
ITEM = "242|Kolya (1996)|24-Jan-1997||http://x|" + "|".join(["0"] * 19) + "\n"
ITEM += "302|Améli|01-Jan-1997||http://y|" + "|".join(["1"] + ["0"] * 18) + "\n"
USER = "196|49|M|writer|55105\n186|39|F|executive|00000\n"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    (tmp_path / "u.data").write_text(DATA)
    (tmp_path / "u.item").write_text(ITEM, encoding="latin-1")
    (tmp_path / "u.user").write_text(USER)
    return tmp_path


def test_the_old_layout_with_latin_1_titles(old: Path) -> None:
    found = read_ratings(old, features=True)
    assert found.titles == {242: "Kolya (1996)", 302: "Améli"}
    assert found.values.tolist() == [3.0, 4.0]
    assert found.times is not None
    assert found.times.tolist() == [881250949.0, 891717742.0]
    assert found.user_features is not None
    assert "occupation=writer" in found.user_features.names
    assert found.item_features is not None
    assert read_ratings(old / "u.data").item_features is None


def test_the_newer_layout(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n1,50,4,1260759179\n")
    (tmp_path / "movies.csv").write_text('movieId,title,genres\n31,"American President, The",Comedy|Drama\n50,X,War\n')
    found = read_ratings(tmp_path, features=True)
    assert found.titles[31] == "American President, The"
    assert found.item_features is not None
    assert found.item_features.names == ("Comedy", "Drama", "War")


def test_recboles_layout(tmp_path: Path) -> None:
    (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\trating:float\ttimestamp:float\na\tu1\t4\t10\n")
    (tmp_path / "x.item").write_text("item_id:token\tmovie_title:token_seq\nu1\tHeat\n")
    found = read_ratings(tmp_path)
    assert found.titles == {"u1": "Heat"}
    assert found.user_ids.id_of(1) == "a"


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_tables_with_names(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"mine.{ending}"
    if ending == "parquet":
        pa.parquet.write_table(pa.table({"who": [1, 2], "what": ["a", "b"], "stars": [3.0, 4.0]}), path)
    else:
        mark = "," if ending == "csv" else "\t"
        path.write_text(
            "\n".join(mark.join(row) for row in (("who", "what", "stars"), ("1", "a", "3"), ("2", "b", "4")))
        )
    found = read_ratings(path, user="who", item="what")
    assert isinstance(found, Ratings)
    assert found.values.tolist() == [3.0, 4.0]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("r.csv", "user;item;rating\n1;2;3\n", "separated by something else"),
        ("r.csv", "who,item,rating\n1,2,3\n", r"has no column named like a user .* say which it is with user="),
        ("r.csv", "user,item,rating\n", "holds no rows"),
        ("r.csv", "user,item,rating\n1,2,3\n1,2\n", "cannot be read as columns between commas"),
        ("u.data", "1::2::3::4\n1::3\n", "holds '1::2::3::4'|was read with tabs between columns"),
        ("r.xlsx", "x", "ends in '.xlsx', so that its layout is not known"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=said):
        read_ratings(tmp_path / name)


def test_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_bytes("user,item,rating\nRené,1,3\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"is not written in utf-8 .*; save it as UTF-8"):
        read_ratings(tmp_path / "r.csv")


def test_a_column_by_a_wrong_name(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("user,item,rating\n1,2,3\n")
    with pytest.raises(ValueError, match=r"unknown column 'ratng'. Did you mean 'rating'\?"):
        read_ratings(tmp_path / "r.csv", rating="ratng")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not there"):
        read_ratings(tmp_path / "no.csv")
    with pytest.raises(FileNotFoundError, match=r"holds no u\.data, ratings\.csv or"):
        read_ratings(tmp_path)
    (tmp_path / "u.data").write_text(DATA)
    with pytest.raises(ValueError, match="has no line of names, so that user cannot be chosen"):
        read_ratings(tmp_path, user="x")
