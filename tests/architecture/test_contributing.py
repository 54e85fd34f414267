"""CONTRIBUTING.md is walked: every path, name and target of its checklists is there."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
CHECKLISTS = {title: text for title, _, text in (part.partition("\n") for part in PAGE.split("\n## Add a ")[1:])}
PATH = re.compile(r"`([a-z]+/[^` ]+)`")


def found(pattern: str) -> list[Path]:
    """What `app/methods/<name>.py` names; of a pattern with blanks anything that fits."""
    return list(ROOT.glob(re.sub(r"<[a-z]+>", "*", pattern)))


def test_there_is_a_checklist_for_each_thing_that_is_added():
    assert set(CHECKLISTS) == {"method", "term", "network family", "dataset format", "route", "migration"}


@pytest.mark.parametrize("thing", CHECKLISTS)
def test_every_path_of_a_checklist_is_there(thing):
    paths = PATH.findall(CHECKLISTS[thing])
    assert len(paths) >= 3
    assert [path for path in paths if not found(path)] == []


def test_every_path_and_target_on_the_page_is_there():
    assert [path for path in PATH.findall(PAGE) if not found(path)] == []
    assert [link for link in re.findall(r"\]\(([^)]+)\)", PAGE) if not (ROOT / link).exists()] == []
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`make ([a-z]+)`", PAGE)) <= targets


@pytest.mark.parametrize(
    ("thing", "name", "path"),
    [
        ("network family", "FAMILIES", "worker/networks/build.py"),
        ("network family", "Family", "worker/networks/family.py"),
        ("dataset format", "FORMATS", "worker/ingest/detect.py"),
        ("dataset format", "Format", "app/api/schemas/datasets.py"),
        ("migration", "HEAD", "app/db/schema.py"),
    ],
)
def test_what_is_to_be_extended_is_where_the_page_says(thing, name, path):
    assert f"`{name}`" in CHECKLISTS[thing]
    assert f"`{path}`" in CHECKLISTS[thing]
    assert re.search(rf"^(class )?{name}\b", (ROOT / path).read_text(), re.M)


@pytest.mark.parametrize("page", ["CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md", "README.md"])
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_hooks_before_a_commit_need_no_other_repository():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    assert {hook["entry"].split()[0] for repository in config["repos"] for hook in repository["hooks"]} == {
        f".venv/bin/{tool}" for tool in ("ruff", "lint-imports", "mypy")
    }


def test_the_newest_version_heads_the_changelog():
    titles = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert titles[0] == "Unreleased"
    assert version is not None
    assert titles[1].startswith(f"{version[1]} — ")
