"""The controller of tournaments: one move whenever all jobs of one are at rest, by what the database holds alone.

A move is one transaction under a lock of the tournament's task, and nothing but the rows says where it is: whoever dies
before the end of a move leaves it undone, and the next one makes it.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from app.contract.tournament import Racer, RungScore, Standings
from app.core.status import TERMINAL, Status
from app.db.tables import EventRow, JobRow, Task, TournamentRow
from app.queue import controlled
from app.queue import service as queue
from app.tournaments import entering, racing, repository
from app.tournaments.racing import Cut
from app.tournaments.repository import Candidacy

END = 1.0
SWEEP = "sweep"  # the kind of task


def due(db: Session) -> list[str]:
    """Ids of the tournaments and sweeps that can be moved: none of their jobs is on its way."""
    return [id_ for id_ in repository.at_rest(db) if not _waits_for_somebody(db, id_)]


def advance(db: Session, tournament_id: str) -> None:
    """Move a tournament as far as it goes: score those who are at rest, cut, let the others go on; or end it."""
    task = controlled.lock(db, tournament_id)
    if task is None or task.status in TERMINAL:
        return  # somebody else is at it, or it was deleted
    row = repository.get(db, tournament_id)
    standings = Standings.load(row.standings)
    racers, moving = _looked_at(db, standings)
    standings = standings.model_copy(update={"racers": racers})
    if task.status == Status.CANCELLING:
        if not moving:
            queue.stop(db, task)
    elif not moving:
        standings = _move(db, row, task, standings)
    row.standings = standings.dump()
    db.flush()


def _waits_for_somebody(db: Session, tournament_id: str) -> bool:
    """A job was paused by hand, before its rung: until it is resumed or cancelled there is nothing to do."""
    return _looked_at(db, Standings.load(repository.get(db, tournament_id).standings))[1]


def _looked_at(db: Session, standings: Standings) -> tuple[list[Racer], bool]:
    """The racers with what has become of them, and whether one is still on its way to its rung."""
    racing_now = [racer.job for racer in standings.racers if racer.status == "racing"]
    there, scores = repository.candidacies(db, racing_now), repository.scores(db, racing_now)
    racers, moving = [], False
    for racer in standings.racers:
        if racer.status == "racing":
            racer = _scored(racer, scores.get(racer.job, ()))
            racer, on_its_way = _judged(racer, there.get(racer.job), standings.rungs)
            moving |= on_its_way
        racers.append(racer)
    return racers, moving


def _scored(racer: Racer, events: Sequence[EventRow]) -> Racer:
    """Each share once: a job that was taken up again says the same again."""
    known = {score.share for score in racer.scores}
    found, hits = list(racer.scores), racer.hits
    for event in events:
        score = RungScore.load(event.data)
        if score.share not in known:
            known.add(score.share)
            found.append(score)
            hits = event.data["hits"]
    return racer.model_copy(update={"scores": found, "hits": hits})


def _judged(racer: Racer, candidacy: Candidacy | None, rungs: Sequence[float]) -> tuple[Racer, bool]:
    """The racer, and whether it is still on its way."""
    if candidacy is None:
        return _out(racer, "cancelled", "Its job was deleted."), False
    task = candidacy.task
    match Status(task.status):
        case Status.SUCCEEDED:
            return racer.model_copy(update={"status": "finished", "method": candidacy.job.method}), False
        case Status.FAILED:
            return _out(racer, "failed", task.error_message or "Its job has failed."), False
        case Status.CANCELLED:
            return _out(racer, "cancelled", "Its job was cancelled."), False
        case Status.PAUSED:
            return racer, not _arrived(racer, rungs)
    return racer, True


def _arrived(racer: Racer, rungs: Sequence[float]) -> bool:
    return racer.last is not None and racer.rung < len(rungs) and racer.last.share >= rungs[racer.rung]


def _out(racer: Racer, status: str, reason: str) -> Racer:
    return racer.model_copy(update={"status": status, "reason": reason})


def _move(db: Session, row: TournamentRow, task: Task, standings: Standings) -> Standings:
    """Cut at each rung at which all are, and let the others go on; where nobody races any more draw the next trials of
    a sweep, or end it."""
    rungs, racers = standings.rungs, {racer.number: racer for racer in standings.racers}
    while arrived := [racer for racer in racers.values() if racer.status == "racing"]:
        rung = min(racer.rung for racer in arrived)
        cut = _cut(row, list(racers.values()), arrived, rungs)
        for number, reason in cut.reasons.items():
            racers[number] = _eliminate(db, racers[number], reason)
        for number in cut.kept:
            racers[number] = racers[number].model_copy(update={"rung": rung + 1})
        _say(db, row, rungs[rung], cut.kept, list(cut.reasons))
        going = [racers[number] for number in cut.kept if not _arrived(racers[number], rungs)]
        _go_on(db, going, rungs)
        if going:
            return standings.model_copy(update={"racers": list(racers.values())})
    drawn = _next_trials(db, row, list(racers.values()), rungs)
    standings = standings.model_copy(update={"racers": [*racers.values(), *drawn]})
    return standings if any(racer.status == "racing" for racer in drawn) else _end(db, task, standings)


def _cut(row: TournamentRow, everyone: Sequence[Racer], arrived: Sequence[Racer], rungs: Sequence[float]) -> Cut:
    rung = min(racer.rung for racer in arrived)
    to = rungs[rung + 1] if rung + 1 < len(rungs) else END
    left_s = _left_s(row, everyone)
    if row.kind == SWEEP:
        return racing.among_all(arrived, everyone, rungs[rung], left_s=left_s, to=to)
    return racing.after_rung(arrived, first=rung == 0, left_s=left_s, to=to)


def _left_s(row: TournamentRow, racers: Sequence[Racer]) -> float | None:
    budget_s: float | None = row.request["budget_s"]
    return None if budget_s is None else budget_s - sum(racer.seconds for racer in racers)


def _next_trials(db: Session, row: TournamentRow, racers: Sequence[Racer], rungs: Sequence[float]) -> Sequence[Racer]:
    left_s = _left_s(row, racers)
    if row.kind != SWEEP or (left_s is not None and left_s <= 0):
        return []
    drawn: list[Racer] = []
    while not any(racer.status == "racing" for racer in drawn):
        more = entering.trials(db, row, [*racers, *drawn], rungs[0] if rungs else None)
        if not more:
            break
        drawn += more
    if drawn:
        queue.note(db, row.id, "drawn", f"{len(racers) + len(drawn)} of {row.request['trials']} trials are drawn.")
    return drawn


def _eliminate(db: Session, racer: Racer, reason: str) -> Racer:
    """Cancel a candidate's job; one that is tried again by hand runs to its end."""
    queue.cancel(db, racer.job)
    queue.note(db, racer.job, "eliminated", reason)
    _pause_after(db, racer, None)
    return _out(racer, "eliminated", reason)


def _go_on(db: Session, racers: Sequence[Racer], rungs: Sequence[float]) -> None:
    for racer in racers:
        _pause_after(db, racer, rungs[racer.rung] if racer.rung < len(rungs) else None)
        queue.resume(db, racer.job)


def _pause_after(db: Session, racer: Racer, share: float | None) -> None:
    job = db.get_one(JobRow, racer.job)
    job.pause_after = share
    db.flush()


def _say(db: Session, row: TournamentRow, share: float, kept: Sequence[int], eliminated: Sequence[int]) -> None:
    data: Mapping[str, object] = {"share": share, "kept": list(kept), "eliminated": list(eliminated)}
    named = ", ".join(f"#{number}" for number in kept) or "none"
    message = f"After {share:.0%} of the steps {named} of {len(kept) + len(eliminated)} go on."
    queue.note(db, row.id, "rung", message, data=data)


def _end(db: Session, task: Task, standings: Standings) -> Standings:
    finished = [racer for racer in standings.racers if racer.status == "finished" and racer.last is not None]
    if not finished:
        reasons = [f"#{racer.number}: {racer.reason}" for racer in standings.racers if racer.reason][:5]
        queue.fail(db, task, "no_finisher", f"No candidate has come to its end. {' '.join(reasons)}".rstrip())
        return standings
    best = racing.by_accuracy(finished)[0]
    tied = racing.tied(best, finished)
    because = _because(best, tied, len(standings.racers))
    queue.note(db, task.id, "winner", because, data={"number": best.number, "job": best.job, "tied": tied})
    queue.succeed(db, task)
    return standings.model_copy(update={"winner": best.number, "tied": tied, "because": because})


def _because(best: Racer, tied: Sequence[int], of: int) -> str:
    assert best.last is not None
    low, high = best.last.interval
    name, share = best.method["name"], f"{best.accuracy:.1%} ({low:.1%} to {high:.1%})"
    said = f"#{best.number} (`{name}`) is right on {share} of {best.last.n} validation images, the most of {of}."
    equals = ", ".join(f"#{number}" for number in tied)
    return f"{said} {equals} may be as good: chance alone makes such a difference." if tied else said
