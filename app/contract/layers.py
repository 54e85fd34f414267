"""`layers`: a network described as data, checked without torch.

The description is a list of layers (`layer_types`), of named or numbered groups of layers, and of blocks that join what
layers make of x with x itself: by a sum, a product, or one after the other.
Every child has a name, its own or its number, so tensors go by the names that torch.nn.Sequential would give them.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BeforeValidator, Field, ValidationError

from app.contract import grafted
from app.contract.base import StrictModel
from app.contract.inputs import Channels, InputSpec, Side
from app.contract.layer_base import ChildName, Shape
from app.contract.layer_types import Conv2d, Leaf, Linear
from app.contract.networks import TIMM, NetworkSpec
from app.contract.timm_options import without_input

NAME = "layers"
SHORTCUT = "shortcut"
MAX_LAYERS = 1000
MAX_PARAMETERS = 500_000_000
MAX_ACTIVATION = 2**26  # numbers that one layer makes of one image

# A child would hide, or be hidden by, what a torch.nn.Module has under that name.
RESERVED = frozenset(
    """T_destination add_module append apply bfloat16 buffers call_super_init children compile cpu cuda double
    dump_patches eval extend extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half insert
    ipu load_state_dict modules mtia named_buffers named_children named_modules named_parameters parameters pop
    register_backward_hook register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook
    register_full_backward_pre_hook register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module
    register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state
    set_submodule share_memory state_dict to to_empty train training type xpu zero_grad""".split()  # noqa: SIM905
)


def _grouped(document: Any) -> Any:
    """A group need not say that it is one."""
    return {"type": "Sequential"} | document if isinstance(document, dict) and "layers" in document else document


AnyLayer = Annotated["Leaf | Sequential | Joining", Field(discriminator="type"), BeforeValidator(_grouped)]
Children = Annotated[list[AnyLayer], Field(min_length=1, max_length=MAX_LAYERS)]


class Sequential(StrictModel):
    """Layers one after another."""

    name: ChildName | None = None
    type: Literal["Sequential"] = "Sequential"
    layers: Children


class Block(StrictModel):
    """A block joins what `layers` make of x with what `shortcut` makes of x (x itself without one).

    The layers are the block's own children; those of the shortcut are children of its child `shortcut`.
    """

    name: ChildName | None = None
    layers: Children
    shortcut: Children | None = None

    @abstractmethod
    def joined(self, output: Shape, around: Shape) -> Shape:
        """The shape of both together: `output` is the layers', `around` the shortcut's.

        Raises:
            ValueError: they do not go together.
        """


class Residual(Block):
    """The sum of both (He et al. 2015)."""

    type: Literal["Residual"]

    def joined(self, output: Shape, around: Shape) -> Shape:
        if output != around:
            raise ValueError(f"the layers give {list(output)}, but the shortcut {list(around)}: they cannot be added")
        return output


class Product(Block):
    """The product of both, where the layers may give one number a channel: squeeze-and-excitation (Hu et al. 2018)."""

    type: Literal["Product"]

    def joined(self, output: Shape, around: Shape) -> Shape:
        if output not in (around, around[:1], (*around[:1], *(1 for _ in around[1:]))):
            raise ValueError(
                f"the layers give {list(output)}, but the shortcut {list(around)}: that takes as much, or "
                "one number a channel"
            )
        return around


class Concatenation(Block):
    """The channels of the shortcut, then those of the layers (Huang et al. 2017, DenseNet)."""

    type: Literal["Concatenation"]

    def joined(self, output: Shape, around: Shape) -> Shape:
        if output[1:] != around[1:]:
            raise ValueError(
                f"the layers give {list(output)}, but the shortcut {list(around)}: they cannot be concatenated"
            )
        return (around[0] + output[0], *around[1:])


Joining = Residual | Product | Concatenation


class LayersOptions(StrictModel):
    """`input` is [C,H,W]; left out, it follows the request's `input`.

    The last layer with weights is a `Linear` or a `Conv2d` with as many outputs as the network has classes.
    """

    input: tuple[Channels, Side, Side] | None = None
    layers: Children


for _model in (Sequential, *get_args(Joining), LayersOptions):
    _model.model_rebuild()
_MODELS = (*get_args(Leaf), Sequential, *get_args(Joining))
TYPES = frozenset(kind for model in _MODELS for kind in get_args(model.model_fields["type"].annotation))


class LayerFault(NamedTuple):
    """`param` leads to it within the network's options: `layers.0.layers.3.kernel_size`."""

    param: str
    detail: str


class Unbuildable(ValueError):
    """The description makes no network."""

    def __init__(self, faults: Sequence[LayerFault]) -> None:
        super().__init__("; ".join(fault.detail for fault in faults))
        self.faults = list(faults)


@dataclass(frozen=True)
class Resolved:
    """A network that can be built: every input size filled in, every child named."""

    layers: list[AnyLayer]
    parameters: int


class _Place(NamedTuple):
    """The place of a layer: `keys` lead to it in the options, `path` in the network; `block`: within one that joins."""

    keys: tuple[str | int, ...]
    path: tuple[str, ...]
    block: bool = False

    def children(self, field: str, layers: Sequence[AnyLayer]) -> Iterator[tuple["_Place", AnyLayer]]:
        path = (*self.path, "shortcut") if field == "shortcut" else self.path
        for index, layer in enumerate(layers):
            yield _Place((*self.keys, field, index), (*path, layer.name or str(index)), self.block), layer

    def fault(self, detail: object) -> Unbuildable:
        return Unbuildable([LayerFault(".".join(map(str, self.keys)), f"{'.'.join(self.path)}: {detail}")])


_TOP = _Place((), ())


def resolve(spec: NetworkSpec, input: InputSpec) -> Resolved:
    """The network that `spec.options` describe, for images as `input` says.

    Raises:
        Unbuildable: they are no such description, its shapes do not fit, or it is absurdly large.
    """
    options = _parse(spec)
    return _resolved(options, _shape(options, input) or (), spec.num_classes)


def check(spec: NetworkSpec, input: InputSpec | None) -> None:
    """All that can be said before `input` is known, if it is not.

    Raises:
        Unbuildable: see `resolve`.
    """
    options = _parse(spec)
    shape = _shape(options, input)
    if shape is not None:
        _resolved(options, shape, spec.num_classes)


def declared_input(spec: NetworkSpec) -> tuple[int, int, int] | None:
    """[C,H,W] that a `layers` network says it takes; None for other networks, or where it leaves that open.

    Raises:
        Unbuildable: its options are no description.
    """
    return _parse(spec).input if spec.name == NAME else None


def with_classes(spec: NetworkSpec, num_classes: int) -> NetworkSpec:
    """A copy of the network with another number of classes; of a grafted one, the network that it was grafted on."""
    spec = grafted.backbone(spec)
    options = deepcopy(spec.options)
    if spec.name == NAME:
        head, place = _head(_parse(spec).layers)
        document: Any = options
        for key in place.keys:
            document = document[key]
        document["out_features" if isinstance(head, Linear) else "out_channels"] = num_classes
    return NetworkSpec(name=spec.name, num_classes=num_classes, options=options)


def for_input(spec: NetworkSpec, input: InputSpec) -> NetworkSpec:
    """The network, for other images: a `layers` network that says what it takes says the new input, and options of
    timm's say none."""
    if spec.name.startswith(TIMM):
        return without_input(spec)
    if spec.name != NAME or spec.options.get("input") is None:
        return spec
    options = spec.options | {"input": [input.channels, *input.size]}
    return NetworkSpec(name=spec.name, num_classes=spec.num_classes, options=options)


def _parse(spec: NetworkSpec) -> LayersOptions:
    try:
        options = LayersOptions.model_validate(spec.options)
    except ValidationError as error:
        raise Unbuildable([_fault(fault["loc"], fault["msg"]) for fault in error.errors(include_url=False)]) from None
    count = sum(1 for _ in _leaves(_TOP, "layers", options.layers))
    if count > MAX_LAYERS:
        raise Unbuildable([LayerFault("layers", f"layers: {count} are more than {MAX_LAYERS}")])
    _head(options.layers)
    return options


def _fault(location: Sequence[str | int], message: str) -> LayerFault:
    """pydantic's location also tells which type it took a layer for: no part of a path in the document."""
    param = ".".join(str(part) for part in location if part not in TYPES)
    return LayerFault(param, f"{param}: {message}")


def _shape(options: LayersOptions, input: InputSpec | None) -> Shape | None:
    """The shape that comes in: as the description says, as the input says, and the same if both do."""
    shape = None if input is None else (input.channels, *input.size)
    if None not in (shape, options.input) and options.input != shape:
        declared, of_images = list(options.input or ()), list(shape or ())
        raise Unbuildable(
            [LayerFault("input", f"input: the layers take {declared}, but the images come as {of_images}")]
        )
    return options.input or shape


def _resolved(options: LayersOptions, shape: Shape, num_classes: int) -> Resolved:
    layers, output = _sequence(_TOP, "layers", options.layers, shape)
    parameters = sum(leaf.parameters() for _, leaf in _leaves(_TOP, "layers", layers))
    if parameters > MAX_PARAMETERS:
        raise Unbuildable([LayerFault("layers", f"layers: {parameters:,} parameters are more than {MAX_PARAMETERS:,}")])
    if output != (num_classes,):
        _, place = _head(layers)
        raise place.fault(f"[{num_classes}] must leave the network, one number a class, not {list(output)}")
    return Resolved(layers, parameters)


def _leaves(place: _Place, field: str, layers: Sequence[AnyLayer]) -> Iterator[tuple[_Place, Leaf]]:
    """All layers in order of execution; a shortcut's come behind those of its block."""
    for at, layer in place.children(field, layers):
        if isinstance(layer, Sequential):
            yield from _leaves(at, "layers", layer.layers)
        elif isinstance(layer, Block):
            within = at._replace(block=True)
            yield from _leaves(within, "layers", layer.layers)
            yield from _leaves(within, "shortcut", layer.shortcut or ())
        else:
            yield at, layer


def _head(layers: Sequence[AnyLayer]) -> tuple[Linear | Conv2d, _Place]:
    """The last layer with weights."""
    weighted = [(place, leaf) for place, leaf in _leaves(_TOP, "layers", layers) if leaf.weighted]
    if not weighted:
        raise Unbuildable([LayerFault("layers", "layers: none of them has weights")])
    place, leaf = weighted[-1]
    if not isinstance(leaf, Linear | Conv2d) or place.block:
        raise place.fault(
            "the last layer with weights must be a Linear or Conv2d, outside of residual and other blocks"
        )
    return leaf, place


def _sequence(place: _Place, field: str, layers: Sequence[AnyLayer], shape: Shape) -> tuple[list[AnyLayer], Shape]:
    """The layers filled in and named, and what leaves the last of them."""
    _check_names(place, field, layers)
    done: list[AnyLayer] = []
    for at, layer in place.children(field, layers):
        filled, shape = _layer(at, layer, shape)
        done.append(filled.model_copy(update={"name": at.path[-1]}))
    return done, shape


def _layer(place: _Place, layer: AnyLayer, shape: Shape) -> tuple[AnyLayer, Shape]:
    if isinstance(layer, Sequential):
        layers, output = _sequence(place, "layers", layer.layers, shape)
        return layer.model_copy(update={"layers": layers}), output
    if isinstance(layer, Block):
        return _block(place, layer, shape)
    try:
        leaf = layer.filled(shape)
        output = leaf.output(shape)
    except ValueError as error:
        raise place.fault(f"{layer.type} does not fit: {error}") from None
    if math.prod(output) > MAX_ACTIVATION:
        raise place.fault(f"{list(output)} is more than {MAX_ACTIVATION:,} numbers for one image")
    return leaf, output


def _block(place: _Place, block: Joining, shape: Shape) -> tuple[Joining, Shape]:
    layers, output = _sequence(place, "layers", block.layers, shape)
    shortcut, around = _sequence(place, "shortcut", block.shortcut or (), shape)
    try:
        joined = block.joined(output, around)
    except ValueError as error:
        raise place.fault(error) from None
    if math.prod(joined) > MAX_ACTIVATION:
        raise place.fault(f"{list(joined)} is more than {MAX_ACTIVATION:,} numbers for one image")
    return block.model_copy(update={"layers": layers, "shortcut": shortcut or None}), joined


def _check_names(place: _Place, field: str, layers: Sequence[AnyLayer]) -> None:
    taken = {"shortcut"}
    for at, _ in place.children(field, layers):
        name = at.path[-1]
        if name in RESERVED:
            raise at.fault("torch.nn.Module has something else of that name")
        if name in taken:
            raise at.fault("another child has that name")
        taken.add(name)
