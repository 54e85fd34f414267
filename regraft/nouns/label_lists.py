"""Lists of labels that are sent: a table that is uploaded first, or labels by image."""

from collections.abc import Mapping, Sequence

from regraft.nouns.files import Source, uploaded
from regraft.nouns.uploads import Sender
from regraft.steps import Steps

Label = str | Sequence[str] | None  # of an image


def listed(send: Sender, labels: Source | Mapping[str, Label]) -> Steps[object]:
    """The `labels` of a request: pairs, or the id of the table."""
    if isinstance(labels, Mapping):
        return [{"image": image, "label": label} for image, label in labels.items()]
    return (yield from uploaded(send, labels, "labels.csv" if isinstance(labels, bytes) else None)).id
