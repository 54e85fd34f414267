"""Requests that work, once the ids are those of your own objects; a test sends every one of them."""

FILE, CHECKPOINT, DATASET, MODEL = "file_0123456789", "ckpt_0123456789", "ds_0123456789", "model_0123456789"

_LAYERS = [
    {
        "name": "features",
        "layers": [
            {"type": "Conv2d", "out_channels": 16, "kernel_size": 3, "padding": 1},
            {"type": "ReLU"},
            {"type": "MaxPool2d", "kernel_size": 2},
        ],
    },
    {"name": "flatten", "type": "Flatten"},
    {"name": "classifier", "type": "Linear", "out_features": 10},
]
_NETWORK = {"name": "layers", "num_classes": 10, "options": {"input": [1, 28, 28], "layers": _LAYERS}}


def _named(**values: dict[str, object]) -> dict[str, object]:
    return {name: {"summary": name.replace("_", " "), "value": value} for name, value in values.items()}


UPLOAD = _named(announced={"filename": "digits.zip", "bytes": 11, "sha256": "0" * 64}, open={"filename": "digits.zip"})
NEW_CHECKPOINT = _named(
    from_a_file={
        "name": "digits",
        "file": FILE,
        "network": _NETWORK,
        "input": {"size": [28, 28], "channels": 1, "mean": [0.13], "std": [0.31]},
        "classes": ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
        "metadata": {"trained-by": "us"},
    },
    recognised={"name": "found", "file": FILE},
    pretrained={"name": "resnet18", "pretrained": "torchvision/resnet18:IMAGENET1K_V1"},
    promoted={"name": "adapted once", "model": MODEL},
)
NEW_DATASET = _named(
    guessed={"name": "digits", "file": FILE},
    stated={
        "name": "digits",
        "file": FILE,
        "format": "folder",
        "splits": {"train": 0.6, "validation": 0.2, "test": 0.2},
        "seed": 1,
    },
    unlabelled={"name": "photographs", "file": FILE, "labelled": False},
)
NEW_REVISION = _named(
    of_a_table={"labels": FILE, "name": "digits, corrected"},
    of_pairs={"labels": [{"image": "3/0017.png", "label": "8"}, {"image": "sample_4", "label": "5"}]},
)
NEW_LABELS = _named(
    of_pairs={"labels": [{"image": "sample_17", "label": "cat"}, {"image": "sample_4", "label": "dog"}]},
    of_label_studio={"labels": FILE, "columns": {"image": "sample"}},
)
JOB = _named(
    fine_tune={
        "checkpoint": CHECKPOINT,
        "dataset": DATASET,
        "method": {"name": "fine_tune", "labels_per_class": 10, "epochs": 20},
        "seed": 1,
        "metadata": {"purpose": "first try"},
    },
    linear_probe={"checkpoint": CHECKPOINT, "dataset": DATASET, "method": {"name": "linear_probe"}},
    evaluate={"checkpoint": CHECKPOINT, "dataset": DATASET, "method": {"name": "evaluate"}},
    from_a_model={"checkpoint": MODEL, "dataset": DATASET, "method": {"name": "fine_tune", "trainable": "head"}},
    train={
        "dataset": DATASET,
        "method": {"name": "train", "network": _NETWORK, "optimizer": "adamw", "learning_rate": 0.001},
        "name": "from scratch",
    },
)
RECOMMENDATION = _named(
    all_that_is_there={"dataset": DATASET},
    of_a_few={
        "dataset": DATASET,
        "checkpoints": [CHECKPOINT, MODEL],
        "methods": ["linear_probe", "fine_tune"],
        "labels": 10,
        "images": 500,
        "seed": 1,
    },
)
TOURNAMENT = _named(
    of_candidates={
        "dataset": DATASET,
        "candidates": [
            {"checkpoint": CHECKPOINT, "method": {"name": "linear_probe"}},
            {"checkpoint": MODEL, "method": {"name": "fine_tune", "labels_per_class": 10}},
        ],
        "name": "which of two",
    },
    recommended={"dataset": DATASET, "candidates": "recommended", "max_jobs": 5, "budget_s": 600},
)
SWEEP = _named(
    learning_rate_and_length={
        "job": {"checkpoint": CHECKPOINT, "dataset": DATASET, "method": {"name": "fine_tune", "optimizer": "adamw"}},
        "space": {"method.learning_rate": {"log": [1e-4, 1e-1]}, "method.epochs": [5, 10]},
        "trials": 12,
    },
    without_rungs={
        "job": {"checkpoint": CHECKPOINT, "dataset": DATASET, "method": {"name": "knn"}},
        "space": {"method.k": {"integer": [1, 9]}},
        "trials": 2,
        "pruner": "none",
    },
)
NEW_KEY = _named(
    for_an_application={"name": "camera", "scopes": ["predict"]},
    for_somebody_else={"name": "bob", "owner": "bob", "expires_at": "2030-01-01T00:00:00Z"},
)
