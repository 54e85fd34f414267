"""Heads that were fitted, not trained by gradients: from features to logits whose softmax are their probabilities.

All that they hold are buffers.  Distances are reckoned in float64: they are differences of much larger numbers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.contract.grafted import AnyHead, ForestHead, KnnHead, LinearHead, RbfHead
from worker.runtime.contract import Failure

LEAST = 1e-12  # the smallest probability of a vote: logarithms stay finite
TIE = 1e-11  # more distance for every later neighbour: equal ones come in the same order everywhere
NEAREST = 1e-6  # no neighbour counts as nearer, where votes go by the inverse of the distance


class Head(nn.Module):
    """A head on standardised features: (x − mean) / scale.

    `jump`: how far probabilities may move where the last bit of a feature turns a decision or two.
    """

    jump = 0.0

    def __init__(self, features: int) -> None:
        super().__init__()
        self.mean_D = _buffer(self, "mean_D", features)
        self.scale_D = _buffer(self, "scale_D", features)
        self.register_load_state_dict_post_hook(lambda module, missing: module.require_sound())  # type: ignore[no-untyped-call]

    def forward(self, x_BD: Tensor) -> Tensor:
        return self.logits(self.standardised(x_BD))

    def standardised(self, x_BD: Tensor) -> Tensor:
        return (x_BD - self.mean_D) / self.scale_D

    def logits(self, z_BD: Tensor) -> Tensor:
        """[B,K] of standardised features."""
        raise NotImplementedError

    def require_sound(self) -> None:
        """
        Raises:
            Failure: `weights_do_not_fit`, an index leads nowhere.
        """


class Linear(Head):
    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features)
        self.weight_KD = _buffer(self, "weight_KD", classes, features)
        self.bias_K = _buffer(self, "bias_K", classes)

    def logits(self, z_BD: Tensor) -> Tensor:
        return F.linear(z_BD, self.weight_KD, self.bias_K)


class Rbf(Head):
    """Σ_s w_ks exp(−γ‖z − s‖²) + b_k."""

    def __init__(self, features: int, classes: int, sizes: RbfHead) -> None:
        super().__init__(features)
        self.vector_SD = _buffer(self, "vector_SD", sizes.vectors, features)
        self.weight_KS = _buffer(self, "weight_KS", classes, sizes.vectors)
        self.bias_K = _buffer(self, "bias_K", classes)
        self.gamma = _buffer(self, "gamma")

    def logits(self, z_BD: Tensor) -> Tensor:
        kernel_BS = torch.exp(-self.gamma.double() * _squared_distance(z_BD, self.vector_SD))
        return (kernel_BS @ self.weight_KS.double().T + self.bias_K.double()).float()


class Forest(Head):
    """Trees in one list of nodes: left where z[feature] ≤ threshold.  A leaf is its own child, and points to its
    distribution over the classes; the forest's is the mean of its trees'."""

    def __init__(self, features: int, classes: int, sizes: ForestHead) -> None:
        super().__init__(features)
        self._depth, self.jump = sizes.depth, 2 / sizes.trees
        self.root_T = _buffer(self, "root_T", sizes.trees, dtype=torch.int64)
        self.feature_M = _buffer(self, "feature_M", sizes.nodes, dtype=torch.int64)
        self.threshold_M = _buffer(self, "threshold_M", sizes.nodes)
        self.child_M2 = _buffer(self, "child_M2", sizes.nodes, 2, dtype=torch.int64)
        self.leaf_M = _buffer(self, "leaf_M", sizes.nodes, dtype=torch.int64)
        self.distribution_UK = _buffer(self, "distribution_UK", sizes.distributions, classes)

    def logits(self, z_BD: Tensor) -> Tensor:
        node_BT = self.root_T[None].expand(z_BD.shape[0], -1)
        child = self.child_M2.flatten()
        for _ in range(self._depth):
            right_BT = z_BD.gather(1, self.feature_M[node_BT]) > self.threshold_M[node_BT]
            node_BT = child[2 * node_BT + right_BT.long()]
        return _log(self.distribution_UK[self.leaf_M[node_BT]].mean(1))

    def require_sound(self) -> None:
        nodes = len(self.feature_M)
        _require_within(self.root_T, nodes)
        _require_within(self.feature_M, len(self.mean_D))
        _require_within(self.child_M2, nodes)
        _require_within(self.leaf_M, len(self.distribution_UK))


class Knn(Head):
    def __init__(self, features: int, classes: int, sizes: KnnHead) -> None:
        super().__init__(features)
        if sizes.k > sizes.examples:
            raise ValueError(f"of {sizes.examples} examples no {sizes.k} can be the nearest")
        self._sizes, self._classes = sizes, classes
        self.example_ND = _buffer(self, "example_ND", sizes.examples, features)
        self.label_N = _buffer(self, "label_N", sizes.examples, dtype=torch.int64)

    def logits(self, z_BD: Tensor) -> Tensor:
        far_BN = self._distance(z_BD)
        order_N = TIE * torch.arange(far_BN.shape[1], device=z_BD.device)
        near_BN = torch.topk(far_BN + order_N, self._sizes.k, dim=1, largest=False).indices
        vote_BN = torch.ones_like(near_BN, dtype=torch.float64)
        if self._sizes.weights == "distance":
            vote_BN = 1 / far_BN.gather(1, near_BN).clamp(min=NEAREST)
        of_BNK = self.label_N[near_BN][..., None] == torch.arange(self._classes, device=z_BD.device)
        vote_BK = (vote_BN[..., None] * of_BNK.double()).sum(1)
        return _log(vote_BK / vote_BN.sum(1, keepdim=True)).float()

    def _distance(self, z_BD: Tensor) -> Tensor:
        if self._sizes.metric == "euclidean":
            return _squared_distance(z_BD, self.example_ND).sqrt()
        one_BD, other_ND = F.normalize(z_BD.double()), F.normalize(self.example_ND.double())
        return (1 - one_BD @ other_ND.T).clamp(min=0)

    def require_sound(self) -> None:
        _require_within(self.label_N, self._classes)


def build(head: AnyHead, features: int, classes: int) -> Head:
    """A head with all that it holds at zero, to be filled by `load_state_dict`."""
    match head:
        case LinearHead():
            return Linear(features, classes)
        case RbfHead():
            return Rbf(features, classes, head)
        case ForestHead():
            return Forest(features, classes, head)
        case KnnHead():
            return Knn(features, classes, head)


def _buffer(module: nn.Module, name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    tensor = torch.zeros(shape, dtype=dtype)
    module.register_buffer(name, tensor)
    return tensor


def _squared_distance(one_BD: Tensor, other_SD: Tensor) -> Tensor:
    """float64 [B,S]."""
    one_BD, other_SD = one_BD.double(), other_SD.double()
    square_BS = one_BD.square().sum(1, keepdim=True) - 2 * one_BD @ other_SD.T + other_SD.square().sum(1)
    return square_BS.clamp(min=0)


def _log(probability_BK: Tensor) -> Tensor:
    return probability_BK.clamp(min=LEAST).log()


def _require_within(index: Tensor, end: int) -> None:
    if not index.is_meta and bool(((index < 0) | (index >= end)).any()):
        raise Failure("weights_do_not_fit", "The fitted head is no such head: an index of it leads nowhere.")
