"""Candidates of a recommendation: which checkpoints are asked about, and which methods fit each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.choosing import cost
from app.choosing.cost import EntryCost, Work
from app.choosing.forecast import METHODS as FORECAST
from app.choosing.forecast import CandidateFacts, Past, Question
from app.choosing.history import Level, PastStanding, PastStandings
from app.contract.inputs import InputSpec
from app.contract.layers import with_classes
from app.contract.networks import NetworkSpec
from app.contract.recommendation import Evidence
from app.contract.record import Record
from app.core import errors
from app.db.tables import DatasetRow, Warned
from app.jobs import planning, rehearsals
from app.jobs.planning import Plan
from app.jobs.sources import Source
from app.methods.registry import METHODS, parse

SCRATCH = "train"


@dataclass(frozen=True)
class Parts:
    """The parts of an owner's question; `source_dataset` is the id of what the sources learned from, where it was
    named."""

    owner: str
    target: DatasetRow
    sources: Sequence[Source]
    source_dataset: str | None


class Eligible(Record):
    """A candidate as it was when all parts were ready.  `methods` are those that fit it, complete, by name; `reason`
    says why one does not.  `work` is that of each method."""

    id: str
    name: str | None = None
    parameters: int | None = None
    knows_classes: bool = False
    keeps_head: bool = False
    methods: dict[str, dict[str, object]] = {}
    work: dict[str, Work] = {}
    reason: str | None = None

    @property
    def facts(self) -> CandidateFacts:
        return CandidateFacts(
            id=self.id,
            name=self.name or self.id,
            parameters=self.parameters,
            knows_classes=self.knows_classes,
            keeps_head=self.keeps_head,
            methods=tuple(self.methods),
        )


class PastJob(Record):
    """A `forecast.Past`, as it is stored."""

    method: str
    residual: float


class StoredStanding(Record):
    """A `history.PastStanding`, as it is stored."""

    z: float
    targets: int


class StoredLevel(Record):
    """A `history.Level`, as it is stored."""

    mean: float
    deviation: float
    spread: float
    targets: int


class PastJobs(Record):
    """The part of the owner's finished jobs on other images: how methods did above the regression, how candidates stood
    among the checkpoints that ran there, and where methods came to."""

    methods: list[PastJob] = []
    standings: dict[str, StoredStanding] = {}
    levels: dict[str, StoredLevel] = {}


class Planned(Record):
    """The parts of a question beside the evidence, once all of them are ready.

    `labels` a class are seen: None is all that there are, 0 none.  `methods` were asked for.  `scratch`: the complete
    method that trains a network from nothing, where one fits; its network is that of the candidate `scratch_of`.
    `chance` is the accuracy of guessing.
    """

    labels: int | None
    methods: list[str]
    candidates: list[Eligible]
    scratch: dict[str, object] | None
    scratch_of: str | None = None
    scratch_work: Work | None = None
    chance: float = 0.0
    history: list[PastJob] = []
    standings: dict[str, StoredStanding] = {}
    levels: dict[str, StoredLevel] = {}

    @property
    def question(self) -> Question:
        return Question(
            labels=self.labels,
            candidates=[candidate.facts for candidate in self.candidates],
            methods=self.methods,
            scratch=self.scratch is not None,
            history=[Past(past.method, past.residual) for past in self.history],
            standings=PastStandings(
                {id_: PastStanding(one.z, one.targets) for id_, one in self.standings.items()},
                {name: Level(one.mean, one.deviation, one.spread, one.targets) for name, one in self.levels.items()},
            ),
        )

    def method(self, checkpoint: str | None, name: str) -> dict[str, object]:
        """The method of a choice, complete."""
        if checkpoint is None:
            assert self.scratch is not None
            return self.scratch
        return next(candidate for candidate in self.candidates if candidate.id == checkpoint).methods[name]

    def cost(self, checkpoint: str | None, name: str, evidence: Mapping[str, Evidence]) -> EntryCost:
        """The cost of a choice, by what was measured of its network."""
        id_ = checkpoint or self.scratch_of
        network = next((candidate for candidate in self.candidates if candidate.id == id_), None)
        if network is None:
            return EntryCost(None, None, None)
        work = self.scratch_work if checkpoint is None else network.work.get(name)
        if work is None:
            return EntryCost(None, None, network.parameters)
        image_seconds = evidence[network.id].image_seconds if network.id in evidence else None
        return EntryCost(work.seconds(image_seconds), work.memory_bytes, network.parameters)


def plan(
    db: Session,
    parts: Parts,
    *,
    methods: Sequence[str] | None,
    labels: int | None,
    names: Mapping[str, str],
    history: PastJobs,
) -> Planned:
    """Judge every method on every source; all parts are ready.

    Raises:
        Unfit: there is nothing to learn from; or no method that was asked for fits.
    """
    target, sources = parts.target, parts.sources
    require_images(target, labels)
    labels = labels if target.labelled and not target.only_tests_labelled else 0
    asked = list(methods or FORECAST)
    fitting = [
        _eligible(db, parts, source, asked if labels != 0 else [], labels, names.get(source.id)) for source in sources
    ]
    found: tuple[str, Plan] | None = None
    if SCRATCH in asked and labels != 0:
        drawn = ((source.id, scratch_plan(db, source, target, labels)) for source in sources)
        found = next(((id_, plan) for id_, plan in drawn if plan is not None), None)
    scratch_of, new = found or (None, None)
    scratch = None if new is None else new.method.document()
    if labels != 0 and scratch is None and not any(candidate.methods for candidate in fitting):
        reasons = [f"{candidate.id}: {candidate.reason}" for candidate in fitting[:5] if candidate.reason]
        raise errors.Unfit(f"No method that was asked for fits. {' '.join(reasons)}".rstrip(), param="dataset")
    return Planned(
        labels=labels,
        methods=asked,
        candidates=fitting,
        scratch=scratch,
        scratch_of=scratch_of,
        scratch_work=None if new is None else _work(db, parts.owner, new),
        chance=1 / max(1, len(target.classes or ())),
        history=history.methods,
        standings=history.standings,
        levels=history.levels,
    )


def require_images(target: DatasetRow, labels: int | None) -> None:
    """Refuse a dataset of which nothing can be forecast, as far as it is known by now.

    Raises:
        Unfit: its images have several labels, or none that were asked for; or there are none to learn from.
    """
    if target.multi_label:
        raise errors.Unfit(
            f"Images of {target.id} have any number of labels; forecasts are made for one label an image.",
            param="dataset",
        )
    if target.splits is not None and not target.splits["train"]:
        raise errors.Unfit(f"The training split of {target.id} is empty: there is nothing to measure.", param="dataset")
    if labels and (not target.labelled or target.only_tests_labelled):
        but = " but for tests" if target.only_tests_labelled else ""
        raise errors.Unfit(f"{target.id} has no labels{but}, but `labels` asks for {labels} a class.", param="labels")


def warnings(planned: Planned, *, named: bool) -> list[Warned]:
    """Warnings about what is not among the entries; `named`: the request named the methods."""
    if planned.labels == 0:
        return []
    found = [
        {"code": "candidate_left_out", "message": f"No method fits {candidate.id}: {candidate.reason}"}
        for candidate in planned.candidates
        if not candidate.methods and candidate.reason
    ]
    fitting = {name for candidate in planned.candidates for name in candidate.methods}
    fitting |= {SCRATCH} if planned.scratch else set()
    left_out = [name for name in planned.methods if named and name not in fitting]
    return found + [
        {"code": "method_left_out", "message": f"`{name}` fits none of the candidates."} for name in left_out
    ]


def _eligible(
    db: Session, parts: Parts, source: Source, asked: Sequence[str], labels: int | None, name: str | None
) -> Eligible:
    target = parts.target
    images = planning.find_source_dataset(db, parts.owner, parts.source_dataset, source)
    fitting: dict[str, dict[str, object]] = {}
    work: dict[str, Work] = {}
    reason = None
    for method in asked:
        if method == SCRATCH:
            continue
        try:
            plan = planning.fit(db, parse(_open(method, labels)), source, target, images)
            plan.require_fit()
        except errors.RegraftError as misfit:
            reason = reason or misfit.detail
        else:
            fitting[method] = plan.method.document()
            work[method] = _work(db, parts.owner, plan)
    known, wanted = set(source.classes or ()), set(target.classes or ())
    return Eligible(
        id=source.id,
        name=name,
        parameters=source.parameters,
        knows_classes=wanted <= known,
        keeps_head=wanted == known,
        methods=fitting,
        work=work,
        reason=reason,
    )


def scratch_method(db: Session, source: Source, target: DatasetRow, labels: int | None) -> dict[str, object] | None:
    """The complete method of `scratch_plan`."""
    plan = scratch_plan(db, source, target, labels)
    return None if plan is None else plan.method.document()


def scratch_plan(db: Session, source: Source, target: DatasetRow, labels: int | None) -> Plan | None:
    """The training of the source's network, newly drawn for the target's classes; None where that does not fit."""
    if source.input is None:
        return None
    network = with_classes(NetworkSpec.model_validate(source.network), len(target.classes or ()))
    own = {"network": network.document(), "input": InputSpec.model_validate(source.input).document()}
    try:
        plan = planning.fit(db, parse(_open(SCRATCH, labels) | own), None, target, None)
        plan.require_fit()
    except errors.RegraftError:
        return None
    return plan


def _open(name: str, labels: int | None) -> dict[str, object]:
    """The method with its budget of labels, the rest open."""
    method: dict[str, object] = {"name": name}
    if labels and "labels_per_class" in METHODS[name].model_fields:
        method["labels_per_class"] = labels
    return method


def _work(db: Session, owner: str, plan: Plan) -> Work:
    return cost.work(plan, rehearsals.known(db, owner, plan))
