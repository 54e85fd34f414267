"""On a GPU: the same results as on the CPU to rounding.  `pytest tests/gpu` needs PyTorch, no server and no graphs.

Without a GPU there is nothing to test here.
"""

import itertools
import warnings
from dataclasses import replace

import pytest
import torch
import torchvision

from app.contract.inputs import InputSpec
from app.methods.supervised.fine_tune import FineTune
from app.methods.training import Training
from worker.data.batches import Images
from worker.export.served import Served
from worker.methods import supervision
from worker.methods.supervision import Examples
from worker.methods.task import Task
from worker.networks.classifier import Classifier
from worker.networks.structure import Structure
from worker.runtime import device
from worker.runtime.contract import Interrupted, Note, Snapshot
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run
from worker.torch_server.plain import SIZES, Plain
from worker.training import precision
from worker.training.freezing import Scope
from worker.training.precision import Workload

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
SPEC = InputSpec(size=(32, 32), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
COMMON = {"epochs": 3, "batch_size": 32, "learning_rate": 0.01, "weight_decay": 0.0}


def network():
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=10)


def images(count=128):
    """Ten patterns under noise."""
    generator = torch.Generator().manual_seed(0)
    label_N = torch.arange(count) % 10
    pattern_K = torch.randint(0, 256, (10, 32, 32, 3), generator=generator)
    noise_N = torch.randint(-40, 40, (count, 32, 32, 3), generator=generator)
    return Images((pattern_K[label_N] + noise_N).clamp(0, 255).to(torch.uint8), label_N)


def trained(tmp_path, on, order=None, snapshot=None, method=Training, **changes):
    """The training losses, and the network; the last stage alone learns where `trainable` is given."""
    made = network()
    structure = Structure.of(made, SPEC)
    device.place(made, on)
    last = changes.pop("last", False)
    params = method.model_validate({"augmentation": "none"} | COMMON | changes).resolve(128, SPEC.size)
    learner = Classifier(made, structure, SPEC, [str(k) for k in range(10)])
    recorder = Recorder(order)
    trainable = (lambda epoch: structure.last(1)) if last else (lambda epoch: None)
    with device.reproducible(on, 0):
        run = Run(recorder, tmp_path, device=on, snapshot=snapshot)
        supervision.learn(Task(run, target=None), learner, params, Examples(images(), images(64)), Scope(trainable))
    return recorder, made


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adamw"}, {"micro_batch_size": 8}, {"last": True}], ids=str)
def test_losses_are_those_of_the_cpu(tmp_path, changes):
    there, here = (trained(tmp_path, on, **changes)[0].series("loss", "train") for on in (CUDA, CPU))
    assert there[0] == pytest.approx(here[0], rel=2e-3)  # convolutions there are of ten bits
    assert there[-1] < there[0] / 2


@pytest.mark.parametrize("changes", [{"precision": "bfloat16"}, {"compile": True}], ids=str)
def test_faster_ways_learn_as_well(tmp_path, changes):
    """Also where PyTorch cannot compile this network, as 2.11 could not: it is trained as it is then."""
    recorder, _ = trained(tmp_path, CUDA, **changes)
    losses = recorder.series("loss", "train")
    assert losses[-1] < losses[0] / 2


def test_augmentation_runs_on_the_device(tmp_path):
    steps = [{"name": name} for name in ("random_crop", "random_resized_crop", "horizontal_flip", "affine")]
    recorder, _ = trained(tmp_path, CUDA, augmentation=[*steps, {"name": "colour_permutation"}])
    assert recorder.series("loss", "train")[-1] > 0


def test_no_step_waits_for_the_device(tmp_path):
    """Twice as many steps, and as many epochs: as many waits."""

    def waits(batch_size):
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                trained(tmp_path, CUDA, batch_size=batch_size, augmentation=[{"name": "random_crop"}], average=0.9)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return len([warning for warning in caught if "synchroniz" in str(warning.message)])

    assert waits(16) == waits(32) > 0


def test_a_run_that_was_interrupted_goes_on(tmp_path):
    whole, _ = trained(tmp_path, CUDA)
    asked = itertools.count()
    with pytest.raises(Interrupted):
        trained(tmp_path, CUDA, lambda recorder: "shutdown" if next(asked) == 6 else None)
    [snapshot] = tmp_path.glob("snapshot-*")
    rest, _ = trained(tmp_path, CUDA, snapshot=snapshot)
    assert rest.series("loss", "train")[-1] == pytest.approx(whole.series("loss", "train")[-1], rel=0.05)
    assert not rest.of(Snapshot)


def test_images_beyond_the_devices_share_are_sent_by_the_batch(tmp_path, monkeypatch):
    resident = images().to(CUDA)
    assert resident.pixels_NHWC.is_cuda
    monkeypatch.setattr(device, "RESIDENT_SHARE", 0)
    sent = images().to(CUDA)
    assert sent.pixels_NHWC.is_pinned()
    recorder, _ = trained(tmp_path, CUDA)
    assert recorder.series("loss", "train")[-1] < recorder.series("loss", "train")[0]


def test_where_memory_runs_out_batches_are_split(tmp_path):
    held = torch.cuda.memory_allocated(CUDA)
    total = torch.cuda.get_device_properties(CUDA).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((held + 700 * 2**20) / total, CUDA)
    try:
        made = network()
        structure = Structure.of(made, SPEC)
        device.place(made, CUDA)
        many = images(4096)
        params = Training.model_validate(COMMON | {"augmentation": "none", "epochs": 1, "batch_size": 4096})
        recorder = Recorder()
        run = Run(recorder, tmp_path, device=CUDA)
        learner = Classifier(made, structure, SPEC, [str(k) for k in range(10)])
        nothing = replace(many, pixels_NHWC=many.pixels_NHWC[:0], label_N=many.label_N[:0])
        supervision.learn(Task(run, target=None), learner, params.resolve(4096, SPEC.size), Examples(many, nothing))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, CUDA)
    assert run.micro_batch_size < 4096
    assert any(note.type == "batch_split" for note in recorder.of(Note))


def test_a_trial_settles_the_pace(tmp_path):
    made = network()
    device.place(made, CUDA)
    run = Run(Recorder(), tmp_path, device=CUDA)
    found = precision.settle(run, made, Workload((3, 32, 32), 512, 1_000_000, ("float32", "bfloat16")))
    assert run.numerics == vars(found)


def test_what_is_served_is_what_the_cpu_gives():
    made = network().eval()
    structure = Structure.of(made, SPEC)
    pixels_NHWC = images(77).pixels_NHWC
    with torch.inference_mode():
        wanted_NK, wanted_ND, wanted_N = Served(made, structure, SPEC)(pixels_NHWC)
    plain = Plain(Served(made, structure, SPEC), CUDA, features=structure.features)
    for count in (*SIZES, 3, 33, 77):
        found_NK, found_ND, found_N = plain.predict(pixels_NHWC[:count].numpy(), features=True)
        torch.testing.assert_close(torch.from_numpy(found_NK), wanted_NK[:count], rtol=0, atol=5e-3)
        torch.testing.assert_close(torch.from_numpy(found_ND), wanted_ND[:count], rtol=0.02, atol=0.02)
        torch.testing.assert_close(torch.from_numpy(found_N), wanted_N[:count], rtol=0.02, atol=0.02)


def test_fine_tune_takes_its_own_parameters_there(tmp_path):
    recorder, _ = trained(tmp_path, CUDA, method=FineTune)
    assert recorder.series("accuracy", "validation")[-1] > 0.5
