"""Durations: what they come to, and what is refused."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.schedule import Clock, Cosine, MultiStep, Warmup, WarmupStableDecay

RUN = Clock.of("Warmup", total_steps=1000, steps_per_epoch=100)


@pytest.mark.parametrize(
    ("given_", "steps"),
    [
        (0, 0),
        (37, 37),
        (np.int64(37), 37),
        ("37 steps", 37),
        ("1 step", 1),
        (" 37steps ", 37),
        ("10%", 100),
        ("10 %", 100),
        ("100%", 1000),
        ("0%", 0),
        ("12.34%", 123),
        ("12.35%", 124),
        (".5%", 5),
        (0.1, 100),
        (0.0005, 1),
        (np.float64(0.25), 250),
        ("2 epochs", 200),
        ("1 epoch", 100),
        ("0.5 epochs", 50),
        ("1.239 epochs", 124),
    ],
)
def test_resolves(given_: int | float | str, steps: int) -> None:
    assert Warmup(given_).resolve(1000, 100) == Warmup(steps)


@given(percent=st.integers(0, 100), total=st.integers(1, 10**7))
def test_shares_are_exact_and_halves_go_up(percent: int, total: int) -> None:
    exact = Fraction(percent, 100) * total
    steps = Clock.of("Warmup", total, None).count("Warmup", "steps", f"{percent}%", 0)
    assert abs(steps - exact) <= Fraction(1, 2)
    assert steps - exact != Fraction(-1, 2)


@given(a=st.integers(0, 100), b=st.integers(0, 100))
def test_more_is_not_less(a: int, b: int) -> None:
    low, high = sorted((a, b))
    assert RUN.count("Warmup", "steps", f"{low}%", 0) <= RUN.count("Warmup", "steps", f"{high}%", 0)


def test_every_epoch_counts_epochs() -> None:
    assert Cosine(3, every="epoch").resolve(1000, 100).length == 300
    assert Cosine("3 epochs", every="epoch").resolve(1000, 100).length == 300
    assert Cosine("300 steps", every="epoch").resolve(1000, 100).length == 300
    assert Cosine("50%", every="epoch").resolve(1000, 100).length == 500
    assert Cosine(every="epoch").resolve(1000, 300) == Cosine(4, every="epoch", steps_per_epoch=300)


def test_every_duration_of_a_schedule_is_resolved() -> None:
    assert MultiStep(["1 epoch", 0.5, 900]).resolve(1000, 100) == MultiStep((100, 500, 900))
    assert WarmupStableDecay("1 epoch", 0.2).resolve(1000, 100) == WarmupStableDecay(100, 200, stable=700)


@pytest.mark.parametrize(
    ("given_", "error", "match"),
    [
        (-5, ValueError, r"Warmup: steps=-5 is negative, and a duration cannot be; pass 0 or more"),
        ("-5 steps", ValueError, r"Warmup: steps='-5 steps' is negative"),
        ("-5%", ValueError, r"Warmup: steps='-5%' is negative"),
        (
            "5 epoks",
            ValueError,
            r"Warmup steps='5 epoks': unknown unit 'epoks'\. Did you mean 'epochs'\? Known: %, epoch",
        ),
        ("5 stps", ValueError, r"unknown unit 'stps'\. Did you mean 'steps'\?"),
        ("5 minutes", ValueError, r"unknown unit 'minutes'\. Known: %, epoch, epochs, step, steps"),
        ("500", ValueError, r"Warmup: steps='500' has no unit; write \"500 steps\", \"500 epochs\", \"500%\""),
        ("", ValueError, r"Warmup: steps='' is no duration: it must begin with a number"),
        ("ten steps", ValueError, r"Warmup: steps='ten steps' is no duration"),
        ("120%", ValueError, r"Warmup: steps='120%' is longer than the run; a share of the run is at most 100%"),
        (1.0, ValueError, r"Warmup: steps=1.0 is a float, and a float is a ratio of the run, strictly between 0 and 1"),
        (500.0, ValueError, r"Warmup: steps=500.0 is a float, .* pass an int for a count"),
        (-0.1, ValueError, r"Warmup: steps=-0.1 is a float"),
        (float("nan"), ValueError, r"Warmup: steps=nan is a float"),
        (True, TypeError, r"Warmup: steps=True is a bool, not a duration; pass an int, a ratio"),
        ([5], TypeError, r"Warmup: steps=\(5,\) is a tuple, not a duration"),
    ],
)
def test_refuses(given_: object, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        Warmup(given_)  # type: ignore[arg-type]


def test_says_what_is_unknown() -> None:
    with pytest.raises(ValueError, match=r"Warmup: steps='10%' is a share of the run, whose total steps are unknown"):
        Warmup("10%").resolve(None)
    with pytest.raises(ValueError, match=r"Warmup: steps=0.1 is a share of the run, whose total steps are unknown"):
        Warmup(0.1).resolve(None)
    with pytest.raises(ValueError, match=r"Warmup: steps='2 epochs' needs the steps per epoch, which are unknown"):
        Warmup("2 epochs").resolve(1000)
    with pytest.raises(ValueError, match=r"Cosine: steps='0.2%' comes to 0 steps of this run; it must be at least 1"):
        Cosine("0.2%").resolve(200)
    with pytest.raises(ValueError, match=r"steps='250 steps' is not a whole number of epochs"):
        Cosine("250 steps", every="epoch").resolve(1000, 100)


def test_counts_need_no_run() -> None:
    assert (Warmup(5) >> Cosine("10 steps")).resolve(None) == Warmup(5) >> Cosine(10)
    assert Warmup("2 epochs").resolve(None, 30) == Warmup(60)
