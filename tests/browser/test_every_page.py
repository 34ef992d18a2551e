"""Every page of the navigation, for both roles, at three widths, light and dark: whole, quiet, light and accessible."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Response, expect

from services.enexa.web.navigation import NAVIGATION, existing
from tests.browser.conftest import LogIn, log_in_again
from tests.live.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

SERIOUS = {"serious", "critical"}
LOOKS = [(1280, "light", True), (390, "dark", True), (1920, "dark", False)]
"""Width, colours, and whether axe looks: it judges colours and structure, which the third look shares."""
ONLY_VIOLATIONS = {"resultTypes": ["violations"]}
BESIDE_THE_NAVIGATION = ("/what-if/sweep", "/what-if/kept", "/sites/SITE001/impact/period", "/api/amperio/dispatch")
PAGE_MAX_BYTES = 150_000
ENGINE_MS = 200_000


def paths(*, operator: bool) -> list[str]:
    return [page.path.replace("{site_id}", "SITE001") for group in existing(operator=operator) for page in group.pages]


def settled(page: Page) -> None:
    """Charts are drawn, where the page has them; a comparison that is being computed is waited for."""
    if page.locator("#simulation").count():
        page.wait_for_selector("#chart .main-svg", timeout=ENGINE_MS)
    for selector in page.evaluate("['#chart', '#power-chart'].filter((each) => document.querySelector(each))"):
        page.wait_for_selector(f"{selector} .main-svg")


@pytest.mark.parametrize(("width", "scheme", "with_axe"), LOOKS)
def test_each_page_fits_is_quiet_and_axe_finds_nothing_serious(
    stack: Stack, log_in: LogIn, problems: list[str], width: int, scheme: str, with_axe: bool
) -> None:
    page = log_in(width=width, scheme=scheme)
    found: list[str] = []
    for path in [*paths(operator=True), *BESIDE_THE_NAVIGATION]:
        answer = page.goto(f"http://127.0.0.1:{stack.ports.enexa}{path}")
        assert answer is not None
        assert answer.status == 200, path
        settled(page)
        wider = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        found += [f"{path}: {wider} px wider than the screen"] if wider > 0 else []
        violations = Axe().run(page, options=ONLY_VIOLATIONS).response["violations"] if with_axe else []
        found += [f"{path}: {each['id']}" for each in violations if each["impact"] in SERIOUS]

    assert found == []
    assert problems == []


def test_a_first_visit_loads_little_besides_the_chart_library(stack: Stack, log_in: LogIn) -> None:
    page = log_in()
    page.context.new_cdp_session(page).send("Network.setCacheDisabled", {"cacheDisabled": True})
    for path in ("/sites/SITE001/monitoring", "/sites/SITE001/plan", "/sites/SITE001/impact", "/api"):
        loaded: list[Response] = []

        def keep(response: Response, loaded: list[Response] = loaded) -> None:
            loaded.append(response)

        page.on("response", keep)
        page.goto(f"http://127.0.0.1:{stack.ports.enexa}{path}")
        settled(page)
        page.remove_listener("response", keep)
        kept = [each for each in loaded if "plotly" not in each.url and not each.url.endswith("/live")]
        sizes = {each.url: each.request.sizes()["responseBodySize"] for each in kept}
        assert sum(sizes.values()) < PAGE_MAX_BYTES, sizes


def test_the_navigation_is_the_customers_and_a_viewer_changes_nothing(stack: Stack, log_in: LogIn) -> None:
    titles = {each.title for group in NAVIGATION for each in group.pages}
    assert set(log_in().locator("#nav li a > span").all_inner_texts()) == titles

    page = log_in("viewer")
    assert page.locator("#nav a", has_text="Audit").count() == 0
    for path in [*paths(operator=False), "/what-if/kept"]:
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
    expect(page.get_by_role("status").filter(has_text="Saved as version")).to_be_visible()
    page.goto(f"http://127.0.0.1:{stack.ports.enexa}/sites/SITE001/config/versions")
    expect(page.locator("tbody tr").first).to_contain_text("grid.import_limit_kw 83.5 → 71.5")
    stack.wait_for(lambda: stack.latest().sample.grid.clearance_kw == 71.5, "71.5 kW at the station")


def test_a_day_is_edited_saved_and_offered_to_the_engine(stack: Stack, log_in: LogIn) -> None:
    page = log_in()
    page.goto(f"http://127.0.0.1:{stack.ports.enexa}/days/sessions")
    page.get_by_label("To, car 1", exact=True).fill("10")
    page.get_by_label("Name of your day").fill("early_birds")
    page.get_by_role("button", name="Save as a scenario").click()
    expect(page.get_by_role("alert")).to_contain_text("1 field needs another look")
    expect(page.get_by_label("To, car 1", exact=True)).to_have_value("10")
    expect(page.locator("td.wrong")).to_contain_text("above the charge at arrival")

    page.get_by_label("To, car 1", exact=True).fill("90")
    page.context.clear_cookies()  # the session ends while somebody types
    # Any request of the page opens the dialog, and that then keeps a pointer from the button: the script presses it.
    page.get_by_role("button", name="Save as a scenario").evaluate("button => button.click()")
    log_in_again(stack, page)
    expect(page.get_by_role("status").filter(has_text="Saved as early_birds")).to_be_visible()
    expect(page.get_by_label("To, car 1", exact=True)).to_have_value("90")
    page.goto(f"http://127.0.0.1:{stack.ports.enexa}/what-if/sweep?day=early_birds")
    expect(page.locator("select[name=day]")).to_have_value("early_birds")


def test_a_comparison_is_kept_and_a_sweep_runs_to_its_end(stack: Stack, log_in: LogIn) -> None:
    page = log_in()
    page.goto(f"http://127.0.0.1:{stack.ports.enexa}/what-if")
    page.wait_for_selector("#chart .main-svg", timeout=ENGINE_MS)
    shown = page.locator("tbody tr").first.locator("td").all_inner_texts()
    page.get_by_label("Title").fill("As it stands")
    page.get_by_role("button", name="Keep this comparison").click()
    kept = page.locator("tbody tr").filter(has_text="As it stands")
    expect(kept).to_have_count(1)
    assert shown == kept.locator("td").all_inner_texts()[1:4]

    page.goto(f"http://127.0.0.1:{stack.ports.enexa}/what-if/sweep?knob=cars_ratio&values=1+0.2")
    expect(page.locator("#sweep [data-state=done]")).to_have_count(2, timeout=ENGINE_MS)
    assert page.locator("#sweep tbody tr").first.locator("td").all_inner_texts()[:3] == shown


def test_onboarding_is_walked_to_its_end_against_the_station(stack: Stack, log_in: LogIn) -> None:
    page = log_in()
    page.goto(f"http://127.0.0.1:{stack.ports.enexa}/sites/SITE001/onboarding")
    page.get_by_label("Serial of the controller").fill("no good!")
    page.get_by_role("button", name="Walk through").click()
    expect(page.locator("label.wrong")).to_contain_text("letters, digits")
    page.get_by_label("Serial of the controller").fill("BOX-1")
    page.get_by_role("button", name="Walk through").click()

    expect(page.locator("#walk li[data-well=true]")).to_have_count(5, timeout=60_000)
    expect(page.locator("tr[data-controller]").filter(has_text="BOX-1")).to_contain_text("active")
    page.goto(f"http://127.0.0.1:{stack.ports.enexa}/audit?text=register_controller")
    expect(page.locator("tbody tr").first).to_contain_text("ok")
    page.goto(f"http://127.0.0.1:{stack.ports.enexa}/audit?text=post+/sites")
    expect(page.locator("tbody")).to_contain_text("/sites/SITE001/onboarding")
