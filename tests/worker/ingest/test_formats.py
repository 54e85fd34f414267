"""A dataset's format has one name: where it is read, in the API, in the command and on the page."""

import re
from pathlib import Path
from typing import get_args

from app.api.schemas.datasets import Format
from regraft import folders
from worker.ingest import archive
from worker.ingest.detect import FORMATS

ROOT = Path(__file__).parents[3]
NAMES = {"auto", *FORMATS}


def test_the_api_takes_what_there_is_a_reader_for() -> None:
    assert set(get_args(Format)) == NAMES


def test_the_command_and_the_page_name_all() -> None:
    [told] = re.findall(r'format: Annotated\[\s*str, typer.Option\(help="(.+)\."', source("regraft/cli/datasets.py"))
    assert set(told.split(", ")) == NAMES
    [line] = re.findall(r"^`format` is ([^;]+);", source("docs/api.md"), re.M)
    assert set(re.findall(r"`(\w+)`", line)) == NAMES


def test_the_client_leaves_out_what_is_passed_over_here() -> None:
    assert folders.LITTER == archive.LITTER


def source(path: str) -> str:
    return (ROOT / path).read_text()
