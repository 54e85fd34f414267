"""What the methods share that adapt a network to images alone: no label of the target, no image of the source."""

from app.methods.base import Parameters
from app.methods.inputs import InputOverride


class SourceFree(Parameters):
    """The source's head and classes stay; the target's images are fitted as the source's input says, or as `input`."""

    input: InputOverride | None = None
