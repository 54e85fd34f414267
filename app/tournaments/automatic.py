"""`auto` jobs: a recommendation, then a tournament of its first entries, whose winner's result is the job's.

No worker runs such a job: its controller makes one move whenever the part that it waits for has ended, a transaction
each, by what the database holds alone.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy.orm import Session

from app.choosing import candidates
from app.choosing import service as choosing
from app.choosing.service import Asked
from app.contract.choice import Choice
from app.contract.lineage import Lineage
from app.contract.tournament import Racer
from app.core import errors
from app.core.status import TERMINAL, Status
from app.core.version import code_version
from app.datasets import service as datasets
from app.db.session import Database
from app.db.tables import DatasetRow, JobRow, Task
from app.jobs import planning
from app.jobs import service as jobs
from app.jobs.planning import Request
from app.jobs.repository import StoredJob
from app.jobs.service import Terms
from app.methods.auto import Auto
from app.methods.base import Method
from app.methods.registry import parse
from app.queue import controlled, policy
from app.queue import service as queue
from app.tournaments import field, repository, shortlist
from app.tournaments import service as tournaments
from app.tournaments.service import RaceView, TournamentRequest

log = logging.getLogger(__name__)

REFUSALS = (errors.Invalid, errors.NotFound, errors.NotReady, errors.UntrainedHead)  # which will not pass
WITHOUT_LABELS = ("shot", "adabn")  # the first that fits: docs/choosing.md
IMAGES = 1000  # that the recommendation looks at


def create(
    db: Session, owner: str, request: Request, *, name: str | None, metadata: dict[str, str], terms: Terms
) -> StoredJob:
    """A job that chooses among checkpoints and methods, once all that it names is ready.

    Raises:
        NotFound, NotReady: there is no such dataset, checkpoint or model, or its ingest has failed.
        Invalid: `checkpoint` and `method.checkpoints` are both given.
        Unfit: there is nothing to judge candidates by, or to choose from.
    """
    method = _method(request.method)
    if request.checkpoint is not None and method.checkpoints is not None:
        message = "Give the job's `checkpoint`, or `checkpoints` to choose from, not both."
        raise errors.Invalid(message, param="method.checkpoints")
    target = planning.find_dataset(db, owner, request.dataset, "dataset")
    named = _named(request.checkpoint, method)
    for checkpoint in named:
        planning.find_source(db, owner, checkpoint, "checkpoint" if request.checkpoint else "method.checkpoints")
    needs = [request.dataset, *named]
    if request.source_dataset is not None:
        planning.find_dataset(db, owner, request.source_dataset, "source_dataset")
        needs.append(request.source_dataset)
    if target.splits is not None:
        _require_choosable(target, method, named)
    job = jobs.new_row(owner, request, name=name, metadata=metadata)
    job.lineage = Lineage(checkpoint_sha256=None, dataset_sha256=target.sha256, code_version=code_version()).dump()
    return jobs.line_up(db, job, list(dict.fromkeys(needs)), terms, controlled.LANE)


def look_after(database: Database) -> None:
    """Move the jobs that can be moved, each by itself: one whose next part is refused has failed."""
    with database.reading() as db:
        under_way = repository.automatic(db)
    for job_id in under_way:
        try:
            with database.unit_of_work() as db:
                advance(db, job_id)
        except REFUSALS as refused:
            with database.unit_of_work() as db:
                refuse(db, job_id, refused)
        except errors.RegraftError as error:  # somebody has moved one of its parts meanwhile
            log.warning("%s: %s", job_id, error.detail)


def advance(db: Session, job_id: str) -> None:
    """Move a job as far as it goes.

    Raises:
        RegraftError: its next part cannot be asked for; see `refuse`.
    """
    task = controlled.lock(db, job_id)
    if task is None or task.status in TERMINAL or task.blocked:
        return  # somebody else is at it, or it was deleted
    job = jobs.stored(db, job_id)
    choice = Choice.load(job.choice or {})
    if task.status == Status.CANCELLING:
        _call_off(db, job, choice)
        _let_go(db, job)
        queue.stop(db, task)
    elif task.status == Status.QUEUED:
        _begin(db, job, task)
    elif repository.overdue(db, job_id):
        _call_off(db, job, choice)
        _fail(db, task, "too_long", f"It ran for longer than its `max_seconds`, {task.max_seconds:g}.")
    else:
        _go_on(db, job, task, choice)
    db.flush()


def refuse(db: Session, job_id: str, error: errors.RegraftError) -> None:
    """Let the job fail, since its next part was refused: in a transaction of its own, after that of `advance`."""
    task = controlled.lock(db, job_id)
    if task is not None and task.status not in TERMINAL:
        _fail(db, task, error.code, error.detail)


def _fail(db: Session, task: Task, code: str, message: str) -> None:
    _let_go(db, jobs.stored(db, task.id))
    queue.fail(db, task, code, message)


def _let_go(db: Session, job: JobRow) -> None:
    """Keep its parts no longer: some have not succeeded, and nothing that waits for such a one could be tried again."""
    for part in Choice.load(job.choice or {}).parts:
        queue.release(db, job.id, part)


def _method(method: Method) -> Auto:
    assert isinstance(method, Auto)
    return method


def _named(checkpoint: str | None, method: Auto) -> list[str]:
    return list(dict.fromkeys(method.checkpoints or ([] if checkpoint is None else [checkpoint])))


def _bare(target: DatasetRow) -> bool:
    return not target.labelled or target.only_tests_labelled


def _require_choosable(target: DatasetRow, method: Auto, named: Sequence[str]) -> None:
    if not _bare(target):
        candidates.require_images(target, method.labels_per_class)
        field.require_validation(target)
    elif method.labels_per_class is not None:
        candidates.require_images(target, method.labels_per_class)
    elif len(named) != 1:
        raise errors.Unfit(
            f"{target.id} has no labels to choose among checkpoints by: name one as the job's `checkpoint`, or label "
            "some images.",
            param="checkpoint",
        )


def _begin(db: Session, job: JobRow, task: Task) -> None:
    """Ask for its first part."""
    job.choice = None
    controlled.start(db, task)
    method = _method(parse(job.method))
    named = _named(job.checkpoint, method)
    target = datasets.stored(db, job.dataset)
    _require_choosable(target, method, named)
    if _bare(target):
        _choose(db, job, Choice(job=_without_labels(db, job, target, named[0])))
        return
    asked = Asked(
        dataset=job.dataset,
        checkpoints=named or None,
        methods=None,
        source_dataset=job.source_dataset,
        labels=method.labels_per_class,
        images=IMAGES,
        seed=job.seed,
        budget_s=None,
    )
    _choose(db, job, Choice(recommendation=choosing.create(db, job.owner, asked).recommendation.id))


def _without_labels(db: Session, job: JobRow, target: DatasetRow, checkpoint: str) -> str:
    """The job of the first method that fits."""
    source = planning.find_source(db, job.owner, checkpoint, "checkpoint")
    images = planning.find_source_dataset(db, job.owner, job.source_dataset, source)
    misfit: errors.RegraftError | None = None
    for name in WITHOUT_LABELS:
        method = parse({"name": name})
        try:
            planning.fit(db, method, source, target, images).require_fit()
        except errors.RegraftError as error:
            misfit = misfit or error
            continue
        asked = Request(checkpoint, job.dataset, job.source_dataset, method, job.seed)
        return jobs.create(db, job.owner, asked, name=job.name, metadata={}, terms=_terms(db, job)).job.id
    assert misfit is not None
    raise misfit


def _terms(db: Session, job: JobRow) -> Terms:
    return Terms(policy.priority(db.get_one(Task, job.id).rank))


def _choose(db: Session, job: JobRow, choice: Choice) -> None:
    """Write down a part, which stays as long as the job does."""
    queue.depend(db, job.id, [part for part in choice.parts if part not in Choice.load(job.choice or {}).parts])
    job.choice = choice.dump()


def _go_on(db: Session, job: JobRow, task: Task, choice: Choice) -> None:
    part = choice.parts[-1]
    ended = db.get_one(Task, part)
    if choice.tournament is not None and choice.job is None:
        _show_progress(task, tournaments.get(db, job.owner, tournaments.KIND, part))
    match Status(ended.status):
        case Status.SUCCEEDED:
            _take(db, job, task, choice)
        case Status.FAILED:
            _fail(db, task, ended.error_code or "failed", ended.error_message or f"{part} has failed.")
        case Status.CANCELLED:
            _fail(db, task, "part_cancelled", f"{part}, which it waited for, was cancelled.")


def _take(db: Session, job: JobRow, task: Task, choice: Choice) -> None:
    """Ask for the next part, or make the last one's result the job's."""
    if choice.job is not None:
        _publish(db, job, task, choice, None, "The target has no labels to compare methods by: it is the usual one.")
    elif choice.tournament is None:
        _race(db, job, task, choice)
    else:
        race = tournaments.get(db, job.owner, tournaments.KIND, choice.tournament)
        racer = next(racer for racer in race.standings.racers if racer.number == race.standings.winner)
        won = choice.model_copy(update={"job": racer.job})
        _publish(db, job, task, won, racer, race.standings.because or "")


def _race(db: Session, job: JobRow, task: Task, choice: Choice) -> None:
    assert choice.recommendation is not None
    target = datasets.stored(db, job.dataset)
    answer = choosing.get(db, job.owner, choice.recommendation)
    chosen = shortlist.make(db, job, target, answer, _method(parse(job.method)))
    queue.note(db, job.id, "shortlisted", chosen.said, data=chosen.data)
    queue.tell(db, task, chosen.warnings)
    asked = TournamentRequest(
        dataset=job.dataset,
        candidates=chosen.entrants,
        recommendation=choice.recommendation,
        max_jobs=None,
        budget_s=None,
        seed=job.seed,
        priority=policy.priority(task.rank),
    )
    race = tournaments.create(db, job.owner, asked, name=job.name, metadata={})
    _choose(db, job, choice.model_copy(update={"tournament": race.row.id}))


def _show_progress(task: Task, race: RaceView) -> None:
    racers = race.standings.racers
    task.step, task.total_steps = sum(racer.status != "racing" for racer in racers), len(racers)


def _publish(db: Session, job: JobRow, task: Task, choice: Choice, racer: Racer | None, because: str) -> None:
    assert choice.job is not None
    won = jobs.stored(db, choice.job)
    decided = choice.model_copy(update={"checkpoint": won.checkpoint, "method": won.method, "because": because})
    _choose(db, job, decided)
    job.model, job.evaluation, job.lineage = won.model, won.evaluation, won.lineage
    warned = [(one["code"], one["message"]) for one in queue.warnings(db, won.id)]
    if racer is not None and racer.baseline == "unchanged":
        message = f"No method was better than {won.checkpoint} as it is, which stays the one to use: there is no model."
        warned.append(("unchanged_won", message))
    queue.tell(db, task, [{"level": "warning", "type": code, "message": said, "data": {}} for code, said in warned])
    queue.note(db, job.id, "chosen", because, data={"job": won.id, "model": won.model})
    queue.succeed(db, task)


def _call_off(db: Session, job: JobRow, choice: Choice) -> None:
    """Cancel the part that it waits for."""
    with suppress(errors.WrongStatus, errors.NotFound):  # it has ended
        if choice.tournament is not None and choice.job is None:
            tournaments.cancel(db, job.owner, tournaments.KIND, choice.tournament)
        elif choice.parts:
            queue.cancel(db, choice.parts[-1])
