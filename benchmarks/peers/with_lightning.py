"""Lightning: a module and a trainer with everything off that is not training.

On the almost empty network it is fed batches from memory, so that only its loop is measured.
"""

import warnings
from typing import Any

import common
import lightning
import torch
import torch.nn.functional as F
import with_pil
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset


class Module(lightning.LightningModule):
    def __init__(self, task: common.Task) -> None:
        super().__init__()
        self.network = task.network()

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        x_BCHW, y_B = batch
        return F.cross_entropy(self.network(x_BCHW), y_B)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), common.RATE, momentum=common.MOMENTUM, nesterov=True)


class Turns(lightning.Callback):
    def __init__(self, gate: common.Gate) -> None:
        self._gate = gate

    def on_train_epoch_start(self, *_: Any) -> None:
        self._gate.wait()

    def on_train_epoch_end(self, *_: Any) -> None:
        self._gate.done()


def loader(task: common.Task) -> DataLoader[Any]:
    if task.name != "empty":
        return with_pil.loader(task)
    pixels_NHWC, label_N = task.train()
    x_BCHW = common.normalised(task.spec, pixels_NHWC)
    batches = TensorDataset(x_BCHW.unflatten(0, (-1, common.BATCH)), label_N.unflatten(0, (-1, common.BATCH)))
    return DataLoader(batches, batch_size=None, shuffle=True)


def main() -> None:
    task, gate = common.task(), common.Gate()
    warnings.filterwarnings("ignore")
    module = Module(task)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=task.epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Turns(gate)],
    )
    trainer.fit(module, loader(task))
    gate.end(task, module.network)


if __name__ == "__main__":
    main()
