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
    """See `Tuning`."""

    info = Info(
        summary="Continue training from the source's weights, with a new head where the classes differ.",
        when="The default with some tens of labels a class or more, or where the domains differ in texture or scale.",
        needs=("checkpoint", "target_labels"),
        reference="Yosinski et al. 2014, How transferable are features in deep neural networks?",
        multi_label=True,
        order=30,
    )

    name: Literal["fine_tune"] = "fine_tune"

    def optimizer_bytes(self, weights_bytes: int) -> int | None:
        """All weights have one number each for momentum, two for AdamW."""
        if self.trainable != "all":
            return None
        if self.optimizer == "adamw":
            return 2 * weights_bytes
        return weights_bytes if self.momentum else 0
