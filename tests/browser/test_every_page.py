"""Every page of the navigation, for both roles, at three widths, light and dark: whole, quiet and accessible."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from services.enexa.web.navigation import NAVIGATION, existing, missing
from tests.browser.conftest import LogIn
from tests.live.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

SERIOUS = {"serious", "critical"}
LOOKS = [(1280, "light"), (390, "dark"), (1920, "dark"), (390, "light")]


def paths(*, operator: bool) -> list[str]:
    return [page.path.replace("{site_id}", "SITE001") for group in existing(operator=operator) for page in group.pages]


def settled(page: Page) -> None:
    """Charts are drawn, where the page has them; a comparison that is being computed is waited for."""
    if page.locator("#simulation").count():
        page.wait_for_selector("#chart .main-svg", timeout=90_000)
    for selector in page.evaluate("['#chart', '#power-chart'].filter((each) => document.querySelector(each))"):
        page.wait_for_selector(f"{selector} .main-svg")


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_each_page_fits_is_quiet_and_axe_finds_nothing_serious(
    stack: Stack, log_in: LogIn, problems: list[str], width: int, scheme: str
) -> None:
    page = log_in(width=width, scheme=scheme)
    found: list[str] = []
    for path in [*paths(operator=True), "/not-yet"]:
        answer = page.goto(f"http://127.0.0.1:{stack.ports.enexa}{path}")
        assert answer is not None
        assert answer.status == 200, path
        settled(page)
        wider = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        found += [f"{path}: {wider} px wider than the screen"] if wider > 0 else []
        violations = Axe().run(page).response["violations"]
        found += [f"{path}: {each['id']}" for each in violations if each["impact"] in SERIOUS]

    assert found == []
    assert problems == []


def test_the_navigation_shows_what_works_and_only_that(log_in: LogIn) -> None:
    page = log_in()
    shown = page.locator("#nav li a > span").all_inner_texts()
    waiting = {each.title for each in missing()}

    assert set(shown) == {each.title for group in NAVIGATION for each in group.pages} - waiting
    page.get_by_role("link", name="pages are not there yet").click()
    for title in waiting:
        expect(page.get_by_role("cell", name=title, exact=True)).to_be_visible()


def test_a_viewer_reads_everything_and_changes_nothing(stack: Stack, log_in: LogIn) -> None:
    page = log_in("viewer")

    assert page.locator("#nav a", has_text="Audit").count() == 0
    for path in paths(operator=False):
        answer = page.goto(f"http://127.0.0.1:{stack.ports.enexa}{path}")
        assert answer is not None
        assert answer.status == 200, path
        assert page.locator("main form[method=post] button:enabled").count() == 0, path
        assert page.locator("main form[method=post] input:enabled:not([type=hidden])").count() == 0, path


def test_an_operator_changes_a_limit_and_the_middleware_applies_it(stack: Stack, log_in: LogIn) -> None:
    page = log_in()
    page.goto(f"http://127.0.0.1:{stack.ports.enexa}/sites/SITE001/config/location")
    page.get_by_label("Import limit").fill("1000")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("nothing was saved")
    expect(page.get_by_label("Import limit")).to_have_value("1000")

    page.get_by_label("Import limit").fill("71.5")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Saved as version")
    page.goto(f"http://127.0.0.1:{stack.ports.enexa}/sites/SITE001/config/versions")
    expect(page.locator("tbody tr").first).to_contain_text("grid.import_limit_kw 83.5 → 71.5")
    stack.wait_for(lambda: stack.latest().sample.grid.clearance_kw == 71.5, "71.5 kW at the station", within_s=60)
