"""Models in others' hands: exports opened by the tools that they are for, and the Open Inference Protocol spoken by
Triton's own client.  Each says of real images what the service's predictions say."""

import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import pytest
import timm
import torch
from google.protobuf import text_format
from PIL import Image
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from app.contract.inputs import InputSpec
from app.imaging import images
from regraft import Conflict
from tests import digits, services

pytestmark = [pytest.mark.any_database, pytest.mark.timeout(600)]
CLOSE = 1e-4
RGB = {"channels": 3, "mean": [0.5, 0.45, 0.4], "std": [0.25, 0.26, 0.27]}
BRIEF = {"epochs": 1, "batch_size": 16, "augmentation": "none"}
NETWORKS = {
    "timm/test_resnet": {
        "network": {"name": "timm/test_resnet", "num_classes": 10},
        "input": {"size": [40, 32], **RGB},
    },
    "timm/test_vit": {
        "network": {"name": "timm/test_vit", "num_classes": 10},
        "input": {"size": [64, 64], **RGB},
    },
    "torchvision/resnet18": {
        "network": {"name": "torchvision/resnet18", "num_classes": 10},
        "input": {"size": [32, 32], **RGB},
    },
    "cnn3": {"network": {"name": "cnn3", "num_classes": 10}, "input": {"size": [32, 32], **RGB}},
    "padded": {
        "network": {"name": "timm/test_resnet", "num_classes": 10},
        "input": {"size": [40, 48], "fit": "pad", "margin": 3, **RGB},
    },
    "layers": {"network": digits.TINY},
}


@pytest.fixture(scope="module")
def service(each_database, tmp_path_factory):
    with services.running(tmp_path_factory.mktemp("home"), each_database.migrated()) as running:
        yield running


@pytest.fixture(scope="module")
def models(service, tmp_path_factory):
    client = service.client
    file = client.files.upload(digits.optdigits_folders(tmp_path_factory.mktemp("d") / "optdigits.zip", 12))
    dataset = client.datasets.wait(client.datasets.create(name="d", file=file.id).id, timeout_s=120).id
    jobs = {
        name: client.jobs.create(method={"name": "train", **method, **BRIEF}, dataset=dataset)
        for name, method in NETWORKS.items()
    }
    return {name: client.jobs.wait(job.id, timeout_s=300).model for name, job in jobs.items()}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Photographs as people have them: wide, grey, turned by EXIF, transparent, large."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    rough = Image.fromarray(random.integers(0, 256, (9, 14, 3), np.uint8)).resize((700, 450), Image.Resampling.BICUBIC)
    (folder / "digit.png").write_bytes(digits.one_png())
    rough.save(folder / "wide.jpg", quality=95)
    rough.convert("L").save(folder / "grey.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    rough.save(folder / "turned.jpg", exif=turned, quality=95)
    glass = rough.resize((90, 60)).convert("RGBA")
    glass.putalpha(Image.linear_gradient("L").resize((90, 60)))
    glass.save(folder / "glass.png")
    rough.resize((1400, 1300)).save(folder / "large.png")
    rough.resize((4000, 2600)).save(folder / "telephone.jpg", quality=95)
    return sorted(folder.iterdir())


def exported(service, model, format, folder):
    archive = service.client.models.export(model, folder, format=format)
    assert archive.name == f"{model}.{format}.zip"
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        opened.extractall(folder / format)
    return folder / format


def probabilities(service, model, pictures):
    answered = service.client.models.predict(model, pictures, top_k=10)
    return [{score.label: score.probability for score in one.top} for one in answered]


def require_close(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.keys() == other.keys()
        assert max(abs(one[label] - other[label]) for label in other) < CLOSE


@pytest.mark.parametrize("name", NETWORKS)
def test_a_bundle_classifies_by_itself(service, models, pictures, name, tmp_path):
    folder = exported(service, models[name], "bundle", tmp_path)
    command = [sys.executable, "-I", str(folder / "predict.py"), *map(str, pictures)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["image"] for one in said] == list(map(str, pictures))
    spec = importlib.util.spec_from_file_location("bundled", folder / "predict.py")
    bundled = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bundled)
    found = bundled.Classifier().predict(pictures, top_k=10)
    wanted = probabilities(service, models[name], pictures)
    require_close([{score["label"]: score["probability"] for score in one["top"]} for one in found], wanted)
    assert [one["label"] for one in said] == [max(one, key=one.get) for one in wanted]
    assert models[name] in (folder / "README.md").read_text()
    assert set((folder / "requirements.txt").read_text().split()) == {"numpy", "onnxruntime", "pillow"}


def test_a_bundle_does_not_guess_at_more_than_eight_bits(service, models, tmp_path):
    folder = exported(service, models["cnn3"], "bundle", tmp_path)
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(tmp_path / "deep.png")
    command = [sys.executable, "-I", str(folder / "predict.py"), str(tmp_path / "deep.png")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "more than 8 bits" in done.stderr


@pytest.mark.parametrize("name", ["timm/test_resnet", "timm/test_vit"])
def test_timm_loads_its_folder(service, models, pictures, name, tmp_path):
    folder = exported(service, models[name], "timm", tmp_path)
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    config = timm.data.resolve_data_config({}, model=network)
    transform = timm.data.create_transform(**config)
    opened = [Image.open(path).convert("RGB") for path in pictures if path.stem in ("digit", "wide", "grey")]
    with torch.inference_mode():
        scores = network(torch.stack([transform(image) for image in opened])).softmax(1)
    labels = json.loads((folder / "config.json").read_text())["label_names"]
    found = [dict(zip(labels, row.tolist(), strict=True)) for row in scores]
    wanted = probabilities(service, models[name], [p for p in pictures if p.stem in ("digit", "wide", "grey")])
    require_close(found, wanted)
    assert (folder / "README.md").read_text().startswith("---\nlibrary_name: timm\n")


def test_triton_reads_its_repository(service, models, tmp_path):
    model = models["cnn3"]
    folder = exported(service, model, "triton", tmp_path) / model
    config = text_format.Parse((folder / "config.pbtxt").read_text(), triton_config())
    assert (config.name, config.platform, config.max_batch_size) == (model, "onnxruntime_onnx", 64)
    [taken], [given] = config.input, config.output
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    [graph_input] = session.get_inputs()
    assert (taken.name, list(taken.dims)) == (graph_input.name, graph_input.shape[1:])
    output = {one.name: one for one in session.get_outputs()}[given.name]
    assert list(given.dims) == output.shape[1:]
    assert (folder / given.label_filename).read_text().split() == list("0123456789")
    [scores] = session.run([given.name], {taken.name: np.zeros((3, *taken.dims), np.uint8)})
    assert scores.shape == (3, 10)


def triton_config():
    """An empty configuration, of the message that Triton's own client has."""
    package = importlib.util.find_spec("tritonclient").submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location("model_config_pb2", Path(package, "grpc", "model_config_pb2.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ModelConfig()


@pytest.mark.parametrize("name", ["torchvision/resnet18", "padded"])
def test_what_a_format_is_not_for_is_refused(service, models, name, tmp_path):
    with pytest.raises(Conflict, match="ask for `bundle`"):
        service.client.models.export(models[name], tmp_path, format="timm")
    assert not any(tmp_path.iterdir())


def test_the_same_export_is_not_sent_twice(service, models):
    path = f"/v1/models/{models['cnn3']}/exports/bundle"
    first = httpx.get(service.url + path, headers=(key := {"Authorization": f"Bearer {service.client_key}"}))
    again = httpx.get(service.url + path, headers=key)
    assert first.content == again.content
    known = httpx.get(service.url + path, headers=key | {"If-None-Match": first.headers["ETag"]})
    assert (known.status_code, known.content) == (304, b"")


@pytest.fixture(scope="module")
def client(service):
    client = triton.InferenceServerClient(service.url.removeprefix("http://"))
    yield client
    client.close()


@pytest.fixture
def key(service):
    return {"Authorization": f"Bearer {service.client_key}"}


def pixels(service, model, pictures):
    spec = InputSpec.model_validate(service.client.models.get(model).input.model_dump(mode="json"))
    return np.stack([images.fit(images.decode(path.read_bytes(), bounded=True), spec) for path in pictures])


def test_tritons_client_finds_server_and_model(service, models, client, key):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["name"] == "regraft"
    model = models["cnn3"]
    assert client.is_model_ready(model, headers=key)
    assert client.is_model_ready(model, "1", headers=key)
    assert not client.is_model_ready("model_0000000000000000000000", headers=key)
    about = client.get_model_metadata(model, headers=key)
    assert about["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}]
    shapes = {one["name"]: one["shape"] for one in about["outputs"]}
    assert (shapes["probabilities"], shapes["energy"]) == ([-1, 10], [-1])
    assert shapes["features"][1] == len(service.client.models.embeddings(model, digits.one_png())[0])


@pytest.mark.parametrize("binary", [True, False])
def test_tritons_client_is_answered(service, models, client, key, pictures, binary):
    model = models["cnn3"]
    batch = pixels(service, model, pictures)
    asked = triton.InferInput("image", list(batch.shape), "UINT8")
    asked.set_data_from_numpy(batch, binary_data=binary)
    names = ("probabilities", "features", "energy")
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
    answer = client.infer(model, [asked], outputs=outputs, request_id="7", headers=key)
    assert answer.get_response()["id"] == "7"
    classes = service.client.models.get(model).classes
    found = [dict(zip(classes, row.tolist(), strict=True)) for row in answer.as_numpy("probabilities")]
    require_close(found, probabilities(service, model, pictures))
    embeddings = service.client.models.embeddings(model, pictures)
    np.testing.assert_allclose(answer.as_numpy("features"), embeddings, rtol=1e-3, atol=1e-4)
    energies = [one.out_of_distribution.energy for one in service.client.models.predict(model, pictures)]
    np.testing.assert_allclose(answer.as_numpy("energy"), energies, rtol=1e-4)


@pytest.mark.parametrize("binary", [True, False])
def test_tritons_client_has_the_likeliest_classes(service, models, client, key, pictures, binary):
    model = models["layers"]
    batch = pixels(service, model, pictures)
    asked = triton.InferInput("image", list(batch.shape), "UINT8")
    asked.set_data_from_numpy(batch)
    output = triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=2)
    named = client.infer(model, [asked], outputs=[output], model_version="1", headers=key).as_numpy("probabilities")
    assert named.shape == (len(pictures), 2)
    first = [(text.decode() if isinstance(text, bytes) else text).split(":") for text in named[:, 0]]
    assert [label for _, _, label in first] == [one.label for one in service.client.models.predict(model, pictures)]


def test_tritons_client_is_told_what_is_wrong(service, models, client, key):
    model = models["cnn3"]
    asked = triton.InferInput("image", [1, 8, 8, 3], "UINT8")
    asked.set_data_from_numpy(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(InferenceServerException, match=r"\[N, 32, 32, 3\]"):
        client.infer(model, [asked], headers=key)
    with pytest.raises(InferenceServerException, match="key"):
        client.infer(model, [asked])
    with pytest.raises(InferenceServerException, match="version 1 alone"):
        client.infer(model, [asked], model_version="2", headers=key)


SENT = b'{"inputs":[{"name":"image","shape":[1,32,32,3],"datatype":"UINT8"%b}]%b}'


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 422),
        (b"{}", {}, 422),
        (b"{}", {"Inference-Header-Content-Length": "3"}, 400),
        (b"{}", {"Inference-Header-Content-Length": "many"}, 400),
        (SENT % (b"", b""), {}, 422),
        (SENT % (b',"data":[1,2]', b""), {}, 422),
        (SENT % (b',"data":["a"]', b""), {}, 422),
        (SENT % (b',"parameters":{"binary_data_size":3072}', b""), {}, 422),
        (SENT % (b"", b',"outputs":[{"name":"x"}]'), {}, 422),
        (SENT % (b"", b',"outputs":[{"name":"features","parameters":{"classification":2}}]'), {}, 422),
        (SENT % (b"", b',"outputs":[{"name":"energy","parameters":{"classification":2}}]'), {}, 422),
        (b" " * (8 * 2**20 + 1), {}, 413),
    ],
)
def test_what_is_no_such_request_is_refused_in_the_protocols_words(service, models, key, body, headers, status):
    url = f"{service.url}/v2/models/{models['cnn3']}/infer"
    answer = httpx.post(url, content=body, headers=key | headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"] == answer.json()["detail"]
