"""Uploads, downloads, streams of events and images on their way."""

import hashlib
import io
import json
import random
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

import regraft
from regraft.folders import Folder
from regraft.nouns.events import Decoder
from tests.regraft.client_fakes import AwaitingTalk, BlockingTalk, Broken, Script, job, ok, problem

WEIGHTS = bytes(range(256)) * 40
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
TAGGED = {"ETag": f'"{DIGEST}"'}


@pytest.fixture(params=[BlockingTalk, AwaitingTalk])
def talk(request):
    return request.param


def a_file(size: int) -> dict[str, object]:
    return {
        "id": "file_1",
        "object": "file",
        "created_at": "2026-11-24T12:00:00Z",
        "filename": "a.zip",
        "bytes": size,
        "sha256": "0" * 64,
    }


def a_dataset() -> dict[str, object]:
    return {
        "id": "ds_1",
        "object": "dataset",
        "created_at": "2026-11-24T12:00:00Z",
        "name": "a",
        "status": "processing",
        "file": "file_1",
        "format": "auto",
        "labelled": True,
    }


def whole() -> httpx.Response:
    return httpx.Response(200, content=WEIGHTS, headers=TAGGED)


def test_a_file_is_streamed_with_its_length_and_progress(talk, tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(WEIGHTS)
    script, told = Script([ok(a_file(len(WEIGHTS)), 201)]), []
    file = talk(script).ask(lambda client: client.files.upload(path, progress=lambda *done: told.append(done)))
    assert file.bytes == len(WEIGHTS)
    [sent] = script.requests
    assert sent.content == WEIGHTS
    assert sent.headers["Content-Length"] == str(len(WEIGHTS))
    assert "Transfer-Encoding" not in sent.headers
    assert dict(sent.url.params) == {"filename": "a.zip"}
    assert told[-1] == (len(WEIGHTS), len(WEIGHTS))


def test_a_file_is_read_anew_when_it_is_sent_again(talk, tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(WEIGHTS)
    script = Script([httpx.ReadError("lost"), ok(a_file(len(WEIGHTS)), 201)])
    talk(script).ask(lambda client: client.files.upload(path))
    assert [request.content for request in script.requests] == [WEIGHTS, WEIGHTS]


def test_bytes_can_be_uploaded(talk):
    script = Script([ok(a_file(3), 201)])
    talk(script).ask(lambda client: client.files.upload(b"abc", filename="abc.bin"))
    assert script.requests[0].content == b"abc"


def photographs(folder: Path) -> dict[str, bytes]:
    """What is to be sent of a folder: a hidden file, litter and a loop of links lie beside."""
    files = {f"{name}/{n}.jpg": random.Random(n).randbytes(5000) for name in ("cat", "dog") for n in range(3)}
    for name, content in (files | {"cat/.DS_Store": b"x", "dog/Thumbs.db": b"x", "__MACOSX/._0.jpg": b"x"}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "dog" / "again").symlink_to(folder, target_is_directory=True)
    return files


@pytest.mark.parametrize("as_dataset", [False, True])
def test_a_folder_is_packed_while_it_is_sent(talk, tmp_path, as_dataset):
    files = photographs(tmp_path / "pets")
    upload = a_file(0) | {"id": "upload_1", "object": "upload"}
    parts = [ok({})] * (1 if as_dataset else 8)
    script = Script([ok(upload, 201), *parts, ok(a_file(9), 201), ok(a_dataset(), 202)])
    told = []
    if as_dataset:
        talk(script).ask(lambda client: client.datasets.create(tmp_path / "pets"))
        assert json.loads(script.requests.pop().content) == {"name": "a", "file": "file_1", "format": "auto"}
    else:
        talk(script).ask(
            lambda client: client.files.upload(
                tmp_path / "pets", part_bytes=4096, progress=lambda *done: told.append(done)
            )
        )
        assert told[-1] == (30_000, 30_000)
    begun, *sent, _ = script.requests
    assert json.loads(begun.content) == {"filename": "pets.zip"}
    assert {len(part.content) for part in sent[:-1]} <= {4096}
    with zipfile.ZipFile(io.BytesIO(b"".join(part.content for part in sent))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files


def test_a_lost_part_of_a_folder_is_sent_again_as_it_was(talk, tmp_path):
    photographs(tmp_path)
    upload = a_file(0) | {"id": "upload_1", "object": "upload"}
    script = Script([ok(upload, 201), httpx.ReadError("lost"), ok({}), ok({}), ok({}), ok(a_file(9), 201)])
    talk(script).ask(lambda client: client.files.upload(str(tmp_path), part_bytes=12_000))
    lost, again = script.requests[1:3]
    assert lost.url == again.url
    assert lost.content == again.content


def test_what_a_folder_holds_is_told(tmp_path):
    files = photographs(tmp_path / "pets")
    listed = Folder.listed(tmp_path / "pets")
    assert list(listed.files) == sorted(files)
    assert str(listed).endswith("pets: 6 files packed, 2 left out (hidden files and system litter).")
    assert b"".join(listed.packed(1000)) == b"".join(Folder.listed(tmp_path / "pets").packed(7))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no files"):
        Folder.listed(tmp_path / "empty")


def test_a_dataset_is_of_a_source_or_of_a_file(talk):
    for given in ({}, {"source": b"x", "file": "file_1"}):
        with pytest.raises(ValueError, match="`source`"):
            talk(Script([])).ask(lambda client, given=given: client.datasets.create(**given))


def test_a_large_file_goes_in_parts_and_a_lost_part_alone_is_sent_again(talk, tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(WEIGHTS)
    upload = a_file(len(WEIGHTS)) | {"id": "upload_1", "object": "upload"}
    script = Script([ok(upload, 201), ok({}), httpx.ReadError("lost"), ok({}), ok({}), ok(a_file(len(WEIGHTS)), 201)])
    told = []
    talk(script).ask(
        lambda client: client.files.upload(path, part_bytes=4096, progress=lambda *done: told.append(done))
    )
    begun, one, two, again, three, complete = script.requests
    assert json.loads(begun.content) == {"filename": "a.zip", "bytes": len(WEIGHTS), "sha256": DIGEST}
    assert [one.url.path, again.url.path, three.url.path] == [f"/v1/uploads/upload_1/parts/{n}" for n in (1, 2, 3)]
    assert two.content == again.content
    assert one.content + again.content + three.content == WEIGHTS
    assert complete.url.path == "/v1/uploads/upload_1/complete"
    assert told[-1] == (len(WEIGHTS), len(WEIGHTS))


def test_a_download_is_renamed_into_place(talk, tmp_path):
    script, told = Script([whole()]), []
    path = talk(script).ask(
        lambda client: client.models.download("model_1", tmp_path, progress=lambda *done: told.append(done))
    )
    assert path == tmp_path / "model_1.safetensors"
    assert path.read_bytes() == WEIGHTS
    assert list(tmp_path.iterdir()) == [path]
    assert told[-1] == (len(WEIGHTS), len(WEIGHTS))


def test_a_broken_download_goes_on_where_it_broke(talk, tmp_path):
    length = {"Content-Length": str(len(WEIGHTS))}
    first = httpx.Response(200, stream=Broken([WEIGHTS[:1000]]), headers=TAGGED | length)
    rest = httpx.Response(206, content=WEIGHTS[1000:], headers=TAGGED)
    script = Script([first, rest])
    path = talk(script).ask(lambda client: client.models.download("model_1", tmp_path / "w.safetensors"))
    assert path.read_bytes() == WEIGHTS
    assert script.requests[1].headers["Range"] == "bytes=1000-"
    assert script.requests[1].headers["If-Range"] == TAGGED["ETag"]


def test_a_file_that_changed_meanwhile_is_read_from_the_start(talk, tmp_path):
    length = {"Content-Length": str(len(WEIGHTS))}
    older = httpx.Response(200, stream=Broken([b"older"]), headers={"ETag": '"older"'} | length)
    path = talk(Script([older, whole()])).ask(lambda client: client.models.download("model_1", tmp_path))
    assert path.read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    "answer",
    [
        lambda: httpx.Response(200, content=WEIGHTS[:-1] + b"?", headers=TAGGED),
        lambda: problem(404, "not_found"),
    ],
)
def test_a_download_that_fails_leaves_nothing(talk, tmp_path, answer):
    with pytest.raises((regraft.Corrupted, regraft.NotFound)):
        talk(Script([answer()])).ask(lambda client: client.models.download("model_1", tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_keeps_breaking_ends(talk, tmp_path):
    answers = [httpx.Response(200, stream=Broken([]), headers=TAGGED) for _ in range(4)]
    with pytest.raises(regraft.Unreachable):
        talk(Script(answers)).ask(lambda client: client.models.download("model_1", tmp_path))
    assert list(tmp_path.iterdir()) == []


def message(seq: int) -> bytes:
    event = {"id": f"{seq}", "seq": seq, "job": "job_1", "at": "2026-11-24T12:00:00Z", "level": "info"}
    document = json.dumps(event | {"object": "event", "type": "note", "message": f"{seq}", "data": {}})
    return f"id: {seq}\nevent: note\ndata: {document}\n\n".encode()


def test_a_stream_is_followed_over_lost_connections_to_the_end_of_the_job(talk):
    script = Script(
        [
            httpx.Response(200, stream=Broken([message(1)[:30], message(1)[30:] + b": alive\n\n" + message(2)])),
            httpx.Response(200, content=message(3)),
            ok(job("running")),
            httpx.Response(200, content=message(4)),
            ok(job("succeeded")),
            httpx.Response(200, content=message(5)),
        ]
    )
    events = talk(script).collect(lambda client: client.jobs.stream("job_1"))
    assert [event.seq for event in events] == [1, 2, 3, 4, 5]
    subscriptions = [request for request in script.requests if request.url.path.endswith("/events")]
    assert [request.headers.get("Last-Event-ID") for request in subscriptions] == [None, "2", "3", "4"]


def test_a_stream_that_is_refused_raises_the_refusal(talk):
    with pytest.raises(regraft.NotFound) as refused:
        talk(Script([problem(404, "not_found")])).collect(lambda client: client.jobs.stream("job_1"))
    assert refused.value.code == "not_found"


def test_decoder_cuts_anywhere():
    text = b"data: a\n\n: comment\n\ndata: b\ndata: c\r\n\r\nevent: x\ndata:d\n\n"
    whole_at_once = list(Decoder().feed(text))
    decoder = Decoder()
    byte_by_byte = [found for at in range(len(text)) for found in decoder.feed(text[at : at + 1])]
    assert whole_at_once == byte_by_byte == ["a", "b\nc", "d"]


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 4), value).save(buffer, format="PNG")
    return buffer.getvalue()


PREDICTED = {"object": "list", "data": [{"index": 0, "label": "3", "probability": 0.9, "top": []}]}


def test_one_image_is_the_raw_body(talk, tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(png(9))
    script = Script([ok(PREDICTED)])
    [found] = talk(script).ask(lambda client: client.models.predict("model_1", path, top_k=2))
    assert (found.label, found.probability) == ("3", 0.9)
    [sent] = script.requests
    assert sent.headers["Content-Type"] == "image/png"
    assert sent.content == png(9)
    assert sent.url.params["top_k"] == "2"


def test_many_images_are_a_form_in_order(talk):
    script = Script([ok(PREDICTED)])
    array = np.full((4, 4, 3), 7, np.uint8)
    images = [png(1), array, Image.new("L", (2, 2))]
    talk(script).ask(lambda client: client.checkpoints.predict("ckpt_1", images))
    [sent] = script.requests
    assert sent.headers["Content-Type"].startswith("multipart/form-data")
    assert sent.content.count(b'name="images"') == 3
    assert sent.content.index(b'filename="0"') < sent.content.index(b'filename="1"')


def test_an_array_that_is_no_image_is_refused_here():
    with pytest.raises(TypeError, match="uint8"):
        BlockingTalk(Script([])).ask(lambda client: client.models.predict("model_1", np.zeros((4, 4))))
