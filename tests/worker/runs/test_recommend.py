"""The measurements of a recommendation, as a worker's child makes them: spec in, events out."""

from dataclasses import replace

import pytest

from app.contract import blobs
from app.contract.blobs import Input
from app.contract.recommendation import Evidence, RecommendationSpec
from app.contract.specs import DatasetSpec, SourceSpec
from tests.worker.methods import tasks
from worker.runs import recommend
from worker.runtime.contract import Interrupted, Note, Progress, Spec
from worker.runtime.recorder import Recorder

CLASSES = 3
IDS = ("ckpt_one", "ckpt_broken", "ckpt_two")


@pytest.fixture
def spec(tmp_path):
    """Three candidates; the file of the second holds no weights."""
    data, about = tasks.dataset(tmp_path / "data", CLASSES, per_class=16), {}
    inputs = {Input.TARGET_PIXELS: data.pixels, Input.TARGET_INDEX: data.index}
    inputs |= {Input.SOURCE_DATASET_PIXELS: data.pixels, Input.SOURCE_DATASET_INDEX: data.index}
    for id_ in IDS:
        about[id_], inputs[blobs.teacher_weights(id_)] = tasks.source(tmp_path / id_, CLASSES)
    inputs[blobs.teacher_weights("ckpt_broken")].write_bytes(b"no weights at all")
    dataset = DatasetSpec.load(data.document)
    order = RecommendationSpec(
        images=1000,
        seed=0,
        labels=None,
        candidates={id_: SourceSpec.load(document) for id_, document in about.items()},
        target=dataset,
        source_dataset=dataset,
    )
    (tmp_path / "work").mkdir()
    return Spec(kind="recommend", subject="rec_1", payload=order, inputs=inputs, workdir=tmp_path / "work")


def test_each_candidate_is_told_as_soon_as_it_is_known(spec):
    told = Recorder()
    result = recommend.run(spec, told)
    assert [one.checkpoint for one in result.outcome.evidence] == list(IDS)
    notes = [note for note in told.of(Note) if note.type == "evidence"]
    assert [Evidence.load(note.data) for note in notes] == result.outcome.evidence
    assert [(at.step, at.total_steps) for at in told.of(Progress)] == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_one_that_cannot_be_measured_says_why_and_is_none_for_the_others(spec):
    told = Recorder()
    one, broken, two = recommend.run(spec, told).outcome.evidence
    assert broken.failure
    assert (broken.probe, broken.images) == (None, 0)
    for measured in (one, two):
        assert measured.failure is None
        assert measured.images == measured.probe.n == 24
        assert {score.name for score in measured.scores} >= {"log_me", "leep", "ridge", "proxy_a", "mmd", "coral"}
    [warning] = [note for note in told.of(Note) if note.level == "warning"]
    assert warning.type == "not_measured"
    assert "ckpt_broken" in warning.message


def test_what_is_known_is_not_measured_again(spec):
    """Not even looked at: the broken file would say so."""
    known = Evidence(checkpoint="ckpt_broken", images=24, features=3)
    order = spec.payload.model_copy(update={"known": [known]})
    told = Recorder()
    one, kept, two = recommend.run(replace(spec, payload=order), told).outcome.evidence
    assert kept == known
    assert one.probe is not None
    assert two.probe is not None
    assert [note.data["checkpoint"] for note in told.of(Note) if note.type == "evidence"] == list(IDS)
    assert not [note for note in told.of(Note) if note.level == "warning"]


def test_an_order_to_stop_is_obeyed_between_candidates(spec):
    told = Recorder(lambda so_far: "shutdown" if any(note.type == "evidence" for note in so_far.of(Note)) else None)
    with pytest.raises(Interrupted):
        recommend.run(spec, told)
    assert [note.data["checkpoint"] for note in told.of(Note) if note.type == "evidence"] == ["ckpt_one"]


def test_the_same_order_is_measured_the_same(spec):
    """But for the seconds, where nobody keeps them."""
    first, second = (recommend.run(spec, Recorder()).outcome.evidence for _ in range(2))
    assert all(one.image_seconds > 0 for one in first if one.failure is None)
    assert [one.model_copy(update={"image_seconds": None}) for one in first] == [
        one.model_copy(update={"image_seconds": None}) for one in second
    ]
