"""Images without a label among others that have one: they stay where they may be of use, and that is said."""

from collections.abc import Callable, Sequence

from app.imaging.packed import SPLITS
from worker.ingest.naming import UNSPLIT
from worker.runtime.contract import Failure, Note

TRAIN = SPLITS.index("train")


def kept(labelled: Sequence[bool], splits: Sequence[int], tell: Callable[[Note], object]) -> list[int]:
    """Places of all images but those of validation and test splits that have no labels at all.

    Raises:
        Failure: `no_labels`, no image has one.
    """
    known = {split for split, has in zip(splits, labelled, strict=True) if has}
    if not known:
        raise Failure("no_labels", "No image has a label (an empty cell is none): pass `labelled`: false.")
    aside = {*splits} - known - {TRAIN, UNSPLIT}
    for split in sorted(aside):
        count = sum(one == split for one in splits)
        text = f"The {count:,} images of the {SPLITS[split]} split have no labels and are set aside."
        tell(Note("split_unlabelled", text, "warning", {"split": SPLITS[split], "count": count}))
    places = [place for place, split in enumerate(splits) if split not in aside]
    if count := sum(not labelled[place] for place in places):
        text = f"{count:,} of {len(places):,} images have no label: methods that learn from labels pass them over."
        tell(Note("images_unlabelled", text, "warning", {"count": count}))
    return places
