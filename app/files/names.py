"""Names that users give their files: kept to be shown, never used as a path."""

import unicodedata

LONGEST = 255
FALLBACK = "file"


def clean(name: str) -> str:
    """The last component of `name`, of printable characters alone, shortened before its extension."""
    last = name.replace("\\", "/").rpartition("/")[2]
    # categories C*: control characters, invisible marks such as right-to-left override, lone surrogates
    printable = "".join(" " if c.isspace() else c for c in last if c.isspace() or unicodedata.category(c)[0] != "C")
    tidy = " ".join(printable.split()).lstrip(".")
    return _shortened(tidy) or FALLBACK


def _shortened(name: str) -> str:
    if len(name) <= LONGEST:
        return name
    stem, dot, extension = name.rpartition(".")
    if not dot or len(extension) > 16:
        return name[:LONGEST]
    return stem[: LONGEST - len(extension) - 1] + dot + extension
