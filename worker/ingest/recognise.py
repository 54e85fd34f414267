"""A file whose network nobody names: the network, its classes and its input, or the nearest, and why it is not that."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor
from torchvision.models import ResNet18_Weights

from app.contract.identification import Candidate, Trial
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.ingest import shape_fit
from worker.ingest.candidates import UNKNOWN_CLASSES, BuiltCandidate
from worker.ingest.dialects import refusals, translate
from worker.ingest.dialects.translation import Piece, untranslated
from worker.ingest.shape_fit import Fit
from worker.networks.signatures import CLASSES, Signature
from worker.runtime.contract import Failure, Note

SHOWN = 5  # candidates, beside those that fit alike
NAMED = 3  # weights, or networks, in a sentence


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
    groups: list[list[BuiltCandidate]] = []
    nearest: list[Fit] = []
    for read in readings:
        fits = shape_fit.rank(read.tensors, known)
        nearest += fits
        built = [
            [one for fit in group if (one := BuiltCandidate.of(fit, read, num_classes)) is not None]
            for group in _nested([fit for fit in fits if fit.complete])
        ]
        by_name = ([one for one in group if one.has_its_names] for group in built)
        if named := next(filter(None, by_name), []):
            return _chosen(named, nearest, "names")
        groups += built[:1]
    fitting = groups[0] if groups else []
    if in_order := [one for one in fitting if one.out_of_order() is None]:
        return _chosen(in_order, nearest, "structure")
    nearest.sort(key=lambda fit: -fit.share)
    candidates = [_candidate(fit) for fit in _beside(nearest, ())]
    refused = Failure("network_needed", _nearest(nearest, fitting))
    raise Unrecognised(refused.code, refused.message, candidates)


def _chosen(built: Sequence[BuiltCandidate], fits: Sequence[Fit], rule: str) -> Recognised:
    """Take the most usual of several candidates; those whose conventions are not the file's are none."""
    first, *others = sorted(built, key=lambda one: one.rarity)
    others = [other for other in others if other.unconventional == first.unconventional]
    candidates = [_candidate(one.fit, one.network, one.input) for one in (first, *others)]
    return Recognised(
        first.network,
        first.input,
        rule,
        [other.network for other in others],
        [*candidates, *(_candidate(fit) for fit in _beside(fits, candidates))],
    )


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


def _nearest(fits: Sequence[Fit], fitting: Sequence[BuiltCandidate]) -> str:
    """Say why no network is taken, and which is nearest."""
    advice = "Give `network`; GET /v1/networks lists them."
    if not fits:
        return f"The file's tensors are not those of any network that is known here. {advice}"
    best = fits[0]
    name, under = best.signature.label, f" under `{best.set.prefix.rstrip('.')}`" if best.set.prefix else ""
    if fitting:
        reason = fitting[0].out_of_order()
        return f"The weights{under} have the shapes of {name}, but neither its names nor its order: {reason}. {advice}"
    message = f"The file's weights are those of no network that is known here. The nearest is {name}: "
    message += f"{best.found} of its {best.signature.wanted} weights were found{under} by their shapes"
    if best.left_over:
        shown = ", ".join(best.left_over[:NAMED])
        message += f", and {len(best.left_over)} of the file's have no place in it ({shown})"
    return f"{message}. {advice}"
