import numpy as np
import pytest

from worker.data import label_budget

LABEL = np.repeat(np.arange(5), [100, 50, 20, 5, 1])
ROWS = np.arange(len(LABEL)) * 3 + 7


def chosen(choose, count, seed=0):
    shuffled = np.random.default_rng(9).permutation(len(LABEL))
    rows = np.sort(ROWS[shuffled])
    return choose(rows, LABEL, count, seed)


def counts(rows):
    return np.bincount(LABEL[(rows - 7) // 3], minlength=5).tolist()


@pytest.mark.parametrize("choose", [label_budget.per_class, label_budget.total])
def test_budgets_are_nested_and_seeded(choose):
    for few, many in [(1, 2), (5, 10), (10, 50)]:
        assert set(chosen(choose, few)) < set(chosen(choose, many))
    assert np.array_equal(chosen(choose, 7), chosen(choose, 7))
    assert not np.array_equal(chosen(choose, 7), chosen(choose, 7, seed=1))


def test_per_class_takes_as_many_as_there_are():
    assert counts(chosen(label_budget.per_class, 10)) == [10, 10, 10, 5, 1]
    assert counts(chosen(label_budget.per_class, 1000)) == [100, 50, 20, 5, 1]


def test_total_is_in_proportion_and_reaches_every_class():
    assert counts(chosen(label_budget.total, 5)) == [1, 1, 1, 1, 1]
    found = counts(chosen(label_budget.total, 88))
    assert sum(found) == 88
    assert found == pytest.approx([50, 25, 10, 2.5, 1], abs=1.5)


def test_rows_come_in_ascending_order():
    rows = chosen(label_budget.total, 50)
    assert np.array_equal(rows, np.sort(rows))
    assert len(set(rows)) == 50
    assert set(rows) <= set(ROWS)


def test_no_rows_no_labels():
    none = np.empty(0, np.int64)
    assert len(label_budget.per_class(none, none, 3, 0)) == 0
    assert len(label_budget.total(none, none, 3, 0)) == 0
