"""A made-up term, written into a copy by the checklist, is documented, shown to be right, trained and resumed."""

import pytest

from tests.architecture.trial import Copy, listed

PARAMETERS = '''"""`feature_norm`: features of a given length."""

from typing import Annotated, Literal

from pydantic import Field

from app.methods.terms.base import Term, TermInfo, Weight


class FeatureNorm(Term):
    """½(‖f‖² − `radius`)², f an image's features."""

    info = TermInfo(reference="Nobody 2026, On length")

    name: Literal["feature_norm"] = "feature_norm"
    weight: Weight = 0.01
    radius: Annotated[float, Field(ge=0, le=1e6)] = 1.0
'''
LOSS = '''"""Feature norm: features of a given length (Nobody 2026)."""

from torch import Tensor

from app.methods.terms.feature_norm import FeatureNorm
from worker.data.batches import Batch
from worker.networks.classifier import Outputs
from worker.terms.base import Setting, TermDefaults


class _FeatureNorm(TermDefaults):
    def __init__(self, radius: float) -> None:
        self._radius = radius

    def __call__(self, batch: Batch, outputs: Outputs) -> Tensor:
        return 0.5 * (outputs.features_BD.square().sum(1) - self._radius).square().mean()


def build(params: FeatureNorm, setting: Setting) -> _FeatureNorm:
    return _FeatureNorm(params.radius)
'''
EQUATION = """

def test_feature_norm_is_its_definition(batch):
    student = classifier()
    term = TERMS["feature_norm"](registry.TERMS["feature_norm"](radius=2.0), setting(student))
    features = student.forward_frozen(batch.x, INPUT).features_BD.numpy()
    assert value(term, student, batch) == pytest.approx((0.5 * ((features**2).sum(1) - 2) ** 2).mean())
"""


@pytest.mark.slow
def test_the_suites_take_it_in(tmp_path):
    """They show its equation, its gradient, that it trains and resumes, that it is documented and imports no other."""
    copy = Copy.within(tmp_path / "copy")
    copy.write("app/methods/terms/feature_norm.py", PARAMETERS)
    copy.write("worker/terms/feature_norm.py", LOSS)
    copy.append("tests/worker/terms/test_terms.py", EQUATION)
    copy.make_tables()
    suites = (
        "tests/worker/terms/test_terms.py",
        "tests/worker/terms/test_training.py",
        "tests/app/api/test_openapi.py",
        "tests/architecture/test_docs.py",
        "tests/architecture/test_methods.py",
    )
    assert copy.passed("feature_norm or tables or no_term_imports or is_found_in or is_what_was", *suites) == 10
    line = "| `feature_norm` | ½(‖f‖² − `radius`)², f an image's features (Nobody 2026) | – | 0.01 |\n"
    assert line in copy.read("docs/methods.md")
    assert copy.changed() == listed("term", name="feature_norm")
