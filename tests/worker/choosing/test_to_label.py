"""Which images are worth a label: beside an independent account of the same rules."""

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.metrics import pairwise_distances

from app.contract.specs import DatasetSpec
from tests.worker.methods import tasks
from worker.choosing import evidence, ridge, to_label
from worker.methods.task import Domain


def features(count, width=5, seed=0):
    return np.random.default_rng(seed).normal(size=(count, width))


def test_each_is_the_farthest_from_all_before_it():
    x, known = features(40), features(3, seed=1)
    chosen = to_label.coreset(x, known, 10).tolist()
    before = known
    for place in chosen:
        nearest = pairwise_distances(x, before).min(axis=1)
        assert place == nearest.argmax()
        before = np.vstack([before, x[place]])
    assert len(set(chosen)) == 10


def test_without_labels_the_first_is_the_one_in_the_middle():
    x = np.array([[0.0], [1.0], [2.1], [9.0]])
    assert to_label.coreset(x, x[:0], 4).tolist() == [2, 3, 0, 1]


def test_images_that_are_alike_are_listed_once_each():
    x = np.zeros((6, 2))
    assert sorted(to_label.coreset(x, x[:0], 100).tolist()) == list(range(6))


def test_with_many_labels_the_most_doubtful_come_first():
    x, y = features(300), np.random.default_rng(2).integers(0, 3, 300)
    x[:, 0] += 2 * y
    other = features(50, seed=3)
    rule, places = to_label.order(other, x, y, 12)
    assert rule == "margin"
    size = ((x - x.mean(0)) ** 2).sum(1).mean()
    peer = RidgeCV(alphas=[strength * size for strength in ridge.STRENGTHS]).fit(x, np.eye(3)[y] * 2 - 1)
    scores = np.sort(peer.predict(other), axis=1)
    assert places.tolist() == np.argsort(scores[:, -1] - scores[:, -2]).tolist()[:12]


@pytest.mark.parametrize(("known", "labels"), [(300, np.zeros(300, np.int64)), (20, np.arange(20) % 3)])
def test_few_labels_or_one_class_tell_no_doubt(known, labels):
    assert to_label.order(features(30), features(known, seed=1), labels, 5)[0] == "coreset"


@pytest.mark.parametrize(("labels", "count"), [(0, 96), (None, 0), (3, 96 - 12)])
def test_labels_that_were_not_read_are_asked_for(tmp_path, labels, count):
    data = tasks.dataset(tmp_path / "data", 4, per_class=48)
    domain = Domain.open(DatasetSpec.load(data.document), data.pixels, data.index)
    read = evidence.rows(domain, 1000, labels, seed=0)
    asked = to_label.unread(domain, labels, read, 1000, seed=0)
    assert len(asked.place_N) == count
    assert (asked.label_N == -1).all()
    assert set(asked.place_N) <= set(domain.images.rows("train"))
    if labels:
        assert not set(asked.place_N) & set(read.place_N)
    assert len(to_label.unread(domain, labels, read, 7, seed=0).place_N) == min(7, count)
