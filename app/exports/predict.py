"""Classify images with the model beside this file; it needs numpy, onnxruntime and Pillow.

    python predict.py image.png another.jpg

prints a line of JSON an image.  In code: `Classifier().predict(["image.png"])`.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image, ImageOps

HERE = Path(__file__).resolve().parent


class Classifier:
    """A network in ONNX, with what it takes and the names of its classes."""

    def __init__(self, folder: str | Path = HERE) -> None:
        self.about = json.loads((Path(folder) / "model.json").read_text(encoding="utf-8"))
        graph = str(Path(folder) / "model.onnx")
        self.session: Any = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def predict(self, paths: Sequence[str | Path], top_k: int = 5) -> list[dict[str, Any]]:
        """The likeliest classes of each image, the likeliest first; of several labels also those of at least 0.5."""
        batch = np.stack([self.pixels(path) for path in paths])
        [probabilities] = self.session.run(["probabilities"], {"image": batch})
        return [self._said(row, top_k) for row in probabilities]

    def pixels(self, path: str | Path) -> NDArray[np.uint8]:
        """The image as uint8 [H,W,C], as the network takes it: scaling, mean and deviation are in the graph."""
        spec = self.about["input"]
        (height, width), margin, grey = spec["size"], spec["margin"], spec["channels"] == 1
        with Image.open(path) as file:
            if file.mode in ("I", "F") or file.mode.startswith("I;"):
                raise ValueError(f"{path} has more than 8 bits a channel: bring it to 8 first.")
            wide, high = _bounded_size(file.size)
            if (wide, high) != file.size:  # of a large JPEG a half, a quarter or an eighth is decoded
                file.draft(None, (2 * wide, 2 * high))
            image = ImageOps.exif_transpose(file)
        if "A" in image.getbands() or "transparency" in image.info:
            coloured = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured)
        if image.mode not in ("1", "L"):
            image = image.convert("RGB")
        image = _bounded(image.convert("L") if grey or image.mode in ("1", "L") else image)
        inner = (width - 2 * margin, height - 2 * margin)
        if spec["fit"] == "pad":
            scale = min(inner[0] / image.width, inner[1] / image.height)
            inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(inner, Image.Resampling.BILINEAR) if image.size != inner else image
        canvas = Image.new("L" if grey else "RGB", (width, height))
        canvas.paste(image, ((width - inner[0]) // 2, (height - inner[1]) // 2))
        return np.asarray(canvas).reshape(height, width, spec["channels"])

    def _said(self, row: NDArray[np.float32], top_k: int) -> dict[str, Any]:
        classes = self.about["classes"] or [str(k) for k in range(len(row))]
        order = np.argsort(-row, kind="stable")[:top_k]
        top = [{"label": classes[k], "probability": float(row[k])} for k in order]
        labels = [classes[k] for k in np.flatnonzero(row >= 0.5)]
        return {**top[0], "top": top} | ({"labels": labels} if self.about["multi_label"] else {})


def _bounded(image: Image.Image) -> Image.Image:
    """The image as it is stored by the service that made the model: with at most 512 pixels on its shorter side."""
    size = _bounded_size(image.size)
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)


def _bounded_size(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, 512 / min(size), 2048 / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for path, said in zip(sys.argv[1:], Classifier().predict(sys.argv[1:]), strict=True):
        print(json.dumps({"image": path, **said}, ensure_ascii=False))
