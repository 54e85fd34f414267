"""Tables of methods and terms on the pages, made of what each says of itself by `make tables`.

A table stands between two comments, `<!-- methods -->` and `<!-- end of methods -->`.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from app.methods.registry import METHODS
from app.methods.terms.base import Term
from app.methods.terms.registry import TERMS

ROOT = Path(__file__).parents[2]
NEEDS = {"source": "a source", "source_head": "its head", "teacher": "a `teacher`, else the source"}


def methods() -> Iterator[str]:
    """A row for each method, in the page of methods."""
    yield "| Method | What it does | When |"
    yield "|---|---|---|"
    for name, method in METHODS.items():
        yield f"| `{name}` | {method.info.summary.rstrip('.')} | {method.info.when.rstrip('.')} |"


def terms() -> Iterator[str]:
    """A row for each term, in the page of methods."""
    yield "| Term | R | Needs | λ |"
    yield "|---|---|---|---|"
    for name, term in TERMS.items():
        yield f"| `{name}` | {formula(term)} | {needs(term)} | {term.model_fields['weight'].default:.3g} |"


def families() -> Iterator[str]:
    """A row for each family with its methods, in the README."""
    yield "| | Methods |"
    yield "|---|---|"
    members: dict[str, list[str]] = {}
    for name, method in METHODS.items():
        members.setdefault(method.__module__.rpartition(".")[0], []).append(name)
    for package, names in [*members.items(), ("app.methods.terms", list(TERMS))]:
        title = (inspect.getdoc(sys.modules[package]) or "").rstrip(".")
        yield f"| {title} | {', '.join(f'`{name}`' for name in names)} |"


def formula(term: type[Term]) -> str:
    """The first paragraph of its docstring, and who published it."""
    said = " ".join((inspect.getdoc(term) or "").partition("\n\n")[0].split()).rstrip(".")
    published = re.match(r".*?(19|20)\d\d", term.info.reference)
    assert published is not None, term
    return f"{said} ({published[0]})"


def needs(term: type[Term]) -> str:
    return " with ".join(NEEDS[need] for need in term.info.needs) or "–"


TABLES: dict[str, tuple[str, Callable[[], Iterator[str]]]] = {
    "methods": ("docs/methods.md", methods),
    "terms": ("docs/methods.md", terms),
    "families": ("README.md", families),
}


def renewed(name: str) -> tuple[str, str]:
    """The page as it is, and as it would be with its table made anew."""
    path, rows = TABLES[name]
    page = (ROOT / path).read_text()
    first, last = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, begun, rest = page.partition(first)
    _, ended, after = rest.partition(last)
    assert begun, f"no table of {name} begins in {path}"
    assert ended, f"the table of {name} in {path} does not end"
    return page, "".join((before, first, *(f"{row}\n" for row in rows()), last, after))


if __name__ == "__main__":
    for table, (page, _) in TABLES.items():
        (ROOT / page).write_text(renewed(table)[1])
