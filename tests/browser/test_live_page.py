"""Site Monitoring in a real browser: what it shows is what the API says, and it heals without a reload."""

import re

import pytest
from playwright.sync_api import Page, expect

from shared.contract.operations import GET_IMPACT
from shared.contract.reads import Impact
from tests.browser.conftest import LogIn, log_in_again
from tests.live.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

VERDICT_MS = 200_000
"""Longer than the last check of a drill may take at the stack's speed."""


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

    def agrees() -> bool:
        """Page and API are read one after the other, and the site goes on meanwhile: they agree when it is calm."""
        sample = stack.latest().sample
        shown = {name: number(page, f"[data-node={name}] .kw") for name in ("grid", "string1", "string2", "own")}
        pairs = [(shown["grid"], abs((sample.grid.import_kw or 0.0) - (sample.grid.export_kw or 0.0)), 1.0)]
        for index, unit in enumerate(sample.battery.units, start=1):
            assert unit.power_kw is not None
            assert unit.soc_pct is not None
            pairs.append((shown[f"string{index}"], abs(unit.power_kw), 1.0))
            pairs.append((number(page, f"[data-node=string{index}] .soc"), unit.soc_pct, 0.3))
        return all(abs(seen - said) <= near for seen, said, near in pairs)

    stack.wait_for(agrees, "page and API agree on every flow")
    expect(page.locator("#mode")).to_have_text(str(stack.latest().sample.station.mode).replace("_", " "))
    expect(page.locator("#balance")).to_contain_text("closes")
    assert problems == []


def test_the_price_and_the_plan_are_those_of_the_schedule_in_force(stack: Stack, log_in: LogIn) -> None:
    page = log_in()
    page.wait_for_selector("#price-sub .zone")

    def agrees() -> bool:
        """A new plan may come into force between the two looks."""
        schedule = stack.schedule()
        prices = {f"{slot.price_eur_per_mwh:,.1f}".replace("-", "−") for slot in schedule.slots[:2]}
        told = page.locator("#plan-why").inner_text()
        return page.locator("#price").inner_text() in prices and f"Plan {schedule.version}" in told

    stack.wait_for(agrees, "the page shows price and plan of the schedule in force")


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

    assert 3 <= page.evaluate(watched) <= 8
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
    log_in_again(stack, page)
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


def test_impact_equals_the_settlement_to_the_cent(stack: Stack, log_in: LogIn) -> None:
    page = log_in()
    page.goto(f"http://127.0.0.1:{stack.ports.enexa}/sites/SITE001/impact")
    period = {name: page.locator("#impact").get_attribute(f"data-{name}") or "" for name in ("from", "until")}
    since, until = (text.replace("+00:00", "Z") for text in period.values())
    settled = stack.ask(GET_IMPACT, Impact, **{"from": since, "to": until})
    shown = {name: number(page, f"#{name}") for name in ("flat", "dynamic", "wear", "export", "net-saving")}

    assert shown["flat"] == settled.flat_tariff_cost_eur
    assert shown["wear"] == settled.wear_eur
    assert round(shown["dynamic"] - shown["export"], 2) == settled.cost_eur
    assert round(shown["flat"] - shown["dynamic"] - shown["wear"], 2) == shown["net-saving"]
    assert settled.energy.import_kwh > 0.0


DEVICE_DRILLS = ("amperio_cannot_reach_chargepost", "nobody_beats_the_watchdog")
LINK_DRILLS = ("enexa_cannot_reach_amperio", "amperio_cannot_reach_enexa", "enexa_comes_back")


def test_each_button_of_the_exception_page_produces_its_verdict(stack: Stack, log_in: LogIn) -> None:
    page = log_in()
    page.wait_for_selector("#age:has-text('Live')")
    page.goto(f"http://127.0.0.1:{stack.ports.enexa}/sites/SITE001/exceptions")
    buttons = page.get_by_role("button", name="Make it happen")
    assert buttons.count() == len(DEVICE_DRILLS + LINK_DRILLS)

    for together in (DEVICE_DRILLS, LINK_DRILLS):
        for key in together:
            with page.expect_navigation():
                page.locator(f"#{key}").get_by_role("button", name="Make it happen").click()
            expect(page.locator(f"#{key} .verdict")).to_have_text("Being judged")
        for key in together:
            verdict = page.locator(f"#{key} .verdict")
            expect(verdict).not_to_have_text("Being judged", timeout=VERDICT_MS)
            assert verdict.inner_text() == "Passed", page.locator(f"#{key} .drill").inner_text()
    expect(page.locator(".lifeline li.done")).to_have_count(4)
