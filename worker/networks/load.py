"""Weights into a network, tensor by tensor: nothing is passed over in silence (compare `strict=False`)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from app.methods.inputs import InputSpec
from app.methods.networks import NetworkSpec
from worker.engine.contract import Failure
from worker.networks import anatomy, build
from worker.networks.anatomy import Anatomy

ENOUGH = 0.5  # of the network's weights but for its heads; a load that finds fewer is an error
SHOWN = 50
COMPILED = "_orig_mod."  # torch.compile puts it into names, at any depth


@dataclass
class Report:
    """What became of each tensor.

    Every name of the network is in `copied`, `renamed` (to), `reshaped` (name) or `initialised`, every name of the
    file in `copied`, `renamed` (from), `reshaped` (name) or `skipped`.  A tensor of another name *and* another shape
    is in two lists; `cast` says whose numbers were of another type.
    """

    copied: list[str] = field(default_factory=list)
    renamed: list[dict[str, str]] = field(default_factory=list)  # {from, to}
    reshaped: list[dict[str, Any]] = field(default_factory=list)  # {name, from, to}
    cast: list[dict[str, str]] = field(default_factory=list)  # {name, from, to}
    skipped: list[dict[str, str]] = field(default_factory=list)  # {name, reason}
    initialised: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        return asdict(self)


class Made(NamedTuple):
    """A network with its weights, on the CPU."""

    network: nn.Module
    anatomy: Anatomy
    report: Report


def make(spec: NetworkSpec, input: InputSpec, tensors: Mapping[str, Tensor], *, without_heads: bool = False) -> Made:
    """A network of these weights, which become its own memory; what is not among them is drawn, and reported.

    `without_heads`: the heads are drawn, whatever the tensors hold for them.

    Raises:
        Failure: see `build.build`, `anatomy.study` and `load`.
    """
    network = build.shell(spec, input)
    if without_heads:
        tensors = beneath(anatomy.study(network, input), tensors)
    found, report = match(tensors, network.state_dict())
    if report.initialised:
        network = build.build(spec, input)
    weights = network.state_dict()
    network.load_state_dict(weights | _apart(found), assign=True)
    structure = anatomy.study(network, input)
    _require_enough(weights, found, structure, report)
    return Made(network, structure, report)


def load(network: nn.Module, tensors: Mapping[str, Tensor], structure: Anatomy) -> Report:
    """Copy `tensors` into the network where name and shape fit; the rest of the network stays as it is.

    Raises:
        Failure: `weights_do_not_fit`, with the names: too little was found, heads not counted; or `not_finite`.
    """
    weights = network.state_dict()
    found, report = match(tensors, weights)
    _require_enough(weights, found, structure, report)
    with torch.no_grad():
        for name, tensor in found.items():
            weights[name].copy_(tensor)
    return report


def match(tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Report]:
    """What of `tensors` has a place among `weights` (a `state_dict`), by its name there, shape and type as there.

    Whatever stands in front of most of the network's names (`module.`, `state_dict.model.`, …) is taken off.  Shapes
    may differ by dimensions of 1 alone.

    Raises:
        Failure: `not_finite`, a weight is infinite or no number.
    """
    prefix, report, found = _prefix(tensors, weights), Report(), {}
    for given, tensor in tensors.items():
        name = given.replace(COMPILED, "").removeprefix(prefix)
        refusal = "another of its name came before it" if name in found else _refusal(tensor, weights.get(name))
        if refusal:
            report.skipped.append({"name": given, "reason": refusal})
        else:
            found[name] = _fitted(tensor, weights[name], given)
            _enter(report, given, name, tensor, weights[name])
    report.initialised = [name for name in weights if name not in found]
    return found, report


def _prefix(tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    """What stands in front of most of the network's own names; the shorter of two that are as good."""
    votes: Counter[str] = Counter()
    for given, tensor in tensors.items():
        parts = given.replace(COMPILED, "").split(".")
        for i in range(len(parts)):
            place = weights.get(".".join(parts[i:]))
            if place is not None:
                votes[".".join([*parts[:i], ""])] += 2 if place.shape == tensor.shape else 1
    return min(votes, key=lambda prefix: (-votes[prefix], len(prefix)), default="")


def _refusal(tensor: Tensor, place: Tensor | None) -> str | None:
    if place is None:
        return "the network has no such tensor"
    if _essence(tensor) != _essence(place):
        return f"its shape is {list(tensor.shape)}, the network's {list(place.shape)}"
    if place.is_floating_point() and not tensor.is_floating_point():
        return f"it holds {_type(tensor)}, the network {_type(place)}"
    return None


def _fitted(tensor: Tensor, place: Tensor, given: str) -> Tensor:
    fitted = tensor.detach().to(place.dtype).reshape(place.shape).contiguous()
    if fitted.is_floating_point() and not torch.isfinite(fitted).all():
        raise Failure("not_finite", f"{given} holds numbers that are infinite or none at all (NaN).")
    return fitted


def beneath(structure: Anatomy, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All but those of the heads."""
    heads = tuple(f"{head}." for head in structure.heads)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(heads)}


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each with memory of its own: what shares some in the file would be trained together."""
    apart, end = {}, 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].data_ptr()):
        apart[name] = tensor.clone() if tensor.data_ptr() < end else tensor
        end = max(end, tensor.data_ptr() + tensor.nbytes)
    return apart


def _enter(report: Report, given: str, name: str, tensor: Tensor, place: Tensor) -> None:
    if name != given:
        report.renamed.append({"from": given, "to": name})
    if tensor.shape != place.shape:
        report.reshaped.append({"name": name, "from": list(tensor.shape), "to": list(place.shape)})
    if name == given and tensor.shape == place.shape:
        report.copied.append(name)
    if tensor.dtype != place.dtype:
        report.cast.append({"name": name, "from": _type(tensor), "to": _type(place)})


def _require_enough(
    weights: Mapping[str, Tensor], found: Mapping[str, Tensor], structure: Anatomy, report: Report
) -> None:
    heads = tuple(f"{head}." for head in structure.heads)
    counted = {name: weights[name].numel() for name in weights if not name.startswith(heads)}
    if sum(counted.get(name, 0) for name in found) >= ENOUGH * sum(counted.values()):
        return
    homeless = [f"{entry['name']} ({entry['reason']})" for entry in report.skipped]
    raise Failure(
        "weights_do_not_fit",
        f"Of the network's {len(weights)} tensors {len(found)} were found: these are not its weights. "
        f"Missing: {_some(report.initialised)}. Without a place: {_some(homeless)}.",
    )


def _essence(tensor: Tensor) -> list[int]:
    return [side for side in tensor.shape if side != 1]


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN]) or "nothing"
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
