"""The evidence on one checkpoint: its network runs once over some images of the dataset, and all else is arithmetic."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from app.contract.recommendation import EVIDENCE_EDITION, Evidence, EvidenceScore, MeasuredAccuracy
from worker.choosing import gap, ridge, scores
from worker.choosing.scores import Floats, Indices, Undefined
from worker.data import label_budget
from worker.data.batches import Images, Prepare
from worker.data.feature_cache import cached, layers
from worker.methods import transferred
from worker.methods.task import Domain, Source
from worker.metrics.scores import wilson
from worker.networks.classifier import Classifier
from worker.runtime import device
from worker.runtime.run import Run
from worker.training import accumulation, evaluate

FEATURES, PROBE = 2, 3  # tiers
FEWEST = 4  # images from which anything is told
TIMED, WARM = 64, 8  # images that the network is timed on, after so many to warm up …
TIMES = 3  # … so often: the least counts, since whatever else the machine does only adds to it


@dataclass(frozen=True)
class Observed:
    """Outputs of a network on N images: features [N,D], and the probability [N,Z] of each of its own classes."""

    x_ND: Floats
    p_NZ: Floats


@dataclass(frozen=True)
class ChosenRows:
    """Places of images in a dataset, and their labels; −1 is none."""

    place_N: NDArray[np.int64]
    label_N: Indices


def rows(domain: Domain, images: int, labels: int | None, seed: int) -> ChosenRows:
    """Choose at most `images` of the training split, classes in proportion, at most `labels` of each.

    With `labels` 0 none is read; None: all that there are.
    """
    if labels == 0:
        place = domain.images.rows("train")
        chosen = np.sort(np.random.default_rng(seed).permutation(place)[:images])
        return ChosenRows(chosen, np.full(len(chosen), -1, np.int64))
    place = domain.labelled("train")
    if labels is not None:
        place = label_budget.per_class(place, domain.images.label[place], labels, seed)
    place = label_budget.total(place, domain.images.label[place], images, seed)
    return ChosenRows(place, domain.images.label[place])


def measure(
    run: Run,
    checkpoint: str,
    source: Source,
    domain: Domain,
    chosen: ChosenRows,
    elsewhere: tuple[Domain, ChosenRows] | None = None,
) -> Evidence:
    """Measure the checkpoint, frozen, on the `chosen` images of `domain`; `elsewhere` are images that it was trained
    on, for the gap.

    Raises:
        Failure: the network cannot be built, or takes no such images.
        Interrupted: see `Run.checkpoint_or_stop`.
    """
    learner = transferred.unchanged(source)
    seen = look(run, source, learner, domain, chosen)
    listed: list[EvidenceScore] = []
    probe = unchanged = None
    if len(chosen.place_N) >= FEWEST and (chosen.label_N >= 0).all():
        listed += _of_features(seen.x_ND, chosen.label_N)
        if not source.untrained_head:
            listed += _of_head(seen.p_NZ, chosen.label_N)
            unchanged = _unchanged(learner, domain, seen.p_NZ, chosen.label_N)
        probe, reason = _probed(seen.x_ND, chosen.label_N)
        listed.append(
            EvidenceScore(name="ridge", tier=PROBE, value=None if probe is None else probe.accuracy, reason=reason)
        )
    if elsewhere is not None:
        listed += _of_gap(look(run, source, learner, *elsewhere), seen)
    return Evidence(
        checkpoint=checkpoint,
        images=len(chosen.place_N),
        features=seen.x_ND.shape[1],
        probe=probe,
        unchanged=unchanged,
        scores=listed,
        image_seconds=_image_seconds(run, source, learner, domain, chosen),
        edition=EVIDENCE_EDITION,
    )


def look(run: Run, source: Source, learner: Classifier, domain: Domain, chosen: ChosenRows) -> Observed:
    """Run the source's network, `learner`, over images; not again over those that it has seen."""
    device.place(learner.module, run.device)
    images = domain.unlabelled(chosen.place_N, learner.input)
    width = learner.structure.features
    everything = layers(run, source.network, learner.module.state_dict(), "features and scores", learner.input)

    def compute(images: Images) -> torch.Tensor:
        prepare = Prepare(learner.input, run.device, device.memory_format(learner.module))

        def both(x_BCHW: torch.Tensor) -> torch.Tensor:
            outputs = learner.forward(x_BCHW)
            return torch.cat([outputs.features_BD.float(), outputs.logits_BK.float()], 1)

        with torch.no_grad():
            batches = evaluate.image_batches(run, images.to(run.device), prepare)
            return torch.cat([accumulation.forward(both, x_BCHW) for x_BCHW, _ in batches])

    both_NW = cached(run, everything, images, compute).double()
    p_NZ = both_NW[:, width:].softmax(1)
    return Observed(both_NW[:, :width].cpu().numpy(), p_NZ.cpu().numpy())


def _image_seconds(run: Run, source: Source, learner: Classifier, domain: Domain, chosen: ChosenRows) -> float | None:
    """Seconds that the network takes for an image: measured once, and kept with what it makes of them."""
    if not len(chosen.place_N):
        return None
    images = domain.unlabelled(chosen.place_N[:TIMED], learner.input)
    about = layers(run, source.network, learner.module.state_dict(), "least seconds an image", learner.input)

    def compute(images: Images) -> torch.Tensor:
        prepare = Prepare(learner.input, run.device, device.memory_format(learner.module))
        least = math.inf
        for part in (Images(images.pixels_NHWC[:WARM], images.label_N[:WARM]), *[images] * TIMES):
            began_at = time.perf_counter()
            with torch.no_grad():
                for x_BCHW, _ in evaluate.image_batches(run, part.to(run.device), prepare):
                    accumulation.forward(learner.module, x_BCHW).cpu()
            least = min(least, (time.perf_counter() - began_at) / len(part))
        return torch.tensor([least], dtype=torch.float64)

    return float(cached(run, about, images, compute)[0])


def _of_features(x_ND: Floats, y_N: Indices) -> list[EvidenceScore]:
    by_name: dict[str, Callable[[Floats, Indices], float]] = {
        "log_me": scores.log_me,
        "h_score": scores.h_score,
        "n_leep": scores.n_leep,
        "parc": scores.parc,
        "nearest": scores.nearest,
    }
    return [_score(name, partial(score, x_ND, y_N)) for name, score in by_name.items()]


def _of_head(p_NZ: Floats, y_N: Indices) -> list[EvidenceScore]:
    return [_score("leep", partial(scores.leep, p_NZ, y_N)), _score("nce", partial(scores.nce, p_NZ, y_N))]


def _of_gap(there: Observed, here: Observed) -> list[EvidenceScore]:
    return [
        _score("proxy_a", partial(gap.proxy_a, there.x_ND, here.x_ND)),
        _score("mmd", partial(gap.mmd, there.x_ND, here.x_ND)),
        _score("coral", partial(gap.coral, there.x_ND, here.x_ND)),
    ]


def _score(name: str, of: Callable[[], float]) -> EvidenceScore:
    try:
        return EvidenceScore(name=name, tier=FEATURES, value=of())
    except Undefined as reason:
        return EvidenceScore(name=name, tier=FEATURES, reason=str(reason))


def _probed(x_ND: Floats, y_N: Indices) -> tuple[MeasuredAccuracy | None, str | None]:
    try:
        return _share(ridge.hits(x_ND, y_N)), None
    except Undefined as reason:
        return None, str(reason)


def _unchanged(learner: Classifier, domain: Domain, p_NZ: Floats, y_N: Indices) -> MeasuredAccuracy | None:
    """Measure the network as it is, by the names of its classes; None where it does not know all of the dataset's."""
    known = {name: place for place, name in enumerate(learner.classes or ())}
    if not set(domain.classes) <= set(known):
        return None
    place_K = np.array([known[name] for name in domain.classes])
    return _share(p_NZ.argmax(1) == place_K[y_N])


def _share(hit_N: NDArray[np.bool_]) -> MeasuredAccuracy:
    right, n = int(hit_N.sum()), len(hit_N)
    return MeasuredAccuracy(accuracy=right / n, interval=wilson(right, n), n=n)
