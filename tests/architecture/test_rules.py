"""Rules that are not to be broken by accident."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import grimp
import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel

from app import api
from app.api import schemas
from app.api.dependencies import Sender
from app.api.schemas import common
from app.api.services import Services
from app.blobs.store import Blobs
from app.contract.base import StrictModel
from app.contract.record import Record
from app.core import errors
from app.core.errors import RegraftError
from app.core.settings import Settings
from app.db.session import Database
from app.jobs.feed import Feed
from app.main import NOUNS
from app.serving.service import Serving
from tests.architecture.counts import circles

ROOT = Path(__file__).parents[2]


def kinds(base=RegraftError):
    yield base
    for kind in base.__subclasses__():
        yield from kinds(kind)


def test_who_may_import_whom():
    lint = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True)
    assert lint.returncode == 0, lint.stdout


def test_no_module_imports_itself_by_way_of_others():
    """Neither one module of ours nor one of the four packages; what is imported for types alone counts, too."""
    graph = grimp.build_graph("app", "worker", "regraft", "migrations", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 200
    assert circles(imports) == []
    packages: dict[str, set[str]] = {}
    for module, imported in imports.items():
        own = module.partition(".")[0]
        packages.setdefault(own, set()).update(found for other in imported if (found := other.partition(".")[0]) != own)
    assert circles(packages) == []


def test_circles_are_seen():
    assert circles({"a": {"b"}, "b": set()}) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"d", "b"}, "d": set()}) == ["b", "c"]


def test_every_error_code_is_documented():
    documented = dict(re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \|", (ROOT / "docs" / "api.md").read_text(), re.M))
    assert documented == {kind.code: str(kind.status) for kind in kinds()}


def test_every_way_that_a_step_fails_is_documented():
    """The codes of `Failure` in the worker, and those that the queue gives."""
    called = {"Failure": 0, "retry_or_fail": 2, "fail": 2, "_fail": 2}  # the place of the code among the arguments
    found = set()
    moving = [ROOT / "app" / "queue" / "service.py", ROOT / "app" / "tournaments" / "controller.py"]
    for path in [*(ROOT / "worker").rglob("*.py"), *moving]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and (place := called.get(called_name(node))) is not None:
                code = node.args[place] if len(node.args) > place else None
                if isinstance(code, ast.Constant):
                    found.add(code.value)
    table = (ROOT / "docs" / "api.md").read_text().partition("Why a step failed")[2].partition("**Deleting.**")[0]
    documented = set(
        re.findall(r"`([a-z_]+)`", "".join(line.split("|")[1] for line in table.splitlines() if "|" in line))
    )
    assert found | {"storage_full", "quota_exceeded", "blob_lost"} == documented


def called_name(call):
    return getattr(call.func, "attr", getattr(call.func, "id", None))


def test_codes_are_of_one_kind_each():
    codes = [kind.code for kind in kinds()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.__name__)
def test_no_post_forgets_its_idempotency_key(noun):
    for route in noun.router.routes:
        assert isinstance(route, APIRoute)
        if "POST" in route.methods:
            assert Sender in [annotation(p) for p in route.endpoint.__annotations__.values()], route.path


def annotation(parameter):
    return getattr(parameter, "__origin__", parameter)


def test_routes_hold_no_sql():
    for path in (ROOT / "app").rglob("*.py"):
        text = path.read_text()
        if path.name == "repository.py" or path.parent.name == "db":
            continue
        for line in re.findall(r"^from sqlalchemy\S* import .*|^import sqlalchemy.*", text, re.M):
            assert line == "from sqlalchemy.orm import Session", f"{path}: {line}"


def test_every_shape_is_an_answer_or_closed():
    """What comes in is closed: an unknown field is a fault, not a silence."""
    found = [
        shape
        for module in modules(schemas)
        for shape in vars(module).values()
        if isinstance(shape, type) and issubclass(shape, BaseModel) and shape is not BaseModel
    ]
    assert len(found) > 20
    for shape in found:
        assert issubclass(shape, StrictModel | Record | common.Shape), shape


def test_nothing_is_kept_in_modules():
    """Errors are classes, statuses constants: no route finds a database but through the application's state."""
    for module in modules(api):
        for name, value in vars(module).items():
            assert not isinstance(value, Database | Blobs | Settings | Serving | Feed | Services), f"{module}: {name}"


def modules(package):
    """All that are in a package, at any depth."""
    return [
        importlib.import_module(found.name) for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]


def test_errors_say_something():
    for kind in kinds(errors.RegraftError):
        assert kind.title.endswith("."), kind
