"""Signatures of other versions than the installed ones are used until they are made anew, and say so."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.contract.networks import NetworkSpec
from app.contract.specs import IdentifyRequest
from tests import weights_files
from worker.ingest import identification
from worker.networks import build, renewal, signatures
from worker.runtime.contract import Note, Spec
from worker.runtime.recorder import Recorder

NAMES = ["cnn3", "timm/test_resnet", "mnist_cnn", "timm/test_vit", "torchvision/squeezenet1_1"]
INSTALLED = {"format": "1", "timm": "9.9.9", "torchvision": "8.8.8"}


def few() -> Iterator[NetworkSpec]:
    return (NetworkSpec(name=name, num_classes=signatures.CLASSES) for name in NAMES)


@pytest.fixture
def others_are_installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    monkeypatch.setattr(signatures, "versions", lambda: INSTALLED)
    monkeypatch.setattr(signatures, "specs", few)
    monkeypatch.setattr(renewal, "PIECE", 2)
    return lambda: monkeypatch.setattr(signatures, "versions", lambda: INSTALLED | {"timm": "10"})


def identified(folder: Path, signatures: Path) -> tuple[str, dict[str, str]]:
    """The name of the network that a file of `timm/test_resnet` is found to be of, and the warnings by code."""
    spec = NetworkSpec(name="timm/test_resnet", num_classes=7)
    (folder / "blob").write_bytes(weights_files.saved(dict(build.build(spec, build.usual_input(spec)).state_dict())))
    recorder = Recorder()
    order = Spec(
        "identify", "idn_1", IdentifyRequest(), {"file": folder / "blob"}, folder / "work", signatures=signatures
    )
    result = identification.identify(order, recorder).outcome
    return result.candidates[0].network.name, {note.type: note.message for note in recorder.of(Note)}


def test_the_shipped_ones_are_used_where_versions_are_the_same(tmp_path: Path) -> None:
    assert renewal.known(tmp_path).outdated is None
    assert renewal.renew(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_others_are_made_piece_by_piece_and_used_once_they_are_there(tmp_path: Path, others_are_installed) -> None:
    made, work = tmp_path / "made", tmp_path / "file"
    work.mkdir()
    name, warnings = identified(work, made)
    assert name == "timm/test_resnet"
    shipped = signatures.versions_in(signatures.SHIPPED)
    assert f"of timm {shipped['timm']}" in warnings["signatures_outdated"]
    assert "timm 9.9.9 and torchvision 8.8.8 are installed" in warnings["signatures_outdated"]
    ends = [renewal.renew(made) for _ in range(4)]
    assert ends == [False, False, False, True]  # three pieces of two
    known = renewal.known(made)
    assert ([one.name for one in known.signatures], known.outdated) == (NAMES, None)
    shipped_ones = {one.name: one for one in signatures.read(signatures.SHIPPED) if one.label == one.name}
    assert [shipped_ones[one.name].shapes for one in known.signatures] == [one.shapes for one in known.signatures]
    name, warnings = identified(work, made)
    assert name == "timm/test_resnet"
    assert "signatures_outdated" not in warnings
    assert renewal.renew(made)
    others_are_installed()  # once more
    assert renewal.known(made).outdated is not None
    assert not renewal.renew(made)


def test_pieces_survive_an_end_and_damage(tmp_path: Path, others_are_installed) -> None:
    renewal.renew(tmp_path)
    (pieces,) = tmp_path.iterdir()
    (first,) = pieces.iterdir()
    before = first.read_bytes()
    first.write_bytes(before[:40])
    assert not renewal.renew(tmp_path)
    assert first.read_bytes() == before
    while not renewal.renew(tmp_path):
        pass
    (whole,) = tmp_path.iterdir()
    whole.write_bytes(b"damaged")
    assert renewal.known(tmp_path).outdated is not None
    while not renewal.renew(tmp_path):
        pass
    assert renewal.known(tmp_path).outdated is None


def test_a_network_that_cannot_be_built_is_left_out(
    tmp_path: Path, others_are_installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = signatures.of

    def broken(spec: NetworkSpec) -> signatures.Signature | None:
        if spec.name == "mnist_cnn":
            raise ZeroDivisionError("a library that is broken")
        return real(spec)

    monkeypatch.setattr(signatures, "of", broken)
    while not renewal.renew(tmp_path):
        pass
    assert [one.name for one in renewal.known(tmp_path).signatures] == [name for name in NAMES if name != "mnist_cnn"]
