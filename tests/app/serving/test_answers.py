"""How long an answer with embeddings may be."""

import pytest

from app.core import errors
from app.serving import service


@pytest.mark.parametrize(("images", "features"), [(1000, 2048), (1, service.MAX_NUMBERS), (service.MAX_NUMBERS, 1)])
def test_as_many_numbers_as_one_answer_may_have(images: int, features: int) -> None:
    service._require_few_numbers(images, features)


@pytest.mark.parametrize(
    ("images", "features", "advice"),
    [(1000, 10_000, "at most 419 images"), (1, service.MAX_NUMBERS + 1, "too long for an answer")],
)
def test_more_are_refused_with_what_to_do(images: int, features: int, advice: str) -> None:
    with pytest.raises(errors.TooLarge, match=advice):
        service._require_few_numbers(images, features)
