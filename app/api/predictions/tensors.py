"""Tensors as the Open Inference Protocol (v2) sends them: in JSON, or in binary behind it.

The protocol: JSON with `inputs` and `outputs`, each with name, datatype and shape; a tensor's `data` is a list, or its
bytes stand behind the JSON, as many as its parameter `binary_data_size` says, in the order of the tensors.  The header
`Inference-Header-Content-Length` says where the JSON ends.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.contract.inputs import InputSpec
from app.core import errors

INPUT = "image"
MOST_IMAGES = 1000
MOST_JSON = 8 * 2**20  # bytes: numbers in JSON take many times their size while they are read; binary ones do not

Output = Literal["probabilities", "features", "energy"]
Tensor = NDArray[Any]


class _Open(BaseModel):
    """The protocol lets anybody add fields: unknown ones are no fault."""

    model_config = ConfigDict(extra="ignore")


class _Parameters(_Open):
    binary_data_size: Annotated[int, Field(ge=0)] | None = None
    binary_data: bool | None = None
    binary_data_output: bool = False
    classification: Annotated[int, Field(ge=0, le=1000)] = 0


class _Sent(_Open):
    name: str
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=4, max_length=4)]
    datatype: str
    parameters: _Parameters = _Parameters()
    data: list[Any] | None = None


class Wanted(_Open):
    """An output that is asked for; with `classification` its so many likeliest classes as `value:index:label`."""

    name: Output
    parameters: _Parameters = _Parameters()


class _Request(_Open):
    id: str | None = None
    parameters: _Parameters = _Parameters()
    inputs: Annotated[list[_Sent], Field(min_length=1, max_length=1)]
    outputs: list[Wanted] = []


@dataclass(frozen=True)
class Inference:
    """A request that was read: `pixels` uint8 [N,H,W,C], and the outputs that are wanted of them."""

    id: str | None
    pixels: NDArray[np.uint8]
    outputs: Sequence[Wanted]
    binary: bool

    def in_binary(self, output: Wanted) -> bool:
        asked = output.parameters.binary_data
        return self.binary if asked is None else asked


def read(body: bytes, header: str | None, spec: InputSpec) -> Inference:
    """
    Raises:
        BadRequest: the body is no such request.
        Invalid: its input is not one tensor `image` of uint8, [N, height, width, channels] as the network takes it; or
            classes are asked for of an output that has none.
        TooLarge: there are too many images, or too much JSON.
    """
    length = len(body) if header is None else int(header) if header.isdecimal() and len(header) < 12 else -1
    if not 0 <= length <= len(body):
        raise errors.BadRequest("`Inference-Header-Content-Length` is no number of bytes within the body.")
    if length > MOST_JSON:
        raise errors.TooLarge(f"Of JSON at most {MOST_JSON:,} bytes are taken: send the images in binary.")
    try:
        request = _Request.model_validate_json(body[:length])
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise errors.Invalid(f"{where or 'The request'}: {first['msg']}.", param=where or None) from None
    [sent] = request.inputs
    wanted = ", ".join(map(str, ("N", *spec.shape)))
    if (sent.name, sent.datatype, tuple(sent.shape[1:])) != (INPUT, "UINT8", spec.shape):
        message = f"The network takes `{INPUT}` of UINT8 with the shape [{wanted}], not `{sent.name}` of "
        raise errors.Invalid(f"{message}{sent.datatype} with {sent.shape}.", param="inputs")
    if sent.shape[0] > MOST_IMAGES:
        raise errors.TooLarge(f"At most {MOST_IMAGES:,} images are taken at a time, not {sent.shape[0]:,}.")
    outputs = request.outputs or [Wanted(name="probabilities")]
    if any(output.parameters.classification for output in outputs if output.name != "probabilities"):
        raise errors.Invalid(
            "`classification` is of `probabilities` alone: others are not of classes.", param="outputs"
        )
    pixels = _pixels(sent, body[length:])
    return Inference(request.id, pixels, outputs, request.parameters.binary_data_output)


def _pixels(sent: _Sent, behind: bytes) -> NDArray[np.uint8]:
    count, size = math.prod(sent.shape), sent.parameters.binary_data_size
    if size is not None:
        if size != count or len(behind) != size:
            raise errors.Invalid(f"{count:,} bytes are {sent.shape}; {len(behind):,} came.", param="inputs")
        return np.frombuffer(behind, np.uint8).reshape(sent.shape)
    try:
        values = np.asarray(sent.data, dtype=np.float64)
    except (TypeError, ValueError):
        raise errors.Invalid("The input's `data` is no list of numbers.", param="inputs") from None
    if values.size != count or not ((values >= 0) & (values <= 255) & (values == np.rint(values))).all():
        raise errors.Invalid(f"The input's `data` is not {count:,} whole numbers from 0 to 255.", param="inputs")
    return values.astype(np.uint8).reshape(sent.shape)


def written(
    asked: Inference, outputs: Mapping[str, Tensor], classes: Sequence[str] | None, model: str
) -> tuple[bytes, int | None]:
    """The body of the answer; where there are bytes behind the JSON, its length, too."""
    described: list[dict[str, object]] = []
    behind: list[bytes] = []
    for wanted in asked.outputs:
        tensor, kind = outputs[wanted.name], "FP32"
        if wanted.parameters.classification:
            tensor, kind = _classified(tensor, wanted.parameters.classification, classes), "BYTES"
        about: dict[str, object] = {"name": wanted.name, "datatype": kind, "shape": list(tensor.shape)}
        if asked.in_binary(wanted):
            behind.append(b"".join(_lengthened(tensor)) if kind == "BYTES" else tensor.astype("<f4").tobytes())
            about["parameters"] = {"binary_data_size": len(behind[-1])}
        else:
            about["data"] = tensor.ravel().tolist()
        described.append(about)
    said = {"model_name": model, "model_version": "1", "outputs": described}
    head = orjson.dumps(said if asked.id is None else {"id": asked.id, **said})
    return b"".join([head, *behind]), len(head) if behind else None


def _classified(rows: Tensor, most: int, classes: Sequence[str] | None) -> Tensor:
    """`value:index:label` of the greatest values of each row, the greatest first."""
    order = np.argsort(-rows, axis=1, kind="stable")[:, :most]
    named = [
        [f"{row[k]:.6f}:{k}" + (f":{classes[k]}" if classes else "") for k in of]
        for row, of in zip(rows, order, strict=True)
    ]
    return np.array(named, dtype=object)


def _lengthened(texts: Tensor) -> Iterator[bytes]:
    for text in texts.ravel():
        encoded = str(text).encode()
        yield len(encoded).to_bytes(4, "little") + encoded
