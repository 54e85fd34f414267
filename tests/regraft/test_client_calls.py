"""Retries, idempotency, errors, paging and waiting, blocking and awaiting alike."""

import json

import httpx
import pytest

import regraft
from regraft import Retry
from regraft.errors import refusal
from tests.regraft.client_fakes import AwaitingTalk, BlockingTalk, Script, job, ok, problem


@pytest.fixture(params=[BlockingTalk, AwaitingTalk])
def talk(request):
    return request.param


def test_a_result_is_typed_and_keeps_fields_it_does_not_know(talk):
    script = Script([ok(job("running", weather="fine"))])
    found = talk(script).ask(lambda client: client.jobs.get("job_1"))
    assert found.id == "job_1"
    assert found.created_at.year == 2026
    assert found.weather == "fine"
    assert script.requests[0].headers["Authorization"] == "Bearer k"


@pytest.mark.parametrize(
    "trouble",
    [
        lambda: problem(503, "unavailable"),
        lambda: problem(429, "rate_limited"),
        lambda: httpx.ReadTimeout("slow"),
    ],
)
def test_a_read_is_sent_again_when_that_may_help(talk, trouble):
    script = Script([trouble(), trouble(), ok(job())])
    assert talk(script).ask(lambda client: client.jobs.get("job_1")).status == "queued"
    assert len(script.requests) == 3


def test_it_gives_up_with_the_refusal(talk):
    script = Script([problem(503, "unavailable", {"Retry-After": "0"}) for _ in range(4)])
    with pytest.raises(regraft.Unavailable) as refused:
        talk(script).ask(lambda client: client.jobs.get("job_1"))
    assert (refused.value.code, refused.value.retry_after_s) == ("unavailable", 0)


def test_it_gives_up_with_unreachable(talk):
    script = Script([httpx.ConnectError("refused") for _ in range(4)])
    with pytest.raises(regraft.Unreachable, match=r"GET /v1/jobs/job_1: refused"):
        talk(script).ask(lambda client: client.jobs.get("job_1"))


def test_a_refusal_that_stands_is_not_asked_again(talk):
    fault = {"param": "method.epochs", "detail": "too many", "code": "less_than_equal"}
    script = Script([problem(422, "invalid_request", param="method.epochs", errors=[fault])])
    with pytest.raises(regraft.Invalid, match=r"method\.epochs: too many \(invalid_request, HTTP 422\)") as refused:
        talk(script).ask(lambda client: client.jobs.create(method="train", dataset="ds_1"))
    assert (refused.value.param, refused.value.errors) == ("method.epochs", [fault])


def test_a_post_carries_one_key_through_all_its_sendings(talk):
    script = Script([httpx.ReadError("lost"), problem(409, "idempotency_in_flight"), ok(job(), 202)])
    talk(script).ask(lambda client: client.jobs.create(method="evaluate", dataset="ds_1", checkpoint="ckpt_1"))
    assert len({request.headers["Idempotency-Key"] for request in script.requests}) == 1
    assert len(script.requests) == 3


def test_two_posts_have_two_keys_and_a_given_key_is_used(talk):
    script = Script([ok(job(), 202), ok(job(), 202), ok(job(), 202)])
    conversation = talk(script)
    for key in (None, None, "mine"):
        conversation.ask(
            lambda client, key=key: client.jobs.create(method="train", dataset="ds_1", idempotency_key=key)
        )
    keys = [request.headers["Idempotency-Key"] for request in script.requests]
    assert len(set(keys)) == 3
    assert keys[2] == "mine"


def test_only_what_was_given_is_sent(talk):
    script = Script([ok(job(), 202)])
    talk(script).ask(lambda client: client.jobs.create(method="evaluate", dataset="ds_1", checkpoint="ckpt_1"))
    body = json.loads(script.requests[0].content)
    assert body == {"method": {"name": "evaluate"}, "dataset": "ds_1", "checkpoint": "ckpt_1"}


def test_another_conflict_stands(talk):
    script = Script([problem(409, "wrong_status")])
    with pytest.raises(regraft.Conflict):
        talk(script).ask(lambda client: client.jobs.cancel("job_1"))


def test_a_delete_whose_answer_was_lost_is_done(talk):
    script = Script([httpx.ReadError("lost"), problem(404, "not_found")])
    assert talk(script).ask(lambda client: client.jobs.delete("job_1")) is None


def test_a_delete_of_nothing_is_refused(talk):
    with pytest.raises(regraft.NotFound):
        talk(Script([problem(404, "not_found")])).ask(lambda client: client.jobs.delete("job_1"))


def test_lists_are_read_page_after_page(talk):
    first = {"object": "list", "data": [job(id="job_1"), job(id="job_2")], "has_more": True, "last_id": "job_2"}
    second = {"object": "list", "data": [job(id="job_3")], "has_more": False, "last_id": "job_3"}
    script = Script([ok(first), ok(second)])
    found = talk(script).collect(lambda client: client.jobs.list(status="queued", page_size=2))
    assert [one.id for one in found] == ["job_1", "job_2", "job_3"]
    queries = [dict(request.url.params) for request in script.requests]
    assert queries[0] == {"status": "queued", "order": "desc", "limit": "2"}
    assert queries[1] == queries[0] | {"after": "job_2"}


def test_wait_returns_the_finished_job_and_tells_what_it_saw(talk):
    script = Script([ok(job("queued")), ok(job("running")), ok(job("succeeded"))])
    seen = []
    found = talk(script).ask(lambda client: client.jobs.wait("job_1", seen=lambda one: seen.append(one.status)))
    assert found.status == "succeeded"
    assert seen == ["queued", "running", "succeeded"]


def test_wait_raises_what_the_job_failed_of(talk):
    failed = job("failed", error={"code": "diverged", "message": "The loss is not a number at step 3."})
    with pytest.raises(regraft.Unsuccessful, match="not a number") as unsuccessful:
        talk(Script([ok(failed)])).ask(lambda client: client.jobs.wait("job_1"))
    assert unsuccessful.value.code == "diverged"
    assert unsuccessful.value.result.status == "failed"


def test_wait_without_check_returns_it(talk):
    found = talk(Script([ok(job("cancelled"))])).ask(lambda client: client.jobs.wait("job_1", check=False))
    assert found.status == "cancelled"


def test_wait_has_an_end(talk):
    script = Script([ok(job("running")) for _ in range(9)])
    with pytest.raises(regraft.WaitTimeout, match=r"job_1 is still running after 0\.1 s"):
        talk(script).ask(lambda client: client.jobs.wait("job_1", timeout_s=0.1))


@pytest.mark.parametrize(
    ("status", "family"),
    [
        (400, regraft.BadRequest),
        (401, regraft.Unauthenticated),
        (403, regraft.Forbidden),
        (404, regraft.NotFound),
        (405, regraft.BadRequest),
        (409, regraft.Conflict),
        (410, regraft.Gone),
        (413, regraft.TooLarge),
        (415, regraft.Unsupported),
        (422, regraft.Invalid),
        (429, regraft.RateLimited),
        (500, regraft.ServerError),
        (503, regraft.Unavailable),
        (507, regraft.ServerError),
    ],
)
def test_a_class_per_family_of_status(status, family):
    assert type(refusal(problem(status, "x"))) is family


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(502, html="<h1>Bad gateway</h1>"),
        httpx.Response(502, text="{", headers={"Content-Type": "application/json"}),
        httpx.Response(502, json=["no problem"]),
    ],
)
def test_an_answer_that_is_no_problem_document_still_has_a_code(response):
    error = refusal(response)
    assert (error.status, error.code, error.detail) == (502, "http_502", "Bad Gateway")


def test_pauses_grow_to_a_ceiling_and_follow_retry_after():
    retry = Retry(first_s=1, ceiling_s=8)
    assert 0.5 <= retry.pause(1, None) <= 1
    assert 2 <= retry.pause(3, None) <= 4
    assert retry.pause(9, None) <= 8
    assert retry.pause(1, 5) == 5
    assert retry.pause(1, 3600) == 8


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("REGRAFT_URL", "http://elsewhere:1234")
    monkeypatch.setenv("REGRAFT_KEY", "secret")
    with regraft.Client() as client:
        assert str(client.http.base_url) == "http://elsewhere:1234"
        assert client.http.headers["Authorization"] == "Bearer secret"


def test_a_call_is_documented_and_reports_its_own_signature_faults():
    with regraft.Client("http://service") as client:
        assert "until the job has finished" in (client.jobs.wait.__doc__ or "")
        with pytest.raises(TypeError, match="unexpected keyword"):
            client.jobs.get("job_1", nonsense=True)  # type: ignore[call-arg]
