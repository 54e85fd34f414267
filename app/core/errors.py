"""Every refusal that a caller can meet: a status, a stable code and a sentence each.

`docs/api.md` lists them all; a test holds the two together.
"""

from collections.abc import Sequence
from typing import ClassVar, TypedDict


class Detail(TypedDict):
    """One fault of a request body: where, what, and its code."""

    param: str
    detail: str
    code: str


class RegraftError(Exception):
    """Base of all refusals.  `detail` says what to change; `param` names the field at fault."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something went wrong on our side."

    def __init__(
        self,
        detail: str = "",
        *,
        param: str | None = None,
        errors: Sequence[Detail] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.param = param
        self.errors = list(errors)
        self.retry_after_s = retry_after_s


class Unauthenticated(RegraftError):
    status, code, title = 401, "unauthenticated", "A valid API key is needed: Authorization: Bearer <key>."


class Forbidden(RegraftError):
    status, code, title = 403, "missing_scope", "This key does not carry the scope that the call needs."


class CrossSite(RegraftError):
    status, code, title = 403, "cross_site", "A signed-in browser changes things from pages of this server alone."


class NotFound(RegraftError):
    status, code, title = 404, "not_found", "There is no such object."


class NoRecipe(NotFound):
    code, title = "no_recipe", "Nobody has said by which rule it was trained."


class NotAllowedHere(RegraftError):
    status, code, title = 405, "method_not_allowed", "This path does not take that HTTP method."


class Conflict(RegraftError):
    status, code, title = 409, "conflict", "The object's present state does not allow this."


class TooManyTasks(Conflict):
    code, title = "too_many_tasks", "The owner has as many jobs that have not ended as it may."


class WrongStatus(Conflict):
    code, title = "wrong_status", "The job's present status does not allow this."


class NotReady(Conflict):
    code, title = "not_ready", "The object is still being processed, or its processing failed."


class HasDependents(Conflict):
    code, title = "has_dependents", "Other objects depend on this one; delete them first, or pass ?cascade=true."


class NotServable(Conflict):
    code, title = "not_servable", "This network could not be exported for serving."


class NotExportable(Conflict):
    code, title = "not_exportable", "This model cannot be brought to that format."


class UntrainedHead(Conflict):
    code, title = "untrained_head", "The network's head was drawn at random: what it says of classes means nothing."


class NotQuantized(Conflict):
    code, title = "not_quantized", "This network is not served in eight bits."


class NotAdaptable(Conflict):
    code, title = "not_adaptable", "This network cannot adapt to a stream of images."


class NoReference(Conflict):
    code, title = "no_reference", "This network was never measured on validation images."


class RequestInFlight(Conflict):
    code, title = "idempotency_in_flight", "A request with this Idempotency-Key is still being worked on."


class WrongPart(Conflict):
    code, title = "wrong_part", "The parts of an upload are to be sent in order, each once."


class Gone(RegraftError):
    status, code, title = 410, "gone", "The upload has expired; begin a new one."


class PreconditionFailed(RegraftError):
    status, code, title = 412, "precondition_failed", "The object is not the one that If-Match names."


class TooLarge(RegraftError):
    status, code, title = 413, "too_large", "The body is larger than this server takes."


class UnsupportedMedia(RegraftError):
    status, code, title = 415, "unsupported_media_type", "The body is not of a type that this call takes."


class RangeNotSatisfiable(RegraftError):
    status, code, title = 416, "range_not_satisfiable", "The range lies outside the file."


class Invalid(RegraftError):
    status, code, title = 422, "invalid_request", "The request does not fit its schema."


class IdempotencyMismatch(Invalid):
    code, title = "idempotency_mismatch", "This Idempotency-Key was used before with another body."


class ChecksumMismatch(Invalid):
    code, title = "checksum_mismatch", "The sha256 of what arrived is not the one announced."


class Unfit(Invalid):
    code, title = "does_not_fit", "The checkpoint, the dataset and the method do not fit together."


class InvalidImage(Invalid):
    code, title = "invalid_image", "The image cannot be read."


class BadRequest(RegraftError):
    status, code, title = 400, "bad_request", "The request cannot be read."


class TooSlow(RegraftError):
    status, code, title = 408, "too_slow", "The request took too long to arrive."


class HeadTooLarge(RegraftError):
    status, code, title = 431, "head_too_large", "The request line and the headers are more than this server takes."


class RateLimited(RegraftError):
    status, code, title = 429, "rate_limited", "Too many requests for this key."


class BlobLost(RegraftError):
    status, code = 500, "blob_lost"
    title = "A stored file of this object is gone or damaged; restore it, or make it again."


class TooManyStreams(RateLimited):
    code, title = "too_many_streams", "Too many event streams of this owner are open."


class NotInstalled(RegraftError):
    status, code, title = 501, "not_installed", "This server was installed without what the call needs."


class Unavailable(RegraftError):
    status, code, title = 503, "unavailable", "The service cannot answer just now; try again."


class Overloaded(Unavailable):
    code, title = "overloaded", "More is under way than this server can hold; try again."


class QuotaExceeded(RegraftError):
    status, code, title = 507, "quota_exceeded", "The owner stores as much as is allowed; delete something first."


class StorageFull(RegraftError):
    status, code, title = 507, "storage_full", "The disk has no room for this."
