"""What the benchmarks measured, as JSON in `.benchmarks/performance`; `report.py` makes docs/performance.md of it."""

import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / ".benchmarks" / "performance"


Row = dict[str, Any]


def row(
    what: str, values: Sequence[float], unit: str = "", *, least: float | None = None, most: float | None = None
) -> Row:
    """One figure: the median of `values` with its spread, and whether it keeps the limit that is set for it."""
    figure = statistics.median(values)
    holds = None if least is None and most is None else (least is None or figure >= least) and figure <= (most or 1e99)
    return {"what": what, "values": list(values), "unit": unit, "least": least, "most": most, "holds": holds}


def write(name: str, title: str, command: str, rows: Sequence[Row], notes: Sequence[str] = ()) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = {
        "title": title,
        "command": command,
        "when": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "rows": list(rows),
        "notes": list(notes),
    }
    (FOLDER / f"{name}.json").write_text(json.dumps(found, indent=1))
    print(render(found))


def machine() -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "onnxruntime"))
    return f"{os.cpu_count()} cores of {model}, shared; Python {platform.python_version()}, {versions}"


def render(found: dict[str, Any]) -> str:
    """The benchmark as Markdown."""
    lines = [f"## {found['title']}", "", f"`{found['command']}`, {found['when']}: {found['machine']}.", ""]
    lines += ["| What | Median [least, greatest] | Limit | Holds |", "|---|---|---|---|"]
    for one in found["rows"]:
        limit = "" if one["least"] is None and one["most"] is None else _limit(one)
        holds = {None: "", True: "yes", False: "**no**"}[one["holds"]]
        lines.append(f"| {one['what']} | {_figure(one)} | {limit} | {holds} |")
    return "\n".join([*lines, "", *(f"{note}\n" for note in found["notes"])])


def _figure(one: Row) -> str:
    values, unit = one["values"], one["unit"] and f" {one['unit']}"
    spread = f" [{_short(min(values))}, {_short(max(values))}] of {len(values)}" if len(values) > 1 else ""
    return f"{_short(statistics.median(values))}{unit}{spread}"


def _limit(one: Row) -> str:
    return f"≥ {_short(one['least'])}" if one["most"] is None else f"≤ {_short(one['most'])}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
