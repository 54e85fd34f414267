"""The terms that a method can name, found in this package."""

import functools
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

import app.methods.terms
from app.methods import discovery
from app.methods.terms.base import Term

TERMS: Mapping[str, type[Term]] = {
    discovery.name(term): term
    for term in sorted(
        discovery.classes(app.methods.terms, Term), key=lambda term: (term.info.order, discovery.name(term))
    )
}

if TYPE_CHECKING:
    AnyTerm = Term
else:
    AnyTerm = Annotated[functools.reduce(operator.or_, TERMS.values()), Field(discriminator="name")]

Terms = Annotated[list[AnyTerm], Field(max_length=8)]
