# %% [markdown]
# # Language models in plain torch: a decoder, and an encoder–decoder
#
# Two transformers of the usual sizes (a vocabulary of 30,522 tokens, width 512) made of `nn.Transformer`'s own layers,
# trained for a few steps on made-up tokens. What there is to see: padding that counts for nothing, logits that are
# never made (the plan says so), and perplexity beside the loss.
#
# The tokens are made by a rule, so that there is something to learn: a sequence goes on counting from where it began,
# and its "translation" is the same sequence backwards. As a script this takes some seconds on one core, and writes its
# figure to the folder named on the command line, or to a temporary one. With `LAYERS = 6` the models are as deep as the
# paper's.

# %%
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import thalweg as tw

VOCABULARY, WIDTH, HEADS, LAYERS = 30_522, 512, 8, 1  # 6 layers in the paper
PAD, BEGIN = 0, 1
FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else Path(tempfile.mkdtemp())
FOLDER.mkdir(parents=True, exist_ok=True)


def show(thing: Any, name: str = "") -> Any:
    """What a cell ends in: a notebook displays it; a script prints it, or saves a figure under *name*."""
    if "ipykernel" not in sys.modules:
        if hasattr(thing, "savefig"):
            thing.savefig(FOLDER / f"{name}.png")
            thing = f"figure: {FOLDER / name}.png"
        print(thing, end="\n\n")
    return thing


def counted(rows: int, length: int, seed: int) -> Tensor:
    """Return sequences that count up from a random start, their ends cut off at random, **(rows, length)**."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randint(2, 200, (rows, 1), generator=generator)
    end = torch.randint(length // 2, length + 1, (rows, 1), generator=generator)
    places = torch.arange(length)
    return torch.where(places < end, start + places, PAD)


# %% [markdown]
# ## A decoder
#
# `nn.TransformerEncoder` with a causal mask is a decoder-only transformer. The head shares its weight with the
# embedding, as in GPT-2.


# %%
class DecoderOnly(nn.Module):
    """Tokens (B, T) → logits (B, T, V), each place seeing only what stands before it."""

    def __init__(self, vocab_size: int, d_model: int, nhead: int, layers: int, max_length: int = 128) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(max_length, d_model)
        layer = nn.TransformerEncoderLayer(d_model, nhead, 4 * d_model, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(d_model), enable_nested_tensor=False)
        self.head = nn.Linear(d_model, vocab_size, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=tokens.device)
        hidden = self.embedding(tokens) + self.position.weight[:length]
        return self.head(self.layers(hidden, mask=mask, is_causal=True))


torch.manual_seed(0)
decoder = DecoderOnly(VOCABULARY, WIDTH, HEADS, LAYERS)
tokens = counted(64, 13, seed=0)
inputs, targets = tokens[:, :-1], tokens[:, 1:]
targets = torch.where(targets == PAD, -100, targets)  # what is padding is not a target: it costs nothing either
data, held = (inputs[:48], targets[:48]), (inputs[48:], targets[48:])
learner = tw.compile(
    decoder, tw.optim.AdamW(lr=1e-3), "token_cross_entropy", ["perplexity", "token_accuracy"], clip_norm=1.0, seed=0
)
show(learner.plan(data, epochs=3, batch_size=16).facts()[4])

# %%
history = learner.fit(data, valid=held, epochs=3, batch_size=16)
show(learner.plot(), "decoder")

# %% [markdown]
# ## An encoder–decoder
#
# `nn.Transformer` itself. The decoder reads its targets one place late; a model that says how
# (`prepare_decoder_input_ids_from_labels`, Hugging Face's name) need not be given them: a dict with `labels` is enough.
# The settings are a preset, and one line says where they come from.


# %%
class EncoderDecoder(nn.Module):
    """A source and what was said so far → logits of the next token (B, T, V)."""

    def __init__(self, vocab_size: int, d_model: int, nhead: int, layers: int, max_length: int = 128) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.position = nn.Embedding(max_length, d_model)
        self.transformer = nn.Transformer(d_model, nhead, layers, layers, 4 * d_model, 0.0, "gelu", batch_first=True)
        self.head = nn.Linear(d_model, vocab_size, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.head.weight = self.embedding.weight

    def embed(self, tokens: Tensor) -> Tensor:
        return self.embedding(tokens) + self.position.weight[: tokens.shape[1]]

    def forward(self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor) -> Tensor:
        unseen = attention_mask == 0  # where True, nobody looks
        length = decoder_input_ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=input_ids.device).triu(1)
        hidden = self.transformer(
            self.embed(input_ids),
            self.embed(decoder_input_ids),
            tgt_mask=causal,
            src_key_padding_mask=unseen,
            memory_key_padding_mask=unseen,
            tgt_is_causal=True,
        )
        return self.head(hidden)

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        late = torch.cat([torch.full_like(labels[:, :1], BEGIN), labels[:, :-1]], 1)
        return torch.where(late < 0, PAD, late)


source = counted(64, 10, seed=1)
backwards = torch.where(source.flip(1) == PAD, -100, source.flip(1))
pairs = {"input_ids": source, "attention_mask": (source != PAD).long(), "labels": backwards}
preset = tw.presets.fine_tuning(lr=1e-3, warmup="10%")
show(preset.source)

# %%
torch.manual_seed(0)
translator = tw.compile(
    EncoderDecoder(VOCABULARY, WIDTH, HEADS, LAYERS), **preset, metrics=["perplexity", "token_accuracy"], seed=0
)
translator.fit(pairs, valid=pairs, epochs=3, batch_size=16)
show(translator.plan(pairs).facts()[4])
