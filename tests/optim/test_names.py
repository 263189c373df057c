"""Rules by name and as plain data."""

from __future__ import annotations

import functools

import pytest
import torch

import thalweg as tw
from thalweg.optim import ALIASES, NAMES, Rule, from_dict, is_foreign, make, to_dict


@pytest.mark.parametrize("name", NAMES)
def test_every_name_makes_its_rule_and_comes_back(name: str) -> None:
    settings = {"rule": "sgd"} if name in ("lookahead", "averaged") else {}
    rule = make(name, **settings)
    assert type(rule) is NAMES[name]
    assert from_dict(to_dict(rule)) == rule


def test_every_rule_is_exported_and_named() -> None:
    exported = {v for v in vars(tw.optim).values() if isinstance(v, type) and issubclass(v, Rule)}
    assert exported - {Rule, tw.optim.Wrapper} == set(NAMES.values())
    assert set(ALIASES.values()) <= set(NAMES)
    assert not set(ALIASES) & set(NAMES)


@pytest.mark.parametrize("spelling", ["AdamW", "adam-w", "Adam W", "ADAMW"])
def test_spellings(spelling: str) -> None:
    assert make(spelling, lr=0.1) == tw.optim.AdamW(lr=0.1)


def test_nested_as_plain_data() -> None:
    rule = tw.optim.Averaged(
        tw.optim.Lookahead(tw.optim.Muon(lr=0.02, other=tw.optim.Lion(lr=1e-3)), k=3), decay=None, start=7
    )
    plain = to_dict(rule)
    assert plain["rule"]["rule"]["other"] == {
        "name": "lion",
        "lr": 1e-3,
        "betas": [0.9, 0.99],
        "weight_decay": 0.0,
        "maximize": False,
    }
    assert from_dict(plain) == rule
    assert make("lookahead", rule="adam").rule == tw.optim.Adam()


def test_hugging_face_names_of_adafactor() -> None:
    rule = make("adafactor", clip_threshold=0.5, decay_rate=-0.6, form="paper")
    assert (rule.d, rule.beta2_decay) == (0.5, -0.6)
    assert to_dict(rule)["d"] == 0.5


@pytest.mark.parametrize(
    ("given", "settings", "error", "regex"),
    [
        ("adamm", {}, ValueError, r"^optimizer: unknown optimizer 'adamm'\. Did you mean 'adam'\? Known: "),
        ("emaa", {}, ValueError, r"Did you mean 'ema'\?"),
        (
            "sgd",
            {"momentom": 0.9},
            ValueError,
            r"^optimizer: SGD has no setting 'momentom'\. Did you mean 'momentum'\?",
        ),
        (tw.optim.SGD(), {"lr": 0.1}, TypeError, r"^optimizer: got a finished rule .* and settings \['lr'\] as well"),
        ({"lr": 0.1}, {}, ValueError, r"^optimizer: the key 'name' is missing"),
        ("lookahead", {}, ValueError, r"^optimizer: Lookahead wraps another rule and none is given"),
        ("lookahead", {"rule": "adamm"}, ValueError, r"^optimizer\.rule: unknown optimizer 'adamm'"),
        (torch.optim.SGD, {}, TypeError, r"^optimizer: .*SGD.* is a torch optimizer and no update rule"),
        (3, {}, TypeError, r"^optimizer: 3 describes no update rule"),
    ],
)
def test_refused(given: object, settings: dict[str, object], error: type[Exception], regex: str) -> None:
    with pytest.raises(error, match=regex):
        make(given, **settings)  # type: ignore[arg-type]


def test_a_rule_of_ones_own_has_no_name_in_recipes() -> None:
    class Mine(tw.optim.SGD):
        pass

    with pytest.raises(ValueError, match=r"^optimizer: Mine has no name in recipes; known: "):
        to_dict(Mine())


def test_foreign() -> None:
    w = [torch.ones(2, requires_grad=True)]
    assert is_foreign(torch.optim.SGD)
    assert is_foreign(torch.optim.SGD(w, lr=0.1))
    assert is_foreign(functools.partial(torch.optim.SGD, lr=0.1))
    assert not is_foreign(tw.optim.SGD)
    assert not is_foreign(tw.optim.SGD())
    assert not is_foreign("sgd")
