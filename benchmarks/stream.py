"""Files on disk as batches: feeding, formats, orders, memory, beside torch's DataLoader and Hugging Face datasets.

`python benchmarks/stream.py [feeding] [formats] [orders] [seek] [memory]`; all without arguments, about five minutes on
two cores. About 2 M rows of 40 float32 columns and a target are written to a temporary folder and read from the page
cache. Every contestant's batches are summed, so that nobody's are only promised. The SGD pass is least squares by hand,
batch 4096, with torch's autograd; beside it stands `tw.linear.LeastSquares("sgd")`, whose kernel reads `.npy` where it
lies and is so much faster that files which must be decoded fall further behind. The floor is the bytes of the rows over
the rate at which the file is read in this run; of compressed
files what pyarrow needs to decode them on all cores.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import thalweg as tw
from _record import compare, emit, figure, measure, say

ROWS = 2_000_000
COLUMNS = 40
BATCH = 4096
ROW_BYTES = 4 * (COLUMNS + 1)


def write_npy(path: Path, rows: int) -> None:
    """Write numbered pieces, so that the memory that is taken does not grow with the file."""
    weight = np.linspace(-1, 1, COLUMNS, dtype=np.float32)
    generator = np.random.default_rng(0)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, COLUMNS + 1))
    for start in range(0, rows, 1 << 18):
        piece = generator.standard_normal((min(1 << 18, rows - start), COLUMNS + 1), dtype=np.float32)
        piece[:, COLUMNS] = piece[:, :COLUMNS] @ weight + 0.1 * piece[:, COLUMNS]
        out[start : start + len(piece)] = piece
    out.flush()


def write_parquet(folder: Path, compression: str) -> Path:
    """Write the same rows as a Parquet file of plain pages, a quarter of a million rows per row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / f"{compression}.parquet"
    values = np.load(folder / "rows.npy", mmap_mode="r")
    names = [*(f"x{index}" for index in range(COLUMNS)), "y"]
    with pq.ParquetWriter(
        path, pa.schema([(name, pa.float32()) for name in names]), compression=compression, use_dictionary=False
    ) as writer:
        for start in range(0, ROWS, 1 << 18):
            piece = values[start : start + (1 << 18)]
            writer.write_table(
                pa.table({name: piece[:, i].copy() for i, name in enumerate(names)}), row_group_size=1 << 18
            )
    return path


def source(path: Path, shuffle: Any = "block") -> Any:
    """Return our stream of a file."""
    return tw.data.stream(path, target=-1 if path.suffix == ".npy" else "y", batch_size=BATCH, shuffle=shuffle)


def drain(batches: Iterable[Any]) -> float:
    """Sum every batch."""
    total = torch.zeros(())
    for x, y in batches:
        total += x.sum() + y.sum()
    return float(total)


def sgd(batches: Iterable[Any]) -> torch.Tensor:
    """One pass of least squares by mini-batch gradient descent."""
    weight = torch.zeros(COLUMNS, 1, requires_grad=True)
    for x, y in batches:
        (gradient,) = torch.autograd.grad(torch.nn.functional.mse_loss(x @ weight, y.unsqueeze(1)), weight)
        with torch.no_grad():
            weight.sub_(gradient, alpha=0.05)
    return weight.detach()


def fit(stream: Any) -> Any:
    """One pass of SGD by the estimator, whose kernel takes the rows from where they lie."""
    return tw.linear.LeastSquares("sgd", epochs=1).fit_stream(stream)


def read_rate(path: Path) -> float:
    """Return bytes per second of reading a file into one buffer, the median of five."""
    buffer = bytearray(1 << 20)
    rates = []
    for _ in range(5):
        start, done = time.perf_counter(), 0
        with open(path, "rb", buffering=0) as opened:
            while count := opened.readinto(buffer):
                done += count
        rates.append(done / (time.perf_counter() - start))
    return sorted(rates)[2]


def decompression(path: Path) -> float:
    """Return the seconds that pyarrow needs on all cores to read the row groups and do nothing with them."""
    import pyarrow.parquet as pq

    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        with pq.ParquetFile(path, memory_map=True) as opened:
            for group in range(opened.num_row_groups):
                opened.read_row_group(group, use_threads=True)
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[1]


def run_feeding(folder: Path) -> None:
    path = folder / "rows.npy"
    floor = path.stat().st_size / read_rate(path)
    some = 40_000  # peers that read row by row get a part of the rows; times are scaled to all

    class Rows(torch.utils.data.Dataset[Any]):
        def __init__(self) -> None:
            self.values = np.lib.format.open_memmap(path, mode="c")

        def __len__(self) -> int:
            return some

        def __getitem__(self, index: int) -> Any:
            row = self.values[index]
            return row[:COLUMNS], row[COLUMNS]

    def loader() -> float:
        start = time.perf_counter()
        drain(torch.utils.data.DataLoader(Rows(), batch_size=BATCH, shuffle=True))
        return (time.perf_counter() - start) * ROWS / some

    def ours() -> float:
        start = time.perf_counter()
        drain(source(path).batches(0))
        return time.perf_counter() - start

    contestants: dict[str, Callable[[], float]] = {"ours": ours, "torch DataLoader": loader}
    try:
        import datasets
        import pyarrow as pa
        import pyarrow.feather
    except ImportError:
        say("HF datasets is not installed: its line is left out")
    else:
        datasets.disable_progress_bars()
        values = np.load(path, mmap_mode="r")[: 4 * some]
        fixed = pa.FixedSizeListArray.from_arrays(pa.array(values[:, :COLUMNS].reshape(-1)), COLUMNS)
        with pa.ipc.new_stream(str(folder / "hf.arrow"), pa.schema([("x", fixed.type), ("y", pa.float32())])) as sink:
            sink.write_table(pa.table({"x": fixed, "y": values[:, COLUMNS]}), max_chunksize=1000)
        held = datasets.Dataset.from_file(str(folder / "hf.arrow")).with_format("torch")

        def hugging_face() -> float:
            start = time.perf_counter()
            drain((batch["x"], batch["y"]) for batch in held.iter(BATCH))
            return (time.perf_counter() - start) * ROWS / (4 * some)

        contestants["HF datasets"] = hugging_face
    times = measure(contestants, repeats=5, warmup=1, returned=True)
    names = {
        "torch DataLoader": "torch DataLoader over a memmap, shuffled",
        "HF datasets": "HF datasets, Arrow, in order",
    }
    for peer in list(contestants)[1:]:
        case = f"feeding {ROWS:,} rows in batches of {BATCH}, block order"
        emit(compare(case, times, ours="ours", peer=peer, peer_name=names[peer], target=1 / 3, floor=floor))


def run_formats(folder: Path) -> None:
    path = folder / "rows.npy"
    files = {name: write_parquet(folder, name) for name in ("none", "zstd")}
    times = measure(
        {
            "npy": lambda: sgd(source(path).batches(0)),
            "none": lambda: sgd(source(files["none"]).batches(0)),
            "zstd": lambda: sgd(source(files["zstd"]).batches(0)),
        },
        repeats=5,
    )
    fits = measure(
        {
            "npy": lambda: fit(source(path)),
            "none": lambda: fit(source(files["none"])),
            "zstd": lambda: fit(source(files["zstd"])),
        },
        repeats=5,
    )
    for name, least in (("none", 0.6), ("zstd", 0.35)):
        floor = files[name].stat().st_size / read_rate(files[name]) if name == "none" else decompression(files[name])
        kind = "uncompressed" if name == "none" else name
        for how, taken in (("by hand", times), ("LeastSquares", fits)):
            case = f"SGD {how}, one pass, Parquet ({kind})"
            emit(compare(case, taken, ours=name, peer="npy", peer_name="our .npy", target=1 / least, floor=floor))


def run_orders(folder: Path) -> None:
    path = folder / "rows.npy"
    floor = path.stat().st_size / read_rate(path)
    orders: dict[str, Any] = {"sequential": False, "block": "block", "full": "full"}
    times = measure(
        {name: lambda o=order: sgd(source(path, o).batches(0)) for name, order in orders.items()}, repeats=5
    )
    fits = measure({name: lambda o=order: fit(source(path, o)) for name, order in orders.items()}, repeats=5)
    fed = measure(
        {name: lambda o=order: drain(source(path, o).batches(0)) for name, order in orders.items()}, repeats=5
    )
    for name, target in (("block", 1 / 0.8), ("full", None)):
        case = f"one pass, shuffle={name!r}"
        emit(compare(f"SGD by hand, {case}", times, ours=name, peer="sequential", target=target, floor=floor))
        emit(compare(f"SGD LeastSquares, {case}", fits, ours=name, peer="sequential", target=target, floor=floor))
        emit(compare(f"feeding, shuffle={name!r}", fed, ours=name, peer="sequential", target=None, floor=floor))


def run_seek(folder: Path) -> None:
    """Print how long it takes from a saved state to the batch that follows, at places all over the files."""
    import pyarrow as pa
    import pyarrow.feather as feather

    values = np.load(folder / "rows.npy", mmap_mode="r")
    names = [*(f"x{index}" for index in range(COLUMNS)), "y"]
    table = pa.table({name: values[:, index].copy() for index, name in enumerate(names)})
    feather.write_feather(table, folder / "rows.feather", compression="uncompressed")
    del table
    files = {".npy": folder / "rows.npy", "Arrow IPC": folder / "rows.feather"}
    files["uncompressed Parquet"] = write_parquet(folder, "none")
    for kind, path in files.items():
        for order in (False, "block", "full"):
            opened = source(path, order)
            next(opened.batches(0))
            seconds = []
            for position in np.random.default_rng(0).integers(0, opened.steps_per_epoch - 1, 20).tolist():
                state = {**opened.state(), "position": position * BATCH}
                start = time.perf_counter()
                opened.load_state(state)
                batches = opened.remaining()
                next(batches)
                seconds.append(time.perf_counter() - start)
                batches.close()
            case = f"{kind}, shuffle={order!r}: from a saved state to the next batch, median of 20 places"
            middle = float(np.median(seconds)) * 1e3
            emit(figure(case, middle, 100.0, peer_name="what is meant by milliseconds", unit="ms", target=1.0))


def anonymous() -> int:
    """Return this process's anonymous resident memory in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssAnon"))


def run_memory(folder: Path) -> None:
    rows = 25_000_000  # 4 GB
    if os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize < 3 * rows * ROW_BYTES:
        say("memory: not enough room on the disk; the smaller file is read")
        path, rows = folder / "rows.npy", ROWS
    else:
        path = folder / "large.npy"
        write_npy(path, rows)
    marks = []
    for index, _ in enumerate(source(path).batches(0)):
        if index % 500 == 250:
            marks.append(anonymous())
    size = rows * ROW_BYTES / 2**30
    case = f"anonymous resident memory over a pass of {size:.1f} GiB"
    emit(figure(case, max(marks) / 2**20, 1024.0, peer_name="1 GiB", unit="MiB", target=1.0))
    emit(
        figure(
            f"{case}: its growth", max(marks) / 2**20, marks[0] / 2**20, peer_name="at first", unit="MiB", target=1.1
        )
    )
    for _ in source(path).blocks():
        marks.append(anonymous())
    emit(figure(f"{case}, in blocks", max(marks) / 2**20, 1024.0, peer_name="1 GiB", unit="MiB", target=1.0))
    (folder / "large.npy").unlink(missing_ok=True)


PARTS = {
    "feeding": run_feeding,
    "formats": run_formats,
    "orders": run_orders,
    "seek": run_seek,
    "memory": run_memory,
}


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_npy(Path(folder, "rows.npy"), ROWS)
        for name in names or list(PARTS):
            PARTS[name](Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
