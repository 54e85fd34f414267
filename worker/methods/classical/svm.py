"""`svm`: a support vector machine on frozen features."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from app.contract.grafted import RbfHead
from app.methods.classical.svm import Svm
from worker.methods.classical.family import ABSENT, Fitting, Floats, Present, Rows, Stump
from worker.methods.classical.linear_model import LinearModel
from worker.methods.task import Adapted, Task
from worker.runtime.contract import Failure

LINEAR_PRICES = (0.0001, 0.001, 0.01, 0.1, 1.0)
PRICES = (1.0, 10.0)
WIDTHS = (0.25, 1.0, 4.0)  # gamma × number of features
LARGEST = 10_000  # examples of which all pairs are held at once


@dataclass(frozen=True)
class _Shape:
    C: float
    gamma: float | None = None

    def __str__(self) -> str:
        return f"C {self.C:g}" + (f", gamma {self.gamma:.4g}" if self.gamma else "")


@dataclass(frozen=True)
class _RbfModel:
    """Σ_s w_ps exp(−γ‖z − s‖²) + b_p."""

    vector_SD: Floats
    weight_PS: Floats
    bias_P: Floats
    gamma: float

    def scores(self, z_ND: Floats) -> Floats:
        scores_NP: Floats = _kernel(z_ND, self.vector_SD, self.gamma) @ self.weight_PS.T + self.bias_P
        return scores_NP

    def over(self, temperature: float) -> "_RbfModel":
        return replace(self, weight_PS=self.weight_PS / temperature, bias_P=self.bias_P / temperature)

    def stump(self, present: Present) -> Stump:
        state = {
            "vector_SD": Present.everywhere(self.vector_SD),
            "weight_KS": present.spread(self.weight_PS, 0),
            "bias_K": present.spread(self.bias_P, ABSENT),
            "gamma": Present.everywhere(np.array(self.gamma)),
        }
        return Stump(RbfHead(vectors=len(self.vector_SD)), state)


def run(task: Task, params: Svm) -> Adapted:
    """Cortes & Vapnik 1995; one class against the rest (Rifkin & Klautau 2004)."""
    fitting = Fitting(task, params)
    if params.kernel == "rbf" and len(fitting.train.y_N) > LARGEST:
        message = f"The RBF kernel compares all pairs of examples, at most {LARGEST}: see `train_size`, or `kernel`."
        raise Failure("does_not_fit", message)
    candidates, default = _candidates(params, fitting.features)
    fit: Callable[[_Shape, Rows], LinearModel | _RbfModel] = _Rbf() if params.kernel == "rbf" else _linear(fitting.seed)
    shape = fitting.choose(candidates, default, fit, str)
    model = fitting.fit(lambda rows: fit(shape, rows))
    temperature = fitting.temperature(model, lambda rows: fit(shape, rows))
    resolved = params.model_copy(update={"C": shape.C, "gamma": shape.gamma})
    return fitting.adapted(model.over(temperature), resolved, temperature=temperature)


def _candidates(params: Svm, features: int) -> tuple[list[_Shape], _Shape]:
    """The smoothest first, and what is taken unseen."""
    if params.kernel == "linear":
        return [_Shape(C) for C in ([params.C] if params.C else LINEAR_PRICES)], _Shape(params.C or 0.01)
    widths = [params.gamma] if params.gamma else [width / features for width in WIDTHS]
    prices = [params.C] if params.C else PRICES
    default = _Shape(params.C or 1.0, params.gamma or 1 / features)
    return [_Shape(C, gamma) for gamma, C in product(widths, prices)], default


def _linear(seed: int) -> Callable[[_Shape, Rows], LinearModel]:
    def fit(shape: _Shape, rows: Rows) -> LinearModel:
        from sklearn.svm import LinearSVC

        return LinearModel.of(LinearSVC(C=shape.C, random_state=seed, max_iter=10_000).fit(rows.z_ND, rows.y_N), 1.0)

    return fit


class _Rbf:
    """Fits with one kernel matrix for all classes, and for whatever is fitted next to the same rows with its gamma."""

    def __init__(self) -> None:
        self._last: tuple[Rows, float, Floats] | None = None

    def __call__(self, shape: _Shape, rows: Rows) -> _RbfModel:
        from sklearn.svm import SVC

        assert shape.gamma is not None
        kernel_NN = self._kernel(rows, shape.gamma)
        classes = int(rows.y_N.max()) + 1
        weight_PN, bias_P = np.zeros((classes, len(rows.y_N))), np.zeros(classes)
        for k in range(classes):
            machine = SVC(kernel="precomputed", C=shape.C).fit(kernel_NN, rows.y_N == k)
            weight_PN[k, machine.support_] = machine.dual_coef_[0]
            bias_P[k] = machine.intercept_[0]
        used = np.flatnonzero(weight_PN.any(axis=0))
        return _RbfModel(rows.z_ND[used], weight_PN[:, used], bias_P, shape.gamma)

    def _kernel(self, rows: Rows, gamma: float) -> Floats:
        if self._last is None or self._last[0] is not rows or self._last[1] != gamma:
            self._last = rows, gamma, _kernel(rows.z_ND, rows.z_ND, gamma)
        return self._last[2]


def _kernel(one_ND: Floats, other_SD: Floats, gamma: float) -> Floats:
    from sklearn.metrics.pairwise import rbf_kernel

    kernel_NS: Floats = rbf_kernel(one_ND, other_SD, gamma=gamma)
    return kernel_NS
