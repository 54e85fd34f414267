"""Names of tensors with fields: `encoder.layer.{i}.{p}` reads and writes the names of a block's tensors.

`{i}`, `{j}`, `{k}`, `{n}` are whole numbers, and may be counted otherwise (`{i+1}`, `{2i-1}`); other fields are text.
`(a|b)` reads either, and cannot be written.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

NUMBERS = "ijkn"
_FIELD = re.compile(r"\{(\d*)([a-z])([+-]\d+)?\}")

Values = Mapping[str, int | str]


@dataclass(frozen=True)
class _Field:
    name: str
    factor: int
    shift: int

    @property
    def is_number(self) -> bool:
        return self.name in NUMBERS

    def read(self, text: str) -> int | str | None:
        """The value that is written so; None where none is."""
        if not self.is_number:
            return text
        value, rest = divmod(int(text) - self.shift, self.factor)
        return value if rest == 0 and value >= 0 else None

    def write(self, value: int | str) -> str:
        return str(self.factor * value + self.shift) if isinstance(value, int) else value


@dataclass(frozen=True)
class Template:
    text: str

    def read(self, name: str) -> Values | None:
        """The values of the fields in `name`; None where it is no such name."""
        match = self.pattern.fullmatch(name)
        if match is None:
            return None
        values: dict[str, int | str] = {}
        for field, text in zip(self._fields, match.groups(), strict=True):
            value = field.read(text)
            if value is None or values.setdefault(field.name, value) != value:
                return None
        return values

    def write(self, values: Values) -> str:
        return _FIELD.sub(lambda match: _field(match).write(values[match[2]]), self.text)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """A pattern of whole names, whose only groups are the fields."""
        pieces, end = [], 0
        for match in _FIELD.finditer(self.text):
            pieces += [_literal(self.text[end : match.start()]), r"(\d+)" if match[2] in NUMBERS else "(.+)"]
            end = match.end()
        return re.compile("".join([*pieces, _literal(self.text[end:])]))

    @cached_property
    def _fields(self) -> list[_Field]:
        return [_field(match) for match in _FIELD.finditer(self.text)]


def _field(match: re.Match[str]) -> _Field:
    return _Field(match[2], int(match[1] or 1), int(match[3] or 0))


def _literal(text: str) -> str:
    """Escape all but alternatives."""
    return re.escape(text).replace(r"\(", "(?:").replace(r"\)", ")").replace(r"\|", "|")
