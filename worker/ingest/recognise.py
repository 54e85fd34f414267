"""A file whose network nobody names: the network, its classes and its input, or the nearest, and why it is not that."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple

import torch
from timm.models import get_arch_pretrained_cfgs
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights

from app.contract.identification import Candidate, Identification, Trial
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.ingest import identify, structural, weight_sets
from worker.ingest.adopt import HEADS
from worker.ingest.dialects import refusals, translate
from worker.ingest.dialects.translation import Piece, Translation, untranslated
from worker.ingest.identify import Fit
from worker.networks import build, conventions, from_timm, modes
from worker.networks.load import is_weight
from worker.networks.signatures import CLASSES, Signature
from worker.networks.structure import Structure
from worker.runtime.contract import Failure, Note

SHOWN = 5  # candidates, beside those that fit alike
NAMED = 3  # weights, or networks, in a sentence
CONTRASTED = {"query", "key", "base", "online", "target", "momentum"}  # encoders whose last layer is a projection
UNKNOWN_CLASSES = 1  # of a file without a head: something for a transfer to replace, as for weights that timm publishes
# Between two networks that compute the same: of the difference that the image makes, and of the largest output.
CLOSE, ROUNDING = 1e-3, 2e-6


@dataclass(frozen=True)
class Recognised:
    """`rule` is `names` or `structure`.  `alike` are other networks that the file fits as well, but for those that a
    trial (`measured`) has ruled out.  The most usual one is the first of `candidates`, then come those alike."""

    network: NetworkSpec
    input: InputSpec
    rule: str
    alike: Sequence[NetworkSpec]
    candidates: Sequence[Candidate]
    measured: Trial | None = None

    @property
    def imagenet(self) -> list[str] | None:
        """ImageNet's class names, where the network is one that was made for it and has as many classes."""
        made_for_it = self.network.num_classes == CLASSES and self.network.of_library
        return list(ResNet18_Weights.DEFAULT.meta["categories"]) if made_for_it else None

    def assumed(self, *, input: InputSpec | None, classes: list[str] | None) -> Iterator[Note]:
        """Warnings on what is taken for granted where `input` or `classes` are None, and nothing says what they are."""
        name, usual = self.network.name, self.input
        if input is None:
            text = (
                f"No file says how its images were prepared: {usual.size[0]}×{usual.size[1]} pixels, mean "
                f"{list(usual.mean)} and std {list(usual.std)} are usual for {name}. `input` in the request says "
                "otherwise."
            )
            yield Note("input_assumed", text, "warning")
        if classes is None and self.imagenet is not None:
            text = (
                f"{name} with {CLASSES:,} classes was taken to have ImageNet's: `classes` in the request names others."
            )
            yield Note("classes_assumed", text, "warning")


class Unrecognised(Failure):
    """No network is taken; `candidates` are the nearest."""

    def __init__(self, code: str, message: str, candidates: Sequence[Candidate] = ()) -> None:
        super().__init__(code, message)
        self.candidates = list(candidates)

    @property
    def note(self) -> Note:
        return Note(self.code, self.message, "warning")


class _Shell(NamedTuple):
    """A candidate as it would be built for the file, without its weights."""

    fit: Fit
    network: NetworkSpec
    input: InputSpec
    module: nn.Module
    structure: Structure
    unconventional: bool  # it pads or normalises otherwise than the library whose names the file has

    @property
    def weights(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in self.module.state_dict().items() if is_weight(name, tensor)}


def recognise(
    tensors: Mapping[str, Tensor],
    known: Sequence[Signature],
    *,
    mapping: Mapping[str, str] | None = None,
    num_classes: int | None = None,
) -> Recognised:
    """The network that the tensors are of.  `mapping` gives its names of some, `num_classes` holds where the file has
    no head.

    Raises:
        Unrecognised: `network_needed`, it is none that is known: the nearest is named.
        Failure: `ambiguous_weights`, the file holds several networks; `unmerged_adapter`.
    """
    refusals.refuse_adapters(tensors)
    rest = {name: tensor for name, tensor in tensors.items() if name not in (mapping or {})}
    given = {place: Piece(tensors[name], (name,)) for name, place in (mapping or {}).items() if name in tensors}
    readings = [
        replace(read, pieces={**read.pieces, **given}) for read in (untranslated(rest), *translate.translations(rest))
    ]
    groups: list[list[_Shell]] = []
    nearest: list[Fit] = []
    for read in readings:
        fits = identify.rank(read.tensors, known)
        nearest += fits
        shells = [
            [shell for fit in group if (shell := _shell(fit, read, num_classes)) is not None]
            for group in _nested([fit for fit in fits if fit.complete])
        ]
        if by_name := next((named for group in shells if (named := [shell for shell in group if _named(shell)])), []):
            return _chosen(by_name, nearest, "names")
        groups += shells[:1]
    fitting = groups[0] if groups else []
    if in_order := [shell for shell in fitting if _in_order(shell) is None]:
        return _chosen(in_order, nearest, "structure")
    nearest.sort(key=lambda fit: -fit.share)
    candidates = [_candidate(fit) for fit in _beside(nearest, ())]
    refused = Failure("network_needed", _nearest(nearest, fitting))
    raise Unrecognised(refused.code, refused.message, candidates)


def _chosen(shells: Sequence[_Shell], fits: Sequence[Fit], rule: str) -> Recognised:
    """Take the most usual of several candidates; those whose conventions are not the file's are none."""
    first, *others = sorted(shells, key=_unusual)
    others = [other for other in others if other.unconventional == first.unconventional]
    candidates = [_candidate(shell.fit, shell.network, shell.input) for shell in (first, *others)]
    return Recognised(
        first.network,
        first.input,
        rule,
        [other.network for other in others],
        [*candidates, *(_candidate(fit) for fit in _beside(fits, candidates))],
    )


def compared(recognised: Recognised, network: nn.Module, input: InputSpec) -> Identification:
    """Compare the networks that fit alike with `network`, which has the file's weights: do they compute the same?"""
    others = differing(recognised, network, input)
    first, *rest = recognised.candidates
    update = {
        "ambiguous_with": [other.name for other in others],
        "same_as": [other.name for other in recognised.alike if other not in others],
    }
    measured = {} if recognised.measured is None else {"measured": recognised.measured}
    return Identification(rule=recognised.rule, candidates=[first.model_copy(update=update), *rest], **measured)


def differing(recognised: Recognised, network: nn.Module, input: InputSpec) -> list[NetworkSpec]:
    """Those of the networks that fit alike that compute something else than `network`, which has the file's weights."""
    return [other for other in recognised.alike if _differs(network, other, input)]


def ambiguity(identified: Identification | None) -> Iterator[Note]:
    """A warning where networks that compute something else fit as well."""
    if identified is None or not identified.candidates[0].ambiguous_with:
        return
    name, others = identified.candidates[0].network.name, ", ".join(identified.candidates[0].ambiguous_with)
    text = (
        f"The file's weights fit {name} and {others} alike, which compute something else with them (paddings, "
        f"epsilons, activations or poolings differ): {name} is the most usual one, and was taken. `network` in the "
        "request names another."
    )
    yield Note("network_ambiguous", text, "warning")


def _differs(network: nn.Module, other: NetworkSpec, input: InputSpec) -> bool:
    """Tell whether another network computes something else with the same weights, on noise."""
    module = build.shell(other, input)
    weights, places = network.state_dict(), module.state_dict()
    if weights.keys() != places.keys():  # other names, as torchvision's and timm's, in the same order
        if len(weights) != len(places):
            return True
        pairs = zip(places.items(), weights.values(), strict=True)
        weights = {name: tensor.reshape(place.shape) for (name, place), tensor in pairs}
    module.load_state_dict(weights, assign=True)
    x_BCHW = torch.randn(2, input.channels, *input.size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), modes.evaluating(network), modes.evaluating(module):
        one_BK, other_BK = network(x_BCHW), module(x_BCHW)
    between_images, largest = float((one_BK[0] - one_BK[1]).abs().max()), float(one_BK.abs().max())
    return not torch.allclose(one_BK, other_BK, rtol=0, atol=max(CLOSE * between_images, ROUNDING * largest))


def _nested(fits: Sequence[Fit]) -> list[list[Fit]]:
    """The fits of the largest set of weights that a network fits, and then those of the sets within it: a head beside
    the backbone (mmpretrain) is of the outer one, and the names are those of the inner.  Sets beside it that the same
    networks fit are as good.

    Raises:
        Failure: `ambiguous_weights`, the file holds different networks.
    """
    if not fits:
        return []
    outer = [fit for fit in fits if not any(_within(fit, other) for other in fits)]
    prefixes = dict.fromkeys(fit.set.prefix for fit in outer)
    names = {prefix: {fit.signature.label for fit in outer if fit.set.prefix == prefix} for prefix in prefixes}
    first = outer[0].set.prefix
    if any(found != names[first] for found in names.values()):
        several = ", ".join(f"{min(found)} under `{prefix.rstrip('.')}`" for prefix, found in names.items())
        raise Failure("ambiguous_weights", f"The file holds weights of several networks: {several}. Give `network`.")
    inner = dict.fromkeys(fit.set.prefix for fit in fits if fit.set.prefix.startswith(first))
    return [
        [fit for fit in fits if fit.set.prefix == prefix and fit.signature.label in names[first]] for prefix in inner
    ]


def _within(fit: Fit, other: Fit) -> bool:
    return fit.set.prefix != other.set.prefix and fit.set.prefix.startswith(other.set.prefix)


def _shell(fit: Fit, read: Translation, num_classes: int | None) -> _Shell | None:
    """The candidate for the classes, channels and size that the file tells; None where it cannot be built so."""
    spec = NetworkSpec(name=fit.signature.name, num_classes=CLASSES, options=dict(fit.signature.options))
    input = _input(fit, spec)
    if input is None:
        return None
    try:
        module = build.outline(spec, input)
        structure = Structure.of(module, input)
        classes = _classes(fit, read.tensors, module, structure) or num_classes or UNKNOWN_CLASSES
        spec = spec.model_copy(update={"num_classes": classes})
        module = build.outline(spec, input)
    except Failure:
        return None
    options = conventions.differing(read.conventions, module) if read.conventions else {}
    return _Shell(fit, spec, input, module, structure, bool(options))


def _input(fit: Fit, spec: NetworkSpec) -> InputSpec | None:
    """The usual input, for the channels and the size that the file tells."""
    usual = build.usual_input(spec)
    if usual is None:
        return None
    update: dict[str, object] = {}
    if fit.channels is not None and fit.channels != usual.channels:
        mean, std = ((fmean(values),) * fit.channels for values in (usual.mean, usual.std))
        update = {"channels": fit.channels, "mean": mean, "std": std}
    if fit.side is not None and fit.side != usual.size[0]:
        update["size"] = (fit.side, fit.side)
    try:
        return InputSpec.model_validate(usual.model_dump() | update)
    except ValueError:
        return None


def _classes(fit: Fit, tensors: Mapping[str, Tensor], module: nn.Module, structure: Structure) -> int | None:
    """The number of classes of the head in the file: by its name, by its shape, or of the one layer elsewhere in the
    file that is called a head and is as wide."""
    weight = f"{structure.head}.weight"
    if weight_sets.label(fit.set.prefix) in CONTRASTED:
        return None
    if weight in fit.set.dims:
        return fit.set.dims[weight][0]
    if fit.num_classes is not None:
        return fit.num_classes
    width = module.get_parameter(weight).shape[1]
    layers: dict[str, list[int]] = {}
    for name, tensor in tensors.items():
        root = _head_root(name)
        if root and name.endswith(".weight") and not name.startswith(fit.set.prefix or "\0"):
            layers.setdefault(root, []).append(tensor.shape[0] if tensor.shape[1:2] == (width,) else 0)
    found = [classes[0] for classes in layers.values() if len(classes) == 1 and classes[0]]
    return found[0] if len(found) == 1 else None


def _head_root(name: str) -> str | None:
    """The path of what is called a head, above a weight: a single layer is one, several are a projection."""
    parts = name.split(".")
    at = next((i for i, part in enumerate(parts) if part in HEADS), None)
    return None if at is None else ".".join(parts[: at + 1])


def _named(shell: _Shell) -> bool:
    """Tell whether the file has the network's own names, its head's aside."""
    heads = tuple(f"{head}." for head in shell.structure.heads)
    return all(name in shell.fit.set.dims for name in shell.weights if not name.startswith(heads))


def _in_order(shell: _Shell) -> str | None:
    """The reason why the weights are not the network's by their order and shapes; None where they are."""
    places = {name: tuple(tensor.shape) for name, tensor in shell.weights.items()}
    try:
        structural.match(shell.fit.set.dims, places)
    except structural.Unmatched as reason:
        return str(reason)
    return None


def _unusual(shell: _Shell) -> tuple[bool, bool, bool, int, int, str]:
    """The less, the more usual: the conventions of the file's library, the network's own size, torchvision before timm,
    more published weights, a shorter name."""
    name = shell.network.name
    published = get_arch_pretrained_cfgs(name.removeprefix(from_timm.PREFIX)) if _is_timm(name) else {}
    other_size = shell.fit.side is not None and shell.fit.side != shell.fit.signature.usual[2]
    return shell.unconventional, other_size, _is_timm(name), -len(published), len(name), name


def _is_timm(name: str) -> bool:
    return name.startswith(from_timm.PREFIX)


def _candidate(fit: Fit, network: NetworkSpec | None = None, input: InputSpec | None = None) -> Candidate:
    options = dict(fit.signature.options)
    classes = fit.num_classes or UNKNOWN_CLASSES
    return Candidate(
        network=network or NetworkSpec(name=fit.signature.name, num_classes=classes, options=options),
        input=input,
        fit=round(fit.share, 4),
        found=fit.found,
        wanted=fit.signature.wanted,
        used=fit.used,
        given=len(fit.set.dims),
        prefix=fit.set.prefix,
    )


def _beside(fits: Sequence[Fit], candidates: Sequence[Candidate]) -> list[Fit]:
    """The next best of other networks, each once."""
    names = {candidate.network.name for candidate in candidates}
    best: dict[str, Fit] = {}
    for fit in fits:
        if fit.signature.name not in names:
            best.setdefault(fit.signature.name, fit)
    return list(best.values())[:SHOWN]


def _nearest(fits: Sequence[Fit], shells: Sequence[_Shell]) -> str:
    """Say why no network is taken, and which is nearest."""
    advice = "Give `network`; GET /v1/networks lists them."
    if not fits:
        return f"The file's tensors are not those of any network that is known here. {advice}"
    best = fits[0]
    name, under = best.signature.label, f" under `{best.set.prefix.rstrip('.')}`" if best.set.prefix else ""
    if shells:
        reason = _in_order(shells[0])
        return f"The weights{under} have the shapes of {name}, but neither its names nor its order: {reason}. {advice}"
    message = f"The file's weights are those of no network that is known here. The nearest is {name}: "
    message += f"{best.found} of its {best.signature.wanted} weights were found{under} by their shapes"
    if best.left_over:
        shown = ", ".join(best.left_over[:NAMED])
        message += f", and {len(best.left_over)} of the file's have no place in it ({shown})"
    return f"{message}. {advice}"
