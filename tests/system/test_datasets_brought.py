"""Datasets as people bring them, over HTTP on a real service: what a user sees of how they were read."""

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from regraft import Invalid, Unsuccessful
from tests import services
from tests.archives import encoded, examples, npz, table, zipped
from tests.databases import Sqlite
from tests.services import Service

NAMES = ["cat", "dog"]
PICTURES = [encoded(image) for image in examples(80, 2, (8, 8, 3)).images]  # cat and dog in turn
NETWORK = {
    "name": "layers",
    "num_classes": 2,
    "options": {"input": [3, 8, 8], "layers": [{"type": "Flatten"}, {"type": "Linear", "out_features": 2}]},
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One on SQLite: what is stored in new columns is tested on both databases without a worker."""
    url = Sqlite(tmp_path_factory.mktemp("database")).migrated()
    with services.running(tmp_path_factory.mktemp("home"), url) as running:
        yield running


def brought(service: Service, content: bytes, **options: Any) -> dict[str, Any]:
    """The dataset made of an uploaded archive, as it shows itself; its warnings by their codes."""
    client = service.client
    file = client.files.upload(content, filename="data.zip")
    created = client.datasets.create(name="brought", file=file.id, **options)
    client.datasets.wait(created.id, timeout_s=120)
    shown: dict[str, Any] = client.http.get(f"/v1/datasets/{created.id}").json()
    events = client.http.get(f"/v1/datasets/{created.id}/events").json()["data"]
    told = {warning["code"]: warning["message"] for warning in shown["warnings"]}
    assert told == {event["type"]: event["message"] for event in events if event["level"] == "warning"}
    return shown | {"told": told}


def refusal(service: Service, content: bytes, **options: Any) -> Unsuccessful:
    with pytest.raises(Unsuccessful) as refused:
        brought(service, content, **options)
    return refused.value


def classed(root: str, start: int = 0, count: int = 16) -> dict[str, bytes]:
    return {f"{root}/{NAMES[n % 2]}/{n:03}.png": PICTURES[n] for n in range(start, start + count)}


def bare(root: str, start: int = 0, count: int = 16) -> dict[str, bytes]:
    return {f"{root}/{n:03}.png": PICTURES[n] for n in range(start, start + count)}


def labels(start: int = 0, count: int = 16) -> list[str]:
    return [NAMES[n % 2] for n in range(start, start + count)]


def test_kaggles_splits(service: Service) -> None:
    found = brought(service, zipped(classed("training_set/training_set") | classed("test_set/test_set", 20)))
    assert (found["classes"], found["splits"]["test"]) == (NAMES, 16)
    assert set(found["told"]) == {"splits_carved"}  # validation
    members = classed("seg_train/seg_train") | classed("seg_test/seg_test", 20) | bare("seg_pred/seg_pred", 40, 4)
    found = brought(service, zipped(members))
    assert found["classes"] == NAMES
    assert "images_set_aside" in found["told"]
    assert len(found["refused"]) == 4


def test_tiny_imagenet(service: Service) -> None:
    members = {f"t/train/n0{n % 2}/images/{n}.JPEG": PICTURES[n] for n in range(16)}
    members |= {f"t/val/images/v{n}.JPEG": PICTURES[20 + n] for n in range(8)}
    members |= {f"t/test/images/t{n}.JPEG": PICTURES[40 + n] for n in range(4)}
    members["t/val/val_annotations.txt"] = "".join(f"v{n}.JPEG\tn0{n % 2}\t0\t0\t9\t9\n" for n in range(8)).encode()
    found = brought(service, zipped(members))
    assert found["classes"] == ["n00", "n01"]
    assert found["counts"]["validation"] == [4, 4]
    assert "split_unlabelled" in found["told"]


def test_ham10000_by_its_table_or_not_at_all(service: Service) -> None:
    members = bare("HAM10000_images_part_1", 0, 8) | bare("HAM10000_images_part_2", 8, 8)
    lines = [[f"HAM_{n}", f"{n:03}", name, "histo"] for n, name in enumerate(labels())]
    metadata = table([["lesion_id", "image_id", "dx", "dx_type"], *lines])
    found = brought(service, zipped(members | {"HAM10000_metadata.csv": metadata}))
    assert (found["format"], found["classes"], sum(found["splits"].values())) == ("csv", NAMES, 16)
    refused = refusal(service, zipped(members))
    assert refused.code == "unclear_folders"
    assert "images_part_1" in refused.message


def test_own_column_names(service: Service) -> None:
    lines = [[f"{n:03}.png", name, str(n), "x"] for n, name in enumerate(labels())]
    archive = zipped(bare("images") | {"t.csv": table([["bild", "art", "alter", "ort"], *lines])})
    refused = refusal(service, archive)
    assert refused.code == "bad_table"
    assert "'bild', 'art'" in refused.message
    found = brought(service, archive, columns={"image": "bild", "label": "art"})
    assert found["classes"] == NAMES
    assert found["columns"]["label"] == "art"


def test_roboflow_and_planet(service: Service) -> None:
    members = {}
    for place, split in enumerate(("train", "valid", "test")):
        files = bare(split, 20 * place)
        lines = [[name.rpartition("/")[2], "1", str(n % 2)] for n, name in enumerate(files)]
        members |= files | {f"{split}/_classes.csv": table([["filename", " red", " blue"], *lines])}
    found = brought(service, zipped(members))
    assert (found["multi_label"], found["classes"]) == (True, ["blue", "red"])
    assert found["splits"] == {"train": 16, "validation": 16, "test": 16}
    cells = ["clear primary", "haze", "haze primary water", "clear", "primary", "water"]
    lines = [[f"{n:03}", cells[n % 6]] for n in range(36)]
    planet = bare("train-jpg", 0, 36) | {"train_v2.csv": table([["image_name", "tags"], *lines])}
    found = brought(service, zipped(planet))
    assert found["classes"] == ["clear", "haze", "primary", "water"]
    assert "labels_separated" in found["told"]


def test_a_competition(service: Service) -> None:
    members = bare("train_images") | bare("test_images", 20)
    members["train.csv"] = table([["id", "label"], *([f"{n:03}", name] for n, name in enumerate(labels()))])
    members["sample_submission.csv"] = table([["id", "label"], *([f"{n:03}", "cat"] for n in range(20, 36))])
    found = brought(service, zipped(members))
    assert (found["format"], found["classes"], sum(found["splits"].values())) == ("csv", NAMES, 16)
    assert "sample_submission.csv" in found["told"]["table_set_aside"]


def test_paths_of_another_machine(service: Service) -> None:
    lines = [[f"C:\\Users\\me\\images\\{n:03}.png", name] for n, name in enumerate(labels())]
    csv = "\ufefffile;label\r\n" + "".join(f"{path};{name}\r\n" for path, name in lines)
    found = brought(service, zipped(bare("images") | {"t.csv": csv.encode()}))
    assert found["classes"] == NAMES
    assert "paths_matched_by_end" in found["told"]


def test_arrays_of_notebooks(service: Service) -> None:
    data = examples(40, 2, (8, 8, 3))
    found = brought(service, npz(arr_0=data.images, arr_1=data.labels))
    assert (found["format"], found["classes"]) == ("npz", ["0", "1"])
    refused = refusal(service, npz(pics=data.images, cls=data.labels))
    assert "`images` and `labels`" in refused.message


def test_medmnist_with_several_labels_an_image(service: Service) -> None:
    """As ChestMNIST comes, to a model."""
    client, data = service.client, examples(60, 2, (8, 8, 3))
    target = np.stack([data.labels == 0, data.labels == 1, np.arange(60) % 3 == 0], axis=1).astype(np.uint8)
    parts = {"train": slice(0, 40), "val": slice(40, 50), "test": slice(50, 60)}
    arrays = {f"{part}_images": data.images[rows] for part, rows in parts.items()}
    arrays |= {f"{part}_labels": target[rows] for part, rows in parts.items()}
    found = brought(service, npz(**arrays))
    assert (found["multi_label"], found["classes"]) == (True, ["0", "1", "2"])
    assert found["counts"]["test"] == target[50:].sum(axis=0).tolist()
    layers = [{"type": "Flatten"}, {"type": "Linear", "out_features": 3}]
    network = NETWORK | {"num_classes": 3, "options": {"input": [3, 8, 8], "layers": layers}}
    job = client.jobs.create(method={"name": "train", "network": network, "epochs": 2}, dataset=found["id"])
    ended = client.jobs.wait(job.id, timeout_s=120)
    assert ended.evaluation.target.n == 10
    assert client.models.get(ended.model).classes == ["0", "1", "2"]


def test_a_list_of_classes_beside_the_folders(service: Service) -> None:
    found = brought(service, zipped(classed("data") | {"data/classes.txt": b"dog\r\ncat\r\n"}))
    assert (found["classes"], found["refused"]) == (["dog", "cat"], [])
    assert "0 is dog" in found["told"]["classes_listed"]


def test_a_zip_of_dotnet_and_names_of_linux(service: Service) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in (classed("data") | {"data/cat/000.PNG": PICTURES[20]}).items():
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = name.replace("/", "\\")
            archive.writestr(info, content)
    found = brought(service, buffer.getvalue())
    assert (found["classes"], sum(found["splits"].values())) == (NAMES, 17)


def test_pixels(service: Service) -> None:
    shape = np.zeros((8, 8, 4), np.uint8)
    shape[2:5, 2:5, 3] = 255
    members = {
        f"{name}/{n}.tif": encoded(np.full((8, 8), 4000 - n, np.uint16), "TIFF") for n in range(6) for name in NAMES
    }
    members |= {f"{name}/icon{n}.png": encoded(np.roll(shape, n, 0)) for n in range(3) for name in NAMES}
    found = brought(service, zipped(members))
    assert found["refused"] == []
    assert found["mean"][0] > 0.7  # 4000 of 12 bits, and black shapes on white
    assert {"images_changed_depth", "images_changed_transparency"} <= set(found["told"])


def test_the_same_picture_twice_and_a_class_that_only_the_test_has(service: Service) -> None:
    hens = {f"test/hen/{n}.png": PICTURES[40 + n] for n in range(4)}
    found = brought(service, zipped(classed("train") | classed("test", 12) | hens))
    assert found["duplicates"]["across"] == 4
    assert "too good" in found["told"]["same_images_across_splits"]
    assert "'hen'" in found["told"]["classes_without_training"]


def test_parquet_of_the_hub(service: Service) -> None:
    """Shards with names of classes, to a model; one file alone; what is none."""
    client = service.client
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    declared = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["zebra", "ant"]}}

    def shard(start: int, count: int) -> bytes:
        images = [{"bytes": PICTURES[n], "path": f"{n}.png"} for n in range(start, start + count)]
        columns = {"image": pa.array(images, kind), "label": pa.array([n % 2 for n in range(start, start + count)])}
        schema = {"huggingface": json.dumps({"info": {"features": declared}})}
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns).replace_schema_metadata(schema), buffer, row_group_size=10)
        return buffer.getvalue()

    shards = {f"data/train-0000{n}-of-00002.parquet": shard(16 * n, 16) for n in range(2)}
    found = brought(service, zipped(shards | {"data/test-00000-of-00001.parquet": shard(40, 20)}))
    assert (found["format"], found["classes"]) == ("parquet", ["zebra", "ant"])
    assert (found["splits"]["test"], found["splits"]["train"] + found["splits"]["validation"]) == (20, 32)
    assert set(found["told"]) == {"splits_carved"}
    job = client.jobs.create(method={"name": "train", "network": NETWORK, "epochs": 2}, dataset=found["id"])
    ended = client.jobs.wait(job.id, timeout_s=120)
    assert client.models.get(ended.model).classes == ["zebra", "ant"]
    assert ended.evaluation.target.n == 20
    alone = brought(service, shard(0, 40))
    assert (alone["format"], sum(alone["splits"].values())) == ("parquet", 40)
    samples: Any = client.datasets.samples(alone["id"], split="test")["data"]
    assert {one["name"]: one["label"] for one in samples} == {
        one["name"]: ["zebra", "ant"][int(one["name"].removesuffix(".png")) % 2] for one in samples
    }
    assert refusal(service, shard(0, 40)[:-30]).code == "corrupt_archive"
    assert refusal(service, shard(0, 40), columns={"label": "class"}).code == "bad_table"


def test_unlabelled_training_images(service: Service) -> None:
    """They are kept and said to have no labels; a job that would learn from these is refused at once; one that only
    measures, and one that learns without labels, end well."""
    client = service.client
    found = brought(service, zipped(bare("train") | classed("test", 20)))
    assert found["labelled"] == "test"
    assert (found["refused"], sum(found["splits"].values()), found["splits"]["test"]) == ([], 32, 16)
    assert "training_unlabelled" in found["told"]
    with pytest.raises(Invalid) as refused:
        client.jobs.create(method={"name": "train", "network": NETWORK}, dataset=found["id"])
    assert (refused.value.code, refused.value.param) == ("does_not_fit", "dataset")
    full = brought(service, zipped(classed("train", 40) | classed("test", 60)))
    learnt = client.jobs.create(method={"name": "train", "network": NETWORK, "epochs": 2}, dataset=full["id"])
    model = client.jobs.wait(learnt.id, timeout_s=120).model
    jobs = [
        client.jobs.create(method="evaluate", checkpoint=model, dataset=found["id"]),
        client.jobs.create(
            method={"name": "dann", "epochs": 1}, checkpoint=model, dataset=found["id"], source_dataset=full["id"]
        ),
    ]
    for job in jobs:
        assert client.jobs.wait(job.id, timeout_s=120).evaluation.target.n == 16
