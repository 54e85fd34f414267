"""`ridge`: least squares on frozen features."""

from app.methods.classical.ridge import Ridge
from worker.methods.classical.family import Fitting, Rows
from worker.methods.classical.linear_model import LinearModel
from worker.methods.task import Adapted, Task

CANDIDATES = (10_000.0, 1000.0, 100.0, 10.0, 1.0)
DEFAULT = 100.0


def run(task: Task, params: Ridge) -> Adapted:
    """Hoerl & Kennard 1970, towards +1 and −1."""
    fitting = Fitting(task, params)

    def fit(alpha: float, rows: Rows) -> LinearModel:
        from sklearn.linear_model import RidgeClassifier

        return LinearModel.of(RidgeClassifier(alpha=alpha, solver="cholesky").fit(rows.z_ND, rows.y_N), share=1.0)

    alpha = fitting.choose(
        CANDIDATES if params.alpha is None else (params.alpha,), DEFAULT, fit, lambda alpha: f"alpha {alpha:g}"
    )
    model = fitting.fit(lambda rows: fit(alpha, rows))
    temperature = fitting.temperature(model, lambda rows: fit(alpha, rows))
    resolved = params.model_copy(update={"alpha": alpha})
    return fitting.adapted(model.over(temperature), resolved, temperature=temperature)
