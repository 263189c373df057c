"""The loss over tokens from hidden states and a head: time and memory beside eager torch and its chunked loss, float32.

One call is the loss and its gradients of hidden states and weight. Peak extra memory is measured in a child process per
contestant: the largest resident set during one call, as Linux counts it (VmHWM, set back before the call), less what
was resident before and less the gradients that every contestant must return. For the training step of a model it is
the largest resident set less that before the model was built, so parameters and optimizer state count.

The floor is three matrix products of the full size: logits, and what they carry back to hidden states and weight.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import thalweg as tw
from _record import Times, compare, emit, figure, measure, say

Call = Callable[[], object]
Shape = tuple[int, int, int]  # N, D, V

SMALL: Shape = 2048, 256, 32_000
LARGE: Shape = 1024, 768, 50_257
MIB = 2**20


def label(shape: Shape) -> str:
    """Name a shape."""
    return "N={}, D={}, V={:,}".format(*shape)


def inputs(shape: Shape) -> tuple[Tensor, Tensor, Tensor]:
    """Return hidden states, a head and targets."""
    rows, width, classes = shape
    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, width, generator=g).requires_grad_()
    weight = (torch.randn(classes, width, generator=g) * width**-0.5).requires_grad_()
    return hidden, weight, torch.randint(classes, (rows,), generator=g)


def both(hidden: Tensor, weight: Tensor, loss: Callable[[], Tensor]) -> Call:
    """Return a call that computes the loss and both gradients."""

    def call() -> None:
        hidden.grad = weight.grad = None
        loss().backward()  # type: ignore[no-untyped-call]

    return call


def three_products(hidden: Tensor, weight: Tensor) -> Call:
    """Return a call of the three products, into memory that is there already."""
    h, w = hidden.detach(), weight.detach()
    logits, gh, gw = torch.zeros(len(h), len(w)), torch.zeros_like(h), torch.zeros_like(w)

    def call() -> None:
        torch.mm(h, w.t(), out=logits)
        torch.mm(logits, w, out=gh)
        torch.mm(logits.t(), h, out=gw)

    return call


def torchs_chunks(rows: int) -> dict[str, nn.LinearCrossEntropyOptions]:
    """Return the settings of torch's chunked loss that are tried: its own choices, and fixed numbers of rows."""
    options = {"its default": nn.LinearCrossEntropyOptions(), "aspect_ratio": _option("aspect_ratio")}
    for parts in (16, 8, 4, 2):
        size = rows // parts
        options[f"{size} rows"] = nn.LinearCrossEntropyOptions(batch_chunk_size=size, chunking_method=None)
    return options


def _option(method: str) -> nn.LinearCrossEntropyOptions:
    return nn.LinearCrossEntropyOptions(chunking_method=method)


def plain(shape: Shape) -> dict[str, Call]:
    """Return the contestants of the plain loss, torch's chunked loss in each of its settings."""
    hidden, weight, target = inputs(shape)
    half = target.clone()
    half[::2] = -100
    calls = {
        "ours": both(hidden, weight, lambda: tw.loss.linear_cross_entropy(hidden, weight, target)),
        "half": both(hidden, weight, lambda: tw.loss.linear_cross_entropy(hidden, weight, half)),
        "eager": both(hidden, weight, lambda: F.cross_entropy(F.linear(hidden, weight), target)),
        "floor": three_products(hidden, weight),
    }
    for name, options in torchs_chunks(shape[0]).items():
        calls[f"torch, {name}"] = both(
            hidden, weight, lambda options=options: F.linear_cross_entropy(hidden, weight, target, options=options)
        )
    return calls


def smoothed(shape: Shape) -> dict[str, Call]:
    """Label smoothing 0.1 and z-loss 1e-4."""
    hidden, weight, target = inputs(shape)

    def eager() -> Tensor:
        logits = F.linear(hidden, weight)
        z = torch.logsumexp(logits, -1)
        return F.cross_entropy(logits, target, label_smoothing=0.1) + 1e-4 * z.square().mean()

    def smoothing_only() -> Tensor:
        return F.cross_entropy(F.linear(hidden, weight), target, label_smoothing=0.1)

    def ours(z_loss: float) -> Tensor:
        return tw.loss.linear_cross_entropy(hidden, weight, target, label_smoothing=0.1, z_loss=z_loss)

    return {
        "ours": both(hidden, weight, lambda: ours(1e-4)),
        "eager": both(hidden, weight, eager),
        "ours, smoothing only": both(hidden, weight, lambda: ours(0.0)),
        "eager, smoothing only": both(hidden, weight, smoothing_only),
        "floor": three_products(hidden, weight),
    }


def distilled(shape: Shape) -> dict[str, Call]:
    """KL from a teacher's logits at temperature 2; the teacher's logits are there."""
    hidden, weight, _ = inputs(shape)
    teacher = torch.randn(shape[0], shape[2], generator=torch.Generator().manual_seed(1))

    def eager() -> Tensor:
        log_p = F.log_softmax(F.linear(hidden, weight) / 2.0, -1)
        log_q = F.log_softmax(teacher / 2.0, -1)
        return 4.0 * F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)

    return {
        "ours": both(hidden, weight, lambda: tw.loss.linear_distillation(hidden, weight, teacher, temperature=2.0)),
        "eager": both(hidden, weight, eager),
        "floor": three_products(hidden, weight),
    }


class Decoder(nn.Module):
    """Six causal layers of width 256, a vocabulary of 32,000, the head tied to the embedding."""

    def __init__(self, width: int = 256, layers: int = 6, classes: int = 32_000, length: int = 256) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.position = nn.Parameter(torch.zeros(length, width))
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        hidden: Tensor = self.blocks(self.embedding(ids) + self.position, mask=self.mask, is_causal=True)
        return hidden


def training(linear: bool) -> Call:
    """Return a training step with AdamW on 8 sequences of 256 tokens."""
    torch.manual_seed(0)
    model = Decoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(32_000, (8, 256))
    ours = tw.loss.TokenCrossEntropy(ignore_index=None, shift=True)

    def call() -> None:
        hidden, head = model(ids), model.embedding.weight
        if linear:
            total, weight = ours(tw.loss.Projected(hidden, head), ids)
            loss = total / weight
        else:
            loss = F.cross_entropy(F.linear(hidden[:, :-1], head).flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return call


def resident(key: str) -> int:
    """Return a line of this process's status, in bytes: `VmRSS` now, `VmHWM` at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"token_loss: /proc/self/status has no {key}; peak memory is measured on Linux only.")


def peak_of(part: str, contestant: str) -> int:
    """Return the peak extra memory of one contestant in bytes; run in a process of its own."""
    # Code that is loaded at first use is no loss's memory: ours has a kernel for calls of some size. The last of these
    # is small and of another dtype, so that no memory is kept for the next one.
    for warm, dtype in (((64, 1024, 32_768), torch.float32), ((8, 8, 16), torch.float64)):
        h, w, t = inputs(warm)
        h, w = h.detach().to(dtype).requires_grad_(), w.detach().to(dtype).requires_grad_()
        both(h, w, lambda h=h, w=w, t=t: F.cross_entropy(F.linear(h, w), t))()
        both(h, w, lambda h=h, w=w, t=t: tw.loss.linear_cross_entropy(h, w, t))()
        del h, w, t
    if part == "step":
        _forget()
        before = resident("VmRSS")
        call = training(contestant == "ours")
        call(), call()  # the optimizer's state is made in the first
        return resident("VmHWM") - before
    shape, calls = MAKERS[part]
    call = calls(shape)[contestant]
    rows, width, classes = shape
    # the matrix library keeps its own workspace from product to product, so all contestants start with it
    three_products(torch.zeros(min(rows, 256), width), torch.zeros(classes, width))()
    _forget()
    before = resident("VmRSS")
    call()
    return resident("VmHWM") - before - 4 * (rows + classes) * width


def _forget() -> None:
    """Give free memory back, and let the peak be what is resident now."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def peak(part: str, contestant: str) -> float:
    """Return the peak extra memory of one contestant in MiB, measured in a child process."""
    command = [sys.executable, __file__, "--peak", part, contestant]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / MIB


MAKERS: dict[str, tuple[Shape, Callable[[Shape], dict[str, Call]]]] = {
    "small": (SMALL, plain),
    "large": (LARGE, plain),
    "options": (SMALL, smoothed),
    "options_large": (LARGE, smoothed),
    "distillation": (SMALL, distilled),
}


def against_torch(part: str, target: float) -> None:
    """The plain loss: eager, torch's chunked loss at its best setting, half of the rows ignored."""
    shape, make = MAKERS[part]
    calls, name = make(shape), label(shape)
    tried: dict[str, float] = {}
    for setting in [key for key in calls if key.startswith("torch, ")]:
        start = time.perf_counter()
        calls[setting]()
        first = time.perf_counter() - start
        if tried and first > 2 * min(tried.values()):
            tried[setting] = first  # far off already; not worth a second call
            continue
        start = time.perf_counter()
        calls[setting]()
        tried[setting] = time.perf_counter() - start
    best = min(tried, key=lambda key: tried[key])
    say(f"{name}: torch's chunked loss: " + ", ".join(f"{key[7:]} {value:.2f} s" for key, value in tried.items()))
    times = measure({key: calls[key] for key in ("ours", "eager", best, "half", "floor")})
    floor = times["floor"].median
    eager_name = "F.cross_entropy(F.linear)"
    emit(compare(name, times, ours="ours", peer="eager", peer_name=eager_name, target=target, floor=floor))
    emit(compare(name, times, ours="ours", peer=best, peer_name=f"F.linear_cross_entropy, {best[7:]}", target=0.85,
                 floor=floor))  # fmt: skip
    emit(compare(f"{name}, half of the rows ignored", times, ours="half", peer="ours", peer_name="none ignored",
                 target=0.60, floor=floor / 2))  # fmt: skip
    memory(part, "peak extra memory", {"eager": (eager_name, 1 / 8),
           best: (f"F.linear_cross_entropy, {best[7:]}", 1.0)})  # fmt: skip


def memory(part: str, what: str, peers: dict[str, tuple[str, float]]) -> None:
    """Compare peak memory with that of the peers, name → (name shown, target)."""
    name = label(MAKERS[part][0]) if part in MAKERS else "6 layers, d=256, V=32,000, 8 × 256 tokens"
    mine = peak(part, "ours")
    for key, (shown, target) in peers.items():
        theirs = peak(part, key)
        emit(figure(f"{name}: {what}", mine, theirs, peer_name=shown, unit="MiB", target=target))


def options(part: str) -> None:
    """Label smoothing 0.1 with and without z-loss."""
    shape, make = MAKERS[part]
    name = label(shape)
    times = measure(make(shape))
    floor = times["floor"].median
    peer = "F.cross_entropy and logsumexp²"
    emit(compare(f"{name}, label smoothing, z-loss", times, ours="ours", peer="eager", peer_name=peer, target=1.0,
                 floor=floor))  # fmt: skip
    emit(compare(f"{name}, label smoothing", times, ours="ours, smoothing only", peer="eager, smoothing only",
                 peer_name="F.cross_entropy", target=1.0, floor=floor))  # fmt: skip
    memory(part, "label smoothing, z-loss: peak extra memory", {"eager": (peer, 1 / 8)})


def distillation() -> None:
    """KL from the logits of a teacher."""
    name = label(SMALL)
    times = measure(distilled(SMALL))
    peer = "F.kl_div on full logits"
    emit(compare(f"{name}, distillation", times, ours="ours", peer="eager", peer_name=peer, target=0.95,
                 floor=times["floor"].median))  # fmt: skip
    memory("distillation", "distillation: peak extra memory", {"eager": (peer, 1 / 6)})


def step() -> None:
    """A training step of a small language model."""
    name = "6 layers, d=256, V=32,000, 8 × 256 tokens: training step"
    times: dict[str, Times] = measure({"ours": training(True), "eager": training(False)})
    emit(compare(name, times, ours="ours", peer="eager", peer_name="F.cross_entropy on full logits", target=1.0))
    memory("step", "peak memory of a training step", {"eager": ("F.cross_entropy on full logits", 0.6)})


PARTS: dict[str, Callable[[], None]] = {
    "small": lambda: against_torch("small", 0.90),
    "large": lambda: against_torch("large", 1.00),
    "options": lambda: options("options"),
    "options_large": lambda: options("options_large"),
    "distillation": distillation,
    "step": step,
}


def main() -> None:
    """Measure what was asked for and print."""
    # the settings of torch's chunked loss that are slow say so, and are left out by their time
    warnings.filterwarnings("ignore", message=".*linear_cross_entropy.*")
    if sys.argv[1:2] == ["--peak"]:
        print(peak_of(*sys.argv[2:4]))
        return
    for part in sys.argv[1:] or PARTS:
        if part not in PARTS:
            raise SystemExit(f"token_loss: unknown part {part!r}; known: {', '.join(PARTS)}")
        PARTS[part]()


if __name__ == "__main__":
    main()
