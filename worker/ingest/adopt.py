"""Somebody's weights into a network: nothing is drawn, dropped or taken for something else without being said."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.ingest import structural, weight_sets
from worker.ingest.dialects import refusals, timm_filter, translate
from worker.ingest.dialects.translation import Piece, Translation
from worker.networks import build, conventions, from_timm, load, positions
from worker.networks.load import Loaded, Report
from worker.networks.structure import Structure
from worker.runtime.contract import Failure, Note

SHOWN = 5
FEW = 0.2  # names and shapes of a network, for each of its tensors: what has no more goes by other names
HEADS = {  # what heads, and what is trained above a backbone, are called
    "fc",
    "head",
    "heads",
    "classifier",
    "cls_head",
    "linear",
    "last_linear",
    "logits",
    "projector",
    "projection",
    "projection_head",
    "proj_head",
    "predictor",
    "contrastive_head",
    "prototypes",
}


@dataclass(frozen=True)
class Adopted:
    """`network` is the one that was asked for, with options that the file told.  `warnings` say whatever was decided,
    converted, drawn or left out."""

    network: NetworkSpec
    loaded: Loaded
    untrained_head: bool
    warnings: list[Note]


def adopt(
    network: NetworkSpec,
    input: InputSpec,
    tensors: Mapping[str, Tensor],
    *,
    weights: str | None = None,
    mapping: Mapping[str, str] | None = None,
    allow_missing: bool = False,
    filename: str | None = None,
) -> Adopted:
    """The network of one set of weights among `tensors`: `weights` names it, or else it is the field's choice.

    `mapping` gives the network's names of some tensors, whatever they are called.  Where hardly a name is the
    network's, or one that is brought over to it, tensors are matched by their order and shapes.

    Raises:
        Failure: `unknown_tensor`, the mapping names one that is not there; `weights_do_not_fit`, `foreign_names`,
            `unmerged_adapter`, `ambiguous_weights`, `not_finite`; or see `build.build` and `Structure.of`.
    """
    refusals.refuse_adapters(tensors)
    shell = build.shell(network, input)
    places, structure = shell.state_dict(), Structure.of(shell, input)
    read, matched = _read(network, tensors, mapping or {}, shell, structure)
    translated = read.tensors
    choice = weight_sets.choose(translated, _backbone(places, structure), weights)
    aside = {name for name in translated if name in choice.aside}
    taken = {name: tensor for name, tensor in translated.items() if name not in aside}
    names = {name: name.removeprefix(choice.prefix) for name in taken}
    warnings = [_by_structure(matched)] if matched else []
    if choice.others:
        warnings.append(Note("weights_chosen", choice.sentence, "warning"))
    options, notes = _options(network, read, names.values(), shell)
    warnings += notes
    if options:
        network = network.model_copy(update={"options": network.options | options})
        shell = build.shell(network, input)
        places, structure = shell.state_dict(), Structure.of(shell, input)
    head = _renamed_head(taken, names, places, structure)
    if head:
        names |= head
        moved = ", ".join(f"{original} → {name}" for original, name in head.items())
        warnings.append(
            Note("head_renamed", f"The file's head goes by another name, and was taken: {moved}.", "warning")
        )
    others = _other_heads(taken, names, choice.prefix, structure)
    try:
        loaded = load.make(network, input, taken, names=names, aside=others, allow_missing=allow_missing)
    except Failure as failure:
        raise refusals.explained(failure, tensors, read, filename) from failure
    warnings += _notes(loaded, taken, others)
    loaded.report.skipped += [
        {"name": name, "reason": "it is of a set of weights that was left aside"} for name in aside
    ]
    drawn = load.new_head(loaded.report, loaded.structure)
    report = read.restated(loaded.report)
    rules = dict.fromkeys(matched, "structure") | dict.fromkeys(mapping or {}, "mapping")
    report.renamed = [
        entry | {"rule": rules[entry["from"]]} if entry["from"] in rules else entry for entry in report.renamed
    ]
    return Adopted(network, loaded._replace(report=report), drawn, [*_translated(read, report), *warnings])


def _read(
    network: NetworkSpec,
    tensors: Mapping[str, Tensor],
    mapping: Mapping[str, str],
    shell: nn.Module,
    structure: Structure,
) -> tuple[Translation, dict[str, str]]:
    """The tensors by the network's names, as far as those are known, and the names that are so by order and shape.

    Raises:
        Failure: `unknown_tensor`.
    """
    if unknown := [name for name in mapping if name not in tensors]:
        raise Failure("unknown_tensor", f"`mapping` names tensors that the file does not have: {_some(unknown)}.")
    places = shell.state_dict()
    rest = {name: tensor for name, tensor in tensors.items() if name not in mapping}
    open_places = {name: tensor for name, tensor in places.items() if name not in mapping.values()}
    backbone = {name: tensor for name, tensor in _backbone(places, structure).items() if name in open_places}
    read, matched = _reading(network, rest, shell, backbone), dict[str, str]()
    if translate.fit(read.tensors, backbone) <= FEW * len(backbone) and not _of_other_conventions(network, rest):
        matched = structural.found(rest, open_places, structure.heads) or {}
    if matched:
        pieces = {matched.get(name, name): Piece(tensor, (name,)) for name, tensor in rest.items()}
        read = Translation("", "", pieces)
    given = {place: Piece(tensors[name], (name,)) for name, place in mapping.items()}
    return replace(read, pieces={**read.pieces, **given}), matched


def _of_other_conventions(network: NetworkSpec, tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether the file is of a library that pads or normalises in a way that only timm's networks can be told."""
    if network.name.startswith(from_timm.PREFIX):
        return False
    return any(translation.conventions for translation in translate.translations(tensors))


def _by_structure(matched: Mapping[str, str]) -> Note:
    some = [f"{original} → {name}" for original, name in matched.items()]
    text = (
        f"The file's names are not the network's: {len(matched)} tensors were matched by their order and shapes "
        f"({_some(some)}). The report has them all; `mapping` in the request names others. What no tensor shows "
        "(paddings, epsilons, activations) is the network's."
    )
    return Note("matched_by_structure", text, "warning")


def _reading(
    network: NetworkSpec, tensors: Mapping[str, Tensor], shell: nn.Module, backbone: Mapping[str, Tensor]
) -> Translation:
    """The file's names as they are, by a rule, or as timm itself converts them: what is most like the network."""
    read = translate.fitting(tensors, backbone)
    if read.layout or backbone.keys() <= read.pieces.keys():
        return read
    return timm_filter.converted(network.name, shell, read, backbone) or read


def _options(
    network: NetworkSpec, read: Translation, names: Collection[str], shell: nn.Module
) -> tuple[dict[str, Any], list[Note]]:
    """Options of timm's family that the file tells, and that the network has otherwise."""
    options: dict[str, Any] = {}
    notes: list[Note] = []
    if not network.name.startswith(from_timm.PREFIX):
        return options, notes
    if refusals.pooled(names, shell.state_dict()):
        options["global_pool"] = "avg"
        text = "The file's last norm stands behind the pooling (fc_norm): the network averages its tokens."
        notes.append(Note("pooling_recognised", text, "warning"))
    if read.conventions and (conventional := conventions.differing(read.conventions, shell)):
        options |= conventional
        shown = ", ".join(f"`{name}` {value!r}" for name, value in conventional.items())
        text = (
            f"{read.layout.capitalize()} pads and normalises otherwise than {network.name} does unless it is told to: "
            f"{shown} are among its options now."
        )
        notes.append(Note("conventions_recognised", text, "warning"))
    return options, notes


def _translated(read: Translation, report: Report) -> Iterator[Note]:
    """Notes on names that another library has."""
    if not read.layout:
        return
    if report.renamed or not read.aside:
        example = next((f": {entry['from']} → {entry['to']}" for entry in report.renamed), "")
        text = (
            f"The file's names are those of {read.layout}; they were brought over to {read.library}'s "
            f"({len(report.renamed)} in the report{example}). {read.remark}"
        )
        yield Note("names_translated", text.rstrip(), "warning")
    if read.aside:
        reasons = Counter(read.aside.values())
        text = "; ".join(f"{count} tensors, since each {reason}" for reason, count in reasons.items())
        yield Note("left_aside", f"Left aside were {text}: {_some([*read.aside])}.", "warning")


def _backbone(places: Mapping[str, Tensor], structure: Structure) -> dict[str, Tensor]:
    """The network's weights but for its heads; of a network that is all head, all."""
    weights = {name: tensor for name, tensor in places.items() if tensor.is_floating_point()}
    return load.beneath(structure, weights) or weights


def _renamed_head(
    tensors: Mapping[str, Tensor], names: Mapping[str, str], places: Mapping[str, Tensor], structure: Structure
) -> dict[str, str]:
    """Rename the file's head to the network's only one, where it has none by that name: the one layer of the head's
    shapes that is called a head."""
    path = f"{structure.head}."
    if len(structure.heads) > 1 or any(name.startswith(path) for name in names.values()):
        return {}
    wanted = {name.removeprefix(path): tensor.shape for name, tensor in places.items() if name.startswith(path)}
    layers: dict[str, dict[str, str]] = {}
    for original, name in names.items():
        layer, _, part = name.rpartition(".")
        if name not in places and HEADS & set(layer.split(".")):
            layers.setdefault(layer, {})[part] = original
    fitting = [
        parts
        for parts in layers.values()
        if parts.keys() == wanted.keys() and all(tensors[parts[part]].shape == shape for part, shape in wanted.items())
    ]
    if len(fitting) != 1:
        return {}
    return {original: path + part for part, original in fitting[0].items()}


def _other_heads(
    tensors: Mapping[str, Tensor], names: Mapping[str, str], prefix: str, structure: Structure
) -> list[str]:
    """Heads of the file that give way to a new one: where it has none for the network's classes."""
    if any(name.startswith(f"{head}.") for name in names.values() for head in structure.heads):
        return []
    root = prefix.split(".")[:-1]
    others = []
    for original in tensors:
        parts = names[original].split(".")
        while root and len(parts) > 1 and parts[0] in root:
            parts = parts[1:]
        if parts[0] in HEADS:
            others.append(original)
    return others


def _notes(loaded: Loaded, tensors: Mapping[str, Tensor], others: list[str]) -> Iterator[Note]:
    """Notes on the weights that were drawn at random, left out or converted."""
    report, structure = loaded.report, loaded.structure
    heads = tuple(f"{head}." for head in structure.heads)
    if load.new_head(report, structure):
        own = [entry["name"] for entry in report.skipped if any(f".{head}" in f".{entry['name']}" for head in heads)]
        put = (
            f"the file's is for others and was left out ({_some(own + others)})"
            if own + others
            else "the file has none"
        )
        yield Note(
            "untrained_head",
            f"The head ({', '.join(structure.heads)}) was drawn at random: {put}. It answers neither predictions nor "
            "`evaluate` before a method has adapted it to labels.",
            "warning",
        )
    missing = [name for name in load.missing_weights(loaded.network, structure, report) if not name.startswith(heads)]
    if missing:
        yield Note(
            "initialised",
            f"{len(missing)} tensors were not in the file and drawn at random: {_some(missing)}.",
            "warning",
        )
    homeless = [entry["name"] for entry in load.left_over(tensors, structure, report) if entry["name"] not in others]
    if homeless:
        yield Note(
            "left_over",
            f"{len(homeless)} tensors of the file have no place in the network: {_some(homeless)}.",
            "warning",
        )
    yield from _converted(report)


def _converted(report: Report) -> Iterator[Note]:
    for entry in report.reshaped:
        before, after = entry["from"], entry["to"]
        if len(before) == len(after) == 4 and {before[1], after[1]} == {1, 3} and before[2:] == after[2:]:
            how = (
                "summed over its colours for grey images"
                if after[1] == 1
                else "repeated for three colours, a third each"
            )
            yield Note("channels_converted", f"{entry['name']} was {how}: {before} → {after}.", "warning")
        elif len(before) == len(after) == 3 and before[1] != after[1] and before[2] == after[2]:
            text = f"{entry['name']} was resampled for another number of patches: {before} → {after}."
            yield Note("positions_resampled", text, "warning")
    tables = [entry for entry in report.reshaped if entry["name"].endswith(positions.TABLE)]
    if tables:
        first = tables[0]
        text = (
            f"{len(tables)} tables of relative positions were resampled for windows of another size, such as "
            f"{first['name']}: {first['from']} → {first['to']}."
        )
        yield Note("positions_resampled", text, "warning")


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
