"""The benchmarks on photographs: what is drawn of folders, the corruptions, the tables, and that a command goes on."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import corruptions
import pacs
import photograph_speed
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from contest import corrupt, photographs
from contest.kept import Kept
from contest.service import Outcome
from worker.networks import build

ROOT = Path(__file__).resolve().parents[2]


def folders(root: Path, classes: int, images: int, seed: int = 0) -> Path:
    """Of each class so many images of 32×32, noise on a grey of its own."""
    random = np.random.default_rng(seed)
    for number in range(classes):
        folder = root / f"class{number:03}"
        folder.mkdir(parents=True)
        for place in range(images):
            pixels = random.integers(0, 64, (32, 32, 3)) + number * 190 // classes
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{place:04}.png")
    return root


def test_what_was_measured_is_found_again(tmp_path):
    kept = Kept(tmp_path / "made" / "ledger.jsonl")
    kept.add("a", {"accuracy": 0.5})
    kept.add("a", {"accuracy": 0.75})
    again = Kept(tmp_path / "made" / "ledger.jsonl")
    assert again["a"]["accuracy"] == 0.75
    assert "b" not in again


def test_splits_share_no_image_and_leave_half_to_judge_by(tmp_path):
    found = photographs.classes(folders(tmp_path / "photo", classes=2, images=24))
    splits = photographs.split(found, train=16, test=5, seed=3)
    for name, images in found.items():
        parts = [set(splits[split][name]) for split in ("train", "validation", "test")]
        assert [len(part) for part in parts] == [12, 3, 5]  # half of 24, a fourth of that, up to five of the rest
        assert len(set.union(*parts)) == 20
        assert set.union(*parts) <= set(images)
    assert splits == photographs.split(found, train=16, test=5, seed=3)
    assert splits != photographs.split(found, train=16, test=5, seed=4)


def test_an_archive_has_splits_and_classes(tmp_path):
    found = photographs.some(photographs.classes(folders(tmp_path / "all", classes=2, images=3)), 2)
    photographs.pack(tmp_path / "a.zip", {"test": found})
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == [f"test/class00{k}/000{i}.png" for k in range(2) for i in range(2)]


def test_a_folder_without_classes_is_named(tmp_path):
    with pytest.raises(SystemExit, match="no folders of images"):
        photographs.classes(tmp_path)


@pytest.mark.parametrize("name", corrupt.CORRUPTIONS)
def test_corruptions_spoil_an_image_and_follow_the_seed(name):
    """A smooth ramp with a bright square: all but nothing of it stays, and what it showed can still be told."""
    ramp_HWC = np.stack(np.broadcast_arrays(*np.ogrid[40:168:4, 60:156:3, 0:1])[:2], -1)[:, :, 0]
    image_HWC = np.concatenate([ramp_HWC, ramp_HWC[..., :1]], -1).astype(np.uint8)
    image_HWC[8:16, 8:16] = 230
    spoiled = corrupt.apply(name, image_HWC, np.random.default_rng(1))
    assert spoiled.shape == image_HWC.shape
    assert spoiled.dtype == np.uint8
    difference = np.abs(spoiled.astype(float) - image_HWC).mean()
    assert 1 < difference < 110
    assert np.corrcoef(spoiled.ravel(), image_HWC.ravel())[0, 1] > 0.3
    assert np.array_equal(spoiled, corrupt.apply(name, image_HWC, np.random.default_rng(1)))


def test_single_source_table_has_the_share_of_the_error():
    found = {pacs.UNCHANGED: Outcome(target=0.4), "adabn": Outcome(target=0.55), "shot": Outcome()}
    lines = pacs.single({("photo", "sketch"): [found, found]}).splitlines()
    assert lines[2:] == [
        "| `source-only` | 40.0 | 40.0 |  |",
        "| `adabn` | 55.0 | 55.0 | 25.0 |",
        "| `shot` | – | – | – |",
    ]


def test_several_domains_are_paired_with_erm():
    one, other = [Outcome(target=0.7), Outcome(target=0.8)], [Outcome(target=0.75), Outcome(target=0.85)]
    lines = pacs.several({"erm": {"photo": one}, "irm": {"photo": other}}).splitlines()
    assert lines[2:] == ["| `erm` | 75.0 | 75.0 |  |", "| `irm` | 80.0 | 80.0 | +5.0 [+5.0 +5.0] |"]


def printed(script, work, *options):
    """What the command says; its service and its figures stay in `work`."""
    command = [sys.executable, f"benchmarks/{script}.py", "--work", str(work), *map(str, options)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def resnet20(path):
    spec = NetworkSpec(name="cifar_resnet", num_classes=10, options={"depth": 20})
    torch.save(
        build.build(spec, InputSpec(size=(32, 32), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)).state_dict(), path
    )
    return path


@pytest.mark.slow
@pytest.mark.matrix
def test_a_command_measures_over_http_and_goes_on_where_it_was(tmp_path):
    for count, images in ((10, 3), (100, 2)):
        for split, seed in (("train", 0), ("test", 1)):
            folders(tmp_path / f"cifar{count}" / split, count, images, seed)
    options = ["--cifar10", tmp_path / "cifar10", "--cifar100", tmp_path / "cifar100", "--labels", 1, "--seeds", 0]
    options += ["--weights", resnet20(tmp_path / "r.th"), "--sources", "resnet20", "--arms", "linear_probe"]
    first = printed("cifar", tmp_path / "work", *options)
    kept = [json.loads(line) for line in (tmp_path / "work" / "ledger.jsonl").read_text().splitlines()]
    [probe] = [line for line in kept if "linear_probe" in line["what"]]
    assert probe["images"] == 200
    assert f"| linear_probe | {100 * probe['target']:.1f} |" in first
    assert f"| unchanged | {100 * probe['source_before']:.1f} |" in first
    again = printed("cifar", tmp_path / "work", *options)
    assert "seed 0:" in first
    assert "seed 0:" not in again  # nothing was measured anew
    assert again.endswith(first[first.index("###") :])


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.timeout(900)
def test_pacs_is_measured_from_one_domain_and_from_three(tmp_path):
    for seed, domain in enumerate(pacs.DOMAINS):
        folders(tmp_path / "PACS" / domain, classes=2, images=24, seed=seed)
    tensors = timm.create_model(pacs.NETWORK).state_dict()
    torch.save({f"other.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "lite0.pth")
    options = ["--images", tmp_path / "PACS", "--weights", tmp_path / "lite0.pth", "--size", 32, "--seeds", 0]
    options += ["--sources", "photo", "--targets", "sketch", "--methods", "adabn", "erm"]
    lines = printed("pacs", tmp_path / "work", *options, "--tuning-epochs", 1, "--epochs", 1).splitlines()
    shares = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in lines if line.startswith("| `")}
    assert set(shares) == {"`source-only`", "`adabn`", "`oracle`", "`erm`"}
    assert all(0 <= float(share) <= 100 for share in shares.values())


@pytest.mark.slow
@pytest.mark.matrix
def test_corruptions_are_adapted_to_as_a_set_and_on_a_stream(tmp_path):
    folders(tmp_path / "cifar10" / "test", classes=10, images=4)
    options = ["--cifar10", tmp_path / "cifar10", "--weights", resnet20(tmp_path / "r.th"), "--images", 40]
    options += ["--methods", "source", "adabn", corruptions.STREAM, "--corruptions", "contrast"]
    lines = printed("corruptions", tmp_path / "work", *options).splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("|")][2:]
    assert [row[0] for row in rows] == ["| source", "| adabn", f"| {corruptions.STREAM}"]
    assert all(0 < float(row[1]) <= 100 for row in rows)


@pytest.mark.slow
@pytest.mark.matrix
def test_features_are_compared_with_a_bare_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(photograph_speed, "FEATURES", 16)
    [row] = photograph_speed.features(tmp_path, 1)
    assert row["holds"] is not None
    assert float(row["figure"]) > 0


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize("script", ["bare", "with_regraft", "with_pil", "with_timm"])
def test_a_peer_trains_on_photographs(tmp_path, script):
    """From the files or the pixels that `photograph_speed` leaves; one step of 16 images."""
    photograph_speed.store(folders(tmp_path / "images", classes=2, images=8), tmp_path / "data", 16)
    command = [sys.executable, "benchmarks/peers/" + script + ".py", "--task", "lite0", "--epochs", "1", "--steps", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command += ["--folder", str(tmp_path / "data")]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, input="go\n" * 2, check=True, capture_output=True, text=True
    )
    _, epoch, *_, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert epoch["cpu_s"] > 0
    assert last == {"accuracy": None}
