"""Exports of a model for others' tools: what lies in each archive.

`bundle`: a folder that classifies images without this service.  `timm`: what `timm.create_model("local-dir:…")` and the
Hugging Face hub take.  `triton`: a model repository of the Triton inference server.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from app.contract.inputs import InputSpec
from app.contract.networks import TIMM, NetworkSpec
from app.contract.timm_options import INPUT_OPTIONS
from app.core import errors
from app.db.tables import ModelRow
from app.exports.archive import FromStore, Members

Format = Literal["bundle", "timm", "triton"]
PREDICT = Path(__file__).with_name("predict.py")
REQUIREMENTS = "numpy\nonnxruntime\npillow\n"
BATCH = 64  # at most, of a Triton server


def members(model: ModelRow, card: str, format: Format, tensors: Collection[str]) -> Members:
    """The members of the archive; `tensors` are the names of the weights' tensors.

    Raises:
        NotServable: there is no graph, which the format needs.
        UntrainedHead: it says nothing of classes, and the format is for those that do.
        NotExportable: the format is for other networks.
    """
    if model.untrained_head:
        message = f"{model.id} was trained without labels: it has features, which exports do not give, and no classes."
        raise errors.UntrainedHead(message)
    if format == "timm":
        return _timm(model, card, tensors)
    if model.graph is None:
        raise errors.NotServable(model.not_servable or "")
    return _bundle(model, card) if format == "bundle" else _triton(model, card)


def _bundle(model: ModelRow, card: str) -> Members:
    about = {"id": model.id, "classes": model.classes, "multi_label": model.multi_label, "input": model.input}
    return {
        "predict.py": PREDICT.read_text(encoding="utf-8"),
        "model.json": _json(about | {"sha256": model.sha256}),
        "requirements.txt": REQUIREMENTS,
        "README.md": f"{card}\n## Use\n\n    pip install -r requirements.txt\n    python predict.py image.png\n",
        "model.onnx": FromStore(str(model.graph)),
    }


def _triton(model: ModelRow, card: str) -> Members:
    height, width = _input(model).size
    classes = model.classes or []
    config = f"""name: "{model.id}"
platform: "onnxruntime_onnx"
max_batch_size: {BATCH}
input [{{ name: "image" data_type: TYPE_UINT8 dims: [{height}, {width}, {_input(model).channels}] }}]
output [
  {{ name: "probabilities" data_type: TYPE_FP32 dims: [{_network(model).num_classes}] label_filename: "classes.txt" }}
]
dynamic_batching {{ }}
"""
    lines = "".join(" ".join(name.split()) + "\n" for name in classes)
    return {
        f"{model.id}/config.pbtxt": config,
        f"{model.id}/classes.txt": lines,
        f"{model.id}/README.md": card,
        f"{model.id}/1/model.onnx": FromStore(str(model.graph)),
    }


def _timm(model: ModelRow, card: str, tensors: Collection[str]) -> Members:
    network, input = _network(model), _input(model)
    if not network.name.startswith(TIMM):
        raise errors.NotExportable(
            f"{model.id} is a `{network.name}`, which timm has not: ask for `bundle`, or for its weights."
        )
    if input.margin or input.fit != "stretch":
        message = f"{model.id} fits images with black around them, which timm's transforms cannot: ask for `bundle`."
        raise errors.NotExportable(message)
    options: dict[str, object] = {
        key: value for key, value in network.options.items() if key not in INPUT_OPTIONS and value is not None
    }
    if input.channels != 3:
        options["in_chans"] = input.channels
    if any(name.endswith(("pos_embed", "relative_position_bias_table")) for name in tensors):  # built for one size
        options["img_size"] = list(input.size)
    config = {
        "architecture": network.name.removeprefix(TIMM),
        "num_classes": network.num_classes,
        "label_names": model.classes,
        "model_args": options,
        "pretrained_cfg": {
            "num_classes": network.num_classes,
            "input_size": [input.channels, *input.size],
            "mean": list(input.mean),
            "std": list(input.std),
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "squash",
        },
    }
    front = "---\nlibrary_name: timm\npipeline_tag: image-classification\ntags:\n- image-classification\n- timm\n---\n"
    return {"config.json": _json(config), "README.md": front + card, "model.safetensors": FromStore(str(model.weights))}


def _network(model: ModelRow) -> NetworkSpec:
    return NetworkSpec.model_validate(model.network)


def _input(model: ModelRow) -> InputSpec:
    return InputSpec.model_validate(model.input)


def _json(document: Mapping[str, object]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
