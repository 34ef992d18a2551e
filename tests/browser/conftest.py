"""A real Chromium and a real stack for the dashboards; both are started once."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from services.stack.credentials import read_secret
from services.stack.places import ROOT
from tests.live.stack import Stack, running_stack

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
SCREENSHOTS = ROOT / "build" / "screenshots"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Three processes whose first command has been verified, so that the pages have something to show."""
    with running_stack(tmp_path_factory.mktemp("browser") / "stack") as running:
        running.wait_for(
            lambda: [each for each in running.commands() if each.status == "verified"],
            "a verified command",
            within_s=60,
        )
        yield running


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("there is no Chromium here: apt-get install chromium, or set CHROMIUM to one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A fresh profile, with the size of an ordinary laptop."""
    fresh = chromium.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB", timezone_id="Europe/Berlin")
    yield fresh
    fresh.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """A page that fails the test when a script of ours does."""
    opened = context.new_page()
    opened.on("pageerror", _fail)
    return opened


def _fail(error: object) -> None:
    raise AssertionError(f"a script on the page failed: {error}")


@pytest.fixture
def logged_in(page: Page, stack: Stack) -> Page:
    """The first page, as the operator."""
    page.goto(f"http://127.0.0.1:{stack.ports.enexa}/")
    if page.locator("input[type=password]").count():
        page.locator("input[type=text], input:not([type])").first.fill("operator")
        page.locator("input[type=password]").fill(read_secret(stack.places, "operator"))
        page.locator("button[type=submit], input[type=submit]").first.click()
    return page


def picture(page: Page, name: str) -> Path:
    """Keep what the page looks like, for a person to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path)
    return path
