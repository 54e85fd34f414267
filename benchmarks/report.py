"""docs/performance.md from what the benchmarks left under .benchmarks/performance.

    python benchmarks/report.py

Renders every record that is there; a benchmark that was not run on this machine keeps the section it has in the page.
"""

import re
from pathlib import Path

import ledger

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
HEAD = """# Performance

Ratios in one run: medians of interleaved rounds, with [min max] and the number of rounds.  Every section is what one
command printed on the machine it names; `make bench` runs them all and `python benchmarks/report.py` renders this page.
`load` is the mean number of running processes in the minute before the figures were written.
"""
SIGN = {True: "yes", False: "**no**", None: ""}


def section(record: ledger.Record) -> str:
    lines = [
        f"## {record['name']}",
        "",
        f"`{record['command']}`, {record['when'][:10]}; "
        + ", ".join(f"{what} {value}" for what, value in record["machine"].items()),
        "",
        "| What | Figure | Spread | Limit | Holds |",
        "|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        cells = (row["what"], row["figure"], row["spread"], row["limit"], SIGN[row["holds"]])
        lines.append(f"| {' | '.join(cell.replace('|', '∕') for cell in cells)} |")
    for note in record["notes"]:
        lines += ["", note]
    return "\n".join(lines) + "\n"


def kept(page: str) -> dict[str, str]:
    """The sections of a page as it is, by heading."""
    parts = re.split(r"^(?=## )", page, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0].removeprefix("## "): part.rstrip() + "\n" for part in parts}


def main() -> None:
    sections = kept(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    sections |= {record["name"]: section(record) for record in ledger.read()}
    PAGE.write_text("\n".join([HEAD, *(sections[name] for name in sorted(sections))]), encoding="utf-8")
    print(f"{PAGE}: {', '.join(sorted(sections))}")


if __name__ == "__main__":
    main()
