"""The facade a user holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from thalweg import data as datas
from thalweg import loop
from thalweg import loss as losses
from thalweg.errors import check_number, unknown_name
from thalweg.loop import (
    EarlyStopping,
    GroupRow,
    Guard,
    History,
    Hook,
    LayerGroup,
    Plan,
    Precision,
    Settings,
    prepare_loss,
)
from thalweg.loop.averaging import averages, evaluation_statistics, holding
from thalweg.loss import Loss, Penalty
from thalweg.objective import Objective

from .assemble import assemble, make_sources, planned
from .layers import Rate, adopt_layers, freeze, freeze_to, reset_rates, split_layers, unfreeze
from .lr_find import lr_find
from .metrics import make_metrics, metric_names
from .one_cycle import fine_tune, fit_one_cycle
from .race import race
from .resolve import OptimizerSpec, make_optimizer, make_rule, pick_device
from .saving import load_into, save_learner
from .seeding import seeded
from .show import show_batch
from .summary import Summary, summarise
from .tokens import choose_logits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Learner"]

_MIX = 0x9E3779B97F4A7C15  # odd, so that seed + fit · _MIX differs for every fit


class Learner:
    r"""A model with an update rule, a loss, a schedule and metrics: fit it, see it, save it.

    Args:
        model: any ``nn.Module``; it is moved to *device* and trained in place.
        optimizer: a name (``"adamw"``), a rule (``tw.optim.AdamW(lr=3e-4)``), plain data, or any torch optimizer class,
            factory or instance.
        loss: a name, a Thalweg loss, a torch loss module, or a callable.
        metrics: names or torchmetrics objects, evaluated on validation data.
        lr: the rate, where the optimizer is given by name or class.
        schedule: of the rate, or a mapping hyperparameter → schedule.
        penalty: added to the loss once, e.g. ``tw.L2(1e-5)``: :math:`\lambda \sum w^2` over all parameters.
        clip_norm: largest 2-norm of all gradients together; ``max_grad_norm`` is the same.
        clip_value: largest absolute gradient element.
        no_decay: ``"auto"`` keeps weight decay off biases, normalisation layers and 1-D parameters; ``None`` decays
            everything; or name patterns.
        overrides: name pattern → hyperparameters of the parameters that match.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"`` (with loss scaling).
        device: ``"auto"`` takes CUDA, then MPS, then the CPU.
        seed: of data order and of what the model draws during fit; None takes both from torch's global generator.
        compile: run the model through ``torch.compile``.
        engine: how updates are executed: ``"auto"``, ``"reference"``, ``"torch"`` or ``"compiled"``.
        state_dtype: ``"bfloat16"`` keeps the rule's moments at half the size, rounded at random.
        step: ``"eager"``, ``"compiled"`` (forward, loss, backward and update as one compiled call), or ``"auto"``:
            compiled where the number of updates is past what compiling costs.
        head: what becomes of the logits under a loss over tokens. ``"auto"``: where the vocabulary is large and the
            model's last layer is found, the loss takes that layer's weight and the logits are never made; ``"linear"``
            or the layer's path insists on that; ``"logits"`` has them made. The plan says which it is, and why.
        activation: how outputs become predictions, for a loss that does not know.

    Raises:
        TypeError, ValueError: what cannot work, in words.

    >>> import torch, thalweg as tw
    >>> _ = torch.manual_seed(0)
    >>> X = torch.randn(200, 3); y = X @ torch.tensor([[1.0], [-2.0], [0.5]])
    >>> learner = tw.Learner(torch.nn.Linear(3, 1), optimizer="sgd", lr=0.1, loss="mse", seed=0)
    >>> history = learner.fit((X, y), epochs=20, batch_size=20, verbose=False)
    >>> learner.evaluate((X, y))["loss"] < 1e-8
    True
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: OptimizerSpec = "adamw",
        loss: Any = "mse",
        metrics: Sequence[Any] | Mapping[str, Any] = (),
        *,
        lr: float | None = None,
        schedule: Any = None,
        penalty: Penalty | None = None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        max_grad_norm: float | None = None,
        no_decay: str | Sequence[str] | None = "auto",
        overrides: Mapping[str, Mapping[str, Any]] | None = None,
        precision: str = "fp32",
        device: str | torch.device = "auto",
        seed: int | None = None,
        compile: bool = False,
        engine: str = "auto",
        state_dtype: str | torch.dtype | None = None,
        step: str = "auto",
        head: str = "auto",
        activation: str | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"Learner: model={model!r} is a {type(model).__name__}; pass a torch.nn.Module instance.")
        if max_grad_norm is not None and clip_norm is not None:
            raise ValueError("Learner: clip_norm and max_grad_norm are two names of one setting; give one of them.")
        self.clip_norm = clip_norm if clip_norm is not None else max_grad_norm
        self.clip_value = clip_value
        for name in ("clip_norm", "clip_value"):
            if getattr(self, name) is not None:
                check_number("Learner", name, getattr(self, name), low=0.0, low_open=True)
        self.device = pick_device(device, model)
        self.module = model.to(self.device)
        self.model: Any = torch.compile(model) if compile else model
        self.precision = Precision(precision, self.device).name
        self.loss: Loss = losses.make(loss, **({} if activation is None else {"activation": activation}))
        self.penalty = penalty
        self.metrics = metrics
        self.schedule = schedule
        self.seed = seed
        self.engine, self.state_dtype = engine, state_dtype
        if step not in ("auto", "eager", "compiled"):
            raise unknown_name("Learner", "step", step, ("auto", "eager", "compiled"))
        self.step = step
        self.head = head
        self._given, self._lr = optimizer, lr
        self._no_decay, self._overrides = no_decay, overrides
        self.layers: list[LayerGroup] | None = None
        self.rule = make_rule(optimizer, lr)
        self.group_rows: list[GroupRow] = []
        self.optimizer = self._new_optimizer()
        self.history = History()
        self.fits = 0
        self.statistics: dict[str, Tensor] = {}  # batch statistics of averaged weights, estimated at a fit's end

    def __repr__(self) -> str:
        rule = repr(self.rule) if self.rule is not None else type(self.optimizer).__name__
        return (
            f"Learner({type(self.module).__name__}(...), optimizer={rule}, loss={self.loss!r}, device='{self.device}')"
        )

    def _new_optimizer(self) -> torch.optim.Optimizer:
        """Build the optimizer from the settings; its groups' present values become the bases of schedules."""
        optimizer, self.group_rows = make_optimizer(
            self._given,
            self.rule,
            self.module,
            lr=self._lr,
            no_decay=self._no_decay,
            overrides=self._overrides,
            layers=self.layers,
            clip_norm=self.clip_norm,
            clip_value=self.clip_value,
            engine=self.engine,
            state_dtype=self.state_dtype,
        )
        kept = ("lr", "momentum", "betas", "weight_decay")
        self.bases = [{k: group[k] for k in kept if k in group} for group in optimizer.param_groups]
        return optimizer

    @property
    def metric_names(self) -> list[str]:
        """The metrics' names as they stand in the history (without ``val_``)."""
        return metric_names(self.metrics)

    def make_metrics(self, output: Any, target: Any, loss: Loss | None = None) -> dict[str, Any]:
        """Return torchmetrics objects by name, made for an example batch (and for *loss*, made ready for the data)."""
        return make_metrics(self.metrics, output, target, self.loss if loss is None else loss, self.device)

    def fit(
        self,
        data: Any,
        y: Any = None,
        *,
        valid: Any = None,
        validation_data: Any = None,
        validation_split: float = 0.0,
        epochs: int = 1,
        batch_size: int = 64,
        accumulate: int = 1,
        shuffle: bool = True,
        drop_last: bool = False,
        lr: Rate | str = "own",
        schedule: Any = None,
        hooks: Sequence[Hook] = (),
        early_stopping: EarlyStopping | int | None = None,
        run_dir: Path | str | None = None,
        resume: Path | str | None = None,
        log_every: int | str | None = None,
        checkpoint_every: int | str | Sequence[int | str] = "1 epochs",
        keep: int = 2,
        flush_every: int = 128,
        verbose: bool = True,
        log_events: bool = False,
        guard: Guard | str = "raise",
        change: Sequence[str] = (),
        loggers: Sequence[str] | str = (),
    ) -> History:
        """Train, and return the history.

        Args:
            data: ``(X, y)`` as tensors, arrays or tables; a dict with ``labels``; a ``Dataset``; a ``DataLoader``.
            y: the targets, if *data* is only the inputs.
            valid: validation data in any of those forms; ``validation_data`` is the same.
            validation_split: the fraction of rows to validate on instead, drawn by the seed.
            epochs: passes over the data; with *resume* the number in all.
            batch_size: rows per micro-batch (a ``DataLoader`` keeps its own).
            accumulate: micro-batches per update.
            shuffle, drop_last: as in torch's ``DataLoader``.
            lr: the rate of this fit, other groups keep their ratio to the last one; a slice or a list gives each layer
                group its own; ``"own"``: the learner's.
            schedule: instead of the learner's own.
            hooks: instances of :class:`thalweg.Hook`.
            early_stopping: :class:`thalweg.EarlyStopping`, or a patience in epochs for ``val_loss``.
            run_dir: write history, plan, checkpoints and weights into this new directory.
            resume: go on from a run directory or checkpoint, mid-epoch if it was stopped there.
            log_every: epochs, ``"5 epochs"`` or ``"500 steps"`` between lines; None: about twenty lines in all.
            checkpoint_every: likewise, for checkpoints in the run directory; also ``"10 minutes"``, ``"best"``,
                ``"best val_accuracy"``, or a list of those.
            keep: newest checkpoints that are kept, besides the best one and the last one without NaN.
            flush_every: updates between two reads of the device.
            verbose: print lines and a progress bar.
            log_events: also print each change of rate by a controller or a step schedule.
            guard: what becomes of an update whose loss or gradient is not finite: ``"raise"``, ``"skip"``,
                ``"rollback"``, or a :class:`thalweg.Guard`, which also knows spikes of the loss.
            change: what *resume* may do otherwise than the run began: ``"lr"``, ``"schedule"``, ``"batch_size"``,
                ``"accumulate"``, ``"frozen"``; each change is reported.
            loggers: ``"tensorboard"`` and ``"wandb"`` (offline) get the same values, in the run directory, as they are
                brought to the host; nothing by default.

        Raises:
            ValueError: data, targets, settings or schedule that cannot work, before the first step.
            FloatingPointError: a loss or gradient became NaN or infinite under ``guard="raise"``.
            OSError: a checkpoint could not be written; the ones before are whole.
        """
        said = (flush_every, verbose, log_events)
        settings = Settings(
            epochs, accumulate, log_every, checkpoint_every, keep, *said, Guard.of(guard), change, loggers
        )
        if valid is not None and validation_data is not None:
            raise ValueError("fit: valid and validation_data are two names of one setting; give one of them.")
        tree = None if resume is None else loop.read_checkpoint(Path(resume))
        if tree is not None:
            adopt_layers(self, tree["optimizer"]["param_groups"])
        with seeded(self._fit_seed()) as drawn:
            seed = loop.shared(lambda: drawn) if tree is None else int(tree["seed"])
            sources = make_sources(
                self,
                data if y is None else (data, y),
                valid if valid is not None else validation_data,
                validation_split=validation_split,
                batch_size=batch_size,
                shuffle=shuffle,
                drop_last=drop_last,
                seed=seed,
            )
            reset_rates(self, lr)
            run, _ = assemble(
                self,
                sources,
                settings,
                schedule=self.schedule if schedule is None else schedule,
                hooks=hooks,
                early_stopping=early_stopping,
                run_dir=run_dir,
                resume=None if tree is None else (Path(resume or ""), tree),
                seed=seed,
            )
            self.history = run.history
            self.fits += 1
            self.statistics = {}
            with run.directory or nullcontext():
                loop.fit(run)
                self.statistics = evaluation_statistics(run)
                if run.directory is not None:
                    with self.evaluating():
                        run.directory.write_model(self.module)
        return self.history

    def _fit_seed(self) -> int | None:
        return None if self.seed is None else (self.seed + self.fits * _MIX) % (1 << 62)

    def plan(
        self,
        data: Any,
        y: Any = None,
        *,
        epochs: int = 1,
        batch_size: int = 64,
        accumulate: int = 1,
        drop_last: bool = False,
        validation_split: float = 0.0,
        lr: Rate | str = "own",
        schedule: Any = None,
    ) -> Plan:
        """Return what :meth:`fit` with these arguments would do: updates, rates, groups, engine, memory."""
        given = data if y is None else (data, y)
        settings = Settings(epochs, accumulate)
        reset_rates(self, lr)
        return planned(
            self,
            given,
            settings,
            batch_size=batch_size,
            drop_last=drop_last,
            validation_split=validation_split,
            schedule=self.schedule if schedule is None else schedule,
        )

    lr_find, fit_one_cycle, fine_tune, race = lr_find, fit_one_cycle, fine_tune, race
    split_layers, freeze, freeze_to, unfreeze = split_layers, freeze, freeze_to, unfreeze

    def evaluate(self, data: Any, y: Any = None, *, batch_size: int = 128) -> dict[str, float]:
        """Return loss and metrics over *data* in evaluation mode; averaged weights are used where the rule averages."""
        given = data if y is None else (data, y)
        source = datas.source(given, batch_size=batch_size, shuffle=False, device=self.device)
        precision = Precision(self.precision, self.device)
        with self.evaluating():
            loss, output, target = prepare_loss(self.loss, self.module, source, precision)
            head = choose_logits(self, loss, source, precision).head
            objective = Objective(self.model, loss, self.penalty, head)
            return loop.evaluate(objective, source, self.make_metrics(output, target, loss), precision)

    def predict(self, data: Any, *, batch_size: int = 128) -> Tensor:
        """Return predictions in the order of the rows, with the loss's activation applied (probabilities, not logits).

        Args:
            data: inputs in any form that :meth:`fit` takes; targets, if there are any, are ignored.

        Shapes:
            (N, …) for a model that returns (B, …).
        """
        source = datas.source(data, batch_size=batch_size, shuffle=False, device=self.device)
        with self.evaluating():
            objective = Objective(self.model, self.loss, None)
            predictions: Tensor = loop.predict(objective, source, Precision(self.precision, self.device))
        return predictions

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Hold the weights that evaluation should use, and put the training weights back afterwards."""
        if not averages(self.optimizer):
            yield
            return
        with self.optimizer.evaluating(), holding(self.module, self.statistics):
            yield

    def summary(self, data: Any = None) -> Summary:
        """Return layers, output shapes and parameters; with example *data* the shapes are those of a real batch."""
        if data is None:
            return summarise(self.module)
        parts = datas.split(datas.source(data, batch_size=2, shuffle=False, device=self.device).first())
        return summarise(self.module, parts.args, dict(parts.kwargs))

    def show_batch(self, data: Any, count: int = 9) -> Any:
        """Return a picture of the first rows: a figure for images, a table otherwise."""
        return show_batch(datas.source(data, batch_size=count, shuffle=False), count)

    def plot(self) -> Figure:
        """Return a figure of the last fit: loss raw and smoothed, rate and momentum, gradient norm, metrics."""
        return self.history.plot()

    def save(self, path: Path | str) -> Path:
        """Save the weights alone (``*.safetensors``), or the learner with optimizer state and history (a folder)."""
        return save_learner(self, Path(path))

    def load(self, path: Path | str) -> Learner:
        """Load what :meth:`save` wrote (weights file or folder, or a run's checkpoint) and return self."""
        load_into(self, Path(path))
        return self

    def unwrap(self) -> nn.Module:
        """Return the plain module, without ``torch.compile``; it is the one being trained, not a copy."""
        return self.module
