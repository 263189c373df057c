"""New heads on models that are built like those of torchvision, timm and Hugging Face."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import thalweg as tw


class Resnet(nn.Module):
    """torchvision's way: a body, then ``fc``."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc = nn.Linear(4, 8), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc(self.body(x))
        return result


class Vgg(Resnet):
    """torchvision's other way: a ``classifier`` of several layers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Identity()  # type: ignore[assignment]
        self.classifier = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 10))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.classifier(self.body(x))
        return result


class Vit(Resnet):
    """torchvision's ``heads``, and a linear layer registered after the head."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Identity()  # type: ignore[assignment]
        self.heads = nn.Sequential()
        self.heads.add_module("head", nn.Linear(8, 10))
        self.projection = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.heads(self.projection(self.body(x)))
        return result


class Squeezenet(nn.Module):
    """A head that is a 1×1 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(4, 8, 3, padding=1)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(8, 10, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.features(x[:, :, None, None])), 1)


class Timm(Resnet):
    """timm's way: ``get_classifier`` says where the head is, under any name."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.odd = nn.Linear(8, 10)
        self.after = nn.Linear(8, 8)
        self.num_classes = 10

    def get_classifier(self) -> nn.Module:
        return self.odd

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.odd(self.after(self.fc(self.body(x))))
        return result


class Distilled(Resnet):
    """DeiT's way: a second head beside the first."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Identity()  # type: ignore[assignment]
        self.head, self.head_dist = nn.Linear(8, 10), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        result: Tensor = (self.head(h) + self.head_dist(h)) / 2
        return result


class HuggingFace(nn.Module):
    """A config beside the head, and a ``score`` without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_labels=10)
        self.num_labels = 10
        self.model, self.score = nn.Linear(4, 8), nn.Linear(8, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.score(self.model(x))
        return result


MODELS: list[tuple[type[nn.Module], tuple[str, ...]]] = [
    (Resnet, ("fc",)),
    (Vgg, ("classifier.3",)),
    (Vit, ("heads.head",)),
    (Squeezenet, ("classifier.1",)),
    (Timm, ("odd",)),
    (Distilled, ("head", "head_dist")),
    (HuggingFace, ("score",)),
]


@pytest.mark.parametrize(("model", "paths"), MODELS, ids=[model.__name__ for model, _ in MODELS])
@pytest.mark.parametrize("hidden", [None, 12])
def test_the_head_is_found_and_replaced(model: type[nn.Module], paths: tuple[str, ...], hidden: int | None) -> None:
    made = model()
    kept = {name: p.detach().clone() for name, p in made.named_parameters() if not name.startswith(paths)}
    said = tw.replace_head(made, 3, hidden=hidden)
    assert said.paths == paths
    assert "→ 10" in str(said)
    assert "→ 3" in str(said)
    assert made(torch.randn(5, 4)).shape == (5, 3)
    for name, value in kept.items():
        assert torch.equal(made.get_parameter(name), value), name
    assert tw.replace_head(made, 4).paths == paths, "a head that was put in can be replaced again"
    assert made(torch.randn(5, 4)).shape == (5, 4)


def test_the_number_of_classes_is_told() -> None:
    one, two = HuggingFace(), Timm()
    tw.replace_head(one, 3)
    tw.replace_head(two, 3)
    assert (one.num_labels, one.config.num_labels, two.num_classes) == (3, 3, 3)


@pytest.mark.parametrize(("bias", "expected"), [(None, False), (True, True)])
def test_bias_is_that_of_the_old_layer_unless_asked(bias: bool | None, expected: bool) -> None:
    model = HuggingFace()
    tw.replace_head(model, 3, bias=bias)
    assert (model.score.bias is not None) is expected


def test_a_two_layer_head_is_linear_relu_dropout_linear() -> None:
    model = Resnet().double()
    tw.replace_head(model, 3, hidden=12, dropout=0.4)
    assert [type(part).__name__ for part in model.fc] == ["Linear", "ReLU", "Dropout", "Linear"]  # type: ignore[union-attr, arg-type]
    assert {p.dtype for p in model.fc.parameters()} == {torch.float64}


def test_the_new_head_is_a_layer_group_of_its_own() -> None:
    model = Vgg()
    tw.replace_head(model, 3, hidden=12)
    head = tw.Learner(model, loss="cross_entropy", device="cpu").split_layers()[-1]
    assert head.names == tuple(f"classifier.3.{i}.{name}" for i in (0, 2) for name in ("weight", "bias"))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(10, 8), nn.Linear(8, 10, bias=False)
        self.head.weight = self.embed.weight


@pytest.mark.parametrize(
    ("model", "settings", "error", "message"),
    [
        (Resnet(), {"n_out": 0}, ValueError, r"replace_head: n_out=0 must be >= 1"),
        (Resnet(), {"n_out": 2.0}, TypeError, r"n_out=2.0 must be a whole number"),
        (Resnet(), {"n_out": 2, "hidden": 0}, ValueError, r"hidden=0 must be >= 1"),
        (Resnet(), {"n_out": 2, "hidden": 4, "dropout": 1.0}, ValueError, r"dropout=1.0 must be >= 0 and < 1"),
        (Resnet(), {"n_out": 2, "dropout": 0.5}, ValueError, r"a linear head has none; give hidden"),
        (nn.Sequential(nn.Conv2d(1, 2, 3)), {"n_out": 2}, ValueError, r"Sequential has no linear layer inside"),
        (Tied(), {"n_out": 2}, ValueError, r"the weight of head is tied to embed.weight"),
        ("resnet18", {"n_out": 2}, TypeError, r"model='resnet18' is a str"),
    ],
)
def test_what_cannot_work_is_refused(
    model: Any, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        tw.replace_head(model, **settings)


def _hugging_face() -> list[tuple[str, str]]:
    return [
        ("BertForSequenceClassification", "classifier"),
        ("RobertaForSequenceClassification", "classifier.out_proj"),
        ("ViTForImageClassification", "classifier"),
        ("GPT2ForSequenceClassification", "score"),
    ]


@pytest.mark.parametrize(("name", "path"), _hugging_face())
def test_models_of_transformers(name: str, path: str) -> None:
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    settings: dict[str, dict[str, Any]] = {
        "Bert": {**small, "vocab_size": 20},
        "Roberta": {**small, "vocab_size": 20},
        "ViT": {**small, "image_size": 8, "patch_size": 4},
        "GPT2": {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 20, "bos_token_id": 0, "eos_token_id": 0},
    }
    family = name.split("For")[0]
    config = getattr(transformers, f"{family}Config")(**settings[family], num_labels=6)
    model = getattr(transformers, name)(config)
    assert tw.replace_head(model, 3).paths == (path,)
    assert model.config.num_labels == 3
    assert model.get_submodule(path).out_features == 3
