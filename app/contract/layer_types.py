"""The closed list of layers that a `layers` network is made of.

Types and keywords are torch.nn's, but for `PadChannels`, `Subsample` and global pooling, which it has not.  What
follows from the input (`in_channels`, `in_features`, `num_features`, …) may be left out; where it is given, it must
agree.  Shapes are those of one example: (C, H, W), or (D,) behind `Flatten` and global pooling.
"""

import math
from typing import Annotated, Literal, Self

from pydantic import Field

from app.contract.layer_base import (
    Epsilon,
    Extent,
    Extents,
    Layer,
    Number,
    Padding,
    Paddings,
    Shape,
    Share,
    Width,
    image,
    pair,
    remaining,
    slid,
    vector,
)


class _Convolution(Layer):
    in_channels: Width | None = None
    out_channels: Width
    kernel_size: Extents
    stride: Extents = 1
    dilation: Extents = 1
    groups: Width = 1
    bias: bool = True

    def filled(self, shape: Shape) -> Self:
        channels = image(shape)[0]
        if channels % self.groups or self.out_channels % self.groups:
            raise ValueError(f"{channels} → {self.out_channels} channels cannot be split into {self.groups} groups")
        return self.fill("in_channels", channels)

    @property
    def weighted(self) -> bool:
        return True

    def parameters(self) -> int:
        kernel = math.prod(pair(self.kernel_size)) * (self.in_channels or 0) // self.groups
        return self.out_channels * (kernel + self.bias)


class Conv2d(_Convolution):
    type: Literal["Conv2d"]
    padding: Paddings | Literal["same", "valid"] = 0
    padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros"

    def output(self, shape: Shape) -> Shape:
        if self.padding == "same":
            if pair(self.stride) != (1, 1):
                raise ValueError('padding "same" goes with stride 1 only')
            return (self.out_channels, *shape[1:])
        padding = (0, 0) if self.padding == "valid" else pair(self.padding)
        largest = {"reflect": 1, "circular": 0}.get(self.padding_mode)
        if largest is not None and any(p > side - largest for p, side in zip(padding, shape[1:], strict=True)):
            raise ValueError(f"a padding of {list(padding)} is too much to {self.padding_mode} {list(shape[1:])}")
        return self.out_channels, *slid(shape, self.kernel_size, self.stride, padding, self.dilation)


class ConvTranspose2d(_Convolution):
    type: Literal["ConvTranspose2d"]
    padding: Paddings = 0
    output_padding: Paddings = 0

    def output(self, shape: Shape) -> Shape:
        sides = []
        for axis, side in enumerate(shape[1:]):
            kernel, stride, dilation, padding, extra = (
                pair(value)[axis]
                for value in (self.kernel_size, self.stride, self.dilation, self.padding, self.output_padding)
            )
            if extra >= max(stride, dilation):
                raise ValueError("output_padding must be smaller than stride or dilation")
            sides.append((side - 1) * stride - 2 * padding + dilation * (kernel - 1) + extra + 1)
        return self.out_channels, *remaining(sides)


class Linear(Layer):
    type: Literal["Linear"]
    in_features: Width | None = None
    out_features: Width
    bias: bool = True

    def filled(self, shape: Shape) -> Self:
        return self.fill("in_features", vector(shape))

    def output(self, shape: Shape) -> Shape:
        return (self.out_features,)

    @property
    def weighted(self) -> bool:
        return True

    def parameters(self) -> int:
        return self.out_features * ((self.in_features or 0) + self.bias)


class _Norm(Layer):
    num_features: Width | None = None
    eps: Epsilon = 1e-5
    affine: bool = True

    @property
    def weighted(self) -> bool:
        return self.affine

    def parameters(self) -> int:
        return 2 * (self.num_features or 0) * self.affine


class BatchNorm1d(_Norm):
    type: Literal["BatchNorm1d"]
    momentum: Share | None = 0.1
    track_running_stats: Literal[True] = True  # without, an image's class would hang on the others of its batch

    def filled(self, shape: Shape) -> Self:
        return self.fill("num_features", vector(shape))


class BatchNorm2d(_Norm):
    type: Literal["BatchNorm2d"]
    momentum: Share | None = 0.1
    track_running_stats: Literal[True] = True

    def filled(self, shape: Shape) -> Self:
        return self.fill("num_features", image(shape)[0])


class InstanceNorm2d(_Norm):
    type: Literal["InstanceNorm2d"]
    momentum: Share = 0.1
    affine: bool = False
    track_running_stats: bool = False

    def filled(self, shape: Shape) -> Self:
        if math.prod(image(shape)[1:]) == 1:
            raise ValueError("a single pixel has no deviation to normalise by")
        return self.fill("num_features", shape[0])


class GroupNorm(Layer):
    type: Literal["GroupNorm"]
    num_groups: Width
    num_channels: Width | None = None
    eps: Epsilon = 1e-5
    affine: bool = True

    def filled(self, shape: Shape) -> Self:
        if shape[0] % self.num_groups or math.prod(shape) == self.num_groups:
            raise ValueError(f"{list(shape)} cannot be normalised in {self.num_groups} groups")
        return self.fill("num_channels", shape[0])

    @property
    def weighted(self) -> bool:
        return self.affine

    def parameters(self) -> int:
        return 2 * (self.num_channels or 0) * self.affine


class LayerNorm(Layer):
    """Layer normalisation over the whole of what comes in, or over its last dimensions where `normalized_shape` says
    so."""

    type: Literal["LayerNorm"]
    normalized_shape: Width | Annotated[tuple[Width, ...], Field(min_length=1, max_length=3)] | None = None
    eps: Epsilon = 1e-5
    elementwise_affine: bool = True
    bias: bool = True

    def filled(self, shape: Shape) -> Self:
        dimensions = (
            (self.normalized_shape,) if isinstance(self.normalized_shape, int) else self.normalized_shape or shape
        )
        if shape[-len(dimensions) :] != dimensions:
            raise ValueError(f"normalized_shape is {list(dimensions)}, but what comes in is {list(shape)}")
        return self.model_copy(update={"normalized_shape": dimensions})

    @property
    def weighted(self) -> bool:
        return self.elementwise_affine

    def parameters(self) -> int:
        shape = self.normalized_shape if isinstance(self.normalized_shape, tuple) else ()
        return math.prod(shape) * (1 + self.bias) * self.elementwise_affine


class Activation(Layer):
    type: Literal["ReLU", "ReLU6", "SELU", "SiLU", "Mish", "Hardswish", "Hardsigmoid"]
    inplace: bool = False


class PlainActivation(Layer):
    type: Literal["Tanh", "Sigmoid", "Identity"]


class LeakyReLU(Layer):
    type: Literal["LeakyReLU"]
    negative_slope: Number = 0.01
    inplace: bool = False


class ExponentialUnit(Layer):
    type: Literal["ELU", "CELU"]
    alpha: Annotated[float, Field(gt=0, le=1e3)] = 1.0
    inplace: bool = False


class GELU(Layer):
    type: Literal["GELU"]
    approximate: Literal["none", "tanh"] = "none"


class Softplus(Layer):
    type: Literal["Softplus"]
    beta: Annotated[float, Field(gt=0, le=1e3)] = 1.0
    threshold: Number = 20.0


class PReLU(Layer):
    type: Literal["PReLU"]
    num_parameters: Width = 1
    init: Number = 0.25

    def filled(self, shape: Shape) -> Self:
        return self if self.num_parameters == 1 else self.fill("num_parameters", shape[0])

    @property
    def weighted(self) -> bool:
        return True

    def parameters(self) -> int:
        return self.num_parameters


class _Pool(Layer):
    kernel_size: Extents
    stride: Extents | None = None
    padding: Paddings = 0
    ceil_mode: bool = False

    def filled(self, shape: Shape) -> Self:
        image(shape)
        if any(2 * p > k for p, k in zip(pair(self.padding), pair(self.kernel_size), strict=True)):
            raise ValueError("padding must be at most half of kernel_size")
        return self

    def _pooled(self, shape: Shape, dilation: Extents = 1) -> Shape:
        stride = self.kernel_size if self.stride is None else self.stride
        return shape[0], *slid(shape, self.kernel_size, stride, self.padding, dilation, ceil=self.ceil_mode)


class MaxPool2d(_Pool):
    type: Literal["MaxPool2d"]
    dilation: Extents = 1

    def output(self, shape: Shape) -> Shape:
        return self._pooled(shape, self.dilation)


class AvgPool2d(_Pool):
    type: Literal["AvgPool2d"]
    count_include_pad: bool = True

    def output(self, shape: Shape) -> Shape:
        return self._pooled(shape)


class AdaptivePool2d(Layer):
    type: Literal["AdaptiveAvgPool2d", "AdaptiveMaxPool2d"]
    output_size: Extent | tuple[Extent | None, Extent | None]

    def output(self, shape: Shape) -> Shape:
        channels, *sides = image(shape)
        wanted = self.output_size if isinstance(self.output_size, tuple) else (self.output_size,) * 2
        return channels, *(new or side for new, side in zip(wanted, sides, strict=True))


class Dropout(Layer):
    type: Literal["Dropout"]
    p: Share = 0.5
    inplace: bool = False


class Dropout2d(Layer):
    type: Literal["Dropout2d"]
    p: Share = 0.5
    inplace: bool = False

    def filled(self, shape: Shape) -> Self:
        image(shape)
        return self


class Flatten(Layer):
    type: Literal["Flatten"]
    start_dim: Literal[1] = 1
    end_dim: Literal[-1] = -1

    def output(self, shape: Shape) -> Shape:
        return (math.prod(shape),)


class PadChannels(Layer):
    """Channels of zeros, `before` and `after` those that come in: a shortcut without weights to a wider stage."""

    type: Literal["PadChannels"]
    before: Padding = 0
    after: Padding = 0

    def output(self, shape: Shape) -> Shape:
        channels, *sides = image(shape)
        return (self.before + channels + self.after, *sides)


class Subsample(Layer):
    """Every `stride`-th pixel of each row and column, from the first on: an identity with a stride."""

    type: Literal["Subsample"]
    stride: Extents = 2

    def output(self, shape: Shape) -> Shape:
        return image(shape)[0], *slid(shape, 1, self.stride, 0, 1)


class GlobalPool2d(Layer):
    """The mean, or the largest, of all places of a channel: of [C,H,W] it leaves [C]."""

    type: Literal["GlobalAvgPool2d", "GlobalMaxPool2d"]

    def output(self, shape: Shape) -> Shape:
        return image(shape)[:1]


Leaf = (
    Conv2d | ConvTranspose2d | Linear
    | BatchNorm1d | BatchNorm2d | InstanceNorm2d | GroupNorm | LayerNorm
    | Activation | PlainActivation | LeakyReLU | ExponentialUnit | GELU | Softplus | PReLU
    | MaxPool2d | AvgPool2d | AdaptivePool2d
    | Dropout | Dropout2d | Flatten
    | PadChannels | Subsample | GlobalPool2d
)  # fmt: skip
