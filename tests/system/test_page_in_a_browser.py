"""The page in a real Chromium with a real worker: a person's way from images to a model that is tried."""

import contextlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import axe_core_python
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sklearn.datasets import load_digits

from tests import digits
from tests.services import Service

AXE = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text()
SOON_MS = 120_000  # for what a worker does on a machine that much else runs on
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 760}

pytestmark = [pytest.mark.timeout(900)]
expect.set_options(timeout=SOON_MS)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("Chromium is not installed here: see .ci/run")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])  # tests may run as root
        yield browser
        browser.close()


@contextlib.contextmanager
def visiting(browser: Browser, service: Service, **options: object) -> Iterator[Page]:
    """A signed-in page, that says nothing wrong on its console."""
    context = browser.new_context(viewport=WIDE, **options)
    page, said = context.new_page(), []
    page.set_default_timeout(SOON_MS)
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(service.url)
    expect(page.get_by_label("Your key")).to_be_focused()  # without a click, though not before the page is laid out
    page.keyboard.type(service.client_key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    yield page
    assert said == []
    context.close()


def flaws(page: Page) -> list[str]:
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']})")
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found["violations"]]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits.optdigits_folders(tmp_path_factory.mktemp("digits") / "my digits.zip", 30)


def test_from_images_to_a_model_that_is_tried(
    chromium: Browser, service: Service, digits_model: str, photographs: Path
) -> None:
    """By what stands on the page alone, live, and without a reload by hand."""
    with visiting(chromium, service) as page:
        page.get_by_role("link", name="Bring your images").click()
        page.get_by_label("An archive of folders").set_input_files(photographs)
        page.get_by_role("button", name="Make a dataset").click()
        expect(page.get_by_role("heading", name="my digits")).to_be_visible()
        expect(page.locator(".status.ready")).to_be_visible()
        expect(page.locator(".samples img").first).to_be_visible()

        page.get_by_role("link", name="New job on it").click()
        page.get_by_label("The network that it starts from").select_option(digits_model)
        page.get_by_label("Method", exact=True).select_option("linear_probe")
        page.get_by_label("Labels of each class").fill("5")
        page.get_by_role("button", name="Check it").click()
        expect(page.get_by_role("status")).to_contain_text("This fits")
        page.get_by_role("button", name="Run it").click()
        expect(page.locator(".status.succeeded")).to_be_visible()
        expect(page.get_by_text("Did it help?")).to_be_visible()
        expect(page.locator(".forest .adapted")).to_be_visible()

        page.get_by_role("link", name="The model").click()
        eight = Image.fromarray(np.uint8(load_digits().images[8] * 15.9))
        buffer = io.BytesIO()
        eight.save(buffer, "PNG")
        page.get_by_label("An image").set_input_files(
            {"name": "8.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
        )
        page.get_by_role("button", name="What is it?").click()
        expect(page.locator(".big")).to_have_text("8")


def test_every_page_is_open_to_everybody(chromium: Browser, service: Service, digits_model: str) -> None:
    """WCAG by axe-core, light and dark, on a desk and on a phone, where nothing is cut off."""
    client = service.client
    model = client.models.get(digits_model)
    asked = client.recommendations.create(dataset=model.dataset, checkpoints=[digits_model], labels=5)
    client.recommendations.wait(asked.id, timeout_s=240)
    paths = ["/", "/jobs", f"/jobs/{model.job}", "/jobs/new", "/datasets", f"/datasets/{model.dataset}", "/checkpoints"]
    paths += ["/models", f"/models/{digits_model}", "/recommendations", f"/recommendations/{asked.id}"]
    paths += [f"/compare?job={model.job}", "/tournaments", "/sweeps", "/keys", "/sign-in"]
    for scheme in ("light", "dark"):
        with visiting(chromium, service, color_scheme=scheme) as page:
            for path in paths:
                page.goto(service.url + path)
                assert flaws(page) == [], (scheme, path)
                page.set_viewport_size(NARROW)
                assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], path
                page.set_viewport_size(WIDE)


def test_it_reads_without_scripts(chromium: Browser, service: Service, digits_model: str) -> None:
    with visiting(chromium, service, java_script_enabled=False) as page:
        page.get_by_role("link", name="Models", exact=True).click()
        page.get_by_role("link", name=digits_model).click()
        expect(page.get_by_text("Did it help?")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_a_page_is_light_and_comes_from_here(chromium: Browser, service: Service, digits_model: str) -> None:
    job = service.client.models.get(digits_model).job
    with visiting(chromium, service) as page:
        asked: list[tuple[str, int]] = []
        page.on("response", lambda answer: asked.append((answer.url, len(answer.body()))))
        for path in ("/", "/jobs", f"/jobs/{job}", f"/models/{digits_model}"):
            asked.clear()
            page.goto(service.url + path, wait_until="networkidle")
            assert all(url.startswith((service.url, "data:")) for url, _ in asked)
            assert len(asked) <= 12
            assert sum(size for _, size in asked) <= 150_000
