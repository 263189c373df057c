"""One update of all parameters: ours beside torch's best and the authors' own implementations.

    python benchmarks/optimizer_step.py              every part
    python benchmarks/optimizer_step.py adamw clip   only these; `cold long` in one run is the user's number

A part takes half a minute on two cores; `cold` and `long` a minute or two each, `whole` (by name only) six.

25 M float32 parameters in the 96 tensors of an 8-layer transformer of width 512 unless a part says otherwise. The peer
is the fastest of torch's forms of the same rule. The floor is the bytes that must move over the bandwidth of a copy in
the same run; where the last-level cache holds a part of them, a step can be faster than that.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

import thalweg as tw
from _record import FEWEST_REPEATS, all_known, compare, emit, fastest, figure, measure, say

O = tw.optim  # noqa: E741
WIDTH, LAYERS = 512, 8
STEPS = 5  # per measurement, which is also one round of Lookahead
ROUNDS = 25  # a measurement takes a tenth of a second: five of them would fall into one moment of a shared machine
Step = Callable[[], object]
_copy: list[float] = []


def shapes() -> list[tuple[int, ...]]:
    """The tensors of a transformer without embeddings: twelve per layer."""
    d = WIDTH
    layer = [(3 * d, d), (3 * d,), (d, d), (d,), (4 * d, d), (4 * d,), (d, 4 * d), (d,), (d,), (d,), (d,), (d,)]
    return layer * LAYERS


def parameters(of: Iterable[tuple[int, ...]] | None = None) -> list[Tensor]:
    """Seeded parameters with gradients."""
    torch.manual_seed(0)
    params = [torch.randn(shape) for shape in (shapes() if of is None else of)]
    for param in params:
        param.grad = torch.randn_like(param) * 1e-3
    return params


def several(step: Step, count: int = STEPS) -> Step:
    """Repeat a step within one measurement."""

    def run() -> None:
        for _ in range(count):
            step()

    return run


def ours(rule: O.Rule, of: Iterable[tuple[int, ...]] | None = None, **settings: Any) -> Step:
    """Our step with the engine that is meant here."""
    return rule.optimizer(parameters(of), engine="compiled", **settings).step


def theirs(make: Callable[..., torch.optim.Optimizer], of: Any = None, **settings: Any) -> Step:
    """A torch optimizer's step."""
    return make(parameters(of), **settings).step


def bandwidth() -> float:
    """Bytes per second, both directions counted, of the faster of a copy that no cache holds and a scaling in place.

    A copy reads the lines it is about to overwrite, unasked; a step of an optimizer overwrites what it has read.
    """
    if not _copy:
        source = torch.randn(50_000_000)
        target = torch.empty_like(source)
        moved = 2 * source.numel() * source.element_size()
        times = measure({"copy": lambda: target.copy_(source), "scaling in place": lambda: target.mul_(0.5)}, warmup=2)
        for name, taken in times.items():
            say(f"{name}: {moved / taken.median / 1e9:.1f} GB/s")
        _copy.append(moved / min(taken.median for taken in times.values()))
    return _copy[0]


def floor(bytes_per_element: float, elements: int | None = None) -> float:
    """The least seconds for that much memory traffic."""
    count = sum(torch.Size(shape).numel() for shape in shapes()) if elements is None else elements
    return STEPS * bytes_per_element * count / bandwidth()


def quickest(case: str, peers: dict[str, Step]) -> dict[str, Step]:
    """Return the peers that one of three single steps shows within half of the fastest's time again; name the rest."""
    seconds = {}
    for name, step in peers.items():
        step()  # makes the states
        taken = []
        for _ in range(3):
            start = time.perf_counter()
            step()
            taken.append(time.perf_counter() - start)
        seconds[name] = min(taken)
    least = min(seconds.values())
    for name, taken_at_best in seconds.items():
        if taken_at_best > 1.5 * least:
            say(f"{case}: {name} takes {taken_at_best * 1e3:.1f} ms a step at best, and is left out")
    return {name: peers[name] for name in peers if seconds[name] <= 1.5 * least}


def judge(
    case: str,
    mine: Step,
    peers: dict[str, Step],
    target: float,
    moved: float,
    *,
    elements: int | None = None,
    count: int = STEPS,
) -> None:
    """Measure one row of the table."""
    near = quickest(case, peers) if len(peers) > 1 else peers
    steps = {"ours": several(mine, count), **{name: several(step, count) for name, step in near.items()}}
    times = measure(steps, repeats=ROUNDS if count == STEPS else FEWEST_REPEATS)
    best = fastest(times, near)
    least = floor(moved, elements) * count / STEPS
    emit(compare(f"{case}, {count} steps", times, ours="ours", peer=best, target=target, unit="ms", floor=least))


def torch_forms(
    name: str, *, fused: bool, of: Iterable[tuple[int, ...]] | None = None, **settings: Any
) -> dict[str, Step]:
    """torch's forms of a rule: a loop over the tensors, for-each operators, one fused kernel."""
    make = getattr(torch.optim, name)
    found = {
        f"torch.optim.{name}(foreach={each})": theirs(make, of, foreach=each, **settings) for each in (False, True)
    }
    if fused:
        found[f"torch.optim.{name}(fused=True)"] = theirs(make, of, fused=True, **settings)
    return found


def adamw() -> None:
    judge("AdamW", ours(O.AdamW()), torch_forms("AdamW", fused=True), 0.95, 28)


def clipped(step: Step, params: list[Tensor]) -> Step:
    """torch's clipping before a step."""

    def run() -> None:
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        step()

    return run


def clip() -> None:
    params = parameters()
    peer = clipped(torch.optim.AdamW(params, fused=True).step, params)
    mine = ours(O.AdamW(), clip_norm=1.0)
    judge("clip + AdamW", mine, {"clip_grad_norm_ + AdamW(fused=True)": peer}, 0.70, 32)


def averages() -> None:
    params = parameters()
    step = clipped(torch.optim.AdamW(params, fused=True).step, params)
    slow, average = [p.clone() for p in params], [p.clone() for p in params]
    done = [0]

    def peer() -> None:
        step()
        done[0] += 1
        if done[0] % 5 == 0:
            torch._foreach_lerp_(slow, params, 0.5)
            torch._foreach_copy_(params, slow)
        torch._foreach_lerp_(average, params, 1 - 0.999)

    rule = O.Averaged(O.Lookahead(O.AdamW(), k=5), decay=0.999)
    name = "clip_grad_norm_ + AdamW(fused=True) + torch._foreach_lerp_"
    judge("clip + AdamW + EMA + Lookahead(k=5)", ours(rule, clip_norm=1.0), {name: peer}, 0.60, 32 + 8 + 8 / 5)


def rmsprop() -> None:
    judge("RMSprop", ours(O.RMSprop()), torch_forms("RMSprop", fused=False), 0.35, 20)


def adadelta() -> None:
    judge("Adadelta", ours(O.Adadelta()), torch_forms("Adadelta", fused=False), 0.35, 28)


def adafactor() -> None:
    judge("Adafactor", ours(O.Adafactor()), torch_forms("Adafactor", fused=False), 0.35, 16)


def fused_rules() -> None:
    judge("Adagrad", ours(O.Adagrad()), torch_forms("Adagrad", fused=True), 0.90, 20)
    momentum = {"lr": 1e-3, "momentum": 0.9}
    judge("SGD with momentum", ours(O.SGD(**momentum)), torch_forms("SGD", fused=True, **momentum), 1.0, 20)


def foreign() -> None:
    import pytorch_optimizer
    import schedulefree

    lion = theirs(lambda params: pytorch_optimizer.Lion(params, lr=1e-4, weight_decay=0.1))
    judge("Lion", ours(O.Lion(weight_decay=0.1)), {"pytorch_optimizer.Lion": lion}, 0.40, 20)

    def free(params: list[Tensor]) -> torch.optim.Optimizer:
        optimizer = schedulefree.AdamWScheduleFree(params, lr=1e-3)
        optimizer.train()
        return optimizer

    mine = ours(O.ScheduleFreeAdamW(lr=1e-3))
    judge("schedule-free AdamW", mine, {"schedulefree.AdamWScheduleFree": theirs(free)}, 0.40, 28)


def small() -> None:
    of = [(500,)] * 1000
    peers = torch_forms("AdamW", fused=True, of=of)
    judge("1,000 tensors of 500 elements, AdamW", ours(O.AdamW(), of), peers, 0.25, 28, elements=500_000)


def halved() -> None:
    optimizer = O.AdamW().optimizer(parameters(), engine="compiled", state_dtype="bfloat16")
    plain = torch.optim.AdamW(parameters(), fused=True)
    judge("AdamW, bfloat16 states", optimizer.step, {"torch.optim.AdamW(fused=True)": plain.step}, 0.75, 20)
    sizes = [
        sum(v.numel() * v.element_size() for state in one.state.values() for v in state.values() if v.ndim)
        for one in (optimizer, plain)
    ]
    emit(
        figure(
            "AdamW, bfloat16 states: bytes", sizes[0], sizes[1], peer_name="float32 states", unit="bytes", target=0.5
        )
    )


def muon() -> None:
    of = [(512, 512)] * 12 + [(2048, 512)] * 12
    peers = {"torch.optim.Muon": theirs(torch.optim.Muon, of)}
    elements = sum(torch.Size(shape).numel() for shape in of)
    judge("Muon, 12 matrices 512×512 and 12 2048×512", ours(O.Muon(), of), peers, 0.60, 20, elements=elements, count=1)


_COLD = """
import sys, time
sys.path.insert(0, sys.argv[1])
import torch
import thalweg as tw
from optimizer_step import clipped, parameters
which, steps = sys.argv[2], int(sys.argv[3])
params = parameters()
start = time.perf_counter()
if which == "ours":
    step = tw.optim.AdamW().optimizer(params, clip_norm=1.0).step
else:
    step = clipped(torch.optim.AdamW(params, fused=True).step, params)
for number in range(steps):
    step()
    if number == 199:
        first = time.perf_counter() - start
print(first, time.perf_counter() - start)
"""


def in_a_new_process(which: str, steps: int) -> tuple[float, float]:
    """Seconds from the optimizer's construction to the 200th and to the last update, nothing compiled before."""
    with tempfile.TemporaryDirectory() as empty:
        here = os.path.dirname(os.path.abspath(__file__))
        command = [sys.executable, "-c", _COLD, here, which, str(steps)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, "THALWEG_CACHE": empty}
        )
    first, whole = map(float, done.stdout.split())
    return first, whole


def cold() -> None:
    """The user's number: all of a run of 200 updates, from an empty cache."""
    contestants = {which: lambda which=which: in_a_new_process(which, 200)[1] for which in ("ours", "torch")}
    name = "clip_grad_norm_ + AdamW(fused=True)"
    times = measure(contestants, returned=True, warmup=0)
    emit(
        compare(
            "200 steps, empty cache, engine='auto'", times, ours="ours", peer="torch", target=1.05, peer_name=name,
            floor=floor(32) * 200 / STEPS,
        )
    )  # fmt: skip


def long() -> None:
    """5,000 updates: 700 that are run, from an empty cache, and the others at the rate of the last 500 of them."""
    taken = {}
    for which in ("torch", "ours"):
        first, whole = in_a_new_process(which, 700)
        taken[which] = whole + 4300 * (whole - first) / 500
    _five_thousand("5,000 steps, empty cache, engine='auto' (700 run, the others at their rate)", taken)


def whole() -> None:
    """All of the 5,000 updates, one run each: six minutes."""
    taken = {which: in_a_new_process(which, 5000)[1] for which in ("torch", "ours")}
    _five_thousand("5,000 steps, empty cache, engine='auto' (one run of each)", taken)


def _five_thousand(case: str, taken: dict[str, float]) -> None:
    name, least = "clip_grad_norm_ + AdamW(fused=True)", floor(32) * 5000 / STEPS
    emit(figure(case, taken["ours"], taken["torch"], peer_name=name, unit="s", target=0.85, floor=least))


_PEAK = """
import re, sys
sys.path.insert(0, sys.argv[1])
import torch
import thalweg as tw
from optimizer_step import parameters
def kilobytes(name):
    return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read()).group(1))
params = parameters()
optimizer = tw.optim.AdamW().optimizer(params, engine="compiled", clip_norm=1.0)
for group in optimizer.param_groups:
    optimizer.ensure_state(group, group["params"])
for state in optimizer.state.values():
    for value in state.values():
        value.add_(0)
tw.optim.AdamW().optimizer([torch.ones(3)], engine="compiled")
first = [torch.ones(3)]
first[0].grad = torch.ones(3)
tw.optim.AdamW().optimizer(first, engine="compiled", clip_norm=1.0).step()
open("/proc/self/clear_refs", "w").write("5")
before = kilobytes("VmRSS")
for _ in range(3):
    optimizer.step()
print(1024 * (kilobytes("VmHWM") - before))
"""


def memory() -> None:
    """What a step needs on top of parameters, gradients and states."""
    here = os.path.dirname(os.path.abspath(__file__))
    done = subprocess.run([sys.executable, "-c", _PEAK, here], capture_output=True, text=True, check=True)
    size = sum(4 * torch.Size(shape).numel() for shape in shapes())
    emit(
        figure(
            "peak extra memory of a step, clip + AdamW",
            float(done.stdout),
            size,
            peer_name="bytes of the parameters",
            unit="bytes",
            target=0.05,
        )
    )


PARTS = {
    "adamw": adamw, "clip": clip, "averages": averages, "rmsprop": rmsprop, "adadelta": adadelta,
    "adafactor": adafactor, "fused_rules": fused_rules, "foreign": foreign, "small": small, "halved": halved,
    "muon": muon, "memory": memory, "cold": cold, "long": long,
}  # fmt: skip
#: By name only.
SLOW = {"whole": whole}


def main(names: list[str]) -> int:
    """Run the named parts, or all of them."""
    if not all_known("optimizer_step", names, PARTS | SLOW):
        return 2
    for name in names or PARTS:
        (PARTS | SLOW)[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
