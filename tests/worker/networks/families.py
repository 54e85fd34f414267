"""Networks of our own families, which the tests of all networks take in as the catalogue lists them."""

from app.contract.inputs import InputSpec
from worker.networks import from_timm, from_torchvision
from worker.networks.build import FAMILIES

# By name, with the input that each commonly takes; those of libraries are too many, and others have no such habit.
OWN = {
    entry["name"]: InputSpec.model_validate(entry["input"])
    for family in FAMILIES
    if family not in (from_timm, from_torchvision)
    for entry in family.entries()
    if entry["input"] is not None
}
