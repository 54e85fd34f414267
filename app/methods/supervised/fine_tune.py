"""`fine_tune`: training goes on from the source's weights, on the target's labels.

The head, the layer that gives a score for each class, is the source's where both have classes of the same names, and
else newly drawn.  One that is new learns alone at first, as in `linear_probe` (`head_start`), so that the features are
not bent to a head that knows nothing yet; then learns what `trainable` names: `all` of the network (the default), its
`last_stages`, or the `head`.

The loss is the cross-entropy on the labels plus `terms`: regularisers, such as the distance to the source's weights,
none unless a job names some.  Unless a job says otherwise the optimiser is AdamW, at 0.001 for all weights, and a
training has 10 epochs or 300 steps, whichever is longer, under a cosine schedule, with random crops; the weights of the
epoch with the best validation accuracy are kept.

`Tuning` declares which weights learn, when and how fast, `Training` all that every training from labels has: epochs,
batches, optimiser, augmentation and mixing, weights of classes, terms, and `guard`, which compares the result with a
linear probe and with a training from scratch on the same labels.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from app.contract.recipe import Optimizer
from app.methods.base import Info
from app.methods.supervised.family import Factor, Tuning

# What SGD's rates, 0.01 unless given, go with: so fast a backbone would lose what it knows.
WITH_SGD = {"optimizer": "sgd", "backbone_factor": 0.1, "frozen_epochs": 1, "head_start": "none"}


class FineTune(Tuning):
    """Fine-tuning, with the parameters of `Tuning`.

    `head_start`: whether the head learns as in `linear_probe` before the tuning; left out, where it is newly drawn and
    more than the head is to learn.

    With `optimizer` "sgd", or a `learning_rate` without an optimiser, which is taken for SGD's, `backbone_factor` is
    0.1 unless given, and the head learns alone for one of the `frozen_epochs` in place of a probe.
    """

    info = Info(
        summary="Continue training from the source's weights, with a new head where the classes differ.",
        when="The default with some tens of labels a class or more, or where the domains differ in texture or scale.",
        needs=("checkpoint", "target_labels"),
        reference="Yosinski et al. 2014, How transferable are features in deep neural networks?",
        multi_label=True,
        order=30,
    )

    examples = {  # what the tests run, a variant of the parameters each
        "": {},
        "micro": {"micro_batch_size": 4, "mixing": {"name": "mixup"}},
        "head": {"trainable": "head"},
        "last": {"trainable": "last_stages", "labels_per_class": 2},
        "swad": {"swad": {"optimum_patience": 1, "overfit_patience": 2}},
        "norms": {"trainable": "norms", "backbone_factor": 1.0},
        "biases": {"trainable": "biases", "backbone_factor": 1.0, "batch_norm": "frozen", "unfreeze_every": 1},
        "sam": {"sharpness": {"name": "sam", "rho": 0.1}},
        "bfloat16": {"precision": "bfloat16"},
        "edge": {"trainable": "last_stages", "augmentation": "none"},
        "sgd": {"optimizer": "sgd"},
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
    optimizer: Optimizer = "adamw"
    frozen_epochs: Annotated[int, Field(ge=0, le=100_000)] = 0
    backbone_factor: Factor = 1.0
    head_start: Literal["probe", "none"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_goes_with_sgd(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        rate_alone = given.get("learning_rate") not in (None, "auto") and "optimizer" not in given
        return WITH_SGD | given if rate_alone or given.get("optimizer") == "sgd" else given

    def starting(self, *, head_kept: bool) -> Self:
        """Close `head_start`: `head_kept` tells whether the source's head goes on."""
        if self.head_start is not None:
            return self
        probes = not head_kept and self.trainable != "head" and self.frozen_epochs == 0
        return self.model_copy(update={"head_start": "probe" if probes else "none"})

    def optimizer_bytes(self, weights_bytes: int) -> int | None:
        """Bytes of the optimiser's state: one number a weight for momentum, two for AdamW; None where a part learns."""
        if self.trainable != "all":
            return None
        if self.optimizer == "adamw":
            return 2 * weights_bytes
        return weights_bytes if self.momentum else 0
