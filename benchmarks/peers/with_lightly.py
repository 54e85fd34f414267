"""Lightly Train: its image classification, on `cnn3` known to timm up to its last layer, which is theirs.

Its optimiser is AdamW with warm-up and gradient clipping, and its crop is a random part, resized.
"""

import tempfile
from typing import Any

import common
import lightly_train
from lightly_train._task_models.image_classification.train_model import ImageClassificationTrain
from timm.models import register_model
from torch import Tensor, nn


class Backbone(nn.Module):
    """[B,C,H,W] -> [B,512,1,1].  Grey images come in three equal channels: the first is taken."""

    num_features = 512

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.network.fc3 = nn.Identity()
        self.global_pool = nn.Identity()

    def forward_features(self, x_BCHW: Tensor) -> Tensor:
        return self.network(x_BCHW[:, :1])[:, :, None, None]

    def forward_head(self, x_BC11: Tensor, pre_logits: bool = False) -> Tensor:
        return x_BC11.flatten(1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x_BCHW))


class Turns:
    """In front of every training step: the loop has no callbacks.  One step more than all is asked for."""

    def __init__(self, task: common.Task, gate: common.Gate) -> None:
        self._task, self._gate, self._seen = task, gate, 0

    def __call__(self, network: nn.Module) -> None:
        if self._seen % self._task.steps == 0:
            if self._seen:
                self._gate.done()
            if self._seen == self._task.steps * self._task.epochs:
                network.forward = network.forward_backend  # type: ignore[assignment]  # a method is put in the place of another
                self._gate.end(self._task, network)
                raise SystemExit(0)
            self._gate.wait()
        self._seen += 1


def main() -> None:
    task, gate = common.task(), common.Gate()

    @register_model
    def benchmark_cnn3(**_: Any) -> nn.Module:
        return Backbone(task.network())

    step, turns = ImageClassificationTrain.training_step, Turns(task, gate)

    def training_step(self: ImageClassificationTrain, *args: Any, **named: Any) -> Any:
        turns(self.model)
        return step(self, *args, **named)

    ImageClassificationTrain.training_step = training_step
    total = task.steps * task.epochs + 1
    normalize = {"mean": task.spec.mean * 3, "std": task.spec.std * 3}
    with tempfile.TemporaryDirectory() as folder:
        lightly_train.train_image_classification(
            out=f"{folder}/out",
            data={
                "train": str(task.folder / "train"),
                "val": str(task.folder / "val"),
                "classes": {k: str(k) for k in range(common.CLASSES)},
            },
            model="timm/benchmark_cnn3",
            steps=total,
            batch_size=common.BATCH,
            num_workers=task.workers,
            accelerator="cpu",
            devices=1,
            precision="32-true",
            model_args={"lr": 1e-3},
            transform_args={
                "image_size": task.spec.size,
                "normalize": normalize,
                "random_crop": {"min_scale": 0.64, "max_scale": 1.0},
                "random_flip": {"horizontal_prob": 0.5, "vertical_prob": 0.0},
                "color_jitter": None,
            },
            logger_args={"log_every_num_steps": 100, "val_every_num_steps": total, "tensorboard": None},
        )


if __name__ == "__main__":
    main()
