"""Checkpoints in the layouts of other libraries, made by these libraries, with what their own networks compute."""

import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import timm
import torch
import torchvision
import transformers
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor, nn

State = dict[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)
CLASSES = 7
ONES = ("weight", "gamma", "lambda1", "lambda_1", "lambda_2", "layer_scale_parameter", "layer_scale")


@dataclass(frozen=True)
class Checkpoint:
    """The weights that a library stores, and what its network makes of images [B,C,H,W]."""

    state: State
    run: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Layout:
    """`make(device)` gives a checkpoint; `network` is what a user names, `side` that of the images in pixels.

    `headless`: its network gives features, and has no head for `CLASSES`.  `heavy`: more than a second or two.
    """

    make: Callable[[str], Checkpoint]
    network: str
    side: int = 64
    classes: int = CLASSES
    headless: bool = False
    heavy: bool = False
    options: dict[str, Any] = field(default_factory=dict)


@cache
def photographs(side: int) -> Tensor:
    """Two photographs [2,3,side,side], normalised."""
    images = [Image.fromarray(load_sample_image(name)).resize((side, side)) for name in ("china.jpg", "flower.jpg")]
    pixels = [torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8) for image in images]
    return torch.stack([p.reshape(side, side, 3).permute(2, 0, 1) for p in pixels]) / 127.5 - 1


def lively(network: Network, side: int = 64) -> Network:
    """Weights at which every layer counts, and running statistics of photographs, without which a deep one is dead."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in network.named_parameters():
        if not tensor.is_meta:
            noise = torch.randn(tensor.shape, generator=generator)
            last = name.rpartition(".")[2]
            fan_in = tensor[0].numel() if tensor.ndim > 2 or last.endswith("weight") else 4
            tensor.data = noise / fan_in**0.5 if tensor.ndim > 1 else 0.1 * noise + (last in ONES)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if norms and not norms[0].weight.is_meta:
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            network.train()(photographs(side))
    return network.eval()


def hf(
    kind: str, in_file: bool = False, *, gives: Callable[[Any], Tensor] = attrgetter("logits"), **config: Any
) -> Callable[[str], Checkpoint]:
    """A model of transformers, its names as they are in memory, or as `save_pretrained` writes them."""

    def make(device: str) -> Checkpoint:
        model_class = getattr(transformers, kind)
        with torch.random.fork_rng(), torch.device(device):
            network = lively(model_class(model_class.config_class(**({"num_labels": CLASSES} | config))))
        state = _saved(network) if in_file and device != "meta" else dict(network.state_dict())
        return Checkpoint(state, lambda images: gives(network(pixel_values=images)))

    return make


def _saved(network: Any) -> State:
    with tempfile.TemporaryDirectory() as folder:
        network.save_pretrained(folder)
        return dict(safetensors.torch.load_file(Path(folder) / "model.safetensors"))


def class_token(output: Any) -> Tensor:
    """The class token behind the last norm."""
    return output.last_hidden_state[:, 0]


def of_torchvision(name: str, side: int = 64, **options: Any) -> Callable[[str], Checkpoint]:
    def make(device: str) -> Checkpoint:
        with torch.random.fork_rng(), torch.device(device):
            network = lively(torchvision.models.get_model(name, weights=None, num_classes=CLASSES, **options), side)
        return Checkpoint(dict(network.state_dict()), network)

    return make


def of_timm(name: str, **options: Any) -> Callable[[str], Checkpoint]:
    def make(device: str) -> Checkpoint:
        with torch.random.fork_rng(), torch.device(device):
            network = lively(timm.create_model(name, num_classes=CLASSES, **options))
        return Checkpoint(dict(network.state_dict()), network)

    return make


def resized(name: str, side: int) -> Callable[[str], Checkpoint]:
    """A network's weights at its usual size, and what timm makes of them at another one."""

    def make(device: str) -> Checkpoint:
        with torch.random.fork_rng(), torch.device(device):
            usual = lively(timm.create_model(name, num_classes=CLASSES))
            network = timm.create_model(name, num_classes=CLASSES, img_size=side).eval()
        state = dict(usual.state_dict())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on how timm indexes a tensor
            converted = sys.modules[type(network).__module__].checkpoint_filter_fn(dict(state), network)
        network.load_state_dict(
            {name: tensor for name, tensor in converted.items() if not tensor.is_meta}, strict=False
        )
        return Checkpoint(state, network)

    return make


def vit(width: int = 64, depth: int = 6, heads: int = 2, ratio: int = 3, **other: Any) -> dict[str, Any]:
    """A configuration of transformers; timm's `test_vit` unless told otherwise."""
    shape = {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads, "image_size": 64}
    return shape | {"intermediate_size": ratio * width, "layer_norm_eps": 1e-6} | other


TINY, SMALL, BASE = vit(192, 12, 3, 4), vit(384, 12, 6, 4), vit(768, 12, 12, 4)
DINO = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "image_size": 56, "patch_size": 14}
BEIT = {"use_relative_position_bias": True, "image_size": 224}
CLIP = BASE | {"patch_size": 32, "layer_norm_eps": 1e-5}
ATTO = {"hidden_sizes": [40, 80, 160, 320], "depths": [2, 2, 6, 2]}
REGNET = {"hidden_sizes": [24, 56, 152, 368], "depths": [1, 1, 4, 7], "groups_width": 8}
B0 = {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280, "image_size": 224}
MAE = {
    "decoder_hidden_size": 48,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 96,
}

TRANSFORMERS: dict[str, Layout] = {
    "ViT": Layout(hf("ViTForImageClassification", **vit()), "timm/test_vit"),
    "ViT in a file": Layout(hf("ViTForImageClassification", in_file=True, **vit()), "timm/test_vit"),
    "ViT without a head": Layout(hf("ViTModel", gives=class_token, **vit()), "timm/test_vit", headless=True),
    "ViT without a head in a file": Layout(
        hf("ViTModel", in_file=True, gives=class_token, **vit()), "timm/test_vit", headless=True
    ),
    "ViT-Ti/16": Layout(hf("ViTForImageClassification", True, **TINY), "timm/vit_tiny_patch16_224", heavy=True),
    "ViT-S/16": Layout(hf("ViTForImageClassification", True, **SMALL), "timm/vit_small_patch16_224", heavy=True),
    "ViT-B/16": Layout(hf("ViTForImageClassification", True, **BASE), "timm/vit_base_patch16_224", heavy=True),
    "ViT for torchvision": Layout(
        hf("ViTForImageClassification", True, **BASE | {"patch_size": 32}), "torchvision/vit_b_32", heavy=True
    ),
    "MSN": Layout(hf("ViTMSNForImageClassification", **vit()), "timm/test_vit"),
    "DeiT": Layout(
        hf("DeiTForImageClassificationWithTeacher", **TINY), "timm/deit_tiny_distilled_patch16_224", heavy=True
    ),
    "DeiT in a file": Layout(
        hf("DeiTForImageClassificationWithTeacher", True, **TINY), "timm/deit_tiny_distilled_patch16_224", heavy=True
    ),
    "BEiT": Layout(hf("BeitForImageClassification", **BEIT), "timm/beit_base_patch16_224", side=224, heavy=True),
    "BEiT in a file": Layout(
        hf("BeitForImageClassification", True, **BEIT), "timm/beit_base_patch16_224", side=224, heavy=True
    ),
    "DINOv2": Layout(
        hf("Dinov2Model", gives=class_token, **DINO), "timm/vit_small_patch14_dinov2", 56, headless=True, heavy=True
    ),
    "DINOv2 in a file": Layout(
        hf("Dinov2Model", True, gives=class_token, **DINO),
        "timm/vit_small_patch14_dinov2",
        side=56,
        headless=True,
        heavy=True,
    ),
    "DINOv2 with registers": Layout(
        hf("Dinov2WithRegistersModel", True, gives=class_token, **DINO),
        "timm/vit_small_patch14_reg4_dinov2",
        side=56,
        headless=True,
        heavy=True,
    ),
    "Swin": Layout(hf("SwinForImageClassification"), "timm/swin_tiny_patch4_window7_224", side=224, heavy=True),
    "Swin in a file": Layout(
        hf("SwinForImageClassification", True), "timm/swin_tiny_patch4_window7_224", side=224, heavy=True
    ),
    "Swin for torchvision": Layout(hf("SwinForImageClassification", True), "torchvision/swin_t", side=224, heavy=True),
    "Swin V2": Layout(
        hf("Swinv2ForImageClassification", image_size=256, window_size=8),
        "timm/swinv2_tiny_window8_256",
        side=256,
        heavy=True,
    ),
    "ConvNeXt": Layout(hf("ConvNextForImageClassification", **ATTO), "timm/convnext_atto"),
    "ConvNeXt for torchvision": Layout(
        hf("ConvNextForImageClassification", True), "torchvision/convnext_tiny", heavy=True
    ),
    "ConvNeXt V2": Layout(hf("ConvNextV2ForImageClassification", **ATTO), "timm/convnextv2_atto"),
    "ResNet-18": Layout(
        hf("ResNetForImageClassification", layer_type="basic", hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2]),
        "timm/resnet18",
        heavy=True,
    ),
    "ResNet-50": Layout(hf("ResNetForImageClassification"), "torchvision/resnet50", heavy=True),
    "RegNetX": Layout(hf("RegNetForImageClassification", layer_type="x", **REGNET), "timm/regnetx_002"),
    "RegNetY": Layout(hf("RegNetForImageClassification", **REGNET), "timm/regnety_002"),
    "MobileNetV2": Layout(hf("MobileNetV2ForImageClassification"), "timm/mobilenetv2_100"),
    "MobileNetV2 of half the width": Layout(
        hf("MobileNetV2ForImageClassification", depth_multiplier=0.5), "timm/mobilenetv2_050"
    ),
    "EfficientNet": Layout(hf("EfficientNetForImageClassification", **B0), "timm/tf_efficientnet_b0"),
    "EfficientNet for another padding": Layout(hf("EfficientNetForImageClassification", **B0), "timm/efficientnet_b0"),
    "CLIP's visual tower": Layout(
        hf("CLIPVisionModel", gives=attrgetter("pooler_output"), **CLIP),
        "timm/vit_base_patch32_clip_quickgelu_224",
        headless=True,
        heavy=True,
    ),
    "CLIP's visual tower with its projection": Layout(
        hf(
            "CLIPVisionModelWithProjection",
            gives=attrgetter("image_embeds"),
            **BASE | {"patch_size": 32, "layer_norm_eps": 1e-5},
        ),
        "timm/vit_base_patch32_clip_quickgelu_224",
        classes=512,
        heavy=True,
    ),
}
AUXILIARY = {"aux_logits": True, "init_weights": False}
TORCHVISION: dict[str, Layout] = {
    "ViT of torchvision": Layout(of_torchvision("vit_b_32", image_size=64), "timm/vit_base_patch32_224", heavy=True),
    "Swin of torchvision": Layout(of_torchvision("swin_t"), "timm/swin_tiny_patch4_window7_224", side=224, heavy=True),
    "Swin V2 of torchvision": Layout(of_torchvision("swin_v2_t"), "timm/swinv2_tiny_window8_256", side=256, heavy=True),
    "ConvNeXt of torchvision": Layout(of_torchvision("convnext_tiny"), "timm/convnext_tiny", heavy=True),
    "RegNetX of torchvision": Layout(of_torchvision("regnet_x_400mf"), "timm/regnetx_004_tv"),
    "RegNetY of torchvision": Layout(of_torchvision("regnet_y_400mf"), "timm/regnety_004"),
    "EfficientNet of torchvision": Layout(of_torchvision("efficientnet_b0"), "timm/efficientnet_b0"),
    "EfficientNet of torchvision for another padding": Layout(
        of_torchvision("efficientnet_b0"), "timm/tf_efficientnet_b0"
    ),
    "EfficientNet-B5 of torchvision": Layout(of_torchvision("efficientnet_b5"), "timm/efficientnet_b5", heavy=True),
    "EfficientNetV2 of torchvision": Layout(of_torchvision("efficientnet_v2_s"), "timm/efficientnetv2_s", heavy=True),
    "MNASNet of torchvision": Layout(of_torchvision("mnasnet0_5"), "timm/mnasnet_050"),
    "MobileNetV2 of torchvision": Layout(of_torchvision("mobilenet_v2"), "timm/mobilenetv2_100"),
    "MobileNetV3 of torchvision": Layout(of_torchvision("mobilenet_v3_large"), "timm/mobilenetv3_large_100"),
    "small MobileNetV3 of torchvision": Layout(of_torchvision("mobilenet_v3_small"), "timm/mobilenetv3_small_100"),
    "ResNet of torchvision": Layout(of_torchvision("resnet18"), "timm/resnet18", heavy=True),
    "GoogLeNet with its auxiliary classifiers": Layout(
        of_torchvision("googlenet", **AUXILIARY), "torchvision/googlenet"
    ),
    "Inception with its auxiliary classifier": Layout(
        of_torchvision("inception_v3", side=299, **AUXILIARY), "torchvision/inception_v3", side=299, heavy=True
    ),
    "Inception with its auxiliary classifier for timm": Layout(
        of_torchvision("inception_v3", side=299, **AUXILIARY), "timm/inception_v3", side=299, heavy=True
    ),
    "DenseNet of torchvision": Layout(of_torchvision("densenet121"), "timm/densenet121", heavy=True),
}
TIMM: dict[str, Layout] = {
    "ViT of timm": Layout(of_timm("vit_base_patch32_224", img_size=64), "torchvision/vit_b_32", heavy=True),
    "Swin of timm": Layout(of_timm("swin_tiny_patch4_window7_224"), "torchvision/swin_t", side=224, heavy=True),
    "Swin of timm at another size": Layout(
        resized("swin_tiny_patch4_window7_224", 128), "timm/swin_tiny_patch4_window7_224", side=128, heavy=True
    ),
    "ConvNeXt of timm": Layout(of_timm("convnext_tiny"), "torchvision/convnext_tiny", heavy=True),
    "MNASNet of timm": Layout(of_timm("mnasnet_050"), "torchvision/mnasnet0_5"),
    "DenseNet of timm": Layout(of_timm("densenet121"), "torchvision/densenet121", heavy=True),
}
LAYOUTS = TRANSFORMERS | TORCHVISION | TIMM
