"""Weights whose names nobody knows: matched to a network's by order and shape, where only one match is possible.

The order is the file's own, which is that of the modules where `torch.save` wrote it.  Where names stand sorted (as
safetensors has them) it is lost: then modules of one kind (their shapes, and those of their siblings) are told apart
by the numbers in their names.  Whatever the names say otherwise (a `bias` in the place of a `weight`, `key` in that of
`query`, numbers that do not ascend) speaks against a match, and there is none.
"""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from worker.networks.load import COMPILED, is_weight

SMALLEST_SHARE = 0.2  # of a file's weights that a set has which is looked at by itself
FEWEST = 4  # weights of such a set
Dims = tuple[int, ...]
Token = str | int
COUNTER = "num_batches_tracked"
ROLES = {
    "weight": "weight",
    "kernel": "weight",
    "gamma": "weight",
    "scale": "weight",
    "bias": "bias",
    "beta": "bias",
    "running_mean": "mean",
    "moving_mean": "mean",
    "running_var": "variance",
    "moving_variance": "variance",
}
WORDS = {"query": "q", "queries": "q", "key": "k", "keys": "k", "value": "v", "values": "v"}
_TOKEN = re.compile(r"\d+|[^\W\d_]+")


@dataclass(frozen=True)
class WeightSet:
    """The weights under one prefix of the file: their names without it, and shapes, in the file's order."""

    prefix: str
    dims: Mapping[str, Dims]


class Unmatched(Exception):
    """There is no match, or more than one; the message is a clause that says why."""


def sets(tensors: Mapping[str, Tensor]) -> list[WeightSet]:
    """The sets of weights in a file: what stands under one prefix, and is much of all that is there."""
    weights = {
        name: tuple(tensor.shape)
        for original, tensor in tensors.items()
        if is_weight(name := original.replace(COMPILED, ""), tensor)
    }
    counts = Counter(prefix for name in weights for prefix in _prefixes(name))
    enough = [prefix for prefix, count in counts.items() if count >= max(FEWEST, SMALLEST_SHARE * len(weights))]
    longest = {}
    for prefix in sorted(enough, key=len):  # of prefixes that hold the same the longest
        members = tuple(name for name in weights if name.startswith(prefix))
        longest[members] = prefix
    return [
        WeightSet(prefix, {name.removeprefix(prefix): weights[name] for name in members})
        for members, prefix in longest.items()
    ]


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    for end in range(len(parts)):
        yield ".".join([*parts[:end], ""])


def found(
    tensors: Mapping[str, Tensor], places: Mapping[str, Tensor], heads: Iterable[str] = ()
) -> dict[str, str] | None:
    """The network's names of the tensors of the one set of weights that matches `places`; None where none does.

    See `match`; `places` are all tensors of the network.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in places.items() if is_weight(name, tensor)}
    matches = []
    for one in sets(tensors):
        try:
            pairs = match(one.dims, wanted, heads)
        except Unmatched:
            continue
        pairs |= counters((name.removeprefix(one.prefix) for name in tensors if name.startswith(one.prefix)), pairs)
        matches.append({one.prefix + name: place for name, place in pairs.items() if place in places})
    return matches[0] if len(matches) == 1 else None


def match(weights: Mapping[str, Dims], places: Mapping[str, Dims], heads: Iterable[str] = ()) -> dict[str, str]:
    """The network's name of each weight of a file.

    `weights` are the file's in its order, `places` the network's in that of its modules.  Weights under `heads` (paths
    in the network) may be of another number of classes.

    Raises:
        Unmatched: no match is possible, or several are.
    """
    if len(weights) != len(places):
        raise Unmatched(f"the file has {len(weights)} weights, the network {len(places)}")
    above = tuple(f"{head}." for head in heads)
    given = {name: _comparable(dims) for name, dims in weights.items()}
    wanted = {name: _comparable(dims, head=name.startswith(above)) for name, dims in places.items()}
    names = list(weights)
    if _is_ordered(names):
        pairs = _in_turn(names, given, wanted)
    elif len({tuple(token for token in _tokens(name) if isinstance(token, str)) for name in names}) == 1:
        pairs = _in_turn(sorted(names, key=_natural), given, wanted)  # nothing but numbers: `p0`, `p1`, …
    else:
        pairs = _by_modules(given, {name: _comparable(dims) for name, dims in places.items()})
    _require_agreement(pairs)
    return pairs


def counters(names: Iterable[str], pairs: Mapping[str, str]) -> dict[str, str]:
    """The network's names of a file's counters of batches, which belong to the modules of the weights in `pairs`."""
    modules = {_module(name): _module(place) for name, place in pairs.items() if _role(name)}
    return {
        name: f"{modules[_module(name)]}.{COUNTER}"
        for name in names
        if name.rpartition(".")[2] == COUNTER and _module(name) in modules
    }


def _in_turn(names: Sequence[str], given: Mapping[str, Dims], wanted: Mapping[str, Dims]) -> dict[str, str]:
    for number, (name, place) in enumerate(zip(names, wanted, strict=True)):
        if not _fits(given[name], wanted[place]):
            shape = f"{name} has the shape {list(given[name])}, {place} {list(wanted[place])}"
            raise Unmatched(f"in their order the weights differ at the {number + 1}.: {shape}")
    return dict(zip(names, wanted, strict=True))


def _by_modules(given: Mapping[str, Dims], wanted: Mapping[str, Dims]) -> dict[str, str]:
    """Match modules of one kind in the order of the numbers in their names."""
    theirs, own = _modules(given), _modules(wanted)
    kinds, places = _kinds(theirs), _kinds(own)
    if {kind: len(members) for kind, members in kinds.items()} != {kind: len(m) for kind, m in places.items()}:
        raise Unmatched("its names stand sorted, not in the order of its modules, and its modules are other ones")
    pairs: dict[str, str] = {}
    for kind, members in kinds.items():
        ordered = sorted(members, key=_natural)
        for one, other in itertools.pairwise(ordered):
            if not _told_by_number(one, other):
                reason = f"{one} and {other} have the same shapes, and nothing tells which comes first"
                raise Unmatched(f"its names stand sorted, not in the order of its modules: {reason}")
        for module, place in zip(ordered, places[kind], strict=True):
            pairs |= {theirs[module][role][0]: own[place][role][0] for role in theirs[module]}
    return pairs


def _modules(dims: Mapping[str, Dims]) -> dict[str, dict[str, tuple[str, Dims]]]:
    """Weights (name, dims) by module and role; what has no role is a module by itself."""
    modules: dict[str, dict[str, tuple[str, Dims]]] = defaultdict(dict)
    for name, shape in dims.items():
        role = _role(name)
        modules[_module(name) if role else name][role or ""] = (name, shape)
    return modules


Kind = tuple[object, object]


def _kinds(modules: Mapping[str, Mapping[str, tuple[str, Dims]]]) -> dict[Kind, list[str]]:
    """The modules by their shapes and those of their siblings."""
    shapes = {path: tuple(sorted((role, dims) for role, (_, dims) in m.items())) for path, m in modules.items()}
    families: dict[str, Counter[object]] = defaultdict(Counter)
    for path, shape in shapes.items():
        families[_module(path)][shape] += 1
    kinds: dict[Kind, list[str]] = defaultdict(list)
    for path, shape in shapes.items():
        kinds[shape, frozenset(families[_module(path)].items())].append(path)
    return kinds


def _told_by_number(one: str, other: str) -> bool:
    """Tell whether the first difference between two names is one of numbers."""
    pairs = zip(_tokens(one), _tokens(other), strict=False)
    different = next(((a, b) for a, b in pairs if a != b), None)
    return different is not None and all(isinstance(token, int) for token in different)


def _is_ordered(names: Sequence[str]) -> bool:
    """Tell whether the names stand in an order of their own, neither sorted nor against the numbers in them."""
    if list(names) == sorted(names) and len(names) > 1:
        return False
    last: dict[tuple[Token, ...], int] = {}
    for name in names:
        tokens = _tokens(name)
        for at, token in enumerate(tokens):
            if isinstance(token, int):
                if token < last.get(tokens[:at], token):
                    return False
                last[tokens[:at]] = token
    return True


def _require_agreement(pairs: Mapping[str, str]) -> None:
    """
    Raises:
        Unmatched: the names say otherwise.
    """
    modules: dict[str, str] = {}
    for name, place in pairs.items():
        role, wanted = _role(name), _role(place)
        if role and wanted and role != wanted:
            raise Unmatched(f"{name} would become {place}")
        if role and wanted and modules.setdefault(_module(name), _module(place)) != _module(place):
            raise Unmatched(f"{_module(name)} would become two modules, {modules[_module(name)]} and {_module(place)}")
    siblings: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for name, place in modules.items():
        siblings[_module(name), _module(place)][_word(name)] = _word(place)
    for words in siblings.values():
        for word, other in words.items():
            crossed = words.get(other) == word
            if word != other and (crossed or (word.isalpha() and other in words and word in words.values())):
                raise Unmatched(f"`{word}` would become `{other}`")


def _comparable(dims: Dims, *, head: bool = False) -> Dims:
    """The sides that count: those of 1 are left out (a linear layer may be a 1×1 convolution), and of a head -1 stands
    for the classes."""
    sides = tuple(side for side in dims if side != 1)
    return (-1, *dims[1:2], *(side for side in dims[2:] if side != 1)) if head else sides


def _fits(dims: Dims, place: Dims) -> bool:
    if place[:1] == (-1,):
        return len(dims) == len(place) and dims[1:] == place[1:]
    return dims == place


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _role(name: str) -> str | None:
    return ROLES.get(name.rpartition(".")[2])


def _word(path: str) -> str:
    """The last part of a path as far as it tells siblings apart: `query`, `q_proj` and `q` are the same."""
    last = path.rpartition(".")[2].lower()
    return "".join(
        WORDS.get(str(token), str(token)) for token in _tokens(last) if token not in ("proj", "lin", "layer")
    )


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """The name as people sort it, numbers as numbers."""
    return [
        (isinstance(token, str), 0, token) if isinstance(token, str) else (False, token, "") for token in _tokens(name)
    ]


def _tokens(name: str) -> tuple[Token, ...]:
    return tuple(int(token) if token.isdigit() else token.lower() for token in _TOKEN.findall(name))
