"""API keys: an owner each, shown once."""

from collections.abc import Sequence

from regraft.nouns.base import D, Noun, given
from regraft.steps import Steps, Stream, call, items
from regraft.types import Key


class Keys(Noun[D]):
    @call
    def create(
        self,
        *,
        name: str,
        scopes: Sequence[str] | None = None,
        owner: str | None = None,
        expires_at: str | None = None,
        rate_limit: int | None = None,
    ) -> Steps[Key]:
        """`scopes` of `read`, `write`, `predict`, `admin`; `rate_limit` in requests a minute.

        The secret is in `key` of this answer and nowhere else."""
        body = {"name": name, "scopes": scopes, "owner": owner, "expires_at": expires_at, "rate_limit": rate_limit}
        return (yield from self._post("/v1/keys", Key, given(body)))

    @call
    def delete(self, key: str) -> Steps[None]:
        """Revokes it, at once."""
        yield from self._delete(f"/v1/keys/{key}")

    @items
    def list(self, *, order: str = "desc", page_size: int = 100) -> Stream[Key]:
        """All keys, page after page, without their secrets."""
        yield from self._pages("/v1/keys", Key, {"order": order}, page_size)
