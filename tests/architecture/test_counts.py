"""The counts by which the architecture is judged: none is above its ceiling."""

import ast
from pathlib import Path

import pytest

from tests.architecture import counts


@pytest.mark.parametrize("count", counts.COUNTS, ids=lambda count: count.name)
def test_no_count_is_above_its_ceiling(count):
    assert count.found() <= count.most


@pytest.mark.parametrize("code", ["isinstance(method, X)", "isinstance(request.method, X)", "isinstance(params, X)"])
def test_a_question_for_the_kind_of_a_method_is_seen(code, written):
    written(f"{code}\nisinstance(value, X)")
    assert counts.asks_for_the_method("app") == 1


def test_an_untyped_document_is_seen(written):
    written("x: dict[str, Any] = {}\n\ny: dict[str, str] = {}")
    assert counts.untyped_documents() == 500


def test_arguments_are_counted_however_they_are_passed(written):
    written("class A:\n    def f(self, a, /, b, *, c): ...\n    async def g(self, d): ...")
    assert counts.most_arguments() == 3


def test_the_client_counts_what_is_passed_by_position(monkeypatch):
    client = """
def create(self, a, /, b, *, c, d, e): ...

@app.command()
@online
def command(session, f, g, h, i): ...
"""
    monkeypatch.setattr(counts, "trees", lambda under: {Path("client.py"): ast.parse(client)})
    assert counts.most_positional_arguments() == 2


def test_a_class_name_that_stands_twice_is_seen(written):
    written("class A: ...", "class A: ...\nclass B: ...\nclass _C: ...", "class _C: ...")
    assert counts.repeated_classes() == ["app.A"]


@pytest.mark.parametrize(
    ("said", "leans"),
    [
        ("The same, sorted.", True),
        ("What a run is told.", True),
        ("Of a dataset.", True),
        ("Whether it fits.", True),
        ("See `other`.", True),
        ("Offers are sorted.", False),
    ],
)
def test_a_docstring_without_a_subject_is_seen(said, leans, written):
    written(f'def f():\n    """{said}"""')
    assert counts.docstrings_without_a_subject() == [said] * leans


@pytest.fixture
def written(monkeypatch, tmp_path):
    """Stands in for `app`; the other packages are empty."""

    def write(*modules):
        paths = [tmp_path / f"{number}.py" for number, _ in enumerate(modules)]
        for path, text in zip(paths, modules, strict=True):
            path.write_text(text)
        trees = {path: ast.parse(path.read_text()) for path in paths}
        monkeypatch.setattr(counts, "trees", lambda under: trees if under == "app" else {})

    return write
