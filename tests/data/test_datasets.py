"""The data sets that have names: their shapes, ranges, splits and errors."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from thalweg.data import NAMES, NamedData, data_root, is_obtained, load
from thalweg.data.datasets import digits

ROOT = Path(__file__).resolve().parents[2] / "data"


def real(name: str) -> Path:
    """Return where the real data are, or skip."""
    for root in (data_root(), ROOT):
        if is_obtained(name, root):
            return root
    pytest.skip(f"{name} is neither in {data_root()} nor in {ROOT}; `make data` obtains it")


def test_digits_are_scaled_and_split_by_the_seed() -> None:
    data = load("digits")
    x = torch.cat([part[0] for part in (data.train, data.valid, data.test)])
    assert (x.dtype, x.min().item(), x.max().item()) == (torch.float32, 0.0, 1.0)
    assert data.train[1].dtype == torch.int64
    assert set(data.train[1].tolist()) == set(range(10))
    # No image is in two parts, beyond the twins that the data hold: every row is there exactly once.
    from sklearn.datasets import load_digits

    assert sorted(x.mul(16).tolist()) == sorted(load_digits().data.tolist())
    assert torch.equal(load("digits", seed=0).train[0], data.train[0])
    assert not torch.equal(load("digits", seed=1).train[0], data.train[0])


def test_digits_as_images() -> None:
    flat, images = digits(), digits(flat=False)
    assert images.train[0].shape == (1197, 1, 8, 8)
    assert images.image_shape == flat.image_shape == (1, 8, 8)
    assert torch.equal(images.test[0].flatten(1), flat.test[0])


def test_linear_is_solved_by_its_own_weights() -> None:
    data = load("linear", n=4000, noise=0.5, seed=3)
    x, y = (part.double() for part in data.train)
    design = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)
    solution = torch.linalg.lstsq(design, y).solution[:, 0]
    truth = torch.cat([data.truth["weight"][0], data.truth["bias"]]).double()
    # The estimates' standard error is noise / sqrt(n) = 0.008; five of them.
    assert torch.allclose(solution, truth, atol=0.04)
    residual = (y - design @ truth[:, None]).std().item()
    assert residual == pytest.approx(0.5, rel=0.05)
    assert (data.valid[0].shape, data.test[1].shape) == ((800, 10), (800, 1))


def test_nonlinear_is_friedmans_first_problem() -> None:
    x, y = load("nonlinear", n=200, noise=0.0).train
    by_hand = [
        10 * math.sin(math.pi * a * b) + 20 * (c - 0.5) ** 2 + 10 * d + 5 * e for a, b, c, d, e, *_ in x.tolist()
    ]
    assert torch.allclose(y[:, 0], torch.tensor(by_hand), atol=1e-4)
    assert 0 <= x.min() <= x.max() < 1


@pytest.mark.parametrize("name", ["linear", "nonlinear", "digits"])
def test_seeds_decide_and_no_generator_is_touched(name: str) -> None:
    before = torch.get_rng_state()
    one, same, other = (load(name, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(one.train[0], same.train[0])
    assert torch.equal(one.test[1], same.test[1])
    assert not torch.equal(one.train[0], other.train[0])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.real
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_idx_data_sets(name: str) -> None:
    root = real(name)
    data = load(name, root=root)
    parts = (data.train, data.valid, data.test)
    assert [tuple(x.shape) for x, _ in parts] == [(50_000, 784), (10_000, 784), (10_000, 784)]
    assert all((x.dtype, x.min().item(), x.max().item()) == (torch.float32, 0.0, 1.0) for x, _ in parts)
    assert torch.bincount(torch.cat([y for _, y in parts])).sum() == 70_000
    assert len(data.classes) == int(data.train[1].max()) + 1 == 10
    assert load(name, root=root, flat=False).test[0].shape == (10_000, 1, 28, 28)


@pytest.mark.real
def test_mnist_has_its_published_counts() -> None:
    data = load("mnist", root=real("mnist"))
    # Test images per class: LeCun, Cortes and Burges.
    assert torch.bincount(data.test[1]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    # The mean and deviation of the 60,000 training images that everyone normalises with.
    x = torch.cat([data.train[0], data.valid[0]])
    assert (round(x.mean().item(), 4), round(x.std().item(), 4)) == (0.1307, 0.3081)


@pytest.mark.real
def test_fashion_mnist_has_its_published_mean() -> None:
    data = load("fashion-mnist", root=real("fashion-mnist"))
    x = torch.cat([data.train[0], data.valid[0]])
    assert (round(x.mean().item(), 4), round(x.std().item(), 4)) == (0.2860, 0.3530)
    assert torch.bincount(data.test[1]).tolist() == [1000] * 10


def test_absent_files_say_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no train-images-idx3-ubyte \(nor .*\.gz\) in .*run `thalweg data mnist`"
    ):
        load("mnist", root=tmp_path)
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(
        FileNotFoundError, match=r"elsewhere.fashion-mnist; run `thalweg data fashion-mnist` or `make data`"
    ):
        load("fashion-mnist")


def write_idx(path: Path, *shape: int) -> None:
    head = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    path.write_bytes(head + bytes(math.prod(shape)))


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    folder = tmp_path / "mnist"
    folder.mkdir()
    write_idx(folder / "train-images-idx3-ubyte", 3, 28, 28)
    write_idx(folder / "train-labels-idx1-ubyte", 4)
    with pytest.raises(ValueError, match=r"train images of shape \(3, 28, 28\) and labels of shape \(4,\)"):
        load("mnist", root=tmp_path)


def test_names_and_arguments_are_corrected() -> None:
    with pytest.raises(
        ValueError, match=r"data.load: unknown data set 'fashion_mnits'. Did you mean 'fashion-mnist'\?"
    ):
        load("fashion_mnits")
    with pytest.raises(ValueError, match=r"data.load\('digits'\): unknown argument 'flatt'. Did you mean 'flat'\?"):
        load("digits", flatt=True)
    with pytest.raises(ValueError, match=r"'ml-100k' is not made of pairs .*`thalweg data ml-100k` obtains its files"):
        load("ml-100k")


def test_every_name_is_there() -> None:
    assert set(NAMES) == {"digits", "mnist", "fashion-mnist", "linear", "nonlinear"}
    assert "train (1197, 64)" in repr(digits())
    assert isinstance(load("nonlinear", n=10), NamedData)
