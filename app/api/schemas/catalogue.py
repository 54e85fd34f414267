"""Schemas of what can be named in a request: methods and networks."""

from typing import Any, Literal, Self

from app.api.schemas.common import Listed
from app.contract.inputs import InputShape
from app.db.tables import NetworkRow as Row
from app.methods.base import Method, Need


class MethodEntry(Listed):
    """`parameters` is the JSON Schema of what a job's `method` may hold beside its name; `takes` is what it can use, or
    do without.

    `multi_label`: it takes datasets whose images have any number of labels.
    """

    object: Literal["method"] = "method"
    name: str
    summary: str
    needs: list[Need]
    takes: list[Need]
    when: str
    reference: str
    gives_model: bool
    multi_label: bool
    parameters: dict[str, Any]

    @classmethod
    def of(cls, name: str, method: type[Method]) -> Self:
        info = method.info
        return cls(
            id=name,
            name=name,
            summary=info.summary,
            needs=list(info.needs),
            takes=list(info.takes),
            when=info.when,
            reference=info.reference,
            gives_model=info.gives_model,
            multi_label=info.multi_label,
            parameters=method.model_json_schema(),
        )


class Network(Listed):
    """`options` is the JSON Schema of its options, `pretrained` names the weights that its library publishes."""

    object: Literal["network"] = "network"
    name: str
    summary: str
    input: InputShape | None
    options: dict[str, Any]
    pretrained: list[str]

    @classmethod
    def of(cls, row: Row) -> Self:
        return cls(
            id=row.name,
            name=row.name,
            summary=row.summary,
            input=row.input,
            options=row.options,
            pretrained=row.pretrained,
        )
