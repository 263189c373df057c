"""What needs a GPU, in one call of under nine minutes: `python benchmarks/gpu.py [part ...]`.

Optimizer steps: clip + AdamW on a billion float32 parameters beside a copy of the same run and torch's own sequence;
rules that torch only has as for-each operators; a thousand small tensors, host included. A loss surface of a convnet
beside loss-landscapes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import thalweg as tw
from _record import all_known, compare, emit, fastest, figure, measure, say

NEEDS_ACCELERATOR = True

O = tw.optim  # noqa: E741
Step = Callable[[], object]
LARGE = [(4096, 4096)] * 59 + [(4096,)] * 59  # 990 M
MEDIUM = [(4096, 1024)] * 24 + [(1024,)] * 96  # 100 M


def parameters(shapes: list[tuple[int, ...]]) -> list[Tensor]:
    """Seeded parameters with gradients."""
    torch.manual_seed(0)
    params = [torch.randn(shape, device="cuda") for shape in shapes]
    for param in params:
        param.grad = torch.full_like(param, 1e-3)
    return params


def waited(step: Step, count: int = 10) -> Step:
    """Several steps and the wait for them."""

    def run() -> None:
        for _ in range(count):
            step()
        torch.cuda.synchronize()

    return run


def clipped(make: Callable[[list[Tensor]], torch.optim.Optimizer], shapes: list[tuple[int, ...]]) -> Step:
    """torch's clipping before its step."""
    params = parameters(shapes)
    optimizer = make(params)

    def run() -> None:
        torch.nn.utils.clip_grad_norm_(params, 1.0, foreach=True)
        optimizer.step()

    return run


def bandwidth() -> float:
    """Bytes per second of a copy on the device, both directions counted."""
    source = torch.empty(1 << 30, dtype=torch.float32, device="cuda")
    target = torch.empty_like(source)
    times = measure({"copy": waited(lambda: target.copy_(source))}, warmup=2)
    return 10 * 8 * source.numel() / times["copy"].median


def billion() -> None:
    """Clip + AdamW at 32 bytes per parameter."""
    fast = bandwidth()
    torch.cuda.empty_cache()
    count = sum(torch.Size(shape).numel() for shape in LARGE)
    ours = O.AdamW().optimizer(parameters(LARGE), engine="compiled", clip_norm=1.0).step
    peer = clipped(lambda params: torch.optim.AdamW(params, fused=True), LARGE)
    times = measure({"ours": waited(ours), "torch": waited(peer)})
    floor = 10 * 32 * count / fast
    name = "clip_grad_norm_ + AdamW(fused=True)"
    case = f"clip + AdamW, {count / 1e6:.0f} M parameters, 10 steps"
    emit(compare(case, times, ours="ours", peer="torch", target=0.85, peer_name=name, unit="ms", floor=floor))
    say(f"share of the copy's {fast / 1e9:.0f} GB/s: {floor / times['ours'].median:.0%} (target: 85 % or more)")
    torch.cuda.empty_cache()


def rules() -> None:
    """Rules that torch has as for-each operators only, and Lion."""
    import pytorch_optimizer

    pairs: list[tuple[str, O.Rule, Callable[[list[Tensor]], torch.optim.Optimizer]]] = [
        ("RMSprop", O.RMSprop(), lambda params: torch.optim.RMSprop(params, foreach=True)),
        ("Adadelta", O.Adadelta(), lambda params: torch.optim.Adadelta(params, foreach=True)),
        ("Adafactor", O.Adafactor(), lambda params: torch.optim.Adafactor(params, foreach=True)),
        ("Lion", O.Lion(), lambda params: pytorch_optimizer.Lion(params, lr=1e-4, foreach=True)),
    ]
    for name, rule, make in pairs:
        ours = rule.optimizer(parameters(MEDIUM), engine="compiled").step
        times = measure({"ours": waited(ours), "foreach": waited(make(parameters(MEDIUM)).step)})
        emit(compare(f"{name}, 100 M parameters, 10 steps", times, ours="ours", peer="foreach", target=0.45, unit="ms"))
        torch.cuda.empty_cache()


def small() -> None:
    """A thousand tensors of 500 elements, host time included."""
    shapes: list[tuple[int, ...]] = [(500,)] * 1000
    contestants = {
        "ours": waited(O.AdamW().optimizer(parameters(shapes), engine="compiled").step),
        "fused": waited(torch.optim.AdamW(parameters(shapes), fused=True).step),
        "foreach": waited(torch.optim.AdamW(parameters(shapes), foreach=True).step),
    }
    times = measure(contestants)
    best = fastest(times, ["fused", "foreach"])
    case = "1,000 tensors of 500 elements, AdamW, 10 steps"
    emit(compare(case, times, ours="ours", peer=best, target=0.5, unit="ms"))


def plane(device: str = "cuda", points: int = 51, images: int = 10_000) -> None:
    """A plane of a CIFAR-sized convnet; the peer once, because it takes minutes."""
    import loss_landscapes
    from loss_landscapes.metrics import Loss

    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4096, 10),
    ).to(device)  # fmt: skip
    shown = torch.randn(images, 3, 32, 32, device=device), torch.randint(0, 10, (images,), device=device)
    learner = tw.compile(model, optimizer="sgd", lr=0.1, loss="cross_entropy", device=device)
    metric = Loss(nn.CrossEntropyLoss(), *shown)

    def theirs(count: int) -> None:
        loss_landscapes.random_plane(model, metric, 1, count, "filter", deepcopy_model=True)

    contestants: dict[str, Callable[[int], object]] = {
        "ours": lambda count: tw.surface.plane(learner, shown, points=count, progress=False),
        "loss-landscapes": theirs,
    }
    taken: dict[str, float] = {}
    for name, draw in contestants.items():
        draw(2)
        start = time.perf_counter()
        draw(points)
        taken[name] = time.perf_counter() - start
    case = f"{points}×{points} plane, convnet on {images:,} images of 3×32×32 (one run of each)"
    emit(figure(case, taken["ours"], taken["loss-landscapes"], peer_name="loss-landscapes", unit="s", target=0.05))


#: Further parts are added here; each runs alone and frees what it used.
PARTS: dict[str, Callable[[], None]] = {"billion": billion, "rules": rules, "small": small, "plane": plane}


def main(names: list[str]) -> int:
    """Run the named parts, or all of them."""
    if not all_known("gpu", names, PARTS):
        return 2
    if not torch.cuda.is_available():
        say("gpu: torch finds no CUDA device here, and every part needs one; nothing was run.")
        return 2
    for name in names or PARTS:
        PARTS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
