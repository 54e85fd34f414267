"""Recipes: checked where they come in, given back where they are asked for, and followed by `rule_transfer`."""

import json

import pytest

import regraft
from app.contract.recipe import Recipe
from app.db.tables import CheckpointRow
from tests.app.api.world import EVALUATION, INPUT, NETWORK, made

RECIPE = {
    "version": 1,
    "input": INPUT,
    "augmentation": [
        {"name": "random_resized_crop", "scale": [0.5, 1.0]},
        {"name": "colour_permutation"},
        {"name": "rand_augment", "magnitude": 5},
    ],
    "label_smoothing": 0.1,
    "mixing": {"name": "cutmix"},
    "optimizer": "adamw",
    "learning_rate": 0.001,
    "batch_size": 32,
}
RULE = {"name": "rule_transfer"}
LAYERS = [{"type": "Flatten"}, {"type": "Linear", "out_features": 4}]
WIDER = {"name": "layers", "num_classes": 4, "options": {"layers": LAYERS}}
ABLATION = {
    "with": {"accuracy": 0.9, "accuracy_interval": [0.8, 0.95], "input": INPUT},
    "without": {"accuracy": 0.6, "accuracy_interval": [0.5, 0.7], "input": INPUT},
    "difference": 0.3,
    "interval": [0.2, 0.4],
    "helped": True,
}


@pytest.fixture
def ours(api, world):
    with regraft.Client(api.url, key=world.client.headers["Authorization"].split()[1]) as client:
        yield client


def recipe(client, path, status=200):
    return made(client.get(f"{path}/recipe"), status)


def test_what_is_given_comes_back_with_the_defaults_of_its_steps(world, client):
    checkpoint = world.queued_checkpoint(recipe=RECIPE)
    found = recipe(client, f"/v1/checkpoints/{checkpoint['id']}")
    assert found["augmentation"] == [
        {"name": "random_resized_crop", "scale": [0.5, 1.0], "ratio": [3 / 4, 4 / 3]},
        {"name": "colour_permutation", "p": 0.5},
        {"name": "rand_augment", "num_ops": 2, "magnitude": 5},
    ]
    assert found["mixing"] == {"name": "cutmix", "alpha": 1.0, "p": 1.0}
    assert found == RECIPE | {name: found[name] for name in ("augmentation", "mixing")}
    again = world.queued_checkpoint(recipe=found)
    assert recipe(client, f"/v1/checkpoints/{again['id']}") == found


@pytest.mark.parametrize("part", [{}, {"label_smoothing": 0.2}, {"mixing": None}, {"augmentation": []}])
def test_what_is_not_known_may_be_left_out(world, client, part):
    """And stays apart from what is known to be nothing."""
    checkpoint = world.queued_checkpoint(recipe={"version": 1} | part)
    assert recipe(client, f"/v1/checkpoints/{checkpoint['id']}") == {"version": 1} | part


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"version": 2}, "recipe.version"),
        ({"version": None}, "recipe.version"),
        ({"label_smoothing": 1}, "recipe.label_smoothing"),
        ({"augmentation": "strong"}, "recipe.augmentation"),
        ({"augmentation": [{"name": "mirror"}]}, "recipe.augmentation.0"),
        ({"augmentation": [{"name": "affine"}, {"name": "random_erasing", "p": 2}]}, "recipe.augmentation.1.p"),
        ({"augmentation": [{"name": "random_resized_crop", "scale": [0.9, 0.1]}]}, "recipe.augmentation.0.scale"),
        ({"augmentation": [{"name": "colour_jitter", "hue": 1}]}, "recipe.augmentation.0.hue"),
        ({"mixing": {"name": "mixup", "alpha": 0}}, "recipe.mixing.alpha"),
        ({"input": INPUT | {"channels": 3}}, "recipe.input"),
        ({"teacher": "ckpt_1234567890"}, "recipe.teacher"),
    ],
)
def test_nonsense_is_refused_where_it_stands(world, client, wrong, param):
    body = {"name": "x", "file": world.file()["id"], "network": NETWORK, "recipe": {"version": 1} | wrong}
    problem = made(client.post("/v1/checkpoints", json=body), 422)
    assert (problem["code"], problem["param"]) == ("invalid_request", param)


def test_a_recipe_says_its_version(world, client):
    body = {"name": "x", "file": world.file()["id"], "network": NETWORK, "recipe": {"label_smoothing": 0.1}}
    problem = made(client.post("/v1/checkpoints", json=body), 422)
    assert (problem["param"], problem["errors"][0]["code"]) == ("recipe.version", "missing")


def test_where_there_is_none(world, client, ours):
    checkpoint, model = world.checkpoint(), world.model()
    for path in (f"/v1/checkpoints/{checkpoint['id']}", f"/v1/models/{model['id']}"):
        assert recipe(client, path, 404)["code"] == "no_recipe"
    for path in ("/v1/checkpoints/ckpt_0000000000", "/v1/models/model_0000000000"):
        assert recipe(client, path, 404)["code"] == "not_found"
    with pytest.raises(regraft.NotFound) as refused:
        ours.models.recipe(model["id"])
    assert refused.value.code == "no_recipe"


def test_from_a_model_to_a_checkpoint(world, client, ours):
    job = world.queued_job()["id"]
    told = Recipe.model_validate(RECIPE).document()
    world.finish_job(job, recipe=told)
    model = world.get(f"/v1/jobs/{job}")["model"]
    assert recipe(client, f"/v1/models/{model}") == ours.models.recipe(model) == told
    checkpoint = ours.checkpoints.create(name="again", model=model)
    assert ours.checkpoints.recipe(checkpoint.id) == told


def test_a_rule_to_follow(world, client):
    """What is taken from the recipe is echoed at once, like every other default."""
    checkpoint, dataset = world.checkpoint(recipe=RECIPE), world.dataset()
    body = {"checkpoint": checkpoint["id"], "dataset": dataset["id"], "method": RULE | {"rule": ["augmentation"]}}
    job = made(client.post("/v1/jobs", json=body), 202)
    assert [step["name"] for step in job["method"]["augmentation"]] == [
        "random_resized_crop",
        "colour_permutation",
        "rand_augment",
    ]
    assert (job["method"]["label_smoothing"], job["method"]["mixing"]) == (0.0, None)
    whole = made(client.post("/v1/jobs", json=body | {"method": RULE}), 202)
    assert (whole["method"]["label_smoothing"], whole["method"]["mixing"]["name"]) == (0.1, "cutmix")
    found = made(client.post("/v1/jobs/preflight", json=body), 200)
    alone = body | {"method": body["method"] | {"ablation": False}}
    assert found["steps"] == 2 * made(client.post("/v1/jobs/preflight", json=alone), 200)["steps"]


def test_no_rule_to_follow(world, client):
    """Said when the job is asked for, with what to do about it."""
    bare, dataset = world.checkpoint(), world.dataset()
    mixless = world.checkpoint(recipe={"version": 1, "augmentation": [], "label_smoothing": 0.1})
    for checkpoint, method, param, code, said in (
        (bare, RULE, "checkpoint", "no_recipe", "give one as `recipe`"),
        (mixless, RULE | {"rule": ["mixing", "augmentation"]}, "method.rule", "does_not_fit", "no mixing and no augm"),
        (mixless, RULE | {"network": WIDER}, "method.network.num_classes", "does_not_fit", "has 3"),
    ):
        body = {"checkpoint": checkpoint["id"], "dataset": dataset["id"], "method": method}
        problem = made(client.post("/v1/jobs", json=body), 422)
        assert (problem["code"], problem["param"], problem["errors"][0]["code"]) == ("does_not_fit", param, code)
        assert said in problem["detail"]
        found = made(client.post("/v1/jobs/preflight", json=body), 200)
        assert [fault["code"] for fault in found["errors"]] == [code]
    assert client.get("/v1/jobs").json()["data"] == []
    for wrong in ({"weights": True, "network": NETWORK}, {"rule": []}, {"rule": ["optimizer"]}):
        body = {"checkpoint": bare["id"], "dataset": dataset["id"], "method": RULE | wrong}
        assert made(client.post("/v1/jobs", json=body), 422)["code"] == "invalid_request"


def test_what_is_still_being_processed_is_judged_later(world, client):
    body = {"checkpoint": world.queued_checkpoint()["id"], "dataset": world.dataset()["id"], "method": RULE}
    assert made(client.post("/v1/jobs", json=body), 202)["status"] == "queued"


def test_a_document_from_before_recipes_were_checked_is_none_to_follow(world, client):
    checkpoint, dataset = world.checkpoint(recipe=RECIPE), world.dataset()
    with world.database.unit_of_work() as db:
        db.get_one(CheckpointRow, checkpoint["id"]).recipe = {"augmentation": "as in the paper"}
    body = {"checkpoint": checkpoint["id"], "dataset": dataset["id"], "method": RULE}
    assert made(client.post("/v1/jobs", json=body), 422)["errors"][0]["code"] == "no_recipe"
    assert recipe(client, f"/v1/checkpoints/{checkpoint['id']}") == {"augmentation": "as in the paper"}


def test_the_ablation_is_shown(world, client, ours):
    job = world.queued_job()["id"]
    world.finish_job(job, evaluation=EVALUATION | {"ablation": ABLATION})
    assert world.get(f"/v1/jobs/{job}")["evaluation"]["ablation"] == ABLATION
    model = world.get(f"/v1/jobs/{job}")["model"]
    assert world.get(f"/v1/models/{model}")["evaluation"]["ablation"] == ABLATION
    found = ours.models.get(model)
    assert found.evaluation.ablation.with_.accuracy == 0.9
    assert json.loads(found.model_dump_json())["evaluation"]["ablation"]["with"]["accuracy"] == 0.9
    card, report = (client.get(f"/v1/models/{model}/{what}").text for what in ("card", "report"))
    assert "+0.300 (95 %: +0.200 to +0.400). The source's rule helped." in card
    assert "Yes: by the rule 90.0 %, without it 60.0 %" in report


def test_the_decision_among_shared_classes_is_shown(world, client):
    among = {"accuracy": 0.75, "accuracy_interval": [0.7, 0.8], "balanced_accuracy": 0.74, "nll": 0.5, "ece": 0.1}
    partial = {"among_shared": among, "taken_for_other_classes": 17, "left_out": 23}
    job = world.queued_job()["id"]
    world.finish_job(job, evaluation=EVALUATION | {"target": EVALUATION["target"] | partial})
    model = world.get(f"/v1/jobs/{job}")["model"]
    found = world.get(f"/v1/models/{model}")["evaluation"]["target"]
    assert {name: found[name] for name in partial} == partial
    card, report = (client.get(f"/v1/models/{model}/{what}").text for what in ("card", "report"))
    assert "17 images were taken for classes that the dataset lacks" in card
    assert "accuracy would be 0.750" in card
    assert "23 images are of classes that the network does not know" in card
    assert "(17 were taken for others)" in report
    assert "75.0 %" in report
