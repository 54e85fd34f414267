"""Reports on what a model has of its source: made by the worker, stored and shown by the API, drawn by its page."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import ConfigDict, Field

from app.contract.record import Record


class Renamed(Record):
    """A tensor that goes by another name in the file (`from`) than in the network (`to`), and by what `rule` that was
    told, where it is none of prefixes."""

    from_: Annotated[str, Field(alias="from")]
    to: str
    rule: str | None = None


class Changed(Record):
    """A tensor that was brought to another shape or another type of numbers."""

    name: str
    from_: Annotated[str | list[int], Field(alias="from")]
    to: str | list[int]


class Skipped(Record):
    """A tensor of the file that has no place in the network, and why."""

    name: str
    reason: str


class TensorReport(Record):
    """A report of what became of each tensor.

    Every name of the network is in `copied`, `renamed` (to), `reshaped` (name) or `initialised`, every name of the
    file in `copied`, `renamed` (from), `reshaped` (name) or `skipped`.  A tensor of another name *and* another shape
    is in two lists; `cast` says whose numbers were of another type.
    """

    model_config = ConfigDict(extra="allow")

    copied: list[str] = []
    renamed: list[Renamed] = []
    reshaped: list[Changed] = []
    cast: list[Changed] = []
    skipped: list[Skipped] = []
    initialised: list[str] = []

    def origins(self) -> dict[str, str]:
        """The network's name of each tensor that was taken over, and the source's."""
        return {name: name for name in self.copied} | {one.to: one.from_ for one in self.renamed}


class LayerDrift(Record):
    """A layer's distance from the source's: ‖w − w₀‖ / ‖w₀‖, and the linear CKA of outputs; null if it is new."""

    layer: str
    relative_l2: float | None = None
    cka: float | None = None


class Drift(Record):
    """Distances of the layers from the source's, their outputs compared on so many `images`."""

    images: int
    layers: list[LayerDrift]


class TransferReport(Record):
    """`head` is "kept", "new" or "merged"; `adapters` say in words how images come to the network's input; `trainable`
    are the paths that learned.  Methods say more by names of their own (docs/methods.md)."""

    model_config = ConfigDict(extra="allow")

    tensors: TensorReport | None = None
    head: str | None = None
    adapters: list[str] | None = None
    trainable: list[str] | None = None
    drift: Drift | None = None
    micro_batch_size: int | None = None
    pace: dict[str, object] | None = None

    def __or__(self, entries: Mapping[str, object]) -> Self:
        """The report with more said: `report | {"trainable": paths}`."""
        return self.model_copy(update=dict(entries))
