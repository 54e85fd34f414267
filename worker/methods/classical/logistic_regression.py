"""`logistic_regression`: a linear softmax on frozen features, fitted to convergence."""

from app.methods.classical.logistic_regression import LogisticRegression
from worker.methods.classical.family import Fitting, Rows
from worker.methods.classical.linear_model import LinearModel
from worker.methods.task import Adapted, Task

CANDIDATES = (0.001, 0.01, 0.1, 1.0, 10.0)
DEFAULT = 0.1


def run(task: Task, params: LogisticRegression) -> Adapted:
    """Donahue et al. 2014; of two classes the logits are ∓f/2, whose softmax is the logistic function of f."""
    fitting = Fitting(task, params)

    def fit(C: float, rows: Rows) -> LinearModel:
        from sklearn.linear_model import LogisticRegression as Estimator

        return LinearModel.of(Estimator(C=C, max_iter=2000).fit(rows.z_ND, rows.y_N), share=0.5)

    C = fitting.choose(CANDIDATES if params.C is None else (params.C,), DEFAULT, fit, lambda C: f"C {C:g}")
    model = fitting.fit(lambda rows: fit(C, rows))
    return fitting.adapted(model, params.model_copy(update={"C": C}))
