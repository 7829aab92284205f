"""`/docs` in a real browser: the manual works without internet, and its examples run from it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request

from app.demo.demo import DEMO_MODEL
from tests.browser import browser
from tests.server import Server, scenario


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A running browser."""
    with browser() as running:
        yield running


@pytest.fixture
def complaints() -> list[str]:
    """What the page complained of on its console; empty at the end of every test."""
    return []


@pytest.fixture
def page(chromium: Browser, server: Server, complaints: list[str]) -> Iterator[Page]:
    """The page, loaded; at the end it must have asked no host but Kerf's for anything."""
    requests: list[Request] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(20_000)
    page.on("request", lambda request: requests.append(request))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", note)
    page.goto(f"{server.url}/docs")
    page.locator(".opblock").first.wait_for()
    yield page
    page.close()
    assert {urlsplit(request.url).hostname for request in requests if _leaves(request)} == {
        "127.0.0.1"
    }
    assert complaints == []


def _leaves(request: Request) -> bool:
    return urlsplit(request.url).scheme not in ("data", "blob")


def _open(page: Page, operation: str) -> Any:
    """An operation of the page, unfolded and ready to be tried."""
    block = page.locator(f"#operations-{operation}")
    if not block.locator(".execute").count():
        block.locator(".opblock-summary-control").click()
    block.locator(".execute").wait_for()
    return block


def _execute(block: Any) -> tuple[int, Any]:
    """Press Execute; the status and the body that the page shows."""
    block.locator(".execute").click()
    shown = block.locator(".live-responses-table tbody tr.response")
    shown.wait_for()
    status = int(shown.locator(".response-col_status").inner_text().split()[0])
    return status, json.loads(shown.locator(".highlight-code code").first.inner_text())


def test_page_shows_every_route(page: Page) -> None:
    """The page lists every route of the document, under headings, with what each is for."""
    shown = page.locator(".opblock-summary-path").all_inner_texts()
    paths = [text.replace("\u200b", "") for text in shown]
    assert sorted(set(paths)) == [
        "/healthz",
        "/keys",
        "/keys/{key_id}",
        "/link/probe",
        "/metrics",
        "/models",
        "/models/{model_id}",
        "/models/{model_id}/blocks",
        "/models/{model_id}/cuts",
        "/models/{model_id}/graph",
        "/presets",
        "/profiles",
        "/profiles/{profile_id}",
        "/readyz",
        "/split",
        "/split/batch",
        "/splits",
        "/splits/{split_id}",
        "/splits/{split_id}/device.onnx",
        "/splits/{split_id}/server.onnx",
    ]
    assert page.locator(".opblock-tag").count() == 5
    assert all(page.locator(".opblock-summary-description").all_inner_texts())


def test_prefilled_split_runs(page: Page, demo_model: dict[str, Any], tmp_path: Path) -> None:
    """With the demo model uploaded, Execute on POST /split sends the example that stands there and
    shows the answer: 200, an optimal cut of that model."""
    block = _open(page, "splits-split")
    sent = json.loads(block.locator("textarea.body-param__text").input_value())
    assert set(sent) > set(scenario(""))
    status, answer = _execute(block)
    block.screenshot(path=tmp_path / "split.png")
    assert status == 200
    assert answer["model_id"] == demo_model["id"] == sent["model_id"]
    assert answer["optimal"] is True


def test_upload_from_the_page(page: Page, demo_model: dict[str, Any]) -> None:
    """A model can be uploaded from the page by choosing its file."""
    block = _open(page, "models-upload_model")
    block.locator("input[type=file]").set_input_files(DEMO_MODEL)
    status, answer = _execute(block)
    assert status in (200, 201)
    assert answer == demo_model


def test_page_shows_problems(page: Page, complaints: list[str]) -> None:
    """A wrong request is answered on the page with the problem and what is wrong."""
    block = _open(page, "models-get_model")
    block.locator("tr[data-param-name=model_id] input").fill("no-such-model")
    status, answer = _execute(block)
    assert status == 404
    assert "no-such-model" in answer["detail"]
    assert "404" in complaints.pop()


def test_fields_are_explained_on_the_page(page: Page) -> None:
    """The schema beside an example shows each field with its description and unit."""
    block = _open(page, "splits-split")
    schema = block.locator(".opblock-section-request-body")
    schema.get_by_text("Schema", exact=True).click()
    schema.get_by_text("Samples per batch").wait_for()
    text = schema.inner_text()
    assert "Bandwidth from device to server, in bits per second." in text
    assert "backward FLOPs over forward FLOPs" in text
