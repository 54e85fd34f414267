"""Exceptions of the client: one class per family of HTTP status, with the service's stable `code`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from regraft.standings import Race
    from regraft.types import Checkpoint, Dataset, Identification, Job, Preflight, Recommendation


class RegraftError(Exception):
    """Base of everything this package raises on purpose."""


class Unreachable(RegraftError):
    """No answer from the service, after all retries."""


class WaitTimeout(RegraftError):
    """The object was not done within the time given; it goes on without us."""


class Corrupted(RegraftError):
    """The downloaded file does not have the digest that was announced; nothing was kept."""


class Unsuccessful(RegraftError):
    """A task that was waited for ended otherwise than well.  `result` is the object as it stands."""

    def __init__(
        self, result: "Job | Checkpoint | Dataset | Identification | Preflight | Recommendation | Race"
    ) -> None:
        self.result = result
        self.code = result.error.code if result.error else result.status
        self.message = result.error.message if result.error else ""
        super().__init__(f"{result.id} {result.status}" + (f": {self.message} ({self.code})" if self.message else ""))


class ApiError(RegraftError):
    """The service refused: RFC 9457 `problem`, of which the usual members are attributes."""

    def __init__(self, problem: Mapping[str, Any], *, retry_after_s: float | None = None) -> None:
        self.problem = dict(problem)
        self.status: int = problem["status"]
        self.code: str = problem["code"]
        self.title: str = problem.get("title", "")
        self.detail: str = problem.get("detail", self.title)
        self.param: str | None = problem.get("param")
        self.errors: list[dict[str, object]] = problem.get("errors", [])
        self.retry_after_s = retry_after_s
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        """`detail`, and those of the faults that it does not say already: the service begins it with the first."""
        faults = [f"{fault['param']}: {fault.get('detail')}" if fault.get("param") else str(fault.get("detail"))
                  for fault in self.errors]  # fmt: skip
        further = [fault for fault in dict.fromkeys(faults) if fault.rstrip(".") not in self.detail]
        return f"{'; '.join([self.detail, *further])} ({self.code}, HTTP {self.status})"


class BadRequest(ApiError):
    """400, and every other 4xx without a class of its own."""


class Unauthenticated(ApiError):
    """401: no valid key."""


class Forbidden(ApiError):
    """403: the key lacks the scope."""


class NotFound(ApiError):
    """404: no such object, or another owner's."""


class Conflict(ApiError):
    """409 and 412: the object's present state does not allow it."""


class Gone(ApiError):
    """410: the upload has expired."""


class TooLarge(ApiError):
    """413: the body is larger than the service takes."""


class Unsupported(ApiError):
    """415: not a type that the call takes."""


class Invalid(ApiError):
    """422: the request does not fit; `errors` names each fault."""


class RateLimited(ApiError):
    """429: too many requests, after all retries."""


class ServerError(ApiError):
    """5xx."""


class Unavailable(ServerError):
    """503: not just now, after all retries."""


_CLASSES: Mapping[int, type[ApiError]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    412: Conflict,
    413: TooLarge,
    415: Unsupported,
    422: Invalid,
    429: RateLimited,
    503: Unavailable,
}


def refusal(response: httpx.Response) -> ApiError:
    """The exception for a 4xx or 5xx; the body is read already.  A proxy's HTML gets the code `http_<status>`."""
    status = response.status_code
    problem = {"status": status, "code": f"http_{status}", "title": response.reason_phrase} | _problem(response)
    family = ServerError if status >= 500 else BadRequest
    return _CLASSES.get(status, family)(problem, retry_after_s=retry_after(response))


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that `Retry-After` asks for; a date, which this service never sends, counts as none."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None


def _problem(response: httpx.Response) -> dict[str, object]:
    if "json" not in response.headers.get("Content-Type", ""):
        return {}
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
