"""Bodies that are stored: no more of them than their owner has left."""

from collections.abc import AsyncIterator

from app.core import errors


async def within(body: AsyncIterator[bytes], left: int | None, announced: int) -> AsyncIterator[bytes]:
    """The body, piece by piece, as long as it has at most `left` bytes; `left` None: any number.

    Raises:
        QuotaExceeded: it has more than `left` bytes; at once where `announced` says so.
    """
    size = 0
    if left is not None and announced > left:
        raise errors.QuotaExceeded(_said(left))
    async for piece in body:
        size += len(piece)
        if left is not None and size > left:
            raise errors.QuotaExceeded(_said(left))
        yield piece


def _said(left: int) -> str:
    return f"What this owner stores may grow by {left:,} bytes: delete what is not needed any more."
