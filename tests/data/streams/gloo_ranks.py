"""What `test_resume.py` runs as two processes: each reads its share of an epoch, and they add up every batch."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from thalweg.data import stream


def main(path: str, folder: str) -> None:
    dist.init_process_group("gloo")
    source = stream(path, batch_size=64, seed=11, memory="4 MiB")
    assert (source.rank, source.world_size) == (dist.get_rank(), 2)
    batches, total = [], 0.0
    for batch in source.batches(3):
        found = batch[:, 0].double().sum()
        dist.all_reduce(found)
        total += float(found)
        batches.append(batch[:, 0].tolist())
    Path(folder, f"rank{source.rank}.json").write_text(json.dumps({"batches": batches, "sum": total}))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
