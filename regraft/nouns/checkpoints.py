"""Checkpoints: trained weights under their network's own tensor names, with their input contract."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from regraft import errors
from regraft.images import Image
from regraft.nouns.base import D, Noun, given, waiting
from regraft.nouns.predicting import Adapt, Shares, predicting
from regraft.steps import Steps, Stream, call, items
from regraft.types import Adaptation, Checkpoint, Event, Identification, Predictions
from regraft.wire import Request


class Checkpoints(Noun[D]):
    @call
    def create(
        self,
        *,
        name: str,
        file: str | None = None,
        network: Mapping[str, Any] | str | None = None,
        input: Mapping[str, Any] | None = None,
        classes: Sequence[str] | None = None,
        multi_label: bool | None = None,
        recipe: Mapping[str, Any] | None = None,
        weights: str | None = None,
        mapping: Mapping[str, str] | None = None,
        allow_missing: bool | None = None,
        dataset: str | None = None,
        pretrained: str | None = None,
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[Checkpoint]:
        """Create a checkpoint from an uploaded `file` and the `network` it belongs to, which is recognised where it is
        left out (a labelled `dataset` decides between those that it fits alike); from `pretrained` weights
        (`"torchvision/resnet18:IMAGENET1K_V1"`); or from an adapted `model`.  Processed in the background: `wait`."""
        body = {
            "name": name,
            "file": file,
            "network": network,
            "input": input,
            "classes": classes,
            "multi_label": multi_label,
            "recipe": recipe,
            "weights": weights,
            "mapping": mapping,
            "allow_missing": allow_missing,
            "dataset": dataset,
            "pretrained": pretrained,
            "model": model,
            "metadata": metadata,
        }
        return (yield from self._post("/v1/checkpoints", Checkpoint, given(body), idempotency_key))

    @call
    def get(self, checkpoint: str) -> Steps[Checkpoint]:
        return (yield from self._one(checkpoint))

    @call
    def wait(self, checkpoint: str, *, timeout_s: float | None = None) -> Steps[Checkpoint]:
        """Wait until the checkpoint is ready.  Raises `Unsuccessful` where its processing failed, and `WaitTimeout`."""
        found = yield from waiting(
            partial(self._one, checkpoint), lambda one: one.status != "processing", timeout_s=timeout_s
        )
        if found.status != "ready":
            raise errors.Unsuccessful(found)
        return found

    @call
    def identify(
        self,
        file: str,
        *,
        dataset: str | None = None,
        input: Mapping[str, Any] | None = None,
        classes: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> Steps[Identification]:
        """Wait until a worker has said which network the weights in an uploaded file are of; a labelled `dataset`
        decides between those that they fit alike, seen as `input` and `classes` say where these are given.

        Raises `Unsuccessful` where it could not read them, or the dataset has other classes, and `WaitTimeout`."""
        body = given({"file": file, "dataset": dataset, "input": input, "classes": classes})
        asked = yield from self._post("/v1/checkpoints/identify", Identification, body)
        path = f"/v1/checkpoints/identify/{asked.id}"
        found = yield from waiting(
            partial(self._fetch, path, Identification), lambda one: one.status != "processing", timeout_s=timeout_s
        )
        if found.status != "ready":
            raise errors.Unsuccessful(found)
        return found

    @call
    def predict(
        self,
        checkpoint: str,
        images: Image | Sequence[Image],
        *,
        top_k: int | None = None,
        adapt: Adapt | None = None,
        priors: Shares | None = None,
    ) -> Steps[Predictions]:
        """Predict for images, in the order sent.  An image is a path, a file's bytes, a Pillow image, or a uint8 array
        [H,W] or [H,W,3].

        With `adapt` by a network that adapts to the images of all such calls; `priors` corrects for shares of classes,
        given or to `estimate` from the images."""
        path = f"/v1/checkpoints/{checkpoint}/predictions"
        return (yield from predicting(self._send, path, images, top_k, adapt, priors=priors))

    @call
    def adaptation(self, checkpoint: str) -> Steps[Adaptation]:
        """The state of the checkpoint's network that adapts to the images it is asked about."""
        return (yield from self._fetch(f"/v1/checkpoints/{checkpoint}/adaptation", Adaptation))

    @call
    def reset_adaptation(self, checkpoint: str) -> Steps[None]:
        """Begin the checkpoint's adaptation anew, from its own weights."""
        yield from self._send(Request("DELETE", f"/v1/checkpoints/{checkpoint}/adaptation", repeatable=True))

    @call
    def recipe(self, checkpoint: str) -> Steps[dict[str, object]]:
        """The rule it was trained by; what is not known is left out."""
        return (yield from self._document(f"/v1/checkpoints/{checkpoint}/recipe"))

    @call
    def delete(self, checkpoint: str, *, cascade: bool = False) -> Steps[None]:
        yield from self._delete(f"/v1/checkpoints/{checkpoint}", cascade=cascade)

    @items
    def events(self, checkpoint: str, *, order: str = "asc", page_size: int = 100) -> Stream[Event]:
        """List what has happened to the checkpoint so far."""
        yield from self._pages(f"/v1/checkpoints/{checkpoint}/events", Event, {"order": order}, page_size)

    @items
    def list(self, *, status: str | None = None, order: str = "desc", page_size: int = 100) -> Stream[Checkpoint]:
        """All checkpoints, page after page."""
        yield from self._pages("/v1/checkpoints", Checkpoint, {"status": status, "order": order}, page_size)

    def _one(self, checkpoint: str) -> Steps[Checkpoint]:
        return (yield from self._fetch(f"/v1/checkpoints/{checkpoint}", Checkpoint))
