"""The lineage of a result."""

from app.contract.record import Record


class Lineage(Record):
    """Digests of what went in; null while that is still being processed, or where there is none."""

    checkpoint_sha256: str | None
    dataset_sha256: str | None
    code_version: str
