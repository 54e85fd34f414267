"""Weights that were downloaded from a service like this: their metadata names network, input and classes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from app.contract.base import Text
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.networks.misfits import reason
from worker.runtime.contract import Failure

PREFIX = "regraft."
_Classes = TypeAdapter(list[Annotated[Text, Field(min_length=1, max_length=512)]] | None)


@dataclass(frozen=True)
class About:
    network: NetworkSpec
    input: InputSpec
    classes: list[str] | None
    multi_label: bool
    untrained_head: bool


def read(metadata: Mapping[str, Any]) -> About | None:
    """Read what a weights file of ours says of itself; None where the metadata is of another origin.

    Raises:
        Failure: `corrupt_file`, it is ours and makes no sense.
    """
    if PREFIX + "network" not in metadata:
        return None
    try:
        entries = {name: json.loads(text) for name, text in metadata.items() if name.startswith(PREFIX)}
        network = NetworkSpec.model_validate(entries[PREFIX + "network"])
        about = About(
            network,
            InputSpec.model_validate(entries.get(PREFIX + "input")),
            _Classes.validate_python(entries.get(PREFIX + "classes")),
            entries.get(PREFIX + "multi_label") is True,
            entries.get(PREFIX + "untrained_head") is True,
        )
    except (ValidationError, ValueError, TypeError, RecursionError) as error:
        message = f"What the file's metadata says of its network cannot be read: {reason(error)}. Give `network`."
        raise Failure("corrupt_file", message) from error
    if about.classes is not None and len(set(about.classes)) != network.num_classes:
        raise Failure("corrupt_file", "The file's metadata does not name each class of its network once.")
    return about
