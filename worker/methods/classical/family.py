"""Classical learners on frozen features: what they see, how what is left open is chosen, and the network of the result.

scikit-learn and SciPy are imported where they are called: they cost a second that no other job should pay.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from app.contract import grafted as graft
from app.contract.grafted import AnyHead
from app.contract.layers import with_classes
from app.contract.networks import NetworkSpec
from app.contract.transfer import TransferReport
from app.methods.classical.family import OnFeatures
from worker.methods import extraction, inputs, supervision, transferred
from worker.methods.task import Adapted, Task
from worker.networks import heads, load
from worker.networks.classifier import Classifier
from worker.networks.grafted import BACKBONE, HEAD, Grafted
from worker.networks.load import Report
from worker.networks.structure import Structure
from worker.runtime import device, seeds
from worker.runtime.contract import Failure, Note

FOLDS = 5  # of the training images, where there is no validation split
ABSENT = -1000.0  # the logit of a class that the training images do not have
TEMPERATURES = (1e-3, 1e3)

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
H = TypeVar("H")
M = TypeVar("M", bound="Model")


@dataclass(frozen=True)
class Rows:
    """Standardised features, and labels as places among the P classes that the training images have (−1: another)."""

    z_ND: Floats
    y_N: Indices

    def take(self, index: Indices) -> "Rows":
        return Rows(self.z_ND[index], self.y_N[index])


@dataclass(frozen=True)
class Stump:
    """A head without its standardisation: sizes, and the state of its buffers."""

    sizes: AnyHead
    state: dict[str, Tensor]


class Model(Protocol):
    """A fitted model."""

    def scores(self, z_ND: Floats) -> Floats:
        """[N,P]; the greatest is the prediction."""

    def stump(self, present: "Present") -> Stump: ...


@dataclass(frozen=True)
class Present:
    """The P classes of the training images, as places among all K."""

    place_P: Indices
    classes: int

    def spread(self, values: Floats, absent: float, axis: int = 0) -> Tensor:
        """float32: P entries of `axis` to their places among K, `absent` in the others."""
        shape = list(values.shape)
        shape[axis] = self.classes
        spread = np.full(shape, absent, np.float64)
        np.moveaxis(spread, axis, 0)[self.place_P] = np.moveaxis(values, axis, 0)
        return self.everywhere(spread)

    @staticmethod
    def everywhere(values: Floats) -> Tensor:
        """float32, where classes do not matter."""
        return torch.from_numpy(values.astype(np.float32))


class Fitting:
    """One job's features, and its fits: each is done once, also where the job goes on from a snapshot."""

    def __init__(self, task: Task, params: OnFeatures) -> None:
        self._task, self._run = task, task.run
        self._source = inputs.resized(transferred.base(task.known_source), params.input)
        self._run.tell(0, 1)
        input = self._source.input
        self._learner = replace(transferred.unchanged(self._source), classes=task.target.classes)
        device.place(self._learner.module, self._run.device)
        self._examples = supervision.examples(self._run, task.target, params, input, task.target.classes)
        self._seed = seeds.derive(self._run.seed, "classical") % 2**32
        train, validation = extraction.features(task, self._learner, self._examples)
        x_ND, label_N = train.x_ND.cpu(), train.label_N.cpu().numpy()
        self._mean_D, self._scale_D = _standardisation(x_ND)
        self._present = Present(np.unique(label_N), len(task.target.classes))
        if len(self._present.place_P) < 2:
            raise Failure("does_not_fit", "The training images are all of one class: there is nothing to tell apart.")
        self.train = self._rows(x_ND, label_N)
        self.validation = self._rows(validation.x_ND.cpu(), validation.label_N.cpu().numpy())

    @property
    def features(self) -> int:
        return self._learner.structure.features

    @property
    def seed(self) -> int:
        """The seed for scikit-learn."""
        return self._seed

    def choose(
        self, candidates: Sequence[H], default: H, fit: Callable[[H, Rows], Model], say: Callable[[H], str]
    ) -> H:
        """The first of those with the greatest accuracy on images that were not fitted to; the only one as it is.

        `default`, where no class has images to spare.
        """
        parts = self._parts()
        if len(candidates) == 1 or not parts:
            return candidates[0] if len(candidates) == 1 else default
        self._run.expect(len(candidates) + 1)

        def accuracy(candidate: H) -> float:
            return float(np.mean([_accuracy(fit(candidate, train), held) for train, held in parts]))

        accuracies = [self._once(f"choose {i}", partial(accuracy, one)) for i, one in enumerate(candidates)]
        best = int(np.argmax(accuracies))
        choice = f"{say(candidates[best])}: the best of {len(candidates)} on images that were not fitted to"
        self._run.emit(Note("chosen", f"{choice}, accuracy {accuracies[best]:.3f}."))
        return candidates[best]

    def fit(self, fit: Callable[[Rows], M]) -> M:
        """Fit to all training images."""
        self._run.checkpoint_or_stop()
        with _quietly(self._run.emit):
            return fit(self.train)

    def temperature(self, model: M, fit: Callable[[Rows], M]) -> float:
        """Guo et al. 2017: T that makes softmax(scores / T) most likely on images that were not fitted to.

        Their labels are smoothed as Platt (1999) smoothes his, or T were 0 where all predictions are right.
        """
        if len(self.validation.y_N):
            return _temperature(model.scores(self.validation.z_ND), self.validation.y_N)
        parts = self._parts()
        if not parts:
            return 1.0

        def fitted() -> float:
            scores = np.concatenate([fit(train).scores(held.z_ND) for train, held in parts])
            return _temperature(scores, np.concatenate([held.y_N for _, held in parts]))

        return self._once("temperature", fitted)

    def adapted(self, model: Model, params: OnFeatures, **about: Any) -> Adapted:
        """The model on its backbone; `about` joins the account of the transfer."""
        stump = model.stump(self._present)
        head = heads.build(stump.sizes, self.features, self._present.classes)
        head.load_state_dict(stump.state | {"mean_D": self._mean_D, "scale_D": self._scale_D})
        self._report(head)
        network, structure, spec, report = self._network(head, stump.sizes)
        transfer = TransferReport(
            tensors=report.document(),
            head="new",
            adapters=transferred.adapters(self._task.target, self._learner.input),
            trainable=[],
        )
        device.place(network, self._run.device)
        classifier = Classifier(network.eval(), structure, self._learner.input, self._learner.classes)
        return Adapted(classifier, spec, params, self._examples.use, transfer | about)

    def _rows(self, x_ND: Tensor, label_N: Indices) -> Rows:
        place_K = np.full(self._present.classes, -1)
        place_K[self._present.place_P] = np.arange(len(self._present.place_P))
        z_ND = (x_ND - self._mean_D) / self._scale_D  # in float32, as the head will
        return Rows(z_ND.double().numpy(), place_K[label_N])

    def _parts(self) -> list[tuple[Rows, Rows]]:
        """Pairs of what to fit to and what to judge by: the two splits, or else folds of the training images."""
        if len(self.validation.y_N):
            return [(self.train, self.validation)]
        folds = min(FOLDS, int(np.bincount(self.train.y_N).min()))
        if folds < 2:
            return []
        from sklearn.model_selection import StratifiedKFold

        split = StratifiedKFold(folds, shuffle=True, random_state=self.seed).split(self.train.z_ND, self.train.y_N)
        return [(self.train.take(train), self.train.take(held)) for train, held in split]

    def _once(self, phase: str, compute: Callable[[], float]) -> float:
        result = self._run.result(phase)
        if result is None:
            self._run.checkpoint_or_stop()
            with _quietly(self._run.emit):
                result = {"value": compute()}
        self._run.done(phase, result, 1)
        self._run.tell(0, 1)
        return float(result["value"])

    def _report(self, head: heads.Head) -> None:
        if len(self.validation.y_N):
            with torch.inference_mode():
                log_p_NK = F.log_softmax(head.logits(torch.from_numpy(self.validation.z_ND).float()).double(), dim=1)
            label_N = self._examples.validation.label_N
            figures = {
                "loss": float(F.nll_loss(log_p_NK, label_N)),
                "accuracy": float((log_p_NK.argmax(1) == label_N).double().mean()),
            }
            self._run.log(figures, "validation", 1, 1.0)
        self._run.done("fit", {}, 1)
        self._run.expect(0)
        self._run.tell(0, 0)

    def _network(self, head: heads.Head, sizes: AnyHead) -> tuple[nn.Module, Structure, NetworkSpec, Report]:
        """A linear head where the source's was, if there can be one; else a graft."""
        backbone, structure = self._learner.module.cpu(), self._learner.structure
        own = backbone.get_submodule(structure.head)
        if isinstance(head, heads.Linear) and structure.separable and getattr(own, "bias", None) is not None:
            structure.replace_head(backbone, self._present.classes)
            _fold(head, backbone.get_submodule(structure.head))
            tensors = backbone.state_dict()
            kept = list(load.beneath(structure, tensors))
            report = Report(copied=kept, initialised=[name for name in tensors if name not in kept])
            report.was_drawn(self._source.drawn)
            return backbone, structure, with_classes(self._source.network, self._present.classes), report
        network = Grafted(backbone, structure, head)
        report = Report(
            renamed=[{"from": name, "to": f"{BACKBONE}.{name}"} for name in backbone.state_dict()],
            initialised=[f"{HEAD}.{name}" for name in head.state_dict()],
        )
        report.was_drawn(self._source.drawn)
        return network, network.structure, graft.spec(self._source.network, sizes, self._present.classes), report


def _standardisation(x_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and scale, float32 [D]; the scale of what does not vary is 1."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(x_ND.double().numpy())
    return torch.from_numpy(scaler.mean_).float(), torch.from_numpy(scaler.scale_).float()


def _accuracy(model: Model, rows: Rows) -> float:
    return float((model.scores(rows.z_ND).argmax(1) == rows.y_N).mean())


def _temperature(scores_NP: Floats, y_N: Indices) -> float:
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    known = y_N >= 0
    if not known.any():
        return 1.0
    scores_NP, count, classes = scores_NP[known], int(known.sum()), scores_NP.shape[1]
    truth_NP = np.full(scores_NP.shape, 1 / (count + 2) / (classes - 1))
    truth_NP[np.arange(count), y_N[known]] = (count + 1) / (count + 2)

    def cross_entropy(log_t: float) -> float:
        return -float((truth_NP * log_softmax(scores_NP / np.exp(log_t), axis=1)).sum(1).mean())

    bounds = tuple(np.log(TEMPERATURES))
    return float(np.exp(minimize_scalar(cross_entropy, bounds=bounds, method="bounded").x))


def _fold(head: heads.Linear, own: nn.Module) -> None:
    """The standardisation goes into the weights: W(x − m)/s + b = (W/s)x + (b − Wm/s)."""
    weight_KD = head.weight_KD.double() / head.scale_D.double()
    with torch.no_grad():
        own.weight.copy_(weight_KD)  # type: ignore[operator]
        own.bias.copy_(head.bias_K.double() - weight_KD @ head.mean_D.double())  # type: ignore[operator]


@contextmanager
def _quietly(emit: Callable[[Note], None]) -> Iterator[None]:
    """Fit with as many threads as PyTorch has, on which sums depend; a fit that did not converge is told of, not
    warned."""
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(torch.get_num_threads()), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        yield
    if caught:
        emit(Note("not_converged", str(caught[0].message), "warning"))
