"""One row per rule and setting: what it is compared with, how closely and why, what it can do, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lion_pytorch
import schedulefree
import torch
from torch import Tensor
from transformers.optimization import Adafactor as HuggingFaceAdafactor

import thalweg as tw
from thalweg.optim import Rule

Params = list[Tensor]


@dataclass(frozen=True)
class Case:
    """A rule with settings.

    Attributes:
        id: name in the test report.
        rule: the rule under test.
        peer: makes the optimizer of torch, Hugging Face or the author that it must equal, or None.
        rtol: relative tolerance against the float64 reference and the peer over 50 steps in float64.
        why: where the tolerance comes from.
        sparse: a sparse gradient gives what a dense one does.
        complex: complex parameters work.
        peer_rtol: relative tolerance against the peer where that is less exact than the paper, e.g. because it keeps a
            0-dim product in float32.
    """

    id: str
    rule: Rule
    peer: Callable[[Params], torch.optim.Optimizer] | None = None
    rtol: float = 1e-11
    why: str = "rounding of float64, summed over 50 steps"
    sparse: bool = False
    complex: bool = True
    peer_rtol: float | None = None


def torch_peer(name: str, **settings: Any) -> Callable[[Params], torch.optim.Optimizer]:
    return lambda params: getattr(torch.optim, name)(params, **settings)


def same(name: str, id: str, sparse: bool = False, **settings: Any) -> Case:
    """A rule that torch has under the same name with the same arguments."""
    rule = getattr(tw.optim, name)(**settings)
    # torch keeps NAdam's product of momenta in float32: 50 roundings of 6e-8, of which a hundredth reaches the weights.
    peer_rtol = 1e-8 if name == "NAdam" else None
    return Case(id, rule, torch_peer(name, **settings), sparse=sparse, peer_rtol=peer_rtol)


CASES = [
    same("SGD", "sgd", sparse=True, lr=0.1),
    same("SGD", "sgd-momentum", sparse=True, lr=0.1, momentum=0.9, weight_decay=0.01),
    same("SGD", "sgd-dampening", sparse=True, lr=0.1, momentum=0.9, dampening=0.3),
    same("SGD", "sgd-nesterov", sparse=True, lr=0.1, momentum=0.9, nesterov=True, maximize=True),
    same("Adam", "adam", lr=0.01),
    same("Adam", "adam-l2-amsgrad", lr=0.01, weight_decay=0.1, amsgrad=True, betas=(0.8, 0.95)),
    same("AdamW", "adamw", lr=0.01, weight_decay=0.1),
    same("AdamW", "adamw-amsgrad-maximize", lr=0.01, weight_decay=0.1, amsgrad=True, maximize=True),
    same("NAdam", "nadam", lr=0.01, momentum_decay=0.01),
    same("NAdam", "nadam-l2", lr=0.01, weight_decay=0.1),
    same("NAdam", "nadam-decoupled", lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
    same("RAdam", "radam", lr=0.01),
    same("RAdam", "radam-l2", lr=0.01, weight_decay=0.1, betas=(0.8, 0.9)),
    same("RAdam", "radam-decoupled", lr=0.01, weight_decay=0.1, decoupled_weight_decay=True, maximize=True),
    same("Adamax", "adamax", lr=0.01, weight_decay=0.1),
    same("RMSprop", "rmsprop", lr=0.01),
    same("RMSprop", "rmsprop-centered-momentum", lr=0.01, momentum=0.5, centered=True, weight_decay=0.1),
    same("Adagrad", "adagrad", sparse=True, lr=0.1, lr_decay=0.01, initial_accumulator_value=0.1),
    same("Adagrad", "adagrad-l2", sparse=True, lr=0.1, weight_decay=0.1),
    same("Adadelta", "adadelta", lr=1.0, rho=0.9, weight_decay=0.1),
    Case("adafactor", tw.optim.Adafactor(), torch_peer("Adafactor"), complex=False),
    Case(
        "adafactor-decay",
        tw.optim.Adafactor(lr=0.05, weight_decay=0.1, beta2_decay=-0.6, d=1.5),
        torch_peer("Adafactor", lr=0.05, weight_decay=0.1, beta2_decay=-0.6, d=1.5),
        complex=False,
    ),
    Case(
        "adafactor-paper",
        tw.optim.Adafactor(lr=None, form="paper"),
        lambda params: HuggingFaceAdafactor(params),
        complex=False,
    ),
    Case(
        "adafactor-paper-warmup",
        tw.optim.Adafactor(lr=None, form="paper", warmup_init=True, scale_parameter=False, weight_decay=0.1),
        lambda params: HuggingFaceAdafactor(params, warmup_init=True, scale_parameter=False, weight_decay=0.1),
        complex=False,
    ),
    Case(
        "adafactor-paper-rate",
        tw.optim.Adafactor(
            lr=0.01,
            form="paper",
            relative_step=False,
            clip_threshold=0.8,
            decay_rate=-0.7,
            beta1=0.9,
            eps=(1e-8, 1e-2),
            weight_decay=0.1,
        ),
        lambda params: HuggingFaceAdafactor(
            params,
            lr=0.01,
            relative_step=False,
            clip_threshold=0.8,
            decay_rate=-0.7,
            beta1=0.9,
            eps=(1e-8, 1e-2),
            weight_decay=0.1,
        ),
        complex=False,
    ),
    Case(
        "lion",
        tw.optim.Lion(lr=0.003, weight_decay=0.1),
        lambda params: lion_pytorch.Lion(params, lr=0.003, weight_decay=0.1),
    ),
    Case(
        "muon",
        tw.optim.Muon(lr=0.02, other=tw.optim.AdamW(lr=0.003)),
        rtol=1e-8,
        why="the reference goes through a singular value decomposition, the rule through ten matrix products",
        complex=False,
    ),
    Case(
        "muon-match-rms",
        tw.optim.Muon(
            lr=0.02,
            nesterov=False,
            momentum=0.8,
            adjust_lr_fn="match_rms_adamw",
            ns_steps=4,
            ns_coefficients=(3.4, -4.7, 2.0),
            other=tw.optim.AdamW(lr=0.003),
        ),
        rtol=1e-8,
        why="the reference goes through a singular value decomposition, the rule through ten matrix products",
        complex=False,
    ),
    Case(
        "schedule-free-sgd",
        tw.optim.ScheduleFreeSGD(lr=0.5, weight_decay=0.01),
        lambda params: schedulefree.SGDScheduleFree(params, lr=0.5, weight_decay=0.01, foreach=False),
    ),
    Case(
        "schedule-free-sgd-warmup",
        tw.optim.ScheduleFreeSGD(lr=0.5, momentum=0.8, warmup_steps=10, r=1.0, weight_lr_power=1.0),
        lambda params: schedulefree.SGDScheduleFree(
            params, lr=0.5, momentum=0.8, warmup_steps=10, r=1.0, weight_lr_power=1.0, foreach=False
        ),
    ),
    Case(
        "schedule-free-adamw",
        tw.optim.ScheduleFreeAdamW(lr=0.01, weight_decay=0.1, warmup_steps=5),
        lambda params: schedulefree.AdamWScheduleFree(params, lr=0.01, weight_decay=0.1, warmup_steps=5, foreach=False),
    ),
    Case("lookahead-sgd", tw.optim.Lookahead(tw.optim.SGD(lr=0.1, momentum=0.9), k=3, alpha=0.4)),
    Case("lookahead-rmsprop", tw.optim.Lookahead(tw.optim.RMSprop(lr=0.01), k=5)),
    Case("averaged-ema", tw.optim.Averaged(tw.optim.AdamW(lr=0.01), decay=0.9)),
    Case("averaged-swa", tw.optim.Averaged(tw.optim.SGD(lr=0.1), decay=None, start=10, every=4)),
    Case(
        "averaged-lookahead",
        tw.optim.Averaged(tw.optim.Lookahead(tw.optim.Adam(lr=0.01), k=4), decay=0.95, start=3),
    ),
]

BY_ID = {case.id: case for case in CASES}
IDS = list(BY_ID)

# Rules that torch has, with the torch class of the same settings.
TORCH = [case for case in CASES if case.peer is not None and case.rule.torch_class and "paper" not in case.id]

O = tw.optim  # noqa: E741 - the rows below are read as a table

# (what is asked, error, regex)
BAD: list[tuple[str, Callable[[], Any], type[Exception], str]] = [
    ("sgd-lr", lambda: O.SGD(lr=-1.0), ValueError, r"^SGD: lr=-1\.0 must be >= 0; "),
    ("sgd-lr-text", lambda: O.SGD(lr="fast"), TypeError, r"^SGD: lr='fast' must be a number"),
    ("sgd-lr-nan", lambda: O.SGD(lr=float("nan")), ValueError, r"^SGD: lr=nan must be >= 0"),
    ("sgd-lr-tensor", lambda: O.SGD(lr=torch.ones(2)), ValueError, r"^SGD: lr is a tensor of shape \(2,\)"),
    ("sgd-momentum", lambda: O.SGD(momentum=-0.5), ValueError, r"^SGD: momentum=-0\.5 must be >= 0"),
    ("sgd-decay", lambda: O.SGD(weight_decay=-1), ValueError, r"^SGD: weight_decay=-1 must be >= 0"),
    ("sgd-nesterov", lambda: O.SGD(nesterov=True), ValueError, r"^SGD: nesterov=True needs momentum > 0"),
    ("sgd-flag", lambda: O.SGD(nesterov=1), TypeError, r"^SGD: nesterov=1 must be True or False"),
    ("sgd-option", lambda: O.SGD(foreach=True), TypeError, r"unexpected keyword argument 'foreach'"),
    ("sgd-params", lambda: O.SGD([torch.ones(3)]), TypeError, r"^SGD: got model parameters, but .*\.optimizer\("),
    (
        "sgd-generator",
        lambda: O.SGD(torch.nn.Linear(2, 1).parameters(), lr=0.1),
        TypeError,
        r"^SGD: got model parameters",
    ),
    ("adam-beta1", lambda: O.Adam(betas=(1.0, 0.9)), ValueError, r"^Adam: betas\[0\]=1\.0 must be >= 0 and < 1"),
    ("adam-beta2", lambda: O.Adam(betas=(0.9, -0.1)), ValueError, r"^Adam: betas\[1\]=-0\.1 must be >= 0 and < 1"),
    ("adam-betas", lambda: O.Adam(betas=0.9), TypeError, r"^Adam: betas=0\.9 must be a tuple of 2 numbers"),
    ("adam-eps", lambda: O.Adam(eps=-1e-8), ValueError, r"^Adam: eps=-1e-08 must be >= 0"),
    ("adam-flag", lambda: O.Adam(amsgrad="yes"), TypeError, r"^Adam: amsgrad='yes' must be True or False"),
    ("adamw-decay", lambda: O.AdamW(weight_decay=-0.1), ValueError, r"^AdamW: weight_decay=-0\.1 must be >= 0"),
    ("nadam-decay", lambda: O.NAdam(momentum_decay=-0.2), ValueError, r"^NAdam: momentum_decay=-0\.2 must be >= 0"),
    ("radam-beta", lambda: O.RAdam(betas=(1.0, 0.0)), ValueError, r"^RAdam: betas\[0\]=1\.0"),
    ("adamax-beta", lambda: O.Adamax(betas=(0.0, 1.0)), ValueError, r"^Adamax: betas\[1\]=1\.0"),
    ("rmsprop-alpha", lambda: O.RMSprop(alpha=1.5), ValueError, r"^RMSprop: alpha=1\.5 must be >= 0 and <= 1"),
    ("rmsprop-momentum", lambda: O.RMSprop(momentum=-1.0), ValueError, r"^RMSprop: momentum=-1\.0"),
    ("adagrad-lr-decay", lambda: O.Adagrad(lr_decay=-0.5), ValueError, r"^Adagrad: lr_decay=-0\.5"),
    ("adagrad-start", lambda: O.Adagrad(initial_accumulator_value=-1), ValueError, r"^Adagrad: initial_accum"),
    ("adadelta-rho", lambda: O.Adadelta(rho=1.1), ValueError, r"^Adadelta: rho=1\.1 must be >= 0 and <= 1"),
    ("adafactor-tau", lambda: O.Adafactor(beta2_decay=0.8), ValueError, r"^Adafactor: beta2_decay=0\.8 must be <= 0"),
    ("adafactor-d", lambda: O.Adafactor(d=0.0), ValueError, r"^Adafactor: d=0\.0 must be >= 1"),
    ("adafactor-d-paper", lambda: O.Adafactor(d=0.0, form="paper"), ValueError, r"^Adafactor: d=0\.0 must be > 0"),
    ("adafactor-eps1", lambda: O.Adafactor(eps=(-1.0, 1e-3)), ValueError, r"^Adafactor: eps\[0\]=-1\.0 must be >= 0"),
    ("adafactor-eps2", lambda: O.Adafactor(eps=(None, None)), TypeError, r"^Adafactor: eps\[1\]=None must be a number"),
    ("adafactor-eps", lambda: O.Adafactor(eps=1e-3), TypeError, r"^Adafactor: eps=0\.001 must be a tuple of 2"),
    (
        "adafactor-form",
        lambda: O.Adafactor(form="torsh"),
        ValueError,
        r"^Adafactor: form='torsh'.* Did you mean 'torch'",
    ),
    (
        "adafactor-no-rate",
        lambda: O.Adafactor(lr=None, relative_step=False),
        ValueError,
        r"^Adafactor: lr=None needs relative_step=True",
    ),
    (
        "adafactor-warmup",
        lambda: O.Adafactor(lr=0.1, warmup_init=True),
        ValueError,
        r"^Adafactor: warmup_init=True needs relative_step=True and lr=None",
    ),
    ("adafactor-beta1", lambda: O.Adafactor(beta1=1.0), ValueError, r"^Adafactor: beta1=1\.0 must be >= 0 and < 1"),
    ("lion-beta", lambda: O.Lion(betas=(0.9, 1.0)), ValueError, r"^Lion: betas\[1\]=1\.0"),
    ("muon-steps", lambda: O.Muon(ns_steps=100), ValueError, r"^Muon: ns_steps=100 must be >= 1 and <= 99"),
    ("muon-steps-float", lambda: O.Muon(ns_steps=2.5), TypeError, r"^Muon: ns_steps=2\.5 must be a whole number"),
    ("muon-coefficients", lambda: O.Muon(ns_coefficients=(1, 2)), TypeError, r"^Muon: ns_coefficients=\(1, 2\)"),
    (
        "muon-adjust",
        lambda: O.Muon(adjust_lr_fn="orignal"),
        ValueError,
        r"^Muon: adjust_lr_fn=.* Did you mean 'original'",
    ),
    ("muon-other", lambda: O.Muon(other="adamw"), TypeError, r"^Muon: other='adamw' must be a rule"),
    ("muon-muon", lambda: O.Muon(other=O.Muon()), TypeError, r"^Muon: other=.* must be a rule for vectors"),
    ("muon-zero", lambda: O.Muon(lr=0.0, other=O.AdamW()), ValueError, r"^Muon: lr=0 leaves the second rule no ratio"),
    (
        "muon-vector",
        lambda: O.Muon().optimizer([("bias", torch.nn.Parameter(torch.ones(3)))]),
        ValueError,
        r"^Muon: parameter 'bias' has the shape \(3,\) and is not a matrix.*other=AdamW",
    ),
    (
        "muon-group-flag",
        lambda: O.Muon().optimizer([{"params": [torch.nn.Parameter(torch.ones(3, 3))], "use_muon": False}]),
        ValueError,
        r"^Muon: parameter 0 of group 0 has the shape \(3, 3\).*use_muon=False",
    ),
    (
        "muon-complex",
        lambda: O.Muon().optimizer([torch.ones(3, 3, dtype=torch.complex64)]),
        ValueError,
        r"^Muon: parameter 0 of group 0 is complex \(torch\.complex64\)",
    ),
    (
        "adafactor-complex",
        lambda: O.Adafactor().optimizer([torch.ones(3, dtype=torch.complex64)]),
        ValueError,
        r"^Adafactor: parameter 0 of group 0 is complex",
    ),
    (
        "sf-momentum",
        lambda: O.ScheduleFreeSGD(momentum=0.0),
        ValueError,
        r"^ScheduleFreeSGD: momentum=0\.0 must be > 0",
    ),
    ("sf-beta", lambda: O.ScheduleFreeAdamW(betas=(0.0, 0.9)), ValueError, r"^ScheduleFreeAdamW: betas\[0\]=0\.0"),
    ("sf-warmup", lambda: O.ScheduleFreeSGD(warmup_steps=-1), ValueError, r"^ScheduleFreeSGD: warmup_steps=-1"),
    ("lookahead-rule", lambda: O.Lookahead(0.1), TypeError, r"^Lookahead: rule=0\.1 is not an update rule"),
    ("lookahead-k", lambda: O.Lookahead(O.SGD(), k=0), ValueError, r"^Lookahead: k=0 must be >= 1"),
    ("lookahead-k-float", lambda: O.Lookahead(O.SGD(), k=2.5), TypeError, r"^Lookahead: k=2\.5 must be a whole number"),
    ("lookahead-alpha", lambda: O.Lookahead(O.SGD(), alpha=1.5), ValueError, r"^Lookahead: alpha=1\.5 must be"),
    ("lookahead-twice", lambda: O.Lookahead(O.Lookahead(O.SGD())), ValueError, r"^Lookahead: the inner rule is a Look"),
    (
        "lookahead-averaged",
        lambda: O.Lookahead(O.Averaged(O.SGD())),
        ValueError,
        r"^Lookahead: Averaged averages.*Averaged\(Lookahead",
    ),
    ("averaged-decay", lambda: O.Averaged(O.SGD(), decay=1.5), ValueError, r"^Averaged: decay=1\.5 must be"),
    ("averaged-every", lambda: O.Averaged(O.SGD(), every=0), ValueError, r"^Averaged: every=0 must be >= 1"),
    ("averaged-start", lambda: O.Averaged(O.SGD(), start="10%"), TypeError, r"^Averaged: start='10%' must be a whole"),
    ("averaged-twice", lambda: O.Averaged(O.ScheduleFreeSGD()), ValueError, r"^Averaged: ScheduleFreeSGD averages"),
    ("averaged-params", lambda: O.Averaged([torch.ones(2)]), TypeError, r"^Averaged: got model parameters"),
]
