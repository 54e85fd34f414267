"""The plan of the demo: one small network, one fitting of images, and the same labels for every contender."""

CLASSES = 10
LABELS_PER_CLASS = 10

NETWORK: dict[str, object] = {
    "name": "layers",
    "num_classes": CLASSES,
    "options": {
        "input": [1, 16, 16],
        "layers": [
            {
                "name": "features",
                "layers": [
                    {"type": "Conv2d", "out_channels": 32, "kernel_size": 3, "padding": 1},
                    {"type": "BatchNorm2d"},
                    {"type": "ReLU"},
                    {"type": "MaxPool2d", "kernel_size": 2},
                    {"type": "Conv2d", "out_channels": 64, "kernel_size": 3, "padding": 1},
                    {"type": "BatchNorm2d"},
                    {"type": "ReLU"},
                    {"type": "MaxPool2d", "kernel_size": 2},
                    {"type": "Conv2d", "out_channels": 128, "kernel_size": 3, "padding": 1},
                    {"type": "BatchNorm2d"},
                    {"type": "ReLU"},
                    {"type": "MaxPool2d", "kernel_size": 2},
                ],
            },
            {"name": "flatten", "type": "Flatten"},
            {
                "name": "classifier",
                "layers": [
                    {"type": "Linear", "out_features": 128},
                    {"type": "ReLU"},
                    {"type": "Linear", "out_features": CLASSES},
                ],
            },
        ],
    },
}

# Between the two: MNIST comes in 28×28, optdigits in 8×8.
INPUT = {"size": [16, 16], "channels": 1, "mean": [0.1307], "std": [0.3081]}

# Optdigits fill their frame, MNIST's digits leave a seventh of it free: the same margin is given to every contender.
TARGET_FIT = {"fit": "pad", "margin": 2}

# 100 labels are taken from the training split; a large test split makes the intervals narrow.
TARGET_SPLITS = {"train": 0.3, "validation": 0.1, "test": 0.6}

AFFINE = [{"name": "affine", "degrees": 10, "translate": 0.1, "scale": [0.8, 1.2]}]

# Every contender gets what suited it best in a small search over optimiser, learning rate and augmentation.
SOURCE: dict[str, object] = {
    "name": "train",
    "network": NETWORK,
    "input": INPUT,
    "augmentation": AFFINE,
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "epochs": 20,
    "batch_size": 64,
}
UNCHANGED: dict[str, object] = {"name": "evaluate", "input": TARGET_FIT}
SCRATCH: dict[str, object] = {
    "name": "train",
    "network": NETWORK,
    "input": INPUT | TARGET_FIT,
    "labels_per_class": LABELS_PER_CLASS,
}
LINEAR_PROBE: dict[str, object] = {
    "name": "linear_probe",
    "input": TARGET_FIT,
    "labels_per_class": LABELS_PER_CLASS,
}
FINE_TUNE: dict[str, object] = {
    "name": "fine_tune",
    "input": TARGET_FIT,
    "optimizer": "adamw",
    "backbone_factor": 1.0,
    "augmentation": AFFINE,
    "labels_per_class": LABELS_PER_CLASS,
}
