"""German phrases and their English ones, as the tokens of a small vocabulary that is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg import data as datas
from thalweg.data.ding import read_pairs
from thalweg.errors import check_number

from ..models.encoder_decoder import EncoderDecoder
from ..models.sizes import check_sizes
from ..parts import Parts
from .generate import greedy

__all__ = ["PAD", "SPECIAL", "translation"]

#: The tokens that stand for no text, by their numbers.
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
PAD, BEGIN, END, _ = range(4)
_SHOWN = 5


def translation(
    file: str | None = None,
    pairs: int = 60_000,
    vocabulary: int = 4000,
    max_length: int = 12,
    valid: int = 2000,
    seed: int = 0,
    root: str | None = None,
) -> Parts:
    """Return pairs of German and English phrases as dict batches, with a tokenizer (BPE) trained on those that train.

    Args:
        file: a dictionary in the format of Ding; None takes Debian's ``trans-de-en`` in the folder of data sets.
        pairs: how many train, drawn by *seed*; fewer where there are not so many.
        vocabulary: tokens of both languages together, at most.
        max_length: tokens of a phrase at most, its end included; longer pairs are left out.
        valid: how many validate.
        seed: of the draw.
        root: the folder of data sets; None takes the environment variable ``THALWEG_DATA``, else ``data``.

    Returns:
        Parts of ``input_ids`` and ``attention_mask`` **(n, S)**, ``labels`` **(n, T)** with −100 behind the end; S and
        T are the longest that occur. No English phrase that validates is one that trains.

    Raises:
        FileNotFoundError: the dictionary is not there.
        ModuleNotFoundError: the library ``tokenizers`` is not installed.
        ValueError: too few pairs.
    """
    check_sizes("data", pairs=pairs, vocabulary=vocabulary, max_length=max_length, valid=valid)
    check_number("data", "vocabulary", vocabulary, low=2 * len(SPECIAL))
    found = _drawn(read_pairs(_dictionary(file, root)), seed)
    held = found[:valid]
    kept = {english.lower() for _, english in held}
    train = [pair for pair in found[valid:] if pair[1].lower() not in kept][:pairs]
    if len(held) < valid or not train:
        raise ValueError(
            f"data 'translation': {len(found)} pairs were found, of which valid={valid} leaves {len(train)} to train "
            "on; lower valid."
        )
    tokenizer = _trained(train, vocabulary)
    parts = [_encoded(tokenizer, rows, max_length) for rows in (train, held)]
    shown = [pair for pair in held if len(tokenizer.encode(pair[0]).ids) < max_length][:_SHOWN]
    show = partial(_show, tokenizer=tokenizer, pairs=shown, length=max_length)
    classes = tuple(tokenizer.id_to_token(number) for number in range(tokenizer.get_vocab_size()))
    return Parts("translation", parts[0], parts[1], classes=classes, show=show)


def _dictionary(file: str | None, root: str | None) -> str:
    if file is not None:
        return file
    path = datas.data_root(root) / "trans-de-en" / "de-en"
    if not path.is_file():
        raise FileNotFoundError(
            f"data 'translation': there is no {path.absolute()}; run `thalweg data trans-de-en`, or name a dictionary "
            "with file = 'PATH'."
        )
    return str(path)


def _drawn(pairs: list[tuple[str, str]], seed: int) -> list[tuple[str, str]]:
    """Return the pairs in an order of the seed's."""
    return [pairs[row] for row in datas.permutation(len(pairs), seed, epoch=-1).tolist()]


def _trained(pairs: Sequence[tuple[str, str]], vocabulary: int) -> Any:
    """Return a byte-pair tokenizer trained on both sides of the pairs."""
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "data 'translation': trains a tokenizer with the library tokenizers, which is not installed; run "
            "`pip install 'thalweg[text]'`."
        ) from None
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL[3]))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=list(SPECIAL), show_progress=False)
    tokenizer.train_from_iterator((side for pair in pairs for side in pair), trainer, length=2 * len(pairs))
    return tokenizer


def _encoded(tokenizer: Any, pairs: Sequence[tuple[str, str]], max_length: int) -> dict[str, Tensor]:
    """Return the pairs that are short enough as a batch of rows."""
    sides = [[encoding.ids for encoding in tokenizer.encode_batch([p[i] for p in pairs])] for i in (0, 1)]
    rows = [(s, t) for s, t in zip(*sides, strict=True) if max(len(s), len(t)) < max_length]
    source, target = _padded([row[0] for row in rows], PAD), _padded([row[1] for row in rows], -100)
    return {"input_ids": source, "attention_mask": source != PAD, "labels": target}


def _padded(rows: Sequence[list[int]], fill: int) -> Tensor:
    """Return rows with their end token, as wide as the longest, **(n, T)** int64."""
    array = np.full((len(rows), 1 + max(map(len, rows), default=0)), fill, dtype=np.int64)
    for place, row in zip(array, rows, strict=True):
        place[: len(row)] = row
        place[len(row)] = END
    return torch.from_numpy(array)


def _show(model: nn.Module, epoch: int, tokenizer: Any, pairs: Sequence[tuple[str, str]], length: int) -> str:
    """Return translations of the first pairs that validate, beside what the dictionary says."""
    if not isinstance(model, EncoderDecoder):
        return f"no translations: {type(model).__name__} is no EncoderDecoder"
    device = next(model.parameters()).device
    source = _padded([encoding.ids for encoding in tokenizer.encode_batch([pair[0] for pair in pairs])], PAD).to(device)
    memory, mask = model.encode(source, source != PAD)
    begin = torch.full((len(pairs), 1), BEGIN, dtype=torch.int64, device=device)
    made = greedy(lambda tokens: model.decode(tokens, memory, mask), begin, length, END)
    lines = []
    for (german, english), row in zip(pairs, made[:, 1:].tolist(), strict=True):
        ended = row[: row.index(END)] if END in row else row
        lines.append(f"{german} → {tokenizer.decode(ended)}  ({english})")
    return "\n".join(lines)
