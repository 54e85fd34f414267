"""A network cut in two where what is frozen ends: the first half makes the same of the same pixels, every time.

The cut is found on the network's graph (`torch.fx`).  Modules that are frozen or learn as a whole are not looked into,
so only the few that hold both must be traceable.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node, Tracer

from worker.networks import modes
from worker.training.freezing import Freezer, Trainable

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Hardswish, nn.LeakyReLU, nn.ELU, nn.Sigmoid, nn.Tanh)
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Flatten, nn.Identity)
STEADY = (*ACTIVATIONS, *POOLS)  # the same in every mode
SAME = 1e-5  # relative to the largest logit: both halves, one after the other, against the whole


@dataclass(frozen=True)
class Halves:
    """`after(before(x))` is the network; both hold the network's own modules, in whatever mode these are.

    `edge` names what lies between them: one tensor.
    """

    before: nn.Module
    after: nn.Module
    edge: str


def cut(network: nn.Module, trainable: Trainable, x_BCHW: Tensor) -> Halves | None:
    """The network's halves on both sides of the edge of what learns when `trainable` does; None where nothing is frozen
    or no single tensor lies there.

    `x_BCHW` is an example of what the network takes, at least two images.
    """
    if trainable is None:
        return None
    freezer = Freezer(network)
    freezer.train(trainable)
    try:
        graph = _trace(network)
        halves = None if graph is None else _halves(network, graph)
    finally:
        freezer.release()
        network.eval()
    return halves if halves is not None and _true(network, halves, x_BCHW) else None


class _Tracer(Tracer):
    """Goes only into modules that hold both what is frozen and what learns."""

    def is_leaf_module(self, module: nn.Module, path: str) -> bool:
        return len({one.training for one in module.modules()}) == 1


def _trace(network: nn.Module) -> Graph | None:
    try:
        return _Tracer().trace(network)
    except Exception:  # noqa: BLE001  # whatever a network does that no tracer follows: it is trained as a whole
        return None


def _halves(network: nn.Module, graph: Graph) -> Halves | None:
    input_node, *nodes, output = graph.nodes
    learning = _learning(network, nodes)
    if any(_draws(node) for node in nodes) or input_node.op != "placeholder":
        return None
    edges = {e for node in (*learning, output) for e in node.all_input_nodes if e not in learning}
    if len(edges) != 1 or edges == {input_node}:
        return None
    [edge] = edges
    frozen = [node for node in nodes if node not in learning]
    return Halves(
        _part(network, input_node, frozen, edge),
        _part(network, edge, learning, output.all_input_nodes[0]),
        edge.name,
    )


def _learning(network: nn.Module, nodes: Iterable[Node]) -> dict[Node, None]:
    """Nodes that change while the network trains, in order: what holds a weight that learns, and all that follows
    it."""
    learning: dict[Node, None] = {}
    for node in nodes:
        own = node.op == "call_module" and _changes(network.get_submodule(str(node.target)))
        own = own or (node.op == "get_attr" and _requires_grad(network, str(node.target)))
        if own or any(one in learning for one in node.all_input_nodes):
            learning[node] = None
    return learning


def _changes(module: nn.Module) -> bool:
    """Tell whether a module's mode or its weights make it give something else for the same at the next step."""
    return module.training and not isinstance(module, STEADY)


def _requires_grad(network: nn.Module, path: str) -> bool:
    owner, _, name = path.rpartition(".")
    return bool(getattr(network.get_submodule(owner), name).requires_grad)


def _draws(node: Node) -> bool:
    """Tell whether a node is a dropout outside any module, which would stay as the mode was when it was traced."""
    return node.op != "call_module" and "dropout" in str(getattr(node.target, "__name__", node.target))


def _part(network: nn.Module, input_node: Node, nodes: Iterable[Node], output_node: Node) -> GraphModule:
    graph = Graph()
    placed = {input_node: graph.placeholder("x")}
    for node in nodes:
        placed[node] = graph.node_copy(node, placed.__getitem__)
    graph.output(placed[output_node])
    return GraphModule(network, graph)


def _true(network: nn.Module, halves: Halves, x_BCHW: Tensor) -> bool:
    with modes.evaluating(network), torch.inference_mode():
        whole = network(x_BCHW)
        edge = halves.before(x_BCHW)
        if not isinstance(edge, Tensor) or len(edge) != len(x_BCHW):
            return False
        return bool((halves.after(edge) - whole).abs().max() <= SAME * whole.abs().max().clamp(min=1))
