"""Evidence on real networks: what each piece says of one that has learned a dataset, and of one drawn at random."""

import json

import pytest

from app.contract.specs import DatasetSpec, SourceSpec
from tests.worker.methods import tasks
from tests.worker.methods.tasks import INPUT, Setting
from worker.choosing import evidence
from worker.methods.task import Domain, Source
from worker.runtime.cache import Cache
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run

CLASSES = 4


def opened(data):
    return Domain.open(DatasetSpec.load(data.document), data.pixels, data.index)


def source_of(about, weights, **changes):
    return Source.of(SourceSpec.load(about | changes), weights)


@pytest.fixture
def data(tmp_path):
    return tasks.dataset(tmp_path / "data", CLASSES, per_class=48)


@pytest.fixture
def trained(tmp_path, data):
    method = {"name": "train", "network": tasks.network(CLASSES), "input": INPUT, "epochs": 12, "batch_size": 16}
    outcome = tasks.run(Setting(method, None, data), tmp_path / "train")
    about = {"network": tasks.network(CLASSES), "input": INPUT, "classes": [str(k) for k in range(CLASSES)]}
    return about, outcome.weights_file


@pytest.fixture
def look(tmp_path, data):
    run = Run(Recorder(), tmp_path, cache=Cache(tmp_path / "cache", 2**26))

    def look(source, labels=None, images=1000, elsewhere=None):
        domain = opened(data)
        chosen = evidence.rows(domain, images, labels, seed=0)
        return evidence.measure(run, "ckpt_one", source, domain, chosen, elsewhere)

    return look


def values(found):
    return {score.name: score.value for score in found.scores}


def test_a_network_that_has_learned_the_images_shows_it(look, trained, tmp_path):
    knows, drawn = look(source_of(*trained)), look(source_of(*tasks.source(tmp_path / "drawn", CLASSES)))
    assert knows.images == 96
    assert knows.features == 32  # 8 channels of 2×2
    assert knows.unchanged.accuracy > 0.9
    assert knows.unchanged.n == 96
    assert drawn.unchanged.accuracy < 0.6
    low, high = knows.probe.interval
    assert low <= knows.probe.accuracy <= high
    known, unknown = values(knows), values(drawn)
    assert set(known) == {"log_me", "h_score", "n_leep", "parc", "nearest", "leep", "nce", "ridge"}
    assert known["nce"] > unknown["nce"]  # features of patterns so plain are good however they were drawn
    assert known["leep"] > unknown["leep"] + 0.2
    json.dumps(knows.dump(), allow_nan=False)


def test_features_and_scores_are_those_of_the_network(look, trained, data, tmp_path):
    """The share that is right, beside the job that measures it."""
    setting = Setting(
        {"name": "evaluate"}, trained, tasks.dataset(tmp_path / "again", CLASSES, per_class=48, splits=(2,) * 8)
    )
    measured = tasks.run(setting, tmp_path / "evaluate")
    whole = opened(setting.target)
    chosen = evidence.ChosenRows(whole.labelled("test"), whole.images.label[whole.labelled("test")])
    found = evidence.measure(Run(Recorder(), tmp_path), "ckpt_one", source_of(*trained), whole, chosen)
    assert found.unchanged.accuracy == pytest.approx(measured.document["evaluation"]["target"]["accuracy"])


def test_a_second_look_runs_no_network(look, trained):
    first = look(source_of(*trained))
    with tasks.counted() as images:
        assert look(source_of(*trained)) == first
    assert images[0] < 4  # with which the network's structure was looked at


def test_a_head_that_was_drawn_is_not_asked(look, trained):
    found = look(source_of(*trained, untrained_head=True))
    assert found.unchanged is None
    assert not {"leep", "nce"} & set(values(found))


def test_other_classes_leave_the_unchanged_network_out(look, trained):
    found = look(source_of(*trained, classes=["a", "b", "c", "d"]))
    assert found.unchanged is None
    assert found.probe is not None
    assert "leep" in values(found)  # that needs no names


@pytest.mark.parametrize(("labels", "images", "count"), [(None, 1000, 96), (5, 1000, 20), (None, 40, 40), (0, 50, 50)])
def test_no_more_images_and_labels_than_may_be_seen(data, labels, images, count):
    chosen = evidence.rows(opened(data), images, labels, seed=0)
    assert len(chosen.place_N) == count
    assert (chosen.label_N < 0).all() == (labels == 0)


def test_without_labels_there_is_no_score_of_them(look, trained):
    found = look(source_of(*trained), labels=0)
    assert (found.probe, found.unchanged, found.scores) == (None, None, [])


def test_one_label_a_class_gives_a_reason_for_the_probe(look, trained):
    found = look(source_of(*trained), labels=1)
    assert found.probe is None
    [ridge] = [score for score in found.scores if score.name == "ridge"]
    assert ridge.value is None
    assert "single image" in ridge.reason


def test_the_gap_is_wide_to_another_domain(look, trained, data, tmp_path):
    other = opened(tasks.dataset(tmp_path / "other", CLASSES, per_class=48, seed=9))
    same = opened(data)
    far = values(look(source_of(*trained), elsewhere=(other, evidence.rows(other, 1000, 0, seed=0))))
    near = values(look(source_of(*trained), elsewhere=(same, evidence.rows(same, 1000, 0, seed=0))))
    assert far["proxy_a"] > near["proxy_a"] + 0.5
    assert far["mmd"] > near["mmd"]
