"""Where benchmarks leave their figures: one JSON file each under .benchmarks/performance, for `report.py` to render.

    {"name", "command", "machine": {…}, "when", "rows": [{"what", "figure", "spread", "limit", "holds"}], "notes": […]}

A row is made with `row` or, from what the rounds of one run gave, with `measured`.
"""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, TypedDict

FOLDER = Path(__file__).parents[1] / ".benchmarks" / "performance"
PACKAGES = ("torch", "torchvision", "numpy", "onnxruntime", "openvino", "fastapi")


class Row(TypedDict):
    """`figure`, `spread` and `limit` as they are printed; `holds`: null where there is no limit."""

    what: str
    figure: str
    spread: str
    limit: str
    holds: bool | None


class Record(TypedDict):
    """What one benchmark found in one run; `when` is UTC, ISO 8601."""

    name: str
    command: str
    machine: dict[str, str]
    when: str
    rows: list[Row]
    notes: list[str]


def row(what: str, figure: str, spread: str = "", limit: str = "", holds: bool | None = None) -> Row:
    return {"what": what, "figure": figure, "spread": spread, "limit": limit, "holds": holds}


def measured(
    what: str,
    values: Sequence[float],
    *,
    digits: int = 2,
    unit: str = "",
    limit: tuple[Literal["≥", "≤"], float] | None = None,
) -> Row:
    """The median of `values`, one a round, with [min max]; it holds if the median keeps the limit."""
    figure = statistics.median(values)
    end = f" {unit}" if unit else ""
    spread = f"[{min(values):,.{digits}f} {max(values):,.{digits}f}] of {len(values)}"
    if limit is None:
        return row(what, f"{figure:,.{digits}f}{end}", spread)
    side, bound = limit
    holds = figure >= bound if side == "≥" else figure <= bound
    return row(what, f"{figure:,.{digits}f}{end}", spread, f"{side} {bound:g}{end}", holds)


def write(name: str, command: str, rows: Sequence[Row], notes: Sequence[str] = ()) -> Path:
    """Replace what `name` left before.  `name` is a heading and, with a dash for a colon, a file."""
    record: Record = {
        "name": name,
        "command": command,
        "machine": machine(),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": list(rows),
        "notes": list(notes),
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name.replace(': ', '-')}.json"
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read() -> list[Record]:
    """What every benchmark left, by name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))]


def machine() -> dict[str, str]:
    """What the figures depend on beside the code."""
    found = {"cpu": _cpu(), "cores": str(len(os.sched_getaffinity(0))), "system": platform.platform(terse=True)}
    found |= {"load": f"{os.getloadavg()[0]:.1f}", "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    """The name that the kernel has for the processor."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
