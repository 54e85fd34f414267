"""`Record`: the base of all documents that one half writes and the other reads, perhaps years later."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self, cast

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, SerializerFunctionWrapHandler, ValidationError
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from app.contract.base import StrictModel


def _shown(record: "Record", dump: SerializerFunctionWrapHandler) -> dict[str, object]:
    document: dict[str, object] = dump(record)
    for name, field in type(record).model_fields.items():
        if name not in record.model_fields_set and name not in record.NULLS:
            document.pop(field.alias or name, None)
    return document


class Record(BaseModel):
    """A document that crosses the border between the halves, or lies in the database: immutable, its fields all known.

    What was never said stays absent where it is stored and where it is shown, which is not the same as null; only the
    fields in `NULLS` are shown as null.

    A stored document names its `version` from 2 on; one that names none is of version 1.  Whoever changes the fields of
    a record so that older documents no longer validate raises `VERSION` and lets `upgraded` translate them.
    """

    VERSION: ClassVar[int] = 1
    NULLS: ClassVar[frozenset[str]] = frozenset()

    model_config = ConfigDict(frozen=True, extra="ignore", serialize_by_alias=True, validate_by_name=True)

    @classmethod
    def load(cls, document: Mapping[str, object]) -> Self:
        """Read a document of this version or of an older one.

        Raises:
            ValidationError: it is no such document, or one of a newer version.
        """
        version = document.get("version", 1)
        if not isinstance(version, int) or not 1 <= version <= cls.VERSION:
            fault = PydanticCustomError("newer_version", "version {version} is not known", {"version": str(version)})
            raise ValidationError.from_exception_data(cls.__name__, [InitErrorDetails(type=fault, input=version)])
        known = {name: value for name, value in document.items() if name != "version"}
        return cls.model_validate(known if version == cls.VERSION else cls.upgraded(known, version))

    @classmethod
    def upgraded(cls, document: Mapping[str, object], version: int) -> Mapping[str, object]:
        """Translate a document of an older `version`; a class that has raised its `VERSION` says how."""
        raise NotImplementedError(f"{cls.__name__} does not say how it was in version {version}")

    def dump(self) -> dict[str, object]:
        """Give the document as it is stored."""
        names = {name: field.alias or name for name, field in type(self).model_fields.items()}
        aliased = {alias: getattr(self, name) for name, alias in names.items() if name in self.model_fields_set}
        own = {} if self.VERSION == 1 else {"version": self.VERSION}
        return own | {name: _plain(value) for name, value in (aliased | (self.model_extra or {})).items()}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[BaseModel], handler: GetCoreSchemaHandler) -> CoreSchema:
        schema: Any = handler(source)
        schema["serialization"] = core_schema.wrap_serializer_function_ser_schema(_shown)
        return cast(CoreSchema, schema)


def _plain(value: object) -> object:
    """Give plain JSON, but with all numbers as they are: what is not finite is for others to judge."""
    match value:
        case Record():
            return value.dump()
        case StrictModel():
            return value.document()
        case Mapping():
            return {str(name): _plain(part) for name, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
    return value


def stored(part: Record | StrictModel | None) -> dict[str, object] | None:
    """Give the document of a part that may be missing, as it is stored."""
    match part:
        case Record():
            return part.dump()
        case StrictModel():
            return part.document()
    return None
