"""What schemathesis is told before it asks: loaded into its process by SCHEMATHESIS_HOOKS, told more by ASKING.

ASKING is JSON: `share` and `shares`, which of how many parts of the cases that cover a schema this process sends;
`every`: of those that cover a job, one in so many is sent; `first`, the number of the first request, which no other
process has; `ids` of objects that are there, by field; `document`, the file of the OpenAPI document; `under_way`, the
file where the operation's name stands that is asked at the moment.
"""

import itertools
import json
import os
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import schemathesis

TOLD = json.loads(os.environ["ASKING"])
# 25,000 cases cover each, for 42 methods
VAST = ("POST /v1/jobs", "POST /v1/jobs/preflight", "POST /v1/tournaments", "POST /v1/sweeps")
QUESTIONS = ("/v1/jobs/preflight", "/v1/checkpoints/identify")

# What is refused by a rule that no JSON Schema says: a part of the refusal, and the sentence of the document.
RULES = {
    r"^after: There is no object ": "One that is gone is refused.",
    r"^label: \w+ has no class ": "one that the dataset does not have is refused",
    r"^priors: ": "others than those of the network are refused",
    r"An adapting network answers differently every time": "It goes with no `Idempotency-Key`",
    r"What adapts is the network in float32": "with no `precision` but `float32`",
    r"margin leaves no room": "something is to be left",
    r"Pixel values are scaled to 0…1 here": "of values from 0 to 1",
    r"the smaller number comes first": "to the second, which is no smaller",
    r"train, validation and test must sum to 1": "The three sum to 1.",
    r" stands twice": "Among all three a name stands once.",
    r"`\w+` needs a checkpoint or a model": "`GET /v1/methods` says which methods need one",
    r"`\w+` starts from a checkpoint or a model, or from": "take one or else a `network` of the method",
    r"A `network` is newly drawn, a checkpoint has": "take one or else a `network` of the method, not both",
    r"`\w+` starts from nothing: leave": "start from nothing, and take no `source_dataset` either",
    r"`validation` is one of the environments": "`validation` is none of the environments",
    r"quarter turns need an `input` as high": "`input` is square, too.",
    r"`training_sets` names \w+, which is none": "`training_sets` maps its id, one of `sources`",
    r"must hold finite numbers of ordinary size": "no number is beyond ±2⁵³",
    r"must not be longer than|must not be nested deeper": "characters as JSON",
    r"There is no network |: \S+ has no (option|weights) ": "`GET /v1/networks` lists",
    r"^space\.": "the smaller number first.",
    r"^space: ": "The method takes all of them.",
    r"^job\.": "which fits as it stands, by a method that makes a network",
    r"Two candidates are the same|makes no network that could be judged": "no two the same and each by a method that",
    r"^(candidates\.\d+\.)?(method\.)?network\.options\.(input|layers)": "which refuses what makes no network",
    r"^rank: There is no entry of rank": "A rank that it does not have, or not yet, is refused.",
    r"^expires_at: Input should be less than": "`expires_at` is before the year 2500",
    r"`dataset` decides (which network|by one class)": "It goes with no `network` and no `multi_label`",
    r"The network has \d+ classes, but \d+ names": "`classes` are as many as the network has",
}
_numbers = itertools.count(TOLD["first"])
_seen: Counter[str] = Counter()


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Of the methods that a job may name, every process is to know its share: to think of all cases for all methods
    takes half a minute."""
    for body in ("JobSpec", "NewCandidate"):
        method = raw_schema["components"]["schemas"][body]["properties"]["method"]
        named = method["discriminator"]["mapping"]
        kept = sorted(named)[TOLD["share"] :: TOLD["shares"]]
        method["discriminator"]["mapping"] = {name: named[name] for name in kept}
        method["oneOf"] = [{"$ref": named[name]} for name in kept]


@schemathesis.hook
def filter_case(context: Any, case: schemathesis.Case) -> bool:
    """Of the cases that cover a schema, every process sends its share; of very many some, evenly among them."""
    if case.meta is None or case.meta.phase.name.value != "coverage":
        return True
    if case.path in QUESTIONS and case.method in ("GET", "DELETE"):
        return False  # no undeclared method: another operation, whose object of that name is not there
    label = case.operation.label
    _seen[label] += 1
    every = TOLD["every"] if label in VAST else TOLD["shares"]
    return _seen[label] % every == TOLD["share"]


@schemathesis.hook
def before_call(context: Any, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    """A key is new in every request, or the second body with it is refused whatever it holds; and what a body names is
    there, every other time."""
    Path(TOLD["under_way"]).write_text(case.operation.label)
    number = next(_numbers)
    key = (case.headers or {}).get("Idempotency-Key")
    without = getattr(case.meta and case.meta.phase.data, "parameter", None) or ""
    if isinstance(key, str) and re.fullmatch(r"[ -~]{1,255}", key) and without.lower() != "authorization":
        case.headers["Idempotency-Key"] = str(number).ljust(len(key), "0")
    if number % 2 and isinstance(case.body, dict) and _positive(case):
        for field, there in TOLD["ids"].items():
            if isinstance(case.body.get(field), str):
                case.body[field] = there


@schemathesis.check
def refused_by_a_documented_rule(ctx: Any, response: schemathesis.Response, case: schemathesis.Case) -> None:
    """What fits the schema is refused for a reason alone that the operation's documentation names: by a code of its
    own, or by a sentence where the code is that of misfits."""
    if response.status_code not in (413, 422) or not _positive(case):
        return
    problem = response.json()
    told = _documentation(case.operation.label)
    if problem["code"] != "invalid_request":
        assert f"`{problem['code']}`" in told, f"{problem['code']} is not documented"
        return
    for fault in _faults(problem):
        said = f"{fault['param']}: {fault['detail']}"
        rules = [sentence for refusal, sentence in RULES.items() if re.search(refusal, said)]
        assert any(sentence in told for sentence in rules), f"no rule of the document refuses this: {fault}"


def _positive(case: schemathesis.Case) -> bool:
    return case.meta is not None and case.meta.generation.mode.value == "positive"


def _faults(problem: dict[str, Any]) -> list[dict[str, Any]]:
    """Without those that only say what else a value might have been, whose own fault lies within."""
    faults = problem.get("errors") or [problem]
    places = [fault["param"] for fault in faults]
    return [fault for fault in faults if not any(place.startswith(f"{fault['param']}.") for place in places)]


@cache
def _documentation(label: str) -> str:
    """All sentences of the operation and of the schemas that it refers to."""
    document = json.loads(Path(TOLD["document"]).read_text())
    method, _, path = label.partition(" ")
    found: list[str] = []
    seen: set[str] = set()
    left: list[Any] = [document["paths"][path][method.lower()]]
    while left:
        part = left.pop()
        if isinstance(part, list):
            left += part
        elif isinstance(part, dict):
            if isinstance(part.get("description"), str):
                found.append(" ".join(part["description"].split()))
            name = part.get("$ref", "")
            if isinstance(name, str) and name.startswith("#/components/schemas/") and name not in seen:
                seen.add(name)
                left.append(document["components"]["schemas"][name.rpartition("/")[2]])
            left += part.values()
    return "\n".join(found)
