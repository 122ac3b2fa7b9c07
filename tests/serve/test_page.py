"""The chat page in a real browser, as a person uses it; no request may leave this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from playwright.sync_api import Page, sync_playwright

from eosin.serve.app import Access, create_app
from eosin.serve.backends.in_process import InProcessBackend
from eosin.serve.chat import ChatService
from eosin.serve.evidence import EvidenceSource
from eosin.serve.examples import Example
from eosin.serve.page.cards import cases
from eosin.serve.page.client import ApiClient
from eosin.serve.page.mount import mount_page
from eosin.serve.page.settings import PageSettings

MB = 2**20
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
KEY = "s3cret"


@pytest.fixture(scope="module")
def server(kit: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    """The address of a page whose model says a word every 50 ms, and the model."""
    model = kit.EchoModel(0.05)
    backend = InProcessBackend(lambda: model)
    app = create_app(ChatService("tiny", backend, EvidenceSource(kit.ColourEmbedder(), kit.ColourIndex())), Access(KEY, 25 * MB))
    examples = [Example(kit.picture((10, 200, 10)), "GREEN", "Is it green?"), Example(kit.picture((10, 10, 200)), "BLUE")]
    port = kit.free_port()
    client = ApiClient(f"http://127.0.0.1:{port}", KEY)
    mount_page(app, PageSettings(client, "tiny", True, examples, tmp_path_factory.mktemp("page"), 18 * MB))
    with kit.serving(app, backend, port) as url:
        yield url, model


@pytest.fixture(scope="module")
def browser_page(server: tuple[str, Any]) -> Iterator[Page]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "the browser test needs Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=FLAGS)
        context = browser.new_context(viewport={"width": 1280, "height": 1000}, http_credentials={"username": "me", "password": KEY})
        yield context.new_page()
        browser.close()


@pytest.fixture
def page(server: tuple[str, Any], browser_page: Page) -> Iterator[Page]:
    """The opened page; at the end, every request it made was to this machine, and its policy blocked none."""
    url, model = server
    model.forget()
    addresses: list[str] = []
    complaints: list[str] = []

    def note_address(request: Any) -> None:
        addresses.append(request.url)

    def note_complaint(message: Any) -> None:
        if "Content Security Policy" in message.text:
            complaints.append(message.text)

    browser_page.on("request", note_address)
    browser_page.on("console", note_complaint)
    browser_page.goto(f"{url}/ui/")
    browser_page.wait_for_selector("#ask")
    yield browser_page
    browser_page.remove_listener("request", note_address)
    browser_page.remove_listener("console", note_complaint)
    assert addresses
    assert {urlsplit(address).hostname for address in addresses if urlsplit(address).scheme not in ("data", "blob")} == {"127.0.0.1"}
    assert complaints == []


def last_answer(page: Page) -> str:
    found = page.locator("#log .bot.message")
    return found.last.inner_text() if found.count() else ""


def wait_for_answer(page: Page, words: str) -> list[str]:
    """The different states the answer went through until it held `words`."""
    seen: list[str] = []
    for _ in range(400):
        text = last_answer(page)
        if not seen or seen[-1] != text:
            seen.append(text)
        if words in text:
            return seen
        page.wait_for_timeout(25)
    raise AssertionError(f"the answer never held {words!r}: {seen[-3:]}")


def test_upload_ask_and_see_a_streamed_answer_with_similar_cases(page: Page, kit: Any, tmp_path: Path) -> None:
    tile = tmp_path / "tile.png"
    tile.write_bytes(kit.picture((0, 180, 20)))
    page.set_input_files("#tile input[type=file]", tile)
    page.wait_for_selector("#tile img")
    page.fill("#question textarea", "What tissue is this?")
    page.click("#ask")
    states = wait_for_answer(page, "What tissue is this? Images: [66]")
    assert len(states) >= 4
    assert states[-1].startswith(states[-3].rstrip("…")[:20])
    page.wait_for_selector("#cases img")
    shown = page.locator("#cases li").all_inner_texts()
    assert len(shown) == 3
    for words in ("1. green", "similarity 0.99", "toy · patient-1 · CC0-1.0"):
        assert words in shown[0]


def test_an_example_brings_its_tile_and_question(page: Page, server: tuple[str, Any]) -> None:
    page.locator("#examples button.thumbnail-item, #examples .thumbnail-item").first.click()
    page.wait_for_selector("#tile img")
    page.wait_for_function("document.querySelector('#question textarea').value === 'Is it green?'")
    page.uncheck("#evidence input")
    page.press("#question textarea", "Enter")
    wait_for_answer(page, "You asked: Is it green? Images: [73]")
    assert "Similar cases" not in server[1].chats[-1].messages[-1].text


def test_text_that_calls_itself_an_image_gets_a_clear_error(page: Page, tmp_path: Path) -> None:
    fake = tmp_path / "notes.png"
    fake.write_text("this is no picture")
    page.set_input_files("#tile input[type=file]", fake)
    page.wait_for_timeout(500)
    page.fill("#question textarea", "What is it?")
    page.click("#ask")
    wait_for_answer(page, "unknown_format")
    assert page.input_value("#question textarea") == "What is it?"


def test_a_file_of_50_mb_gets_a_clear_error_and_the_page_goes_on(page: Page, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(np.random.default_rng(0).bytes(50 * MB))
    page.set_input_files("#tile input[type=file]", large)
    page.wait_for_selector("text=/maximum allowed size|too (big|large)|exceeds/i")
    page.reload()
    page.wait_for_selector("#ask")
    page.fill("#question textarea", "Still there?")
    page.click("#ask")
    wait_for_answer(page, "Still there? Images: []")


def test_stop_ends_the_generation(page: Page, server: tuple[str, Any]) -> None:
    page.fill("#question textarea", "word " * 300)
    page.click("#ask")
    wait_for_answer(page, "word")
    page.click("#stop")
    assert server[1].cancelled.wait(10)


def test_the_page_can_be_read_aloud(page: Page) -> None:
    assert page.locator("h1").all_inner_texts() == ["Eosin"]
    assert "research only" in page.get_by_role("note").inner_text()
    for label in ("Question", "Use similar cases"):
        assert page.get_by_label(label).first.is_visible()
    assert page.locator("html").get_attribute("lang")


def test_uploads_over_the_limit_and_without_the_key_are_refused_at_the_route(server: tuple[str, Any]) -> None:
    url, auth = f"{server[0]}/ui/gradio_api/upload", ("me", KEY)
    with httpx.Client(verify=False, timeout=30) as client:
        assert client.post(url, files={"files": b"x"}).status_code == 401
        assert client.get(f"{server[0]}/ui/config").status_code == 401
        assert client.post(url, files={"files": b"x" * (50 * MB)}, auth=auth).status_code == 413
        assert client.post(url, files={"files": b"x" * (20 * MB)}, auth=auth).status_code == 413
        assert client.post(url, files={"files": b"x"}, auth=auth).status_code == 200


def test_cards_show_no_foreign_picture_and_no_foreign_markup() -> None:
    case = {
        "label": "<script>alert(1)</script>",
        "score": 0.5,
        "source": "s",
        "group": "g",
        "licence": "l",
        "thumbnail": "http://x.org/a.png",
    }
    html = cases([case])
    assert "<script" not in html
    assert "x.org" not in html
