"""Networks and datasets that share only some classes: what is reported is the decision that is served."""

import numpy as np
import onnxruntime
import pytest

from app.contract.evaluation import Measured
from app.contract.inputs import InputSpec
from app.imaging.packed import PackedImages
from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from worker.metrics.scores import wilson


def served(outcome, data):
    """Log probabilities [N,K] of the published graph for the labelled test images, and their labels."""
    packed = PackedImages.open(data.pixels, data.index)
    rows = packed.rows("test")
    graph = onnxruntime.InferenceSession(outcome.result.artifacts["graph"].read_bytes())
    input = InputSpec.model_validate(outcome.document["input"])
    [p_NK] = graph.run(["probabilities"], {"image": packed.fitted(rows, input)})
    return np.log(p_NK.astype(np.float64)), packed.label[rows]


@pytest.mark.parametrize("method", [{"name": "adabn"}, {"name": "mcc", "epochs": 1, "selection": "last"}])
def test_a_target_that_lacks_classes_is_measured_by_the_decision_that_is_served(tmp_path, method):
    """Against the graph that answers predictions; and among the four classes alone, beside it."""
    target = tasks.dataset(tmp_path / "target", 4, per_class=40)
    source_data = tasks.dataset(tmp_path / "source_data", 10, seed=5) if method["name"] == "mcc" else None
    case = Setting(method, tasks.source(tmp_path / "source"), target, source_data)
    outcome = tasks.run(case, tmp_path / "run")
    found = outcome.document["evaluation"]["target"]
    log_p_NK, truth_N = served(outcome, target)
    n, predicted_N = len(truth_N), log_p_NK.argmax(1)
    right, elsewhere = int((predicted_N == truth_N).sum()), int((predicted_N >= 4).sum())
    assert elsewhere > 0  # else there would be nothing to tell apart
    assert (found["n"], found["classes"]) == (n, ["0", "1", "2", "3"])
    assert found["accuracy"] == pytest.approx(right / n)
    assert found["accuracy_interval"] == pytest.approx(wilson(right, n))
    assert found["taken_for_other_classes"] == elsewhere
    assert found["nll"] == pytest.approx(-log_p_NK[np.arange(n), truth_N].mean(), rel=1e-3)
    expected = [[int(((truth_N == i) & (predicted_N == j)).sum()) for j in range(4)] for i in range(4)]
    assert found["confusion"] == expected
    assert sum(map(sum, expected)) == n - elsewhere
    assert found["per_class"] == pytest.approx([expected[k][k] / (truth_N == k).sum() for k in range(4)])
    among_NK = log_p_NK[:, :4] - np.log(np.exp(log_p_NK[:, :4]).sum(1, keepdims=True))
    among = found["among_shared"]
    assert among["accuracy"] == pytest.approx((among_NK.argmax(1) == truth_N).mean())
    assert among["accuracy"] > found["accuracy"]
    assert among["nll"] == pytest.approx(-among_NK[np.arange(n), truth_N].mean(), rel=1e-3)
    shown = Measured.model_validate(found).model_dump(mode="json")
    assert shown["among_shared"] == among  # the API leaves nothing out


def test_images_of_classes_that_the_network_does_not_know_are_counted(tmp_path):
    target = tasks.dataset(tmp_path / "target", 10)
    case = Setting({"name": "evaluate"}, tasks.source(tmp_path / "source", classes=6), target)
    found = tasks.run(case, tmp_path / "run").document["evaluation"]["target"]
    assert (found["n"], found["left_out"], found["classes"]) == (12, 8, [str(k) for k in range(6)])
    assert "among_shared" not in found


def test_where_all_classes_are_shared_nothing_is_added(tmp_path):
    target = tasks.dataset(tmp_path / "target", 10)
    case = Setting({"name": "evaluate"}, tasks.source(tmp_path / "source"), target)
    found = tasks.run(case, tmp_path / "run").document["evaluation"]["target"]
    assert not {"among_shared", "taken_for_other_classes", "left_out", "classes"} & found.keys()
