"""What both databases store alike."""

import json
import math

import pytest

from app.core import plain


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", 'a"\\', "é\u2028", "\t"])
def test_what_looks_like_an_escape_is_none(text):
    assert json.loads(plain.dumps({"a": text})) == {"a": text}


@pytest.mark.parametrize("value", ["\0", "\\\0", "\ud800", math.nan, -math.inf])
def test_what_one_of_them_refuses_is_refused(value):
    with pytest.raises(ValueError):
        plain.dumps({"a": [value]})
    with pytest.raises(ValueError):
        plain.dumps({"a": [value, "x"], str(value): 1})


def test_what_is_not_finite_is_found_by_its_path():
    document = {"a": {"b": [1.0, math.nan]}, "c": math.inf, "d": 1}
    assert list(plain.not_finite(document)) == ["a.b.1", "c"]
    assert plain.without_not_finite(document) == {"a": {"b": [1.0, None]}, "c": None, "d": 1}
