"""`fine_tune`: training goes on from the source's weights, on the target's labels.

The head is the source's where both have the same classes, and else newly drawn.  It learns alone for one epoch
(`frozen_epochs`); then everything learns that `trainable` names, all of the network unless the job says otherwise, the
backbone at a tenth of the head's learning rate (`backbone_factor`).  `Tuning` has these parameters, `Training` those of
every training from labels: how long, how fast, on what pixels, with which loss.
"""

from typing import Literal

from app.methods.base import Info
from app.methods.supervised.family import Tuning


class FineTune(Tuning):
    """Fine-tuning, with the parameters of `Tuning`."""

    info = Info(
        summary="Continue training from the source's weights, with a new head where the classes differ.",
        when="The default with some tens of labels a class or more, or where the domains differ in texture or scale.",
        needs=("checkpoint", "target_labels"),
        reference="Yosinski et al. 2014, How transferable are features in deep neural networks?",
        multi_label=True,
        order=30,
    )

    examples = {
        "": {},
        "micro": {"micro_batch_size": 4, "mixing": {"name": "mixup"}},
        "head": {"trainable": "head"},
        "last": {"trainable": "last_stages", "labels_per_class": 2},
        "bfloat16": {"precision": "bfloat16"},
        "edge": {"trainable": "last_stages", "augmentation": "none"},
        "gradually": {
            "unfreeze_every": 1,
            "stage_decay": 0.5,
            "average": 0.9,
            "mixing": {"name": "cutmix"},
            "sampling": "balanced",
            "class_weights": "balanced",
        },
        "terms": {
            "mixing": {"name": "mixup"},
            "terms": [
                {"name": "l2_sp"},
                {"name": "delta", "schedule": "ramp"},
                {"name": "bss", "schedule": "cosine"},
                {"name": "co_tuning"},
                {"name": "feature_hint"},
                {"name": "attention_transfer"},
                {"name": "lwf"},
            ],
        },
        "assured": {"guard": True, "calibrate": True},
        "multi_label": {
            "mixing": {"name": "mixup"},
            "sampling": "balanced",
            "class_weights": "balanced",
            "label_smoothing": 0.1,
            "terms": [
                {"name": "l2_sp"},
                {"name": "delta"},
                {"name": "bss"},
                {"name": "feature_hint"},
                {"name": "attention_transfer"},
            ],
        },
    }

    name: Literal["fine_tune"] = "fine_tune"

    def optimizer_bytes(self, weights_bytes: int) -> int | None:
        """All weights have one number each for momentum, two for AdamW."""
        if self.trainable != "all":
            return None
        if self.optimizer == "adamw":
            return 2 * weights_bytes
        return weights_bytes if self.momentum else 0
