"""docs/performance.md of what the benchmarks have left in the ledger.

python benchmarks/report.py
"""

import json
from pathlib import Path

import ledger

ORDER = ("serving", "int8", "training", "overhead", "probe", "startup", "scaling")
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
HEAD = """# Performance

Ratios in one run, made by the commands beside them (`make bench` runs them all, `python benchmarks/report.py` writes
this page).  The machines are shared, so single figures vary: medians of rounds that were measured in turn, with their
spread.
"""


def main() -> None:
    found = {path.stem: json.loads(path.read_text()) for path in ledger.FOLDER.glob("*.json")}
    pages = [ledger.render(found[name]) for name in ORDER if name in found]
    PAGE.write_text("\n".join([HEAD, *pages]).rstrip() + "\n")


if __name__ == "__main__":
    main()
