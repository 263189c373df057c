"""Run as a script: reads a stream in processes that are killed again and again, and prints the rows in their order.

`python killed_runs.py FILE KILLS SEED` prints one JSON line, {order: {epoch: [row, …]}}, of the batches that counted. A
process writes one line per batch, (state, row numbers), and dies by SIGKILL at a random batch: before the line, in its
middle, or after it. Every life has another number of ranks, all of which die at batches of their own; the next one goes
on from the last batch that all of them have written.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
from pathlib import Path

from thalweg.data import stream


def life(
    path: str, shuffle: object, state: dict | None, rank: int, ranks: int, death: int, moment: str, log: str
) -> None:
    """Read on from *state* and die in batch *death*; never returns."""
    source = stream(path, batch_size=64, shuffle=shuffle, seed=11, memory="4 MiB", rank=rank, world_size=ranks)
    epoch = 0
    batches = source.batches(0)
    if state is not None:
        source.load_state(state)
        epoch, batches = source.epoch, source.remaining()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    number = 0
    while True:
        for x in batches:
            line = json.dumps([source.state(), x[:, 0].long().tolist()]).encode() + b"\n"
            if number == death:
                os.write(out, {"before": b"", "within": line[: len(line) // 2], "after": line}[moment])
                os.kill(os.getpid(), signal.SIGKILL)
            os.write(out, line)
            number += 1
        epoch += 1
        batches = source.batches(epoch)


def run(path: str, shuffle: object, kills: int, draw: random.Random) -> dict:
    """Live and die at least *kills* times; return the rows of every epoch."""
    state, rows = None, {}
    deaths = 0
    with tempfile.TemporaryDirectory() as folder:
        while deaths < kills:
            ranks = draw.choice([1, 2, 3])
            logs = [str(Path(folder, f"{deaths}.{rank}")) for rank in range(ranks)]
            children = []
            for rank, log in enumerate(logs):
                death, moment = draw.randrange(24), draw.choice(["before", "within", "after"])
                child = os.fork()
                if child == 0:
                    life(path, shuffle, state, rank, ranks, death, moment, log)
                children.append(child)
            for child in children:
                assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
            deaths += len(children)
            lines = [[json.loads(line) for line in Path(log).read_bytes().split(b"\n")[:-1]] for log in logs]
            for parts in zip(*lines, strict=False):  # up to the last batch that every rank has written
                state = parts[0][0]
                together = [None] * sum(len(part[1]) for part in parts)
                for rank, (own, numbers) in enumerate(parts):
                    assert own == state, "all ranks stand at the same place"
                    together[rank::ranks] = numbers
                rows.setdefault(state["epoch"], []).extend(together)
    return rows


if __name__ == "__main__":
    drawn = random.Random(int(sys.argv[3]))
    orders = ("block", "full", False)
    print(json.dumps({str(order): run(sys.argv[1], order, int(sys.argv[2]), drawn) for order in orders}))
