"""Metrics over tokens. This file imports torchmetrics; it is loaded when the first of them is made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torchmetrics
from torch import Tensor

from thalweg.errors import check_number
from thalweg.metric.token_scores import Reading, TokenScores, token_scores

__all__ = ["BitsPerByte", "BitsPerCharacter", "Perplexity", "TokenAccuracy", "TokenMetric"]


class TokenMetric(torchmetrics.Metric):
    r"""A sum over the counted tokens, divided by a weight once, at the end.

    Sums and weights of batches and of processes are added before the division, so that batches that hold different
    numbers of tokens count as what they are: a mean of the batches' means would not be the mean.

    Args:
        ignore_index: the target value that does not count, or None.
        shift: whether position t is compared with target t + 1.
        softcap: the cap that the loss puts on the logits, or None.
        classes_dim: where the classes lie in the output, -1 (tokens) or 1 (torch's layout).
        dtype: of the sums; float64, because a sum over millions of tokens loses its digits in float32 (MPS has none).
    """

    full_state_update = False
    reads_output: ClassVar[bool] = True  # fed with the model's output, not with predictions made of it
    needs_rank: ClassVar[bool] = False
    total: Tensor
    weight: Tensor

    def __init__(
        self,
        ignore_index: int | None = -100,
        shift: bool = False,
        softcap: float | None = None,
        classes_dim: int = -1,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        self.reading = Reading(ignore_index, shift, softcap, classes_dim)
        self.add_state("total", torch.zeros((), dtype=dtype), dist_reduce_fx="sum")
        self.add_state("weight", torch.zeros((), dtype=dtype), dist_reduce_fx="sum")

    def update(self, output: Any, target: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            output: logits **(…, V)**, a ``Projected``, or :class:`TokenScores` that were computed already.
            target: classes **(…)**; None with scores.
        """
        if not isinstance(output, TokenScores):
            assert target is not None, "outputs come with their targets"
            output = token_scores(output, target, self.reading, ranked=self.needs_rank)
        total, weight = self._amounts(output)
        self.total += total.to(self.total)
        self.weight += weight.to(self.weight)

    def _amounts(self, scores: TokenScores) -> tuple[Tensor, Tensor]:
        """Return what the batch adds to the sum and to the weight."""
        return scores.nll.to(self.total.dtype).sum(), scores.counted.sum()

    def compute(self) -> Tensor:
        """Return the sum over the weight; NaN where nothing was counted."""
        return self.total / self.weight


class Perplexity(TokenMetric):
    r"""The exponential of the mean negative log-likelihood of a token.

    .. math:: \mathrm{PPL} = \exp\Big(\frac{\sum_i -\log p(y_i)}{|\{i: y_i \ne \text{ignore}\}|}\Big)

    Of the plain likelihood: label smoothing, class weights and a z-loss belong to the training loss and do not enter.

    Source: F. Jelinek et al., Perplexity: a measure of the difficulty of speech recognition tasks, JASA 62 (1977).

    >>> metric = Perplexity()
    >>> metric.update(torch.zeros(2, 3, 50), torch.tensor([[1, 2, -100], [4, -100, -100]]))   # knows nothing of 50
    >>> round(float(metric.compute()), 4)
    50.0
    """

    def compute(self) -> Tensor:
        return super().compute().exp()


class TokenAccuracy(TokenMetric):
    r"""The share of tokens whose target is among the *top_k* classes with the highest scores.

    Of equal scores the lower index comes first, as in ``argmax``: a model that gives every class the same score is
    right only where the target is class 0.

    Args:
        top_k: how many of the highest scores may hold the target, >= 1.
        **reading: as for :class:`TokenMetric`.

    Raises:
        ValueError: top_k < 1.

    >>> logits = torch.tensor([[[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]]])
    >>> one, two = TokenAccuracy(), TokenAccuracy(top_k=2)
    >>> for metric in (one, two):
    ...     metric.update(logits, torch.tensor([[0, 1]]))
    >>> float(one.compute()), float(two.compute())
    (0.5, 1.0)
    """

    needs_rank = True

    def __init__(self, top_k: int = 1, **reading: Any) -> None:
        check_number("TokenAccuracy", "top_k", top_k, low=1)
        super().__init__(**reading)
        self.top_k = top_k

    def _amounts(self, scores: TokenScores) -> tuple[Tensor, Tensor]:
        assert scores.rank is not None, "ranks are asked for"
        return ((scores.rank < self.top_k) & scores.counted).sum(), scores.counted.sum()


class _BitsPer(TokenMetric):
    """Bits per unit of text; a token is *sizes* units long, one where that is None."""

    def __init__(self, sizes: Sequence[float] | Tensor | None, **reading: Any) -> None:
        super().__init__(**reading)
        self._sizes: Tensor | None = None
        if sizes is not None:
            self._sizes = torch.as_tensor(sizes, dtype=torch.float64)
            if self._sizes.dim() != 1 or bool((self._sizes < 0).any()):
                raise ValueError(
                    f"{type(self).__name__}: the lengths of the tokens have shape {tuple(self._sizes.shape)} and must "
                    "be (V,) numbers >= 0, one per token of the vocabulary."
                )

    def _amounts(self, scores: TokenScores) -> tuple[Tensor, Tensor]:
        bits = scores.nll.to(self.total.dtype).sum() / math.log(2)
        if self._sizes is None:
            return bits, scores.counted.sum()
        self._sizes = self._sizes.to(device=scores.target.device, dtype=self.weight.dtype)
        return bits, torch.where(scores.counted, self._sizes[scores.target], 0).sum()


class BitsPerByte(_BitsPer):
    r"""The model's code length for a byte of text, which does not depend on the tokenizer.

    .. math:: \frac{\sum_i -\log_2 p(y_i)}{\sum_i \text{bytes}(y_i)}

    Args:
        token_bytes: (V,) bytes of UTF-8 that each token stands for, 0 for special tokens; None where a token is a byte.
        **reading: as for :class:`TokenMetric`.

    Raises:
        ValueError: lengths of another shape, or negative ones.

    Source: L. Gao et al., The Pile: an 800GB dataset of diverse text for language modeling, 2020, section 3.1.

    >>> metric = BitsPerByte(token_bytes=[4.0] * 256)          # 8 bits for a token of 4 bytes
    >>> metric.update(torch.zeros(1, 3, 256), torch.tensor([[7, 8, 9]]))
    >>> round(float(metric.compute()), 4)
    2.0
    """

    def __init__(self, token_bytes: Sequence[float] | Tensor | None = None, **reading: Any) -> None:
        super().__init__(token_bytes, **reading)


class BitsPerCharacter(_BitsPer):
    r"""The model's code length for a character of text.

    .. math:: \frac{\sum_i -\log_2 p(y_i)}{\sum_i \text{characters}(y_i)}

    Args:
        token_characters: (V,) characters that each token stands for; None where a token is a character.
        **reading: as for :class:`TokenMetric`.

    Raises:
        ValueError: lengths of another shape, or negative ones.

    >>> metric = BitsPerCharacter()
    >>> metric.update(torch.zeros(1, 3, 64), torch.tensor([[7, 8, 9]]))
    >>> round(float(metric.compute()), 4)
    6.0
    """

    def __init__(self, token_characters: Sequence[float] | Tensor | None = None, **reading: Any) -> None:
        super().__init__(token_characters, **reading)
