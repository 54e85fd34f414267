"""Settings: one frozen class, read from `REGRAFT_*` at the composition roots and nowhere else."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

Seconds = Annotated[float, Field(gt=0)]
Bytes = Annotated[int, Field(gt=0)]

MIB = 1024 * 1024


class Settings(BaseSettings):
    """Settings of both halves.  Everything has a default; `home` holds all data of a single-machine set-up."""

    model_config = SettingsConfigDict(env_prefix="REGRAFT_", frozen=True, extra="forbid")

    home: Path = Path("data")
    database_url: str = ""  # empty: SQLite in `home`
    blob_url: str = ""  # empty: the folder `home/blobs`
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    max_file_bytes: Bytes = 8 * 1024 * MIB
    max_body_bytes: Bytes = 4 * MIB
    max_predict_bytes: Bytes = 64 * MIB
    max_connections: Annotated[int, Field(ge=16)] = 4096
    body_idle_s: Seconds = 20  # that the body of a request may pause for
    body_bytes_s: Annotated[int, Field(ge=0)] = 1024  # what it has to come with at least, as a mean over `body_idle_s`
    min_free_bytes: Annotated[int, Field(ge=0)] = 64 * MIB
    max_owner_bytes: Annotated[int, Field(ge=0)] = 0  # of all that an owner stores; 0: any number
    max_dataset_bytes: Bytes = 64 * 1024 * MIB  # of its pixels
    upload_lifetime_s: Seconds = 24 * 3600

    lease_s: Seconds = 60
    beat_s: Seconds = 15
    poll_s: Seconds = 0.2
    snapshot_every_s: Seconds = 30
    grace_s: Seconds = 10  # how long a cancelled or shut-down child may take to stop by itself
    max_attempts: Annotated[int, Field(ge=1)] = 3
    max_owner_tasks: Annotated[int, Field(ge=0)] = 0  # jobs and the like that have not ended; 0: any number

    device: str = "auto"  # auto, cpu, cuda, cuda:1 …
    ingest_memory_bytes: Bytes = 6 * 1024 * MIB
    job_memory_bytes: Annotated[int, Field(ge=0)] = 0  # that a job may take; 0: what there is
    feature_cache_bytes: Bytes = 4 * 1024 * MIB
    resident_bytes: Bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    serving_backend: Literal["onnx", "torch"] = "onnx"  # torch: on `device`, in a process beside the API
    serving_memory_bytes: Bytes = 512 * MIB
    predict_memory_bytes: Bytes = 512 * MIB  # of all networks that answer at a time, for what they compute
    decode_memory_bytes: Bytes = 384 * MIB  # of all large images that are decoded at a time
    serving_threads: Annotated[int, Field(ge=1)] = max(1, (os.cpu_count() or 1) - 1)  # one core is left to HTTP
    serving_queue: Annotated[int, Field(ge=1)] = 1024

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.home.resolve() / 'regraft.db'}"

    @property
    def blobs(self) -> str:
        return self.blob_url or (self.home.resolve() / "blobs").as_uri()

    @property
    def first_key(self) -> Path:
        return self.home / "admin.key"

    @property
    def cache(self) -> Path:
        """Local copies of what lies elsewhere; may be deleted at any time."""
        return self.home.resolve() / "cache"

    @property
    def signatures(self) -> Path:
        """Shapes of networks that a worker has made anew, since other versions of its libraries are installed."""
        return self.cache / "signatures"

    @property
    def scratch(self) -> Path:
        """Working folders of running tasks; nothing in it is needed after a crash."""
        return self.home.resolve() / "scratch"
