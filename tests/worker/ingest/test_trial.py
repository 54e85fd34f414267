"""Trials: labelled images decide between networks that a file fits alike, beyond chance or not at all."""

from math import comb

import numpy as np
import pytest

from app.contract.networks import NetworkSpec
from app.contract.specs import LabelledDataset
from app.imaging.packed import PackedImages
from tests import probed
from worker.ingest import alike, recognise, trial
from worker.ingest.adopt import adopt
from worker.ingest.recognise import Recognised
from worker.ingest.trial import Question
from worker.ingest.watch import DiskWatch
from worker.networks import build, signatures
from worker.runtime.contract import Failure, Interrupted
from worker.runtime.recorder import Recorder

USUAL, OTHER = "timm/mobilenetv3_small_075", "timm/tf_mobilenetv3_small_075"
SIDE = 64


def by_hand(wins: int, losses: int) -> float:
    """Twice the tail of a binomial distribution, of the two-sided test."""
    n, few = wins + losses, min(wins, losses)
    return min(1.0, 2 * sum(comb(n, k) for k in range(few + 1)) / 2**n)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (9, 2), (30, 10), (5, 5), (200, 0)])
def test_mcnemar_is_the_exact_test(wins: int, losses: int) -> None:
    both = 40
    one = np.repeat([True, False, True, False], [wins, losses, both, both])
    other = np.repeat([False, True, True, False], [wins, losses, both, both])
    assert trial.mcnemar(one, other) == pytest.approx(by_hand(wins, losses))


def test_who_names_the_commonest_class_is_no_better_than_chance() -> None:
    assert not trial.above_chance(55, 100, 50)
    assert trial.above_chance(60, 100, 50)


@pytest.fixture(scope="module")
def found() -> Recognised:
    return recognise.recognise(probed.weights(OTHER, SIDE), signatures.read(signatures.SHIPPED))


def images(splits: list[int], classes: int = 10, labels: bool = True) -> PackedImages:
    """Real digits, `probed.PER_CLASS` a class, the first of them in the first split, and so on."""
    pixels_NHW, label_N = probed.digits(classes)
    count = len(label_N)
    split_N = np.repeat(np.arange(3), [*splits[:2], count - sum(splits[:2])]).astype(np.uint8)
    return PackedImages(
        pixels_NHW.reshape(-1),
        np.arange(count) * pixels_NHW[0].size,
        np.tile(np.array([*pixels_NHW.shape[1:], 1], np.int32), (count, 1)),
        label_N if labels else np.full(count, -1),
        split_N,
    )


def question(shown: PackedImages, names: list[str], classes: list[str] | None = None) -> Question:
    dataset = LabelledDataset(id="ds_1", classes=names, mean=(0.3,), std=(0.4,))
    spec = NetworkSpec(name=OTHER, num_classes=10)
    usual = build.usual_input(spec)
    assert usual is not None
    input = usual.model_copy(update={"size": (SIDE, SIDE)})
    tensors = probed.weights(OTHER, SIDE)
    return Question(dataset, shown, lambda network, input: adopt(network, input, tensors), input, classes)


NUMBERS = [str(number) for number in range(10)]


def settled(found: Recognised, asked: Question) -> tuple[Recognised, str]:
    one, note = trial.settled(found, asked, DiskWatch(Recorder()))
    return one, note.message


def test_the_better_network_is_taken(found: Recognised) -> None:
    assert found.network.name == USUAL
    one, message = settled(found, question(images([120, 40]), NUMBERS))
    assert (one.network.name, one.alike) == (OTHER, [])
    assert [candidate.network.name for candidate in one.candidates[:2]] == [OTHER, USUAL]
    assert one.measured is not None
    assert one.measured.images == {"train": 120, "validation": 40}
    assert one.measured.decided
    assert "120 of its train split and 40 of its validation split" in message


def test_the_test_split_is_asked_only_where_nothing_else_has_labels(found: Recognised) -> None:
    one, _ = settled(found, question(images([0, 0]), NUMBERS))
    assert one.measured is not None
    assert one.measured.images == {"test": 200}


def test_no_more_images_are_asked_than_time_allows(found: Recognised, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "MOST_IMAGES", 60)
    one, _ = settled(found, question(images([120, 40]), NUMBERS))
    assert one.measured is not None
    assert one.measured.images == {"train": 60}
    assert one.measured.decided
    monkeypatch.setattr(trial, "OPERATIONS", 1e7)
    with pytest.raises(Failure, match="so large are the networks"):
        settled(found, question(images([120, 40]), NUMBERS))


def test_classes_are_matched_by_name_in_any_order(found: Recognised) -> None:
    names = [f"digit {number}" for number in range(10)]
    shown = images([120, 40])
    shown.label[:] = 9 - shown.label  # the dataset has them the other way round
    one, message = settled(found, question(shown, names[::-1], classes=names))
    assert one.network.name == OTHER
    assert one.measured is not None
    assert one.measured.matched_by == "names"
    assert "by their names" in message


@pytest.mark.parametrize(
    ("names", "classes", "reason"),
    [
        (["a", "b", "c"], None, r"its 3 classes \(a, b, c\) are not the 10"),
        ([f"b{n}" for n in range(10)], [f"a{n}" for n in range(10)], r"names others \(a0, a1, a2, …\)"),
    ],
)
def test_classes_that_are_not_the_file_s_are_refused(
    found: Recognised, names: list[str], classes: list[str] | None, reason: str
) -> None:
    with pytest.raises(Failure, match=reason) as failed:
        settled(found, question(images([120, 40]), names, classes))
    assert failed.value.code == "does_not_fit"


def test_too_few_images_are_refused(found: Recognised) -> None:
    with pytest.raises(Failure, match="0 labelled images"):
        settled(found, question(images([120, 40], labels=False), NUMBERS))


def test_a_trial_stops_when_it_is_told_to(found: Recognised) -> None:
    with pytest.raises(Interrupted):
        trial.settled(found, question(images([120, 40]), NUMBERS), DiskWatch(Recorder(lambda _: "cancel")))


def test_what_may_be_chance_decides_nothing(found: Recognised, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two networks of which either is right where the other is not in a few images."""
    right = iter([np.arange(160) > 3, np.arange(160) > 8])
    monkeypatch.setattr(trial, "_right", lambda *_: next(right))
    one, message = settled(found, question(images([120, 40]), NUMBERS))
    assert (one.network.name, [other.name for other in one.alike]) == (USUAL, [OTHER])
    assert [candidate.accuracy for candidate in one.candidates[:2]] == [156 / 160, 151 / 160]
    assert one.measured is not None
    assert not one.measured.decided
    assert one.measured.p_value == pytest.approx(by_hand(5, 0))
    assert "may be chance (McNemar's test, p = 0.06" in message


def test_a_beaten_network_is_ruled_out_where_others_are_left(
    found: Recognised, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three the best two cannot be told apart: the more usual of these is taken."""
    third = found.candidates[1].model_copy(update={"network": NetworkSpec(name="timm/third", num_classes=10)})
    three = Recognised(
        found.network, found.input, "names", [*found.alike, third.network], [*found.candidates[:2], third]
    )
    right = iter([np.arange(160) > 90, np.arange(160) > 4, np.arange(160) > 3])
    monkeypatch.setattr(trial, "_right", lambda *_: next(right))
    monkeypatch.setattr(alike, "_differs", lambda *_: True)
    asked = question(images([120, 40]), NUMBERS)
    real = asked.take
    asked = Question(
        asked.dataset,
        asked.images,
        lambda network, input: real(NetworkSpec(name=OTHER, num_classes=10), input),
        asked.input,
        None,
    )
    one, _ = settled(three, asked)
    assert (one.network.name, [other.name for other in one.alike]) == (OTHER, ["timm/third"])
    assert [candidate.network.name for candidate in one.candidates] == [OTHER, "timm/third", USUAL]
    assert one.measured is not None
    assert not one.measured.decided


def test_what_is_clear_needs_no_image(found: Recognised) -> None:
    clear = Recognised(found.network, found.input, "names", [], found.candidates)
    one, message = settled(clear, question(images([120, 40]), NUMBERS))
    assert one is clear
    assert "no image" in message
