"""`random_forest`: trees on frozen features."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from app.contract.grafted import ForestHead
from app.methods.classical.random_forest import RandomForest
from worker.methods.classical.family import Fitting, Floats, Indices, Present, Rows, Stump
from worker.methods.task import Adapted, Task


@dataclass(frozen=True)
class _ForestModel:
    estimator: Any

    def scores(self, z_ND: Floats) -> Floats:
        scores_NP: Floats = self.estimator.predict_proba(z_ND)
        return scores_NP

    def stump(self, present: Present) -> Stump:
        """All trees in one list of nodes; equal leaves, of which pure ones are many, share their distribution."""
        trees = [tree.tree_ for tree in self.estimator.estimators_]
        root_T = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
        own_M = np.arange(sum(tree.node_count for tree in trees))
        offset_M = np.repeat(root_T, [tree.node_count for tree in trees])
        child_M2 = np.concatenate([np.stack((tree.children_left, tree.children_right), 1) for tree in trees])
        leaf_M = child_M2[:, 0] < 0
        child_M2 = np.where(leaf_M[:, None], own_M[:, None], child_M2 + offset_M[:, None])
        value_MP = np.concatenate([tree.value[:, 0] for tree in trees])
        value_MP /= value_MP.sum(axis=1, keepdims=True)
        distribution_UP, place = np.unique(value_MP[leaf_M], axis=0, return_inverse=True)
        distribution_M = np.zeros(len(own_M), np.int64)
        distribution_M[leaf_M] = place
        sizes = ForestHead(
            trees=len(trees),
            nodes=len(own_M),
            depth=max(tree.max_depth for tree in trees),
            distributions=len(distribution_UP),
        )
        state = {
            "root_T": _indices(root_T),
            "feature_M": _indices(np.where(leaf_M, 0, np.concatenate([tree.feature for tree in trees]))),
            "threshold_M": _threshold(np.where(leaf_M, 0, np.concatenate([tree.threshold for tree in trees]))),
            "child_M2": _indices(child_M2),
            "leaf_M": _indices(distribution_M),
            "distribution_UK": present.spread(distribution_UP, 0, axis=1),
        }
        return Stump(sizes, state)


def run(task: Task, params: RandomForest) -> Adapted:
    """Breiman 2001."""
    fitting = Fitting(task, params)

    def fit(rows: Rows) -> _ForestModel:
        from sklearn.ensemble import RandomForestClassifier

        estimator = RandomForestClassifier(
            params.trees, max_depth=params.max_depth, min_samples_leaf=params.min_leaf, random_state=fitting.seed
        )
        return _ForestModel(estimator.fit(rows.z_ND, rows.y_N))

    return fitting.adapted(fitting.fit(fit), params)


def _indices(values: Indices) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.int64))


def _threshold(value_M: Floats) -> torch.Tensor:
    """The next smaller float32: a feature, which is one, is not greater than the one where it is not than the other."""
    near_M = value_M.astype(np.float32)
    return torch.from_numpy(np.where(near_M > value_M, np.nextafter(near_M, np.float32(-np.inf)), near_M))
