"""What a request may say of a dataset, and what the dataset then says of itself, on both databases."""

import pytest

from tests.app.api.world import INPUT, NETWORK, World

TESTS_ALONE = {
    "labelled": "test",
    "counts": {"train": [0, 0, 0], "validation": [0, 0, 0], "test": [1, 1, 1]},
}


def test_columns_and_names_of_splits_are_kept(world: World) -> None:
    columns, names = {"image": "Bild", "labels": "Art"}, {"train": ["Lernen"], "test": ["Probe", "Prüfung"]}
    dataset = world.dataset(columns=columns, split_names=names)
    assert dataset["columns"] == {"image": "Bild", "label": None, "labels": "Art", "split": None}
    assert dataset["split_names"] == {"train": ["Lernen"], "validation": [], "test": ["Probe", "Prüfung"]}
    plain = world.dataset()
    assert (plain["columns"], plain["split_names"], plain["duplicates"]) == (None, None, None)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"labelled": "train"}, "labelled"),
        ({"columns": {"label": "a", "labels": "b"}}, "columns"),
        ({"columns": {"image": ""}}, "columns.image"),
        ({"columns": {"picture": "a"}}, "columns.picture"),
        ({"split_names": {"train": ["a"], "test": ["A "]}}, "split_names"),
        ({"split_names": {"holdout": ["a"]}}, "split_names.holdout"),
        ({"split_names": {"train": "a"}}, "split_names.train"),
        ({"classes": ["cat", "cat"]}, "classes"),
        ({"classes": ["cat"]}, "classes"),
        ({"split_names": {"train": ["a"] * 101}}, "split_names.train"),
    ],
)
def test_what_cannot_be_said(world: World, changes: dict, param: str) -> None:
    answer = world.client.post("/v1/datasets", json={"name": "d", "file": world.file()["id"]} | changes)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["param"].startswith(param)


def test_duplicates_are_shown(world: World) -> None:
    found = {
        "exact": 2,
        "across": 1,
        "near": None,
        "examples": [{"images": ["train/a.png", "test/a.png"], "splits": ["train", "test"]}],
    }
    assert world.dataset(published={"duplicates": found})["duplicates"] == found


@pytest.mark.parametrize("known", [True, False], ids=["found out", "asked for"])
def test_labels_of_tests_alone_are_no_labels_to_learn_from(world: World, known: bool) -> None:
    """Refused at submit; what learns without labels, and what only measures, may have such a dataset."""
    dataset = world.dataset(published=TESTS_ALONE) if known else world.queued_dataset(labelled="test")
    assert dataset["labelled"] == "test"
    assert world.get(f"/v1/datasets/{dataset['id']}")["labelled"] == "test"
    source, full = world.checkpoint(), world.dataset()
    for method, changes, param in (
        ({"name": "fine_tune"}, {}, "dataset"),
        ({"name": "linear_probe"}, {}, "dataset"),
        ({"name": "train", "network": NETWORK, "input": INPUT}, {"checkpoint": None}, "dataset"),
        ({"name": "dann"}, {"dataset": full["id"], "source_dataset": dataset["id"]}, "source_dataset"),
        ({"name": "mcc", "selection": "target_validation"}, {"source_dataset": full["id"]}, "method.selection"),
        (
            {"name": "erm", "environments": [full["id"], dataset["id"]]},
            {"dataset": full["id"]},
            "method.environments.1",
        ),
    ):
        body = {"checkpoint": source["id"], "dataset": dataset["id"], "method": method} | changes
        answer = world.client.post("/v1/jobs", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "does_not_fit"), answer.text
        assert answer.json()["param"] == param
        assert "labels" in answer.json()["detail"]
    for name, changes in (("evaluate", {}), ("dann", {"source_dataset": full["id"]})):
        body = {"checkpoint": source["id"], "dataset": dataset["id"], "method": {"name": name}} | changes
        assert world.client.post("/v1/jobs", json=body).status_code == 202


def test_a_set_for_testing_only_is_not_trained_on(world: World) -> None:
    splits = {"splits": {"train": 0, "validation": 0, "test": 9}}
    counts = {"counts": {"train": [0] * 3, "validation": [0] * 3, "test": [3] * 3}}
    dataset, source = world.dataset(published=splits | counts), world.checkpoint()
    body = {"checkpoint": source["id"], "dataset": dataset["id"]}
    answer = world.client.post("/v1/jobs", json=body | {"method": {"name": "fine_tune"}})
    assert (answer.status_code, answer.json()["code"]) == (422, "does_not_fit")
    assert "training split" in answer.json()["detail"]
    assert world.client.post("/v1/jobs", json=body | {"method": {"name": "evaluate"}}).status_code == 202
