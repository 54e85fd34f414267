"""The reference of a model: energies and priors on its validation images, as the graph that serves it gives them."""

import numpy as np
import onnxruntime
import pytest
import torch
from scipy.special import logsumexp

from app.contract.inputs import InputSpec
from app.contract.reference import LEVELS, Reference
from app.imaging.packed import PackedImages
from tests.worker.methods import tasks
from worker.export.served import energy
from worker.runs import reference

CLASSES = 3
LOOP = {"epochs": 3, "batch_size": 8}


def setting(folder, method, *, multi_label=False, splits=tasks.SPLITS):
    data = tasks.dataset(folder / "data", CLASSES, per_class=16, splits=splits, multi_label=multi_label)
    return tasks.Setting(method, None if method["name"] == "train" else tasks.source(folder / "source", CLASSES), data)


def test_it_is_of_the_validation_images_in_the_exported_graph(tmp_path):
    case = setting(tmp_path, {"name": "fine_tune", "calibrate": True} | LOOP)
    outcome = tasks.run(case, tmp_path / "run")
    known = Reference.load(outcome.document["reference"])
    packed = PackedImages.open(case.target.pixels, case.target.index)
    rows = packed.rows("validation")
    graph = onnxruntime.InferenceSession(outcome.result.artifacts["graph"].read_bytes())
    images_NHWC = packed.fitted(rows, InputSpec.model_validate(outcome.document["input"]))
    p_NK, energy_N = graph.run(["probabilities", "energy"], {"image": images_NHWC})
    assert known.images == len(rows) == 12
    np.testing.assert_allclose(known.priors, p_NK.mean(0), atol=1e-5)
    np.testing.assert_allclose(known.energy, np.quantile(energy_N, np.linspace(0, 1, LEVELS)), atol=1e-4)
    assert known.energy[0] < known.energy[-1]


def test_energies_against_scipy():
    logits_NK = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)) * 20
    z_NK = logits_NK.double().numpy()
    np.testing.assert_allclose(energy(logits_NK, multi_label=False), -logsumexp(z_NK, axis=1), rtol=1e-6)
    several_N = -np.logaddexp(0, z_NK).sum(1)
    np.testing.assert_allclose(energy(logits_NK, multi_label=True), several_N, rtol=1e-6)


def test_of_several_labels_there_are_energies_and_no_priors(tmp_path):
    case = setting(
        tmp_path, {"name": "train", "network": tasks.network(CLASSES), "input": tasks.INPUT} | LOOP, multi_label=True
    )
    known = tasks.run(case, tmp_path / "run").document["reference"]
    assert "priors" not in known
    assert known["energy"][0] < known["energy"][-1] < 0


def test_a_head_that_gives_probabilities_alone_has_no_energies(tmp_path):
    """The logarithms of votes: the sum of their exponentials is 1 for every image."""
    known = tasks.run(setting(tmp_path, {"name": "knn"}), tmp_path / "run").document["reference"]
    assert "energy" not in known
    assert sum(known["priors"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("method", "splits"),
    [({"name": "fine_tune"} | LOOP, (0, 0, 0, 0, 0, 0, 2, 2)), ({"name": "rotation"} | LOOP, tasks.SPLITS)],
    ids=["no validation images", "no head"],
)
def test_there_is_none(tmp_path, method, splits):
    assert tasks.run(setting(tmp_path, method, splits=splits), tmp_path / "run").document.get("reference") is None


def test_labels_are_not_read(tmp_path):
    """By a method that learns without them: the same reference whatever the validation images' labels are."""
    first, second = (setting(tmp_path / name, {"name": "adabn"}) for name in ("one", "two"))
    images = np.load(second.target.index)
    known = {name: images[name] for name in images.files}
    (label,) = [name for name in known if name.startswith("label")]
    known[label] = np.where(known["split"] == 1, -1, known[label])
    np.savez(second.target.index, **known)
    documents = [tasks.run(case, tmp_path / f"run{i}").document for i, case in enumerate((first, second))]
    assert documents[0]["reference"] == documents[1]["reference"]


def test_one_image_is_a_reference_too():
    known = reference.of_logits(torch.tensor([[1.0, 2.0]]), multi_label=False)
    assert known.energy == pytest.approx([-np.log(np.exp(1) + np.exp(2))] * LEVELS)
