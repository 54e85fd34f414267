"""The page as a browser without scripts has it: signing in, every page, every form, and what is refused."""

import ast
import html
import json
import re
import shlex
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from app.keys import sessions
from tests.app.api.test_recommendations import answered, evidence
from tests.app.api.world import CLASSES, made, png

HOSTILE = "<img src=x onerror=alert(1)>"
PAGES = (
    "/",
    "/jobs",
    "/jobs/new",
    "/datasets",
    "/checkpoints",
    "/models",
    "/recommendations",
    "/tournaments",
    "/sweeps",
    "/compare",
)


class Browser:
    """Keeps cookies, says where its forms come from, and follows no redirect by itself."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=60)

    def sign_in(self, key: str) -> httpx.Response:
        return self.http.post("/sign-in", data={"key": key}, headers={"Origin": self.url})

    def see(self, path: str) -> str:
        page = self.http.get(path)
        assert page.status_code == 200, page.text
        return page.text

    def send(self, path: str, *, page: str = "/", **form) -> httpx.Response:
        """Send a form of `page`, whose address it has the token from."""
        token = re.search(r"\?token=([0-9a-f]{64})", self.see(page))[1]
        return self.http.post(path, params={"token": token}, headers={"Origin": self.url}, **form)


@pytest.fixture
def browser(api, world):
    browser = Browser(api.url)
    assert browser.sign_in(world.client.headers["Authorization"].removeprefix("Bearer ")).status_code == 303
    yield browser
    browser.http.close()


@pytest.fixture
def stranger(api):
    browser = Browser(api.url)
    yield browser
    browser.http.close()


def test_whoever_has_no_session_is_shown_where_to_begin_one(stranger):
    for path in PAGES:
        found = stranger.http.get(path)
        assert (found.status_code, found.headers["Location"].partition("?")[0]) == (303, "/sign-in"), path
    wrong = stranger.sign_in("regraft_no_key")
    assert (wrong.status_code, "There is no such API key" in wrong.text) == (401, True)
    assert "set-cookie" not in wrong.headers


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(stranger, world):
    key = world.client.headers["Authorization"].removeprefix("Bearer ")
    signed_in = stranger.sign_in(f" {key}\n")
    cookie = signed_in.headers["Set-Cookie"].lower()
    assert signed_in.headers["Location"] == "/"
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert key.lower() not in cookie
    for elsewhere in ("https://elsewhere.test", "//elsewhere.test", "/\\elsewhere.test"):
        found = stranger.http.post(
            "/sign-in", params={"next": elsewhere}, data={"key": key}, headers={"Origin": stranger.url}
        )
        assert found.headers["Location"] == "/"


def test_nobody_is_signed_in_by_another_site_or_reads_a_body_without_end(stranger, world):
    key = world.client.headers["Authorization"].removeprefix("Bearer ")
    for origin in ("https://elsewhere.test", "null", None):
        headers = {} if origin is None else {"Origin": origin}
        refused = stranger.http.post("/sign-in", data={"key": key}, headers=headers)
        assert (refused.status_code, refused.json()["code"], "set-cookie" in refused.headers) == (
            403,
            "cross_site",
            False,
        )
    for body in ({"content": b"key=" + b"x" * 5000}, {"content": iter([b"key=x"])}):
        headers = {"Origin": stranger.url, "Content-Type": "application/x-www-form-urlencoded"}
        refused = stranger.http.post("/sign-in", headers=headers, **body)
        assert (refused.status_code, refused.json()["code"]) == (413, "too_large")


def test_every_page_needs_nothing_from_elsewhere_and_no_script(browser, world):
    job, dataset, checkpoint = world.finished_job(), world.dataset(), world.checkpoint()
    asked = made(world.client.post("/v1/recommendations", json={"dataset": dataset["id"]}), 202)
    paths = [*PAGES, f"/jobs/{job['id']}", f"/datasets/{dataset['id']}", f"/checkpoints/{checkpoint['id']}"]
    paths += [f"/models/{job['model']}", f"/recommendations/{asked['id']}", f"/compare?job={job['id']}"]
    for path in [*paths, "/sign-in"]:
        page = browser.http.get(path)
        assert page.status_code == 200, (path, page.text)
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"<style|\sstyle=|<script(?! type=\"module\" src=\"/static/)|\son\w+=", page.text), path
        assert not re.search(r"(src|href|action)=\"(https?:)?//", page.text), path
    for name in ("style.css", "page.js"):
        assert browser.http.get(f"/static/{name}").status_code == 200
    assert browser.http.get("/static/routes.py").status_code == 404


def test_what_people_write_is_text(browser, world):
    dataset = world.dataset(name=HOSTILE, published={"classes": [HOSTILE, *CLASSES[1:]]})
    checkpoint = world.checkpoint(name=HOSTILE)
    job = world.finished_job(name=HOSTILE)
    for path in (f"/datasets/{dataset['id']}", f"/checkpoints/{checkpoint['id']}", f"/jobs/{job['id']}", *PAGES):
        page = browser.see(path)
        assert HOSTILE not in page, path
    assert "&lt;img src=x" in browser.see(f"/datasets/{dataset['id']}")


def test_the_job_page_says_whether_it_helped(browser, world):
    page = browser.see(f"/jobs/{world.finished_job()['id']}")
    for said in ("Did it help?", "100.0 %", "target, adapted", "What is taken for what", *CLASSES, "curl", "regraft"):
        assert said in page


def test_a_dataset_shows_images_refused_files_and_warnings(browser, world):
    dataset = world.dataset()
    page = browser.see(f"/datasets/{dataset['id']}")
    assert page.count("data:image/png;base64,") == 6
    assert "The image is broken." in page
    assert browser.see(f"/datasets/{dataset['id']}?split=test").count("data:image/png") == 3


def test_jobs_are_stopped_and_tried_again_by_buttons(browser, world):
    job = world.queued_job()["id"]
    for verb, status in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled"), ("retry", "queued")):
        sent = browser.send(f"/jobs/{job}/{verb}")
        assert (sent.status_code, sent.headers["Location"]) == (303, f"/jobs/{job}")
        assert world.get(f"/v1/jobs/{job}")["status"] == status
    refused = browser.send(f"/jobs/{job}/resume")
    assert (refused.status_code, "queued" in refused.text) == (409, True)
    assert browser.send(f"/jobs/{job}/explode").status_code == 404


def test_a_job_is_checked_and_submitted_by_a_form(browser, world):
    checkpoint, dataset = world.checkpoint(), world.dataset()
    form = {"checkpoint": checkpoint["id"], "dataset": dataset["id"], "method": "fine_tune", "labels": "1", "seed": "7"}
    form |= {"more": '{"epochs": 3}', "name": "by a form"}
    checked = browser.send("/jobs/new", page="/jobs/new", data=form | {"do": "check"})
    assert (checked.status_code, "This fits" in checked.text) == (200, True)
    assert world.get("/v1/jobs")["data"] == []
    sent = browser.send("/jobs/new", page="/jobs/new", data=form | {"do": "run"})
    job = world.get("/v1" + sent.headers["Location"])
    assert (job["name"], job["seed"]) == ("by a form", 7)
    assert (job["method"]["epochs"], job["method"]["labels_per_class"]) == (3, 1)
    shown = browser.send("/jobs/new", page="/jobs/new", data=form | {"method": "adabn", "do": "show"})
    assert (shown.status_code, 'name="method.prior"' in shown.text, "by a form" in shown.text) == (200, True, True)
    own = {"method.optimizer": "sgd", "method.learning_rate": "0.02", "method.guard": "true", "method.stages": "2"}
    sent = browser.send("/jobs/new", page="/jobs/new", data=form | own | {"do": "run"})
    method = world.get("/v1" + sent.headers["Location"])["method"]
    assert [method[name.removeprefix("method.")] for name in own] == ["sgd", 0.02, True, 2]
    refused = browser.send("/jobs/new", page="/jobs/new", data=form | {"method.learning_rate": "fast", "do": "run"})
    assert (refused.status_code, "is a number, not &#39;fast&#39;" in refused.text) == (422, True)
    odd = ("nan", "1e999", "inf"), ("NaN", '{"a": "\\ud800"}', "[" * 50_000)
    for field in [{"method.learning_rate": one} for one in odd[0]] + [{"more": one} for one in odd[1]]:
        refused = browser.send("/jobs/new", page="/jobs/new", data=form | field | {"do": "run"})
        assert (refused.status_code, "by a form" in refused.text) == (422, True), field
    gone = browser.see("/jobs/new?checkpoint=ckpt_gone00000000&dataset=" + dataset["id"])
    assert 'value="ckpt_gone00000000" selected' in gone, "what was named is not dropped silently"
    refused = browser.send("/jobs/new", page="/jobs/new", data=form | {"seed": "-x", "do": "run"})
    assert (refused.status_code, "seed" in refused.text) == (422, True)
    for more, said in (("{", "JSON"), ("[]", "JSON object"), ('{"epochs": -1}', "epochs")):
        refused = browser.send("/jobs/new", page="/jobs/new", data=form | {"more": more, "do": "run"})
        assert (refused.status_code, said in refused.text) == (422, True), refused.text
        assert "by a form" in refused.text, "what was filled in stays"


def test_files_are_brought_by_forms(browser, world):
    sent = browser.send("/datasets", files={"file": ("my photos.zip", b"PK not really")}, data={"name": ""})
    dataset = world.get("/v1" + sent.headers["Location"])
    assert dataset["name"] == "my photos"
    assert world.get(f"/v1/files/{dataset['file']}")["bytes"] == len(b"PK not really")
    sent = browser.send("/checkpoints", files={"file": ("net.pt", b"weights")}, data={"name": "mine"})
    assert world.get("/v1" + sent.headers["Location"])["name"] == "mine"
    assert browser.send("/datasets", files={"file": ("", b"")}).status_code == 422


def test_an_image_is_tried(browser, world):
    model = world.model()["id"]
    answer = browser.send(f"/models/{model}/try", files={"image": ("it.png", png(CLASSES[0]), "image/png")})
    assert answer.status_code == 200
    assert f'<p class="big">{CLASSES[0]}</p>' in answer.text
    broken = browser.send(f"/models/{model}/try", files={"image": ("it.png", b"no image", "image/png")})
    assert (broken.status_code, 'role="alert"' in broken.text) == (422, True)


def test_what_to_try_is_asked_for(browser, world):
    world.checkpoint()
    dataset = world.dataset()
    sent = browser.send("/recommendations", page="/recommendations", data={"dataset": dataset["id"], "labels": "2"})
    asked = world.get("/v1" + sent.headers["Location"])
    assert (asked["dataset"], asked["labels"]) == (dataset["id"], 2)


def test_what_was_recommended_races(browser, world):
    checkpoint, dataset = world.checkpoint(), world.validated()
    asked = made(world.client.post("/v1/recommendations", json={"dataset": dataset["id"]}), 202)
    ready = answered(world, asked, evidence(checkpoint, 0.7, unchanged=0.5))
    page = f"/recommendations/{ready['id']}"
    assert "Let them race" in browser.see(page)
    sent = browser.send("/tournaments", page=page, data={"dataset": dataset["id"], "recommendation": ready["id"]})
    tournament = world.get("/v1" + sent.headers["Location"])
    assert tournament["recommendation"] == ready["id"]
    shown = browser.see(sent.headers["Location"])
    assert all(one["job"] in shown for one in tournament["candidates"])
    assert tournament["id"] in browser.see("/tournaments")
    assert browser.send(f"/tournaments/{tournament['id']}/cancel").status_code == 303
    assert world.get(f"/v1/tournaments/{tournament['id']}")["status"] == "cancelled"


def test_forms_come_from_pages_of_this_server(browser, world):
    """Another site's page can send the cookie along, but neither our origin nor the token."""
    job = world.queued_job()["id"]
    token = re.search(r"\?token=([0-9a-f]{64})", browser.see("/"))[1]
    for origin, params in (
        ("https://elsewhere.test", {"token": token}),
        ("null", {"token": token}),
        (None, {"token": token}),
        (browser.url, {}),
        (browser.url, {"token": "0" * 64}),
    ):
        headers = {} if origin is None else {"Origin": origin}
        refused = browser.http.post(f"/jobs/{job}/cancel", params=params, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "cross_site")
        api = browser.http.post(
            f"/v1/jobs/{job}/cancel", headers=headers | {"X-Regraft-Token": params.get("token", "")}
        )
        assert (api.status_code, api.json()["code"]) == (403, "cross_site")
    assert world.get(f"/v1/jobs/{job}")["status"] == "queued"
    allowed = browser.http.post(f"/v1/jobs/{job}/cancel", headers={"Origin": browser.url, "X-Regraft-Token": token})
    assert allowed.status_code == 200


def test_a_key_has_so_many_sessions_at_most(api, world):
    key = world.client.headers["Authorization"].removeprefix("Bearer ")
    browsers = [Browser(api.url) for _ in range(sessions.MOST + 1)]
    for browser in browsers:
        assert browser.sign_in(key).status_code == 303
    assert browsers[0].http.get("/jobs").status_code == 303, "the first is signed out"
    assert browsers[1].http.get("/jobs").status_code == 200
    assert browsers[-1].http.get("/jobs").status_code == 200
    for browser in browsers:
        browser.http.close()


def test_a_session_ends_with_its_key_and_by_its_button(api, browser, world):
    assert browser.http.get("/v1/jobs").status_code == 200, "links to downloads need no key"
    sent = browser.send("/sign-out")
    assert urlsplit(sent.headers["Location"]).path == "/sign-in"
    assert browser.http.get("/").status_code == 303

    key = made(api.root.post("/v1/keys", json={"name": "short"}), 201)
    assert browser.sign_in(key["key"]).status_code == 303
    cookie = browser.http.cookies["regraft_session"]
    assert browser.http.get("/").status_code == 200
    assert api.root.delete(f"/v1/keys/{key['id']}").status_code == 204
    assert browser.http.get("/").status_code == 303
    assert browser.http.cookies["regraft_session"] == cookie
    assert browser.http.get("/v1/jobs").status_code == 401


def test_what_is_not_theirs_is_not_there(api, browser, world):
    job, other = world.queued_job()["id"], Browser(api.url)
    assert other.sign_in(api.key(api.new_owner())).status_code == 303
    found = other.http.get(f"/jobs/{job}")
    assert (found.status_code, "There is no job" in found.text) == (404, True)
    assert other.send(f"/jobs/{job}/cancel").status_code == 404
    assert world.get(f"/v1/jobs/{job}")["status"] == "queued"
    other.http.close()


def test_a_key_that_may_not_write_brings_nothing(api, world):
    """Refused before a byte of the file is read, and with a way out."""
    browser = Browser(api.url)
    assert browser.sign_in(api.key(world.owner, "read")).status_code == 303
    assert "Bring your images" not in browser.see("/datasets")
    assert 'type="file"' not in browser.see("/datasets")
    token = re.search(r"\?token=([0-9a-f]{64})", browser.see("/"))[1]
    refused = browser.http.post("/datasets", params={"token": token}, files={"file": ("a.zip", b"x")})
    assert (refused.status_code, "Sign out" in refused.text) == (403, True)
    large = browser.http.post(
        "/sign-out", params={"token": token}, content=b"x" * 2_000_000, headers={"Origin": browser.url}
    )
    assert (large.status_code, large.json()["code"]) == (413, "too_large")
    browser.http.close()


def test_who_has_to_sign_in_first_is_brought_back(stranger, world):
    found = stranger.http.get("/jobs?status=failed")
    assert parse_qs(urlsplit(found.headers["Location"]).query)["next"] == ["/jobs?status=failed"]
    for origin in ("http://[", "https://"):
        refused = stranger.http.post("/sign-in", data={"key": "x"}, headers={"Origin": origin})
        assert (refused.status_code, refused.json()["code"]) == (403, "cross_site")


def test_the_same_by_hand_is_the_same_job(browser, world, client):
    """As a shell and Python read what stands there."""
    queued = world.queued_job(name="it's <true>", priority="low", max_seconds=50.0)
    page = html.unescape(browser.see(f"/jobs/{queued['id']}"))
    said = re.search(r"/v1/jobs --json (.*?)</pre>", page, re.DOTALL)[1]
    body = json.loads(shlex.split(said)[0])
    again = made(client.post("/v1/jobs", json=body), 202)
    for field in ("method", "dataset", "checkpoint", "name", "seed", "priority", "max_seconds"):
        assert again[field] == queued[field]
    written = re.search(r"create\(\*\*(.*?)\)\n    client", page, re.DOTALL)[1]
    assert ast.literal_eval(written) == body


def test_an_id_is_no_way_into_other_addresses(browser, world):
    world.queued_job()
    assert browser.http.get("/compare?job=../datasets").status_code == 422
    for path in ("/jobs/x%3Flimit=1", "/datasets/..%2Fjobs", "/models/x%23", "/jobs/a%20b", "/checkpoints/%00"):
        found = browser.http.get(path)
        assert found.status_code in (404, 422), path
        assert "problem" in found.headers["Content-Type"] or "There is no" in found.text


def test_a_list_goes_on_and_keeps_its_filter(browser, world):
    for _ in range(32):
        world.queued_job()
    page = browser.see("/jobs?status=queued")
    older = re.search(r'href="(\?[^"]+)" rel="next"', page)[1].replace("&amp;", "&")
    assert parse_qs(older[1:])["status"] == ["queued"]
    assert browser.see("/jobs" + older).count('href="/jobs/job_') == 2


def test_a_file_of_unknown_length_is_not_read(browser):
    token = re.search(r"\?token=([0-9a-f]{64})", browser.see("/"))[1]
    refused = browser.http.post(
        "/datasets", params={"token": token}, content=iter([b"x"]), headers={"Origin": browser.url}
    )
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")


def test_a_sweep_shows_what_was_drawn_and_is_called_off(browser, world):
    dataset, checkpoint = world.validated(), world.checkpoint()
    body = {
        "checkpoint": checkpoint["id"],
        "dataset": dataset["id"],
        "method": {"name": "fine_tune"},
    }
    space = {"method.learning_rate": {"log": [1e-4, 1e-2]}, "method.optimizer": ["sgd", "adamw"]}
    sweep = made(world.client.post("/v1/sweeps", json={"job": body, "space": space, "trials": 6}), 202)
    shown = browser.see(f"/sweeps/{sweep['id']}")
    assert "6 trials of" in shown
    assert "<code>method.learning_rate</code>" in shown
    assert f"{sweep['candidates'][0]['drawn']['method.learning_rate']:.3g}" in shown
    assert sweep["id"] in browser.see("/sweeps")
    assert f'href="/sweeps/{sweep["id"]}"' in browser.see(f"/jobs/{sweep['candidates'][0]['job']}")
    assert browser.send(f"/sweeps/{sweep['id']}/cancel").status_code == 303
    assert world.get(f"/v1/sweeps/{sweep['id']}")["status"] == "cancelled"


@pytest.fixture
def admin(api):
    return api.as_owner(api.new_owner(), "read", "write", "predict", "admin")


def test_a_key_is_made_shown_once_and_revoked(stranger, admin):
    assert stranger.sign_in(admin.headers["Authorization"].removeprefix("Bearer ")).status_code == 303
    assert 'href="/keys"' in stranger.see("/")
    form = {"name": HOSTILE, "scope": ["read", "predict"], "expires": "2031-05-01"}
    shown = stranger.send("/keys", page="/keys", data=form)
    secret = re.search(r"<pre>([^<]+)</pre>", shown.text)[1]
    assert HOSTILE not in shown.text
    with httpx.Client(base_url=stranger.url, headers={"Authorization": f"Bearer {secret}"}) as its:
        assert its.get("/v1/datasets").status_code == 200
        assert its.post("/v1/jobs", json={}).status_code == 403
        listed = stranger.see("/keys")
        assert secret not in listed
        assert HOSTILE not in listed
        made_key = next(one for one in admin.get("/v1/keys").json()["data"] if one["name"] == HOSTILE)
        assert (made_key["scopes"], made_key["expires_at"][:10]) == (["read", "predict"], "2031-05-01")
        assert stranger.send(f"/keys/{made_key['id']}/revoke", page="/keys").status_code == 303
        assert its.get("/v1/datasets").status_code == 401
    refused = stranger.send("/keys", page="/keys", data={"name": "x"})
    assert (refused.status_code, "scopes" in refused.text) == (422, True)


def test_keys_are_for_administrators(browser):
    assert 'href="/keys"' not in browser.see("/")
    assert browser.http.get("/keys").status_code == 403
    assert browser.send("/keys", data={"name": "mine", "scope": ["read"]}).status_code == 403


def test_a_browser_is_refused_by_a_page(browser, stranger):
    accept = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    lost = browser.http.get("/nowhere", headers=accept)
    assert (lost.status_code, lost.headers["Content-Type"].partition(";")[0]) == (404, "text/html")
    assert "There is nothing at" in lost.text
    stale = browser.http.post("/jobs/job_x/cancel?token=old", headers=accept | {"Origin": browser.url})
    assert (stale.status_code, "<h1>" in stale.text) == (403, True)
    assert stranger.http.get("/nowhere").json()["code"] == "not_found"
    assert stranger.http.get("/v1/nowhere", headers=accept).json()["code"] == "unauthenticated"
