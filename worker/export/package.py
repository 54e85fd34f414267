"""The package of a network: its weights, and a graph that serves it without PyTorch."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from app.contract.blobs import Artifact
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.results import Packaged
from worker.export import onnx, safetensors
from worker.export.onnx import NotExportable
from worker.networks.structure import Structure
from worker.runtime import digest

FORMAT = {"format": "pt"}  # by which others know that the tensors are PyTorch's


def package(
    network: nn.Module,
    structure: Structure,
    input: InputSpec,
    workdir: Path,
    metadata: Mapping[str, str] | None = None,
    *,
    multi_label: bool = False,
) -> tuple[dict[str, Path], Packaged]:
    """Write `weights` and, where it can be exported, `graph` of a network into `workdir`.

    The network ends on the CPU, in evaluation mode, and learns no more.

    Returns:
        The files by role, and what is to be known of them.
    """
    artifacts: dict[str, Path] = {Artifact.WEIGHTS: write_weights(network, workdir, metadata)}
    graph, not_servable, image_bytes = workdir / "graph.onnx", None, None
    try:
        image_bytes = onnx.export(network, structure, input, graph, multi_label=multi_label)
        artifacts[Artifact.GRAPH] = graph
    except NotExportable as error:
        graph.unlink(missing_ok=True)
        not_servable = f"The network cannot be served: {error}."
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return artifacts, Packaged(
        parameters=parameters,
        sha256=digest.sha256(network.state_dict()),
        not_servable=not_servable,
        image_bytes=image_bytes,
    )


def write_weights(network: nn.Module, workdir: Path, metadata: Mapping[str, str] | None = None) -> Path:
    """Write the weights alone; the network ends on the CPU, in evaluation mode, and learns no more."""
    network.cpu().to(memory_format=torch.contiguous_format).requires_grad_(False).eval()
    path = workdir / "weights.safetensors"
    safetensors.write(path, network.state_dict(), {**FORMAT, **(metadata or {})})
    return path


def write_adapter(tensors: Mapping[str, Tensor], config: Mapping[str, Any], workdir: Path) -> Path:
    """Corrections alone, with their configuration in the file's metadata."""
    path = workdir / "adapter.safetensors"
    safetensors.write(path, tensors, {**FORMAT, "adapter_config": json.dumps(config, sort_keys=True)})
    return path


def metadata(
    spec: NetworkSpec,
    input: InputSpec,
    classes: Sequence[str] | None,
    *,
    multi_label: bool = False,
    untrained_head: bool = False,
) -> dict[str, str]:
    """The metadata of a weights file: enough to build the network again, and to use it."""
    about: dict[str, object] = {
        "network": spec.model_dump(mode="json"),
        "input": input.model_dump(mode="json"),
        "classes": classes,
        "multi_label": multi_label,
        **({"untrained_head": True} if untrained_head else {}),
    }
    return {f"regraft.{key}": json.dumps(value, sort_keys=True, ensure_ascii=False) for key, value in about.items()}
