"""Workers, as they come and go."""

from sqlalchemy.orm import Session

from app.db.tables import WorkerProcess
from app.queue import repository


def arrive(db: Session, worker: WorkerProcess) -> None:
    """Tasks that were queued by an older version of this code are found from now on, too."""
    repository.add_worker(db, worker)
    repository.wake_all(db)


def confirm_alive(db: Session, worker_id: str, *, warm: bool, silence_s: float) -> None:
    """The worker lives; those that were silent for longer than `silence_s` do not."""
    repository.see_worker(db, worker_id, warm=warm)
    repository.forget_silent_workers(db, silence_s)


def leave(db: Session, worker_id: str) -> None:
    repository.forget_worker(db, worker_id)
