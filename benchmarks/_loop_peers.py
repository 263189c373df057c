"""The training loops that Thalweg's is measured against, each run as its users run it, recording and printing off."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@dataclass(frozen=True)
class Task:
    """One training: data, a fresh model, a loss, an optimizer, and how long."""

    x: Tensor
    y: Tensor
    model: Callable[[], nn.Module]
    loss: type[nn.Module]
    optimizer: str
    lr: float
    batch: int
    epochs: int

    def torch_optimizer(self, params: Any) -> torch.optim.Optimizer:
        """Return torch's fused optimizer over *params*."""
        kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[self.optimizer]
        return kind(params, lr=self.lr, fused=True)


def slices(task: Task, *, buffer: bool = False) -> None:
    """The hand-written loop: the batch is a slice of the tensor, the optimizer is fused."""
    model, criterion = task.model(), task.loss()
    optimizer = task.torch_optimizer(model.parameters())
    n = len(task.x)
    losses = torch.zeros(task.epochs * -(-n // task.batch))
    step = 0
    for _ in range(task.epochs):
        order = torch.randperm(n)
        for start in range(0, n, task.batch):
            rows = order[start : start + task.batch]
            loss = criterion(model(task.x[rows]), task.y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if buffer:
                losses[step] = loss.detach()
                step += 1


def loader(task: Task) -> DataLoader[Any]:
    """Return torch's DataLoader over the task's data."""
    return DataLoader(TensorDataset(task.x, task.y), batch_size=task.batch, shuffle=True)


def dataloader_loop(task: Task) -> None:
    """The loop of the tutorials."""
    model, criterion = task.model(), task.loss()
    optimizer = task.torch_optimizer(model.parameters())
    batches = loader(task)
    for _ in range(task.epochs):
        for x, y in batches:
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def accelerate_loop(task: Task) -> None:
    """Hugging Face Accelerate around the loop of the tutorials."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = task.model()
    model, optimizer, batches = accelerator.prepare(model, task.torch_optimizer(model.parameters()), loader(task))
    criterion = task.loss()
    for _ in range(task.epochs):
        for x, y in batches:
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()


def lightning_fit(task: Task) -> None:
    """Lightning's Trainer, everything optional off."""
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.criterion = task.model(), task.loss()

        def training_step(self, batch: Any, _: int) -> Tensor:
            x, y = batch
            loss: Tensor = self.criterion(self.net(x), y)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return task.torch_optimizer(self.net.parameters())

    trainer = lightning.Trainer(
        max_epochs=task.epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(), loader(task))


def skorch_fit(task: Task) -> None:
    """skorch's NeuralNet, without its validation split and printing."""
    import skorch

    kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[task.optimizer]
    net = skorch.NeuralNet(
        task.model,
        criterion=task.loss,
        optimizer=kind,
        optimizer__fused=True,
        lr=task.lr,
        batch_size=task.batch,
        max_epochs=task.epochs,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    net.fit(TensorDataset(task.x, task.y), None)


def keras_fit(task: Task) -> None:
    """Keras on torch: the same layers in its own words."""
    import keras

    layers = []
    for module in task.model():
        if isinstance(module, nn.Linear):
            layers.append(keras.layers.Dense(module.out_features))
        elif isinstance(module, nn.ReLU):
            layers.append(keras.layers.ReLU())
        else:
            raise TypeError(f"keras_fit: no Keras layer for {module!r}")
    model = keras.Sequential([keras.layers.Input((task.x.shape[1],)), *layers])
    loss: Any = "mse"
    if task.loss is nn.CrossEntropyLoss:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    kind = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}[task.optimizer]
    model.compile(optimizer=kind(task.lr), loss=loss)
    model.fit(task.x.numpy(), task.y.numpy(), batch_size=task.batch, epochs=task.epochs, verbose=0)


def hf_fit(task: Task) -> None:
    """Hugging Face's Trainer, without logging, saving and progress."""
    from transformers import Trainer, TrainingArguments

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.criterion = task.model(), task.loss()

        def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
            output = self.net(x)
            return {"loss": self.criterion(output, labels), "logits": output}

    class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(task.x)

        def __getitem__(self, row: int) -> dict[str, Tensor]:
            return {"x": task.x[row], "labels": task.y[row]}

    with tempfile.TemporaryDirectory() as folder:
        model = Wrapped()
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=task.epochs,
            per_device_train_batch_size=task.batch,
            use_cpu=True,
            disable_tqdm=True,
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            max_grad_norm=0.0,
        )
        optimizer = task.torch_optimizer(model.parameters())
        constant = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
        Trainer(model=model, args=arguments, train_dataset=Rows(), optimizers=(optimizer, constant)).train()


TRAINERS: dict[str, Callable[[Task], None]] = {
    "accelerate": accelerate_loop,
    "lightning": lightning_fit,
    "skorch": skorch_fit,
    "keras": keras_fit,
    "hf_trainer": hf_fit,
}
