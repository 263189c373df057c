"""Language models that are quick: Hugging Face's from a config, and plain ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

V = 601  # just large enough for the head to be left to the loss

CAUSAL = ("gpt2", "llama", "gemma2", "cohere")
PAIRED = ("t5", "bart", "bert")


def hugging_face(name: str, vocabulary: int = V) -> Any:
    """Return a tiny model of Hugging Face's library, without dropout, its weights drawn by seed 0."""
    import transformers as hf

    torch.manual_seed(0)
    heads: dict[str, Any] = {"num_hidden_layers": 1, "num_attention_heads": 2}
    wide: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, **heads}
    ends: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    if name == "gpt2":
        sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32}
        none = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        return hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=vocabulary, **sizes, **none, **ends))
    if name == "llama":
        return hf.LlamaForCausalLM(hf.LlamaConfig(vocab_size=vocabulary, num_key_value_heads=1, **wide, **ends))
    if name == "gemma2":  # caps its logits
        cap = {"final_logit_softcapping": 3.0, "head_dim": 8, "num_key_value_heads": 1}
        return hf.Gemma2ForCausalLM(hf.Gemma2Config(vocab_size=vocabulary, **cap, **wide, **ends))
    if name == "cohere":  # scales its logits
        return hf.CohereForCausalLM(hf.CohereConfig(vocab_size=vocabulary, **wide, **ends))
    if name == "t5":  # scales its hidden states, tied to the embedding
        sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0}
        return hf.T5ForConditionalGeneration(hf.T5Config(vocab_size=vocabulary, decoder_start_token_id=0, **sizes))
    if name == "bart":  # adds a vector to its logits
        sizes = {f"{part}_{key}": value for part in ("encoder", "decoder") for key, value in
                 (("layers", 1), ("attention_heads", 2), ("ffn_dim", 32))}  # fmt: skip
        config = hf.BartConfig(
            vocab_size=vocabulary,
            d_model=16,
            max_position_embeddings=32,
            dropout=0.0,
            decoder_start_token_id=2,
            **sizes,
            **ends,
        )
        model = hf.BartForConditionalGeneration(config)
        model.final_logits_bias.normal_()
        return model
    assert name == "bert"
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return hf.BertForMaskedLM(hf.BertConfig(vocab_size=vocabulary, **wide, **none))


def tokens(name: str, rows: int = 4, length: int = 9, vocabulary: int = V, seed: int = 0) -> dict[str, Tensor]:
    """Return a batch with padding: labels equal to the inputs for causal models, of their own for the others."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, vocabulary, (rows, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[1::2, length - 3 :] = 0
    target = ids if name in CAUSAL else torch.randint(3, vocabulary, (rows, length), generator=generator)
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.where(mask == 1, target, -100)}


class Plain(nn.Module):
    """A language model of a few lines: what it returns, and how its head is called, is up to the test."""

    def __init__(self, vocabulary: int = V, width: int = 16, tied: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(vocabulary, width)
        self.mix = nn.Linear(width, width)
        self.out = nn.Linear(width, vocabulary, bias=not tied)
        if tied:
            self.out.weight = self.embedding.weight

    def hidden(self, x: Tensor) -> Tensor:
        mixed: Tensor = torch.tanh(self.mix(self.embedding(x)))
        return mixed

    def forward(self, x: Tensor) -> Any:
        return self.out(self.hidden(x))
