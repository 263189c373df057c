"""Who goes on identically: one training of each library killed with SIGKILL in the middle of an epoch, and resumed.

`python benchmarks/resume_peers.py [thalweg] [lightning] [hf_trainer] [fastai] [skorch]`; about a minute.

The training: a small MLP with dropout on shuffled rows, Adam, three epochs of twenty updates. Each library saves in its
own way: every seven updates where it can save within an epoch, else after each epoch. The process is killed in the
forward pass of update 34; another process resumes by the library's own means. Compared are the final weights with those
of the same training that nobody killed, made twice to see that it repeats. A library that cannot be imported is
left out; THALWEG_PEERS may name a folder that is searched last.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from _record import Result, emit, say

ROWS, BATCH, EPOCHS, EVERY = 200, 10, 3, 7
UPDATES = EPOCHS * ROWS // BATCH
KILLED = 34


class Net(nn.Module):
    """An MLP with dropout that ends its process in a forward pass, and remembers how many there were."""

    def __init__(self, fatal: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 3))
        self.fatal, self.passes = fatal, 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.passes += 1
            if self.passes == self.fatal:
                os.kill(os.getpid(), signal.SIGKILL)
        output: Tensor = self.layers(x)
        return output


def rows() -> tuple[Tensor, Tensor]:
    """The data: the same in every process."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(ROWS, 8, generator=generator)
    return x, (x @ torch.randn(8, 3, generator=generator)).argmax(1)


def thalweg_run(net: Net, folder: Path) -> None:
    """`fit(run_dir=…)`, `fit(resume=…)`."""
    import thalweg as tw

    learner = tw.Learner(net, "adam", "cross_entropy", lr=1e-2, seed=0, device="cpu")
    where = {"resume": folder / "run"} if (folder / "run" / "checkpoints").exists() else {"run_dir": folder / "run"}
    learner.fit(
        rows(), epochs=EPOCHS, batch_size=BATCH, checkpoint_every=f"{EVERY} steps", verbose=False, **where  # type: ignore[arg-type]
    )  # fmt: skip


def lightning_run(net: Net, folder: Path) -> None:
    """`ModelCheckpoint(every_n_train_steps=…)`, `fit(ckpt_path="last")`."""
    import lightning
    from lightning.pytorch.callbacks import ModelCheckpoint

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def training_step(self, batch: Any, _: int) -> Tensor:
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-2)

    lightning.seed_everything(0, workers=True, verbose=False)
    saving = ModelCheckpoint(folder / "saved", every_n_train_steps=EVERY, save_last=True, save_on_train_epoch_end=False)
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=False,
        callbacks=[saving],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    last = folder / "saved" / "last.ckpt"
    loader = DataLoader(TensorDataset(*rows()), batch_size=BATCH, shuffle=True)
    trainer.fit(Module(), loader, ckpt_path=str(last) if last.exists() else None)


def hf_trainer_run(net: Net, folder: Path) -> None:
    """`save_strategy="steps"`, `train(resume_from_checkpoint=True)`."""
    from transformers import Trainer, TrainingArguments

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
            output = self.net(x)
            return {"loss": nn.functional.cross_entropy(output, labels), "logits": output}

    class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return ROWS

        def __getitem__(self, row: int) -> dict[str, Tensor]:
            return {"x": x[row], "labels": y[row]}

    x, y = rows()
    arguments = TrainingArguments(
        output_dir=str(folder / "saved"),
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=BATCH,
        learning_rate=1e-2,
        use_cpu=True,
        disable_tqdm=True,
        logging_strategy="no",
        save_strategy="steps",
        save_steps=EVERY,
        report_to=[],
        seed=0,
    )
    module = Wrapped()
    found = list((folder / "saved").glob("checkpoint-*"))
    Trainer(model=module, args=arguments, train_dataset=Rows()).train(resume_from_checkpoint=bool(found))


def fastai_run(net: Net, folder: Path) -> None:
    """`SaveModelCallback(every_epoch=True, with_opt=True)`, `load` and `fit(start_epoch=…)`: after whole epochs."""
    from fastai.basics import CrossEntropyLossFlat, DataLoaders, Learner, set_seed
    from fastai.callback.tracker import SaveModelCallback

    x, y = rows()
    set_seed(0, reproducible=True)
    data = TensorDataset(x, y)
    loaders = DataLoaders.from_dsets(data, data, bs=BATCH, shuffle=True, num_workers=0, device=torch.device("cpu"))
    learner = Learner(loaders, net, loss_func=CrossEntropyLossFlat(), lr=1e-2, path=folder, model_dir="saved")
    begun = len(list((folder / "saved").glob("model_*.pth")))
    if begun:
        learner.load(f"model_{begun - 1}", with_opt=True)
    saving = SaveModelCallback(every_epoch=True, with_opt=True)
    with learner.no_bar(), learner.no_logging():
        learner.fit(EPOCHS, start_epoch=begun, cbs=[saving])


def skorch_run(net: Net, folder: Path) -> None:
    """`Checkpoint`, `LoadInitState`: after whole epochs."""
    import skorch
    from skorch.callbacks import Checkpoint, LoadInitState

    torch.manual_seed(0)
    saving = Checkpoint(monitor=None, dirname=str(folder / "saved"))
    begun = (folder / "saved" / "params.pt").exists()
    done = 0
    if begun:
        import json

        done = len(json.loads((folder / "saved" / "history.json").read_text()))
    trainer = skorch.NeuralNet(
        net,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=1e-2,
        batch_size=BATCH,
        max_epochs=EPOCHS - done,
        iterator_train__shuffle=True,
        train_split=None,
        callbacks=[saving, *([LoadInitState(saving)] if begun else [])],
        verbose=0,
    )
    trainer.fit(TensorDataset(*rows()), None)
    net.load_state_dict(trainer.module_.state_dict())


LIBRARIES: dict[str, tuple[str, str, Callable[[Net, Path], None]]] = {
    "thalweg": ("thalweg", "Thalweg", thalweg_run),
    "lightning": ("lightning", "Lightning", lightning_run),
    "hf_trainer": ("transformers", "HF Trainer", hf_trainer_run),
    "fastai": ("fastai", "fastai", fastai_run),
    "skorch": ("skorch", "skorch", skorch_run),
}


def train(name: str, folder: Path, fatal: int) -> None:
    """Train in this process; weights and passes are left in *folder*."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    net = Net(fatal)
    LIBRARIES[name][2](net, folder)
    torch.save({"weights": net.layers.state_dict(), "passes": net.passes}, folder / "final.pt")


def trained(name: str, folder: Path, places: Sequence[str], fatal: int = 0) -> None:
    """Train in a process of its own, once for each place; with *fatal* it is to end by SIGKILL."""
    command = [sys.executable, __file__, "--train", name, str(folder), str(fatal), *places]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    if ended.returncode != (-signal.SIGKILL if fatal else 0):
        raise RuntimeError(f"{name} ended with status {ended.returncode}:\n{ended.stderr}")


def left(folder: Path) -> tuple[dict[str, Tensor], int]:
    """Return the final weights, and the forward passes that the last process made."""
    found = torch.load(folder / "final.pt", weights_only=True)
    return found["weights"], found["passes"]


def largest(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Return the largest difference between two sets of weights."""
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


def kill_test(name: str, folder: Path) -> tuple[float, int, bool]:
    """Return (largest difference after kill and resume, updates made twice, whether the training repeats without)."""
    trained(name, folder, ["whole", "again"])
    trained(name, folder, ["killed"], fatal=KILLED)
    trained(name, folder, ["killed"])
    weights, passes = left(folder / "whole")
    assert passes == UPDATES, f"{name}: made {passes} updates instead of {UPDATES}"
    resumed, rest = left(folder / "killed")
    return largest(weights, resumed), rest - (UPDATES - KILLED + 1), largest(weights, left(folder / "again")[0]) == 0.0


def importable(package: str) -> bool:
    """Whether a library can be found, here or in THALWEG_PEERS."""
    extra = os.environ.get("THALWEG_PEERS")
    if extra and extra not in sys.path:
        sys.path.append(extra)
    if importlib.util.find_spec(package) is None:
        say(f"{package}: left out, because it is not installed")
        return False
    return True


def main(words: Sequence[str]) -> None:
    """Run the kill test of the libraries named (all by default) and print a line for each, and a table."""
    if words[:1] == ["--train"]:
        _, name, folder, fatal, *places = words
        importable(LIBRARIES[name][0])
        for place in places:
            train(name, Path(folder) / place, int(fatal))
        return
    table = []
    for name in words or list(LIBRARIES):
        package, title, _ = LIBRARIES[name]
        if not importable(package):
            continue
        with tempfile.TemporaryDirectory() as place:
            difference, twice, repeats = kill_test(name, Path(place))
        version = importlib.metadata.version(package)
        verdict = "identical" if difference == 0.0 else "another training"
        table.append(f"| {title} {version} | {'yes' if repeats else 'no'} | {twice} | {difference:.3g} | {verdict} |")
        ours = name == "thalweg"
        emit(
            Result(
                case=f"killed within an epoch and resumed: {title} {version}, {twice} updates made twice, {verdict}",
                ours=difference,
                peer=0.0,
                peer_name="the same training, not killed",
                unit="largest difference of a final weight",
                ratio=1.0 + difference,
                target=1.0 if ours else None,
                holds=difference == 0.0 if ours else None,
                floor=None,
            )
        )
    say("| library | repeats without a kill | updates made twice | largest difference | after kill and resume |")
    say("|---|---|--:|--:|---|\n" + "\n".join(table))


if __name__ == "__main__":
    main(sys.argv[1:])
