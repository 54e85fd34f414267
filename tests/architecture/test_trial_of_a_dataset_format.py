"""A made-up dataset format, written into a copy by the checklist, is read, refused, documented and taken by the API."""

import pytest

from tests.architecture.trial import Copy, listed

READER = '''"""`numbered`: images whose names begin with the number of a class in `numbered.txt`."""

from worker.ingest import classes
from worker.ingest.archive import Archive
from worker.ingest.naming import UNSPLIT
from worker.ingest.pack import Pack
from worker.ingest.parsed import ParsedDataset, Request
from worker.runtime.contract import Failure

LIST, MAX_LIST_BYTES = "numbered.txt", 2**20


def suits(archive: Archive, _: Request) -> bool:
    return LIST in archive.files


def read(archive: Archive, pack: Pack, request: Request) -> ParsedDataset:
    """The images in the order of their names.

    Raises:
        Failure: `no_images`, `no_labels`, or of the name of a class.
    """
    own = archive.read(LIST, MAX_LIST_BYTES).decode().split()
    names = pack.decode(member for member in archive.walk() if member.name != LIST)
    rows = sorted(range(len(names)), key=names.__getitem__)
    labels = [_label(names[row], own) for row in rows] if request.labelled else None
    return classes.parsed(rows, labels, [UNSPLIT] * len(rows), [names[row] for row in rows])


def _label(name: str, own: list[str]) -> str:
    number = name.partition("_")[0]
    if not number.isdecimal() or int(number) >= len(own):
        raise Failure("no_labels", f"{name} does not begin with the number of a class of {LIST}.")
    return own[int(number)]
'''
READ = '''"""`numbered`: images whose names begin with the number of their class."""

from tests.archives import encoded, examples, zipped
from tests.worker.ingest.ingested import refusal

DATA = examples(30, 3, (6, 5, 3))
IMAGES = {f"{label}_{n}.png": encoded(image) for n, (image, label) in enumerate(zip(DATA.images, DATA.labels))}


def test_classes_are_those_of_the_list(ingest):
    found = ingest(zipped({"numbered.txt": b"zebra yak xerus", **IMAGES}))
    assert found.document["format"] == "numbered"
    assert found.document["classes"] == ["xerus", "yak", "zebra"]
    assert found.labels == sorted(found.labels, reverse=True)
    assert len(found.images) == 30


def test_a_class_that_is_not_listed_is_refused(tmp_path):
    assert refusal(tmp_path, zipped({"numbered.txt": b"zebra yak", **IMAGES})).code == "no_labels"
'''


@pytest.mark.slow
def test_the_suites_take_it_in(tmp_path):
    """They show that it is read and refused, that the API, the command and the page name it, and that others stay."""
    copy = Copy.within(tmp_path / "copy")
    copy.write("worker/ingest/numbered.py", READER)
    copy.insert("worker/ingest/detect.py", "\nfrom worker.ingest.archive", ", numbered")
    copy.insert(
        "worker/ingest/detect.py", '    "idx": Format', '    "numbered": Format(numbered.suits, numbered.read),\n'
    )
    copy.insert("app/api/schemas/datasets.py", '"webdataset"]', '"numbered", ')
    copy.insert("regraft/cli/datasets.py", 'webdataset.")', "numbered, ")
    copy.write("tests/worker/ingest/test_dataset_numbered.py", READ)
    copy.insert("docs/api.md", "`parquet` or `webdataset`", "`numbered`, ")
    suites = (
        "tests/worker/ingest/test_dataset_numbered.py",
        "tests/worker/ingest/test_formats.py",
        "tests/worker/ingest/test_dataset_folder.py",
        "tests/app/api/test_openapi.py",
    )
    chosen = "numbered or test_formats or dataset_folder or agreed_on"
    assert copy.passed(chosen, *suites, REGRAFT_RENEW_OPENAPI="1") > 20
    assert copy.read("tests/app/api/openapi.json").count('"numbered"') == 1
    assert copy.changed() == listed("dataset format", name="numbered")
