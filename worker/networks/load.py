"""Weights into a network, tensor by tensor: nothing is passed over in silence (compare `strict=False`)."""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.transfer import TensorReport
from worker.networks import build, positions, stem
from worker.networks.structure import Structure
from worker.runtime.contract import Failure

SHOWN = 50
COMPILED = "_orig_mod."  # torch.compile puts it into names, at any depth
# Floats that a network works out by itself when it is built, and floats that tools leave beside the weights.
WORKED_OUT = {"relative_coords_table", "attn_mask", "total_ops", "total_params"}
# State of a training, by a part of a tensor's name: no weight of any network.
_TRAINING = re.compile(
    r"(^|\.)(optimizers?|optim|optimizer_states?|optimizer_state_dict|lr_schedulers?|schedulers?|scaler|amp|callbacks|loops"
    r"|rng_states?|cuda_rng_state|torch_rng_state|([a-z_]*_)?(loss|criterion)(_fn|_func)?|metrics|queue|queue_ptr"
    r"|data_preprocessor)(\.|$)"
)


@dataclass
class Report:
    """The report on what became of each tensor.

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

    def was_drawn(self, names: Collection[str]) -> None:
        """Record that what was drawn at random before it was stored is as good as newly drawn: no tensor that somebody
        has trained."""
        drawn = {*names} - {*self.initialised}
        sources = {entry["from"] for entry in self.renamed} | {*self.copied}
        for name in sorted(drawn & sources):
            to = next((entry["to"] for entry in self.renamed if entry["from"] == name), name)
            self.copied = [other for other in self.copied if other != name]
            self.renamed = [entry for entry in self.renamed if entry["from"] != name]
            self.reshaped = [entry for entry in self.reshaped if entry["name"] != to]
            self.initialised.append(to)

    def document(self) -> TensorReport:
        return TensorReport.load(asdict(self))


class Loaded(NamedTuple):
    """A network with its weights, on the CPU."""

    network: nn.Module
    structure: Structure
    report: Report


def make(
    spec: NetworkSpec,
    input: InputSpec,
    tensors: Mapping[str, Tensor],
    *,
    without_heads: bool = False,
    names: Mapping[str, str] | None = None,
    aside: Collection[str] = (),
    allow_missing: bool = False,
) -> Loaded:
    """A network of these weights, which become its own memory; the heads that are not among them are drawn.

    `without_heads`: the heads are drawn, whatever the tensors hold for them.  `names` are those in the network of
    tensors that go by others, `aside` those of tensors that are knowingly left out.  `allow_missing`: whatever else
    is missing is drawn, too, and what has no place is left out.

    Raises:
        Failure: see `build.build`, `Structure.of` and `load`.
    """
    network = build.shell(spec, input)
    if without_heads:
        tensors = beneath(Structure.of(network, input), tensors)
    fitting, report = match(tensors, network.state_dict(), names)
    if report.initialised:
        network = build.build(spec, input)
    weights = network.state_dict()
    network.load_state_dict(weights | _apart(fitting), assign=True)
    structure = Structure.of(network, input)
    require_complete(network, tensors, structure, report, aside=aside, allow_missing=allow_missing)
    return Loaded(network, structure, report)


def load(network: nn.Module, tensors: Mapping[str, Tensor], structure: Structure) -> Report:
    """Copy `tensors` into the network where name and shape fit; heads that are not among them stay as they are.

    Raises:
        Failure: `weights_do_not_fit`, with the names: a weight is missing, heads not counted, or has no place; or
            `not_finite`.
    """
    weights = network.state_dict()
    fitting, report = match(tensors, weights)
    require_complete(network, tensors, structure, report)
    with torch.no_grad():
        for name, tensor in fitting.items():
            weights[name].copy_(tensor)
    return report


def match(
    tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor], names: Mapping[str, str] | None = None
) -> tuple[dict[str, Tensor], Report]:
    """The tensors among `tensors` that have a place among `weights` (a `state_dict`), by its name there, shape and type
    as there.

    `names` are the names there by those of `tensors`; without it, whatever stands in front of most of the network's
    names (`module.`, `state_dict.model.`, …) is taken off.  Shapes may differ by dimensions of 1; a convolution
    between grey and colour images, and embeddings of positions of another grid, are made to fit.

    Raises:
        Failure: `not_finite`, a weight is infinite or no number.
    """
    if names is None:
        prefix = _prefix(tensors, weights)
        names = {original: original.replace(COMPILED, "").removeprefix(prefix) for original in tensors}
    report, fitting = Report(), dict[str, Tensor]()
    change = stem.channels({names.get(original, original): tensor for original, tensor in tensors.items()}, weights)
    for original, tensor in tensors.items():
        name = names.get(original, original)
        converted = _converted(tensor, name, weights, change)
        refusal = "another of its name came before it" if name in fitting else _refusal(converted, weights.get(name))
        if refusal:
            report.skipped.append({"name": original, "reason": refusal})
        else:
            fitting[name] = _fitted(converted, weights[name], original)
            _enter(report, original, name, tensor, weights[name])
    report.initialised = [name for name in weights if name not in fitting]
    return fitting, report


def _prefix(tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    """The prefix of most of the network's own names; the shorter of two that are as good."""
    votes: Counter[str] = Counter()
    for original, tensor in tensors.items():
        parts = original.replace(COMPILED, "").split(".")
        for i in range(len(parts)):
            place = weights.get(".".join(parts[i:]))
            if place is not None:
                votes[".".join([*parts[:i], ""])] += 2 if place.shape == tensor.shape else 1
    return min(votes, key=lambda prefix: (-votes[prefix], len(prefix)), default="")


def _converted(tensor: Tensor, name: str, weights: Mapping[str, Tensor], change: tuple[int, int] | None) -> Tensor:
    place = weights.get(name)
    if place is None or tensor.shape == place.shape or not tensor.is_floating_point():
        return tensor
    return positions.resampled(name, stem.fitted(tensor, place, change), place)


def _refusal(tensor: Tensor, place: Tensor | None) -> str | None:
    if place is None:
        return "the network has no such tensor"
    if _essence(tensor) != _essence(place):
        return f"its shape is {list(tensor.shape)}, the network's {list(place.shape)}"
    if place.is_floating_point() and not tensor.is_floating_point():
        return f"it holds {_type(tensor)}, the network {_type(place)}"
    return None


def _fitted(tensor: Tensor, place: Tensor, original: str) -> Tensor:
    fitted = tensor.detach().to(place.dtype).reshape(place.shape).contiguous()
    if fitted.is_floating_point() and not torch.isfinite(fitted).all():
        raise Failure("not_finite", f"{original} holds infinite values or NaN.")
    return fitted


def beneath(structure: Structure, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
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


def _enter(report: Report, original: str, name: str, tensor: Tensor, place: Tensor) -> None:
    if name != original:
        report.renamed.append({"from": original, "to": name})
    if tensor.shape != place.shape:
        report.reshaped.append({"name": name, "from": list(tensor.shape), "to": list(place.shape)})
    if name == original and tensor.shape == place.shape:
        report.copied.append(name)
    if tensor.dtype != place.dtype:
        report.cast.append({"name": name, "from": _type(tensor), "to": _type(place)})


def require_complete(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    structure: Structure,
    report: Report,
    *,
    aside: Collection[str] = (),
    allow_missing: bool = False,
) -> None:
    """Everything of the network but a new head is among `tensors`, and every weight of these has a place.

    A head is new as a whole or not at all, and only above a backbone that is there.  Of `tensors`, those named in
    `aside` need no place.

    Raises:
        Failure: `weights_do_not_fit`, with the names.
    """
    weights = network.state_dict()
    missing = missing_weights(network, structure, report)
    homeless = [
        f"{entry['name']} ({entry['reason']})"
        for entry in left_over(tensors, structure, report)
        if entry["name"] not in aside
    ]
    there = len(weights) - len(report.initialised)
    if there and (allow_missing or not (missing or homeless)):
        return
    message = f"Of the network's {len(weights)} tensors {there} were found"
    message += ": these are not its weights." if 2 * there < len(weights) else "."
    wanting = missing if there else report.initialised
    if wanting:
        message += f" Missing are {len(wanting)}: {_some(wanting)}."
    if homeless:
        message += f" Without a place are {len(homeless)}: {_some(homeless)}."
    if there:
        message += (
            " Name the network that they belong to; or say `allow_missing`, and what is missing is drawn at random and"
            " what has no place is left out."
        )
    raise Failure("weights_do_not_fit", message)


def missing_weights(network: nn.Module, structure: Structure, report: Report) -> list[str]:
    """Names of what is missing of a network beyond what it works out by itself, and beyond a head that is new."""
    weights = network.state_dict()
    heads = _within(structure)
    lacking = [name for name in report.initialised if name.startswith(heads) or not _worked_out(name, weights[name])]
    above = [name for name in lacking if name.startswith(heads)]
    everything = [name for name in weights if name.startswith(heads)]
    backbone = any(not _worked_out(name, tensor) for name, tensor in weights.items() if not name.startswith(heads))
    layers = all(isinstance(network.get_submodule(path), nn.Linear | nn.Conv2d) for path in structure.heads)
    new = len(above) == len(everything) and backbone and layers  # else it is a fitted head, a part of one, or all
    return [name for name in lacking if not (new and name.startswith(heads))]


def left_over(tensors: Mapping[str, Tensor], structure: Structure, report: Report) -> list[dict[str, str]]:
    """The weights among what has no place in the network; those of the same names as its heads are none: a new head
    takes their place."""
    names = {name: name.replace(COMPILED, "") for name in (entry["name"] for entry in report.skipped)}
    heads = tuple(f".{head}." for head in structure.heads)
    return [
        entry
        for entry in report.skipped
        if tensors[entry["name"]].is_floating_point()
        and not _TRAINING.search(names[entry["name"]])
        and names[entry["name"]].rpartition(".")[2] not in WORKED_OUT
        and not (any(head in f".{names[entry['name']]}" for head in heads) and new_head(report, structure))
    ]


def new_head(report: Report, structure: Structure) -> bool:
    """Tell whether a head of the network was drawn."""
    return any(name.startswith(_within(structure)) for name in report.initialised)


def is_weight(name: str, tensor: Tensor) -> bool:
    """Tell whether a tensor by this name is a weight, and neither a counter, nor worked out by the network itself, nor
    the state of a training."""
    return not _worked_out(name, tensor) and not _TRAINING.search(name)


def _worked_out(name: str, tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or name.rpartition(".")[2] in WORKED_OUT


def _within(structure: Structure) -> tuple[str, ...]:
    return tuple(f"{head}." for head in structure.heads)


def _essence(tensor: Tensor) -> list[int]:
    return [side for side in tensor.shape if side != 1]


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN]) or "nothing"
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
