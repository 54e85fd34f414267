"""`python -m worker.torch_server DESCRIPTOR DEVICE THREADS`: networks for the API, which holds the other end of the
socket `DESCRIPTOR`.  It ends when that end closes."""

import sys
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from worker.data.batches import Prepare
from worker.export.served import Served
from worker.networks import load
from worker.networks.load import Loaded
from worker.runtime import device
from worker.runtime.contract import Failure
from worker.torch_server.plain import Plain
from worker.torch_server.tent import Stream

MOST = 8  # networks that adapt; of more, the one that was asked longest ago is forgotten


class Networks:
    """All that adapt at present, and all that do not, by name."""

    def __init__(self, on: torch.device) -> None:
        self._device = on
        self._streams: OrderedDict[str, tuple[Stream, Prepare]] = OrderedDict()
        self._plain: dict[str, Plain] = {}

    def adapt(self, name: str, document: Mapping[str, Any], weights: Path, images: Any) -> Any:
        """`images` uint8 [N,H,W,C] → probabilities [N,K], and where the stream stands."""
        stream, prepare = self._stream(name, document, weights)
        pixels_NHWC = torch.from_numpy(images).to(self._device)
        x_BCHW = prepare.normalised(prepare.pixels(pixels_NHWC, torch.arange(len(images), device=self._device)))
        probabilities_NK, _ = stream.predict(x_BCHW)
        return probabilities_NK.cpu().numpy(), asdict(stream.state())

    def tell(self, name: str) -> Any:
        """The state of a network's adaptation; None where nothing is known of it."""
        return asdict(self._streams[name][0].state()) if name in self._streams else None

    def reset(self, name: str) -> None:
        self._streams.pop(name, None)

    def load(self, name: str, document: Mapping[str, Any], weights: Path) -> tuple[int, int]:
        """Bytes of its weights, and D, how many numbers its features are."""
        plain = self._open(name, document, weights)
        return plain.nbytes, plain.features

    def predict(self, name: str, document: Mapping[str, Any], weights: Path, images: Any, features: bool) -> Any:
        """`images` uint8 [N,H,W,C] → probabilities [N,K], features [N,D] if asked for, energies [N]."""
        return self._open(name, document, weights).predict(images, features=features)

    def forget(self, name: str) -> None:
        self._plain.pop(name, None)

    def _open(self, name: str, document: Mapping[str, Any], weights: Path) -> Plain:
        if name not in self._plain:
            loaded, input = _loaded(document, weights)
            served = Served(loaded.network, loaded.structure, input, multi_label=document["multi_label"])
            self._plain[name] = Plain(served, self._device, features=loaded.structure.features)
        return self._plain[name]

    def _stream(self, name: str, document: Mapping[str, Any], weights: Path) -> tuple[Stream, Prepare]:
        if name not in self._streams:
            loaded, input = _loaded(document, weights)
            device.place(loaded.network, self._device)
            prepare = Prepare(input, self._device, device.memory_format(loaded.network))
            self._streams[name] = Stream(loaded.network, loaded.structure), prepare
        self._streams.move_to_end(name)
        if len(self._streams) > MOST:
            self._streams.popitem(last=False)
        return self._streams[name]


def _loaded(document: Mapping[str, Any], weights: Path) -> tuple[Loaded, InputSpec]:
    input = InputSpec.model_validate(document["input"])
    return load.make(NetworkSpec.model_validate(document["network"]), input, load_file(weights)), input


def main() -> None:
    connection = Connection(int(sys.argv[1]))
    torch.set_num_threads(int(sys.argv[3]))
    networks = Networks(device.resolve(sys.argv[2]))
    while True:
        try:
            verb, *args = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer = "done", getattr(networks, verb)(*args)
        except Failure as failure:
            answer = failure.code, failure.message
        except Exception as error:  # noqa: BLE001  # the caller is to hear of it, and the other networks go on
            answer = "broken", f"{type(error).__name__}: {error}"
        connection.send(answer)


if __name__ == "__main__":
    main()
