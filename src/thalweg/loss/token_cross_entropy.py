r"""Cross entropy over tokens, from logits or from hidden states and a head."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.loss.cross_entropy_rows import CrossEntropyRows
from thalweg.loss.token_loss import TokenLoss

__all__ = ["TokenCrossEntropy"]


@dataclass(frozen=True, kw_only=True)
class TokenCrossEntropy(TokenLoss):
    r"""Cross entropy between the softmax over the vocabulary and the target, in nats, with z-loss.

    .. math::
        \ell(o, y) = -\sum_c w_c q_c \log p_c + \zeta w_y z^2 \qquad p = \operatorname{softmax}(o), \quad
        q_c = (1 - \varepsilon) [c = y] + \varepsilon / V, \quad z = \log \sum_c e^{o_c}

    ``sum / weight`` is that of ``F.cross_entropy`` on the flattened logits, label smoothing and class weights
    included: the smoothed part is weighted class by class, and the whole divided by :math:`\sum w_{y_i}` over the
    positions that count, after the shift. Where no position counts it is (0, 0), and torch's is NaN.

    Args:
        label_smoothing: :math:`\varepsilon`, the share of the target spread evenly over the vocabulary, 0 to 1.
        z_loss: :math:`\zeta` >= 0, which keeps the logits' normaliser near 1; 1e-4 is usual, 0 is none.
        ignore_index: The target value that does not count, or None. Class indices only.
        class_weight: V numbers >= 0, or None for 1.
        softcap: :math:`c` > 0: logits count as :math:`c \tanh(o / c)`. None: as they are.
        shift: Compare the output at t with the target at t + 1.

    Shapes: output (B, T, V), (N, V) or a ``Projected`` of that shape; target (B, T) or (N,) class indices, or class
    probabilities of the output's shape (then the weight is the number of positions).

    Raises:
        ValueError: an option out of range; from ``check``: shapes that do not fit, an index outside of the vocabulary.
        TypeError: from ``check``: indices that are floats, a head whose dtype differs.

    Sources: label smoothing: C. Szegedy et al., Rethinking the Inception architecture for computer vision, CVPR 2016,
    section 7. z-loss: A. Chowdhery et al., PaLM, JMLR 24 (2023), section 5. Soft cap: Gemma Team, Gemma 2,
    arXiv:2408.00118, section 2.

    >>> import torch
    >>> from thalweg.loss.projected import Projected
    >>> logits = torch.tensor([[[2.0, 0.0], [0.0, 0.0], [1.0, 3.0]]])
    >>> labels = torch.tensor([[0, 1, -100]])
    >>> TokenCrossEntropy()(logits, labels)
    (tensor(0.8201), tensor(2))
    >>> TokenCrossEntropy(shift=True)(logits, labels)
    (tensor(2.1269), tensor(1))
    >>> TokenCrossEntropy()(Projected(logits, torch.eye(2)), labels)
    (tensor(0.8201), tensor(2))
    """

    label_smoothing: float = 0.0
    z_loss: float = 0.0

    def form(self) -> CrossEntropyRows:
        return CrossEntropyRows(label_smoothing=self.label_smoothing, z_loss=self.z_loss, softcap=self.softcap)
