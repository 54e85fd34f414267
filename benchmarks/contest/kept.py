"""What was measured, in files that only grow: a command that was interrupted goes on where it was."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Entry = Mapping[str, Any]


class Kept:
    """Entries by key, a line of JSON each; of equal keys the last line holds."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self._found: dict[str, Entry] = {line["key"]: line for line in map(json.loads, lines)}

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def __getitem__(self, key: str) -> Entry:
        return self._found[key]

    def add(self, key: str, entry: Entry) -> Entry:
        kept = self._found[key] = {"key": key} | dict(entry)
        with self._path.open("a") as file:
            file.write(json.dumps(kept) + "\n")
        return kept
