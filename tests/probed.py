"""A network with random weights whose head has learned real digits: what it answers hangs on every layer beneath."""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.imaging import images
from worker.networks import build
from worker.networks.structure import Structure

PER_CLASS = 20


def weights(name: str, side: int | None = None) -> dict[str, Tensor]:
    """The weights of the network `name` for 10 classes, at its usual size or at `side` pixels."""
    spec = NetworkSpec(name=name, num_classes=10)
    input = build.usual_input(spec)
    assert input is not None
    if side is not None:
        input = InputSpec.model_validate(input.model_dump() | {"size": [side, side]})
    torch.manual_seed(0)
    network = build.build(spec, input)
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.momentum = 1.0  # the statistics of one batch
    x_NCHW, y_N = _shown(input)
    with torch.no_grad():
        network(x_NCHW[:40])
        network.eval()
        head = network.get_submodule(Structure.of(network, input).head)
        assert isinstance(head, nn.Linear)
        features: list[Tensor] = []
        head.register_forward_hook(lambda module, args, out: features.append(args[0]))
        for x_BCHW in x_NCHW.split(50):
            network(x_BCHW)
        x_ND = torch.cat(features)
        mean_D, std_D = x_ND.mean(0), x_ND.std(0) + 1e-6
        z_ND = (x_ND - mean_D) / std_D
        gram_NN = z_ND @ z_ND.T + 1.0 * torch.eye(len(z_ND))  # ridge regression
        w_DK = z_ND.T @ torch.linalg.solve(gram_NN, nn.functional.one_hot(y_N, 10) - 0.1)
        head.weight.copy_((w_DK / std_D[:, None]).T)
        head.bias.copy_(-(mean_D / std_D) @ w_DK)
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def digits(classes: int = 10) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The first real digits of each class, uint8 [N,8,8], and their labels."""
    loaded = load_digits()
    rows = np.concatenate([np.flatnonzero(loaded.target == digit)[:PER_CLASS] for digit in range(classes)])
    rows = np.random.default_rng(0).permutation(rows)
    return np.round(loaded.images[rows] * (255 / 16)).astype(np.uint8), loaded.target[rows].astype(np.int64)


def _shown(input: InputSpec) -> tuple[Tensor, Tensor]:
    """The digits as the service would show them to a network."""
    pixels_NHW, label_N = digits()
    fitted_NHWC = np.stack([images.fit(image[..., None], input) for image in pixels_NHW])
    x_NCHW = torch.from_numpy(fitted_NHWC).permute(0, 3, 1, 2) / 255
    x_NCHW = (x_NCHW - torch.tensor(input.mean)[:, None, None]) / torch.tensor(input.std)[:, None, None]
    return x_NCHW, torch.from_numpy(label_N)
