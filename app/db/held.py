"""Rows that a request refers to, held against deletion until what refers to them is written."""

from typing import TypeVarTuple

from sqlalchemy import Select
from sqlalchemy.orm import Session

from app.db.tables import Owned

Row = TypeVarTuple("Row")


def held(db: Session, query: Select[*Row], table: type[Owned]) -> Select[*Row]:
    """`query`, whose rows of `table` cannot be deleted before the transaction ends; in one that only reads, nothing
    will refer to them, and it neither waits for others nor lets them wait."""
    reading = db.get_bind().get_execution_options().get("regraft_reading", False)
    return query if reading else query.with_for_update(read=True, of=table)
