"""Options of `timm/<name>` networks, as `timm.create_model` has them."""

from typing import Annotated, Literal

from pydantic import Field, ValidationError

from app.contract.base import StrictModel
from app.contract.inputs import Channels, InputSpec, Side
from app.contract.networks import TIMM, NetworkSpec

INPUT_OPTIONS = ("img_size", "in_chans")


class TimmOptions(StrictModel):
    """Left out, the network's own defaults hold.  Not every network has a `drop_path_rate`.

    `global_pool` is timm's: a vision transformer takes its class token (`token`) or the mean of all others (`avg`).
    `pad_type` and `bn_eps` are for networks that TensorFlow's weights are brought over to: `same` pads by the image's
    size.  `img_size` and `in_chans` say what else `input` says; where both are given they agree.
    """

    drop_rate: Annotated[float, Field(ge=0, lt=1)] | None = None
    drop_path_rate: Annotated[float, Field(ge=0, lt=1)] | None = None
    global_pool: Annotated[str, Field(pattern=r"^[a-z]{1,16}$")] | None = None
    pad_type: Literal["", "same"] | None = None
    bn_eps: Annotated[float, Field(gt=0, le=0.1)] | None = None
    img_size: Side | tuple[Side, Side] | None = None
    in_chans: Channels | None = None

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width), if they say one."""
        return (self.img_size, self.img_size) if isinstance(self.img_size, int) else self.img_size

    def require_agreement(self, input: InputSpec) -> None:
        """
        Raises:
            ValueError: `input` says another size, or other channels.
        """
        if self.size not in (None, input.size):
            raise ValueError(f"`img_size` is {self.img_size}, but `input` has the size {list(input.size)}")
        if self.in_chans not in (None, input.channels):
            raise ValueError(f"`in_chans` is {self.in_chans}, but `input` has {input.channels} channels")


def declared_size(spec: NetworkSpec) -> tuple[int, int] | None:
    """(height, width) that the options of a network of timm say; None where they say none, or make no sense."""
    if not spec.name.startswith(TIMM):
        return None
    try:
        return TimmOptions.model_validate(spec.options).size
    except ValidationError:
        return None


def without_input(spec: NetworkSpec) -> NetworkSpec:
    """The network of timm, for whatever input: without the options that say one."""
    options = {name: value for name, value in spec.options.items() if name not in INPUT_OPTIONS}
    return NetworkSpec(name=spec.name, num_classes=spec.num_classes, options=options)
