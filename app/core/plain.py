"""Values that both databases store alike: finite numbers, and text without NUL characters and lone surrogates."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def text(words: str) -> str:
    """`words` for people to read, with U+FFFD in the place of what cannot be stored."""
    return _SURROGATE.sub("\ufffd", words.replace("\0", "\ufffd"))


def document(value: Any) -> Any:
    """A JSON document for people to read: `text` of every string, null for every number that is not finite."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Mapping):
        return {text(str(key)): document(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [document(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def not_finite(value: Any, path: str = "") -> Iterator[str]:
    """The dotted paths of all NaNs and infinities in a JSON document."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from not_finite(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from not_finite(part, f"{path}.{index}")


def without_not_finite(value: Any) -> Any:
    """The JSON document with null in the place of every NaN and infinity."""
    if isinstance(value, Mapping):
        return {key: without_not_finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_not_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def dumps(value: Any) -> str:
    """JSON that both databases take.

    Raises:
        ValueError: the document holds NaN, an infinity, a NUL character or a lone surrogate.
        TypeError: it holds what JSON has no word for.
    """
    written = json.dumps(value, allow_nan=False, ensure_ascii=False)
    written.encode()
    if _ESCAPED_NUL.search(written):
        raise ValueError("A JSON document must not hold NUL characters.")
    return written
