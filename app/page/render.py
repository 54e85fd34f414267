"""Templates to answers: everything is escaped, and nothing of a page comes from elsewhere."""

import json
import pprint
import shlex
from datetime import datetime

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from app.models import plots
from app.page import pictures
from app.page.visit import Visit

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",  # with none at all a form would not say where it comes from
}

_pages = Environment(
    loader=PackageLoader("app.page", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(template: str, seen_by: Visit | Request, *, code: int = 200, **values: object) -> Response:
    """The page of a template; without a visit it is one for somebody who has not signed in."""
    visit = seen_by if isinstance(seen_by, Visit) else None
    request = seen_by.request if isinstance(seen_by, Visit) else seen_by
    text = _pages.get_template(template).render(values, visit=visit, path=request.url.path, query=request.url.query)
    return HTMLResponse(text, code, HEADERS)


def percent(value: float | None, places: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{places}f} %"


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def seconds(value: float | None) -> str:
    if value is None:
        return "–"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def lasted(began: str | None, ended: str | None) -> str:
    """The time between two moments in RFC 3339."""
    if began is None or ended is None:
        return "–"
    return seconds((datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds())


def as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def code(text: str) -> Markup:
    """Text whose parts between backticks are code."""
    parts = [escape(part) for part in text.split("`")]
    marked = (Markup("<code>%s</code>") % part if place % 2 else part for place, part in enumerate(parts))
    return Markup("").join(marked)


def shell(text: str) -> str:
    """One word of a shell."""
    return shlex.quote(text)


def python(value: object) -> str:
    return pprint.pformat(value, sort_dicts=False, width=100)


_pages.filters |= {one.__name__: one for one in (percent, number, seconds, as_json, code, shell, python)}
_pages.globals |= {"lasted": lasted, "size": plots, "pictures": pictures}
