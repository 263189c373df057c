"""Likelihood and hits from a head are those of full logits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from thalweg import loss as tl
from thalweg.loss import linear_chunks


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("counting", [True, False], ids=["cpu", "as-on-a-device"])
def test_equals_full_logits(
    shift: bool, softcap: float | None, counting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not counting:
        monkeypatch.setattr("thalweg.loss.token_statistics.kept_rows", lambda keep: None)
    monkeypatch.setattr(linear_chunks, "_CHUNK_BYTES", (400, 400))  # a few rows
    g = torch.Generator().manual_seed(0)
    hidden, weight, bias = (torch.randn(*s, generator=g).double() for s in ((3, 6, 4), (11, 4), (11,)))
    labels = torch.randint(0, 11, (3, 6), generator=g)
    labels[1, 2:] = -100
    found = tl.linear_token_statistics(hidden, weight, labels, bias, softcap=softcap, shift=shift, k=(1, 3, 11))
    logits = F.linear(hidden, weight, bias)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    if shift:
        logits, labels = logits[:, :-1], labels[:, 1:]
    chosen, target = logits[labels != -100], labels[labels != -100]
    torch.testing.assert_close(found.nll_sum, F.cross_entropy(chosen, target, reduction="sum"), rtol=1e-12, atol=0)
    for k, correct in zip((1, 3, 11), found.correct, strict=True):
        assert int(correct) == int((chosen.topk(k, -1).indices == target[:, None]).any(-1).sum())
    assert int(found.counted) == len(target)


def test_of_equal_logits_the_first_is_the_largest() -> None:
    hidden, weight = torch.ones(4, 1), torch.tensor([[1.0], [2.0], [2.0], [float("nan")]])
    found = tl.linear_token_statistics(hidden, weight, torch.tensor([0, 1, 2, 3]), k=(1, 2, 3))
    assert found.correct.tolist() == [0 + 1 + 0 + 0, 0 + 1 + 1 + 0, 1 + 1 + 1 + 0]


def test_nothing_counted_is_zero() -> None:
    found = tl.linear_token_statistics(torch.ones(2, 1), torch.ones(3, 1), torch.tensor([-100, -100]))
    assert (float(found.nll_sum), found.correct.tolist(), int(found.counted)) == (0.0, [0], 0)
