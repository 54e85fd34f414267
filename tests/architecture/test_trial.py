"""A made-up method, written into a copy by the checklist, is listed, documented, planned, run and resumed."""

import json

import pytest

from tests.architecture.trial import Copy, listed

pytestmark = pytest.mark.xdist_group("trial")  # what its fixture starts is dear

PARAMETERS = '''"""`slow_probe`: a linear head that takes its time."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from app.contract.augmentation import AugmentationStep
from app.contract.inputs import InputOverride
from app.core.errors import Detail
from app.methods.base import Info
from app.methods.facts import JobFacts, fault
from app.methods.training import Training


class SlowProbe(Training):
    """`patience`: how many classes it takes at most."""

    info = Info(
        summary="Train a new linear head without haste.",
        when="There is time.",
        needs=("checkpoint", "target_labels"),
        reference="Nobody 2026, On haste",
        multi_label=True,
    )

    name: Literal["slow_probe"] = "slow_probe"
    patience: Annotated[int, Field(ge=1, le=1000)] = 100
    input: InputOverride | None = None

    def check(self, facts: JobFacts) -> Iterator[Detail]:
        yield from super().check(facts)
        if len(facts.target.classes or ()) > self.patience:
            yield fault("method.patience", f"{facts.target.id} has more classes than there is patience for.")

    def _auto_augmentation(self, size: tuple[int, int]) -> list[AugmentationStep]:
        return []
'''
FUNCTION = '''"""`slow_probe`: a linear head that takes its time."""

from app.methods.supervised.slow_probe import SlowProbe
from worker.methods import supervision, transferred
from worker.methods.supervised import probing
from worker.methods.task import Adapted, Task


'''
SECTION = "\n## `slow_probe`\n\n`patience` is how many classes it takes.\n"
PLANNED = """
import json
from app.core.settings import Settings
from app.jobs import checks
from app.main import create_app
from app.methods.facts import DatasetFacts, JobFacts
from app.methods.registry import METHODS, parse
from tests.system import test_every_method

splits = {"train": 9, "validation": 3, "test": 3}
target = DatasetFacts("ds_here", True, False, False, ["cat", "dog"], splits, None, None)
method = parse({"name": "slow_probe", "patience": 1})
spoken = create_app(Settings(home="home", database_url="sqlite://")).openapi()["components"]["schemas"]
print(json.dumps({
    "listed": list(METHODS)[-1],
    "faults": [fault["param"] for fault in checks.faults(method, JobFacts(target))],
    "documented": "SlowProbe" in spoken,
    "asked for over HTTP": "slow_probe" in test_every_method.LEARNT,
    "closed": method.resolve(9, (8, 8)).model_dump(mode="json")["batch_size"],
}))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """With the method's two files and its section; `make` makes its golden trace and the tables."""
    copy = Copy.within(tmp_path_factory.mktemp("trial"))
    copy.write("app/methods/supervised/slow_probe.py", PARAMETERS)
    probe = copy.read("worker/methods/supervised/linear_probe.py")
    body = probe[probe.index("def run(") :].replace("LinearProbe", "SlowProbe")
    copy.write("worker/methods/supervised/slow_probe.py", FUNCTION + body)
    copy.append("docs/methods.md", SECTION)
    copy.make_tables()
    return copy


def test_it_is_listed_checked_and_documented(copy):
    assert json.loads(copy.python("-W", "error", "-c", PLANNED)) == {
        "listed": "slow_probe",
        "faults": ["method.patience"],
        "documented": True,
        "asked for over HTTP": True,
        "closed": 8,
    }
    assert "| `slow_probe` | Train a new linear head without haste | There is time |" in copy.read("docs/methods.md")
    assert ", `slow_probe` |" in copy.read("README.md")


@pytest.mark.slow
def test_the_suites_take_it_in(copy):
    """They show seeds, cancelling, resuming, exports, its golden trace, and what is asked of every method's files."""
    suites = (
        "tests/worker/methods/test_conformance.py",
        "tests/app/contract/test_closed.py",
        "tests/app/api/test_openapi.py",
        "tests/architecture/test_docs.py",
        "tests/architecture/test_methods.py",
    )
    chosen = "slow_probe or every_method or tables or test_methods or is_what_was"
    assert copy.passed(chosen, *suites, REGRAFT_RENEW_GOLDEN="1") > 20
    assert copy.changed() == listed("method", family="supervised", name="slow_probe")
