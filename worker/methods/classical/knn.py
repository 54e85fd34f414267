"""`knn`: the nearest training images vote."""

from dataclasses import dataclass
from typing import Any

import torch

from app.contract.grafted import KnnHead
from app.methods.classical.knn import Knn
from worker.methods.classical.family import Fitting, Floats, Present, Rows, Stump
from worker.methods.task import Adapted, Task
from worker.runtime.contract import Failure

CANDIDATES = (25, 15, 9, 5, 3, 1)
DEFAULT = 1


@dataclass(frozen=True)
class _KnnModel:
    estimator: Any
    rows: Rows
    params: Knn
    k: int

    def scores(self, z_ND: Floats) -> Floats:
        scores_NP: Floats = self.estimator.predict_proba(z_ND)
        return scores_NP

    def stump(self, present: Present) -> Stump:
        sizes = KnnHead(examples=len(self.rows.y_N), k=self.k, metric=self.params.metric, weights=self.params.weights)
        label_N = torch.from_numpy(present.place_P[self.rows.y_N])
        return Stump(sizes, {"example_ND": Present.everywhere(self.rows.z_ND), "label_N": label_N})


def run(task: Task, params: Knn) -> Adapted:
    """Cover & Hart 1967."""
    fitting = Fitting(task, params)
    examples = len(fitting.train.y_N)
    if params.k is not None and params.k > examples:
        raise Failure("does_not_fit", f"{params.k} neighbours are asked for, of {examples} training images.")

    def fit(k: int, rows: Rows) -> _KnnModel:
        from sklearn.neighbors import KNeighborsClassifier

        estimator = KNeighborsClassifier(k, metric=params.metric, weights=params.weights, algorithm="brute")
        return _KnnModel(estimator.fit(rows.z_ND, rows.y_N), rows, params, k)

    few = [k for k in CANDIDATES if k <= max(1, examples // 2)]
    k = fitting.choose(few if params.k is None else [params.k], DEFAULT, fit, lambda k: f"k {k}")
    model = fitting.fit(lambda rows: fit(k, rows))
    return fitting.adapted(model, params.model_copy(update={"k": k}))
