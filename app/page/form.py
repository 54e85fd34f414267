"""A browser's form, of which nothing is read before it is known how much there is."""

from fastapi import Request
from starlette.datastructures import FormData

from app.core import errors


async def bounded(request: Request, most: int) -> FormData:
    """
    Raises:
        TooLarge: the form has more than `most` bytes, or does not say how many.
    """
    length = request.headers.get("Content-Length", "")
    if not length.isdecimal() or int(length) > most:
        raise errors.TooLarge(f"A form has at most {most:,} bytes, and says how many.")
    return await request.form()
