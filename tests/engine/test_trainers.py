"""Real runs inside Lightning and Hugging Face's Trainer."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

import thalweg as tw

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # those libraries warn about each other


def rows() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 8, generator=generator)
    return x, (x @ torch.arange(8.0) > 0).long()


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 2))


def plain_loop(optimizer_of: Any, epochs: int) -> nn.Module:
    """What both trainers must come to: the same batches in the same order, with torch's optimizer."""
    model = net()
    optimizer = optimizer_of(model.parameters())
    x, y = rows()
    for _ in range(epochs):
        for i in range(0, 256, 32):
            optimizer.zero_grad()
            F.cross_entropy(model(x[i : i + 32]), y[i : i + 32]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return model


def test_lightning(tmp_path: Path) -> None:
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def training_step(self, batch: Any, _: int) -> Tensor:
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            optimizer = tw.optim.AdamW(lr=0.01).optimizer(self.net.named_parameters())
            return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)}

    def fit(module: Module, epochs: int, checkpoint: Path | None = None) -> Any:
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            gradient_clip_val=1.0,
            default_root_dir=tmp_path,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, DataLoader(TensorDataset(*rows()), batch_size=32), ckpt_path=checkpoint)
        return trainer

    module = Module()
    trainer = fit(module, 2)
    expected = plain_loop(lambda params: torch.optim.AdamW(params, lr=0.01), 2)
    torch.testing.assert_close(module.net.state_dict(), expected.state_dict(), rtol=1e-5, atol=1e-6)
    # Its checkpoint resumes: two epochs and one more are three.
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    resumed, through = Module(), Module()
    fit(resumed, 3, tmp_path / "two.ckpt")
    fit(through, 3)
    torch.testing.assert_close(resumed.net.state_dict(), through.net.state_dict(), rtol=0, atol=0)


def test_hugging_face_trainer(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import Trainer, TrainingArguments

    class Rows(Dataset[dict[str, Tensor]]):
        def __len__(self) -> int:
            return 256

        def __getitem__(self, i: int) -> dict[str, Tensor]:
            x, y = rows()
            return {"x": x[i], "labels": y[i]}

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
            logits = self.net(x)
            return {"loss": F.cross_entropy(logits, labels), "logits": logits}

    class InOrder(Trainer):
        def _get_train_sampler(self, *_: Any) -> None:
            return None

    model = Model()
    optimizer = tw.optim.AdamW(lr=0.01).optimizer(model.parameters())
    trainer = InOrder(
        model=model,
        args=TrainingArguments(
            output_dir=str(tmp_path),
            num_train_epochs=2,
            per_device_train_batch_size=32,
            max_grad_norm=1.0,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            remove_unused_columns=False,
        ),
        train_dataset=Rows(),
        optimizers=(optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)),
    )
    trainer.train()
    expected = plain_loop(lambda params: torch.optim.AdamW(params, lr=0.01), 2)
    torch.testing.assert_close(model.net.state_dict(), expected.state_dict(), rtol=1e-5, atol=1e-6)
