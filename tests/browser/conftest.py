"""One stack and one Chromium for all browser tests; without a Chromium they are skipped and say so."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.live.stack import Stack, running_stack

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WAIT_MS = 30_000
SPEED = 4
"""A minute of silence takes fifteen seconds; a machine that stumbles for a second does not yet trip the watchdog."""

LogIn = Callable[..., Page]


def chromium() -> str | None:
    """The browser to drive: CHROMIUM, else one that is installed."""
    named = os.environ.get("CHROMIUM")
    return named or shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    expect.set_options(timeout=WAIT_MS)
    if chromium() is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium; or name one in CHROMIUM)")
    with running_stack(tmp_path_factory.mktemp("browser") / "stack", f"SPEED={SPEED}") as running:
        running.wait_for(running.verified, "a verified setpoint")
        yield running


@pytest.fixture(scope="session")
def browser(stack: Stack) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        yield launched
        launched.close()


@pytest.fixture
def problems() -> list[str]:
    """What the browser complained of; a test that expects none looks here in the end."""
    return []


@pytest.fixture
def log_in(stack: Stack, browser: Browser, problems: list[str]) -> Iterator[LogIn]:
    """Opens a fresh browser context, logged in as `role`, and leaves it on the first page."""
    opened = []

    def open_as(role: str = "operator", *, width: int = 1280, scheme: str = "light", locale: str = "en-GB") -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 844 if width < 500 else 900},
            color_scheme="dark" if scheme == "dark" else "light",
            locale=locale,
        )
        opened.append(context)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.on("console", lambda message: problems.extend(_complaint(message)))
        page.on("pageerror", lambda error: problems.append(f"{page.url}: {error}"))
        page.on("requestfailed", lambda request: problems.extend(_failure(request)))
        page.goto(f"http://127.0.0.1:{stack.ports.enexa}/")
        page.get_by_label("Name").first.fill(role)
        page.get_by_label("Password").first.fill(secret(stack, role))
        page.get_by_role("button", name="Log in").first.click()
        page.wait_for_selector("#live")
        return page

    yield open_as
    for context in opened:
        context.close()


def secret(stack: Stack, role: str) -> str:
    return Path(stack.places.directory, "secrets", role).read_text(encoding="utf-8").strip()


def log_in_again(stack: Stack, page: Page) -> None:
    """Answer the dialog that a page opens once its session has ended, as soon as it is there."""
    dialog = page.locator("#relogin")
    expect(dialog).to_be_visible(timeout=WAIT_MS)
    dialog.get_by_label("Password").fill(secret(stack, "operator"))
    dialog.get_by_role("button", name="Log in").click()
    expect(dialog).to_be_hidden(timeout=WAIT_MS)


def _complaint(message: ConsoleMessage) -> list[str]:
    return [f"{message.location.get('url', '')}: {message.text}"] if message.type in ("error", "warning") else []


def _failure(request: Request) -> list[str]:
    """A stream that ends because its page is left is no failure."""
    aborted = request.failure == "net::ERR_ABORTED"
    return [] if aborted else [f"{request.url}: {request.failure}"]
