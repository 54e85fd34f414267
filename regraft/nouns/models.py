"""Models: what jobs give; weights, evaluation, predictions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from regraft.images import Image
from regraft.nouns.base import D, Noun, given
from regraft.nouns.downloads import downloading
from regraft.nouns.predicting import Adapt, Precision, Shares, image_request, predicting
from regraft.steps import Steps, Stream, call, items
from regraft.types import Adaptation, Job, Model, Predictions
from regraft.wire import Progress, Request

Export = Literal["bundle", "timm", "triton"]


class Models(Noun[D]):
    @call
    def get(self, model: str) -> Steps[Model]:
        return (yield from self._fetch(f"/v1/models/{model}", Model))

    @call
    def download(
        self,
        model: str,
        to: Path | str,
        *,
        format: Literal["safetensors", "onnx", "adapter"] = "safetensors",
        progress: Progress | None = None,
    ) -> Steps[Path]:
        """Weights to the file `to`, or into the folder `to` as `<model>.<format>`; gives the path.

        The file appears only when it is whole and its digest is right (else `Corrupted`); a lost connection is
        taken up where it broke.
        """
        target = Path(to)
        if target.is_dir():
            target = target / (f"{model}.adapter.safetensors" if format == "adapter" else f"{model}.{format}")
        path = f"/v1/models/{model}/weights"
        return (yield from downloading(self._send, path, {"format": format}, target, progress, self._retry))

    @call
    def export(
        self, model: str, to: Path | str, *, format: Export = "bundle", progress: Progress | None = None
    ) -> Steps[Path]:
        """A zip for others' tools, to the file `to` or into the folder `to` as `<model>.<format>.zip`; gives the path.

        `bundle` classifies images without the service, `timm` is what `timm.create_model("local-dir:…")` loads,
        `triton` a model repository of the Triton inference server.
        """
        target = Path(to)
        if target.is_dir():
            target = target / f"{model}.{format}.zip"
        path = f"/v1/models/{model}/exports/{format}"
        return (yield from downloading(self._send, path, {}, target, progress, self._retry))

    @call
    def recipe(self, model: str) -> Steps[dict[str, object]]:
        """The rule it was trained by: what `checkpoints.create` takes, and `rule_transfer` replays."""
        return (yield from self._document(f"/v1/models/{model}/recipe"))

    @call
    def card(self, model: str) -> Steps[str]:
        """The model's card in Markdown: what it is, from what, how good, and where it ends."""
        return (yield from self._send(Request("GET", f"/v1/models/{model}/card", repeatable=True))).text

    @call
    def report(self, model: str) -> Steps[str]:
        """Figures, curves and the origin of its weights: one HTML page."""
        return (yield from self._send(Request("GET", f"/v1/models/{model}/report", repeatable=True))).text

    @call
    def predict(
        self,
        model: str,
        images: Image | Sequence[Image],
        *,
        top_k: int | None = None,
        adapt: Adapt | None = None,
        precision: Precision | None = None,
        priors: Shares | None = None,
    ) -> Steps[Predictions]:
        """Predict for images, in the order sent.  An image is a path, a file's bytes, a Pillow image, or a uint8 array
        [H,W] or [H,W,3].

        With `adapt` by a network that adapts to the images of all such calls; `precision` `int8` needs `quantize`;
        `priors` corrects for shares of classes, given or to `estimate` from the images."""
        path = f"/v1/models/{model}/predictions"
        return (yield from predicting(self._send, path, images, top_k, adapt, precision, priors))

    @call
    def quantize(
        self,
        model: str,
        *,
        max_accuracy_drop: float | None = None,
        max_score_shift: float | None = None,
        images: int | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[Job]:
        """A job that makes it ready to be served in eight bits, too; it fails where more than that would be lost."""
        limits = {"max_accuracy_drop": max_accuracy_drop, "max_score_shift": max_score_shift, "images": images}
        path = f"/v1/models/{model}/quantizations"
        return (yield from self._post(path, Job, given(limits), idempotency_key))

    @call
    def adaptation(self, model: str) -> Steps[Adaptation]:
        """The state of the model's network that adapts to the images it is asked about."""
        return (yield from self._fetch(f"/v1/models/{model}/adaptation", Adaptation))

    @call
    def reset_adaptation(self, model: str) -> Steps[None]:
        """Begin the model's adaptation anew, from its own weights."""
        yield from self._send(Request("DELETE", f"/v1/models/{model}/adaptation", repeatable=True))

    @call
    def embeddings(self, model: str, images: Image | Sequence[Image]) -> Steps[list[list[float]]]:
        """The features that the head sees, a list per image."""
        response = yield from self._send(image_request(f"/v1/models/{model}/embeddings", images, {}))
        return [entry["embedding"] for entry in response.json()["data"]]

    @call
    def delete(self, model: str, *, cascade: bool = False) -> Steps[None]:
        yield from self._delete(f"/v1/models/{model}", cascade=cascade)

    @items
    def list(
        self,
        *,
        method: str | None = None,
        checkpoint: str | None = None,
        dataset: str | None = None,
        order: str = "desc",
        page_size: int = 100,
    ) -> Stream[Model]:
        """All models, page after page."""
        params = {"method": method, "checkpoint": checkpoint, "dataset": dataset, "order": order}
        yield from self._pages("/v1/models", Model, params, page_size)
