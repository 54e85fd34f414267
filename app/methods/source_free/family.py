"""Parts shared by the methods that adapt a network to images alone: no label of the target, no image of the source."""

from app.contract.inputs import InputOverride
from app.methods.base import Method


class SourceFree(Method):
    """The source's head and classes stay; the target's images are fitted as the source's input says, or as `input`."""

    label_space = "source"
    asks_source = True
    compared = True

    input: InputOverride | None = None
