"""Site Monitoring in a real browser: what it shows is what the API says, and it heals without a reload."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import LogIn, secret
from tests.live.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def number(page: Page, selector: str) -> float:
    """The number in an element as an English reader writes it."""
    found = re.search(r"[−-]?[\d,]*\.?\d+", page.locator(selector).first.inner_text())
    assert found, page.locator(selector).first.inner_text()
    return float(found.group().replace("−", "-").replace(",", ""))


def test_a_wrong_password_stays_outside_and_keeps_the_name(stack: Stack, log_in: LogIn, problems: list[str]) -> None:
    page = log_in()
    page.context.clear_cookies()
    page.goto(f"http://127.0.0.1:{stack.ports.enexa}/login")
    problems.clear()
    page.get_by_label("Name").first.fill("operator")
    page.get_by_label("Password").first.fill("wrong")
    page.get_by_role("button", name="Log in").first.click()

    expect(page.get_by_role("alert")).to_contain_text("do not belong together")
    expect(page.get_by_label("Name").first).to_have_value("operator")


def test_the_live_page_shows_what_the_api_says(stack: Stack, log_in: LogIn, problems: list[str]) -> None:
    page = log_in()
    page.wait_for_selector("#age:has-text('Live')")
    sample = stack.latest().sample
    shown = {name: number(page, f"[data-node={name}] .kw") for name in ("grid", "string1", "string2", "own")}

    assert sample.grid.import_kw is not None
    assert shown["grid"] == pytest.approx(sample.grid.import_kw, abs=3.0)
    for index, unit in enumerate(sample.battery.units, start=1):
        assert unit.power_kw is not None
        assert shown[f"string{index}"] == pytest.approx(abs(unit.power_kw), abs=3.0)
        assert number(page, f"[data-node=string{index}] .soc") == pytest.approx(unit.soc_pct, abs=0.6)
    assert page.locator("#mode").inner_text() == sample.station.mode
    assert "closes" in page.locator("#balance").inner_text()
    assert problems == []


def test_the_price_and_the_plan_are_those_of_the_schedule_in_force(stack: Stack, log_in: LogIn) -> None:
    page = log_in()
    page.wait_for_selector("#price-sub .zone")
    prices = {f"{slot.price_eur_per_mwh:,.1f}".replace("-", "−") for slot in stack.schedule().slots[:2]}

    assert page.locator("#price").inner_text() in prices
    assert f"Plan {stack.schedule().version}" in page.locator("#plan-why").inner_text()


def test_the_verified_setpoint_is_in_the_dispatch_log(stack: Stack, log_in: LogIn) -> None:
    page = log_in()
    command = stack.verified()[0]
    page.goto(f"http://127.0.0.1:{stack.ports.enexa}/sites/SITE001/dispatch-log?text={command.command_id}")
    line = page.locator(f"tr[data-command='{command.command_id}']")

    expect(line).to_have_attribute("data-status", "verified")
    expect(line.locator(".life li.done")).to_have_count(5)
    line.get_by_role("link").click()
    expect(page.locator(".lifeline li.done")).to_have_count(5)


def test_frames_arrive_each_second_and_the_chart_is_drawn(log_in: LogIn, problems: list[str]) -> None:
    page = log_in()
    page.wait_for_selector("#chart .main-svg")
    watched = """() => new Promise((resolve) => {
        let count = 0;
        const source = new EventSource(`${location.pathname.replace('monitoring', 'live')}`);
        source.addEventListener('frame', () => { count += 1; });
        setTimeout(() => { source.close(); resolve(count); }, 5500);
    })"""

    assert 4 <= page.evaluate(watched) <= 7
    assert page.locator("#chart .scatterlayer .trace").count() >= 3
    assert problems == []


def test_a_killed_server_is_told_and_healed_without_a_reload(stack: Stack, log_in: LogIn) -> None:
    page = log_in()
    page.wait_for_selector("#age:has-text('Live')")
    page.evaluate("window.neverReloaded = true")
    stack.kill("enexa")

    expect(page.locator("#banner")).to_contain_text("does not answer")
    page.wait_for_selector("#live[data-connection=live]", timeout=60_000)
    page.wait_for_selector("#age:has-text('Live')", timeout=60_000)
    assert page.evaluate("window.neverReloaded") is True
    assert page.locator("#relogin[open]").count() == 0


def test_a_lost_session_asks_for_the_password_in_place(stack: Stack, log_in: LogIn) -> None:
    page = log_in()
    page.wait_for_selector("#chart .main-svg")
    page.evaluate("window.neverReloaded = true")
    page.context.clear_cookies()
    # Any request of the page opens the dialog, and that then keeps a pointer from the button: the script presses it.
    page.get_by_role("button", name="1 h").evaluate("button => button.click()")
    dialog = page.locator("#relogin")

    expect(dialog).to_be_visible()
    dialog.get_by_label("Password").fill(secret(stack, "operator"))
    dialog.get_by_role("button", name="Log in").click()
    expect(dialog).to_be_hidden()
    page.wait_for_selector("#age:has-text('Live')")
    assert page.evaluate("window.neverReloaded") is True


def test_german_readers_see_german_numbers(log_in: LogIn) -> None:
    page = log_in(locale="de-DE")
    page.wait_for_selector("[data-node=grid] .kw")

    assert re.search(r"\d,\d", page.locator("[data-node=string1] .soc").inner_text())
    assert re.match(r"\d\d\.\d\d\.\d{4} \d\d:\d\d:\d\d", page.locator("#clock").inner_text())
    assert page.locator("#clock").get_attribute("title") is not None


def test_the_first_key_skips_to_the_content(log_in: LogIn) -> None:
    page = log_in()
    page.keyboard.press("Tab")

    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main"
