"""The pages over their real store: who may see and change what, and what every answer carries."""

import csv
import re
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from httpx import ASGITransport, AsyncClient

from services.enexa.dispatching.reconcile import ORDER, Metrics, ReconcileStep, ReconcileView
from services.enexa.web.guard import safe_next
from services.enexa.web.navigation import existing
from shared.contract.config import SiteConfig
from shared.contract.operations import OPERATIONS
from tests.unit.enexa.web.desk import NOW, SECRETS, SITE, World, world

HTML = {"accept": "text/html"}
SHOWN = existing(operator=True, without=frozenset({"not_modelled"}))
PATHS = sorted(page.path.replace("{site_id}", SITE) for group in SHOWN for page in group.pages)
ALL_PATHS = [*PATHS, f"/sites/{SITE}/commands/abcdef0123456789"]


def browser(desk: World, scheme: str) -> AsyncClient:
    """Calls the app in this very loop, where its store lives."""
    app = cast("Any", desk.app)  # the same ASGI, spelt in another library's types
    return AsyncClient(transport=ASGITransport(app), base_url=f"{scheme}://127.0.0.1", follow_redirects=True)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.fixture
async def client(desk: World) -> AsyncIterator[AsyncClient]:
    async with browser(desk, "http") as made:
        yield made


def in_force(desk: World) -> SiteConfig:
    config = desk.board.site(SITE).config
    assert config is not None
    return config


async def log_in(client: AsyncClient, name: str = "operator") -> str:
    """The session's CSRF token."""
    form = {"name": name, "password": SECRETS[name], "next": "/"}
    answer = await client.post("/login", data=form, headers=HTML, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    who = await client.get("/session")
    return str(who.json()["csrf"])


async def test_nothing_is_shown_before_the_log_in(client: AsyncClient) -> None:
    for path in [*ALL_PATHS, "/"]:
        page = await client.get(path, headers=HTML, follow_redirects=False)
        data = await client.get(path)
        assert (page.status_code, data.status_code) == (303, 401), path
        assert page.headers["location"].startswith("/login?next=")
        assert data.json()["code"] == "unauthenticated"
    for path in (f"/sites/{SITE}/live", f"/sites/{SITE}/chart", f"/sites/{SITE}/dispatch-log.csv", "/session"):
        assert (await client.get(path)).status_code == 401


async def test_a_wrong_password_is_told_and_the_name_is_kept(client: AsyncClient) -> None:
    answer = await client.post("/login", data={"name": "operator", "password": "no", "next": "/"}, headers=HTML)

    assert answer.status_code == 401
    assert 'value="operator"' in answer.text
    assert "do not belong together" in answer.text
    assert "set-cookie" not in answer.headers


async def test_guessing_passwords_is_slowed_down(client: AsyncClient) -> None:
    codes = [(await client.post("/login", data={"name": "operator", "password": "no"})).status_code for _ in range(25)]

    assert codes[:20] == [401] * 20
    assert codes[20:] == [429] * 5


async def test_the_session_cookie_is_kept_from_scripts_and_other_sites(desk: World) -> None:
    for scheme, name in (("http", "enexa_local"), ("https", "__Host-enexa")):
        async with browser(desk, scheme) as client:
            form = {"name": "viewer", "password": SECRETS["viewer"]}
            cookie = (await client.post("/login", data=form)).headers["set-cookie"].lower()
            assert cookie.startswith(f"{name.lower()}=")
            assert "httponly" in cookie
            assert "samesite=strict" in cookie
            assert ("secure" in cookie.split("; ")) is (scheme == "https")


async def test_every_page_answers_with_our_policy_and_without_inline_code(client: AsyncClient) -> None:
    await log_in(client)
    for path in ALL_PATHS:
        page = await client.get(path, headers=HTML)
        assert page.status_code == 200, path
        policy = page.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert page.headers["cache-control"] == "no-store"
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page.text), path
        for script in re.findall(r"<script[^>]*>", page.text):
            assert "src=" in script or 'type="application/json"' in script, script


async def test_what_came_from_outside_is_escaped(client: AsyncClient) -> None:
    await log_in(client)
    page = await client.get(f"/sites/{SITE}/dispatch-log", headers=HTML)

    assert "<b>as told</b>" not in page.text
    assert "&lt;b&gt;as told&lt;/b&gt;" in page.text


async def test_a_viewer_sees_and_changes_nothing(client: AsyncClient, desk: World) -> None:
    csrf = await log_in(client, "viewer")
    form = await client.get(f"/sites/{SITE}/config/location", headers=HTML)

    assert form.status_code == 200
    assert form.text.count('<fieldset class="card" disabled>') == form.text.count('<fieldset class="card"')
    assert "/audit" not in form.text
    assert (await client.get("/audit", headers=HTML)).status_code == 403
    for path in (f"/sites/{SITE}/replan", f"/sites/{SITE}/config/location"):
        assert (await client.post(path, data={"csrf": csrf})).status_code == 403
    assert desk.replans == []


async def test_the_sites_of_others_look_as_if_they_were_not_there(client: AsyncClient) -> None:
    await log_in(client, "stranger")
    own = await client.get("/", headers=HTML)
    foreign = await client.get(f"/sites/{SITE}/monitoring")
    none = await client.get("/sites/SITE999/monitoring")

    assert "No site yet" in own.text
    assert (foreign.status_code, foreign.json()["code"]) == (none.status_code, none.json()["code"])
    assert foreign.status_code == 404


async def test_a_change_needs_the_sessions_own_token_and_our_own_page(client: AsyncClient, desk: World) -> None:
    csrf = await log_in(client)
    path = f"/sites/{SITE}/replan"

    for form, headers in (
        ({}, {}),
        ({"csrf": "guessed"}, {}),
        ({"csrf": csrf}, {"origin": "https://elsewhere.example"}),
        ({"csrf": csrf}, {"sec-fetch-site": "cross-site"}),
    ):
        assert (await client.post(path, data=form, headers=headers)).status_code == 403
    assert desk.replans == []

    good = await client.post(path, data={"csrf": csrf}, headers={"origin": "http://127.0.0.1"}, follow_redirects=False)
    assert good.status_code == 303
    assert desk.replans == [(SITE, "operator")]


async def test_logging_out_ends_the_session(client: AsyncClient) -> None:
    csrf = await log_in(client)
    await client.post("/logout", data={"csrf": csrf}, follow_redirects=False)

    assert (await client.get("/session")).status_code == 401


async def test_a_saved_form_is_the_next_version_and_is_listed(client: AsyncClient, desk: World) -> None:
    csrf = await log_in(client)
    path = f"/sites/{SITE}/config/location"
    form = _form((await client.get(path, headers=HTML)).text) | {"csrf": csrf, "grid.import_limit_kw": "61.5"}
    saved = await client.post(path, data=form, headers=HTML)
    config = in_force(desk)

    assert "Saved as version 2" in saved.text
    assert (config.version, config.grid.import_limit_kw, config.author) == (2, 61.5, "operator")
    listed = await client.get(f"/sites/{SITE}/config/versions", headers=HTML)
    assert "<code>grid.import_limit_kw</code> 83.5 → 61.5" in listed.text


async def test_a_refused_form_keeps_what_was_typed_and_names_the_field(client: AsyncClient, desk: World) -> None:
    csrf = await log_in(client)
    path = f"/sites/{SITE}/config/location"
    form = _form((await client.get(path, headers=HTML)).text)
    answer = await client.post(path, data=form | {"csrf": csrf, "battery.soc_max_pct": "101"}, headers=HTML)

    assert answer.status_code == 422
    assert re.search(r'name="battery.soc_max_pct"[^>]*value="101" aria-invalid="true"', answer.text)
    assert "at most 100" in answer.text
    assert in_force(desk).version == 1


async def test_a_form_made_from_an_older_version_does_not_overwrite_a_newer_one(
    client: AsyncClient, desk: World
) -> None:
    csrf = await log_in(client)
    path = f"/sites/{SITE}/config/financials"
    form = _form((await client.get(path, headers=HTML)).text) | {"csrf": csrf}
    await client.post(path, data=form | {"tariff.fees_eur_per_kwh": "0.09"})
    late = await client.post(path, data=form | {"tariff.fees_eur_per_kwh": "0.10"}, headers=HTML)

    assert late.status_code == 422
    assert "Somebody saved another version" in late.text
    assert in_force(desk).tariff.fees_eur_per_kwh == 0.09


def _form(html: str) -> dict[str, str]:
    """What a browser would send of a page's form."""
    inputs = dict(re.findall(r'<input name="([^"]+)"[^>]*?value="([^"]*)"', html))
    chosen = dict(re.findall(r'<select name="([^"]+)">.*?<option selected>([^<]+)<', html, re.DOTALL))
    version = re.search(r'name="version" value="(\d+)"', html)
    assert version
    return {**inputs, **chosen, "version": version.group(1)}


async def test_the_chart_has_the_hole_in_the_data_as_a_gap(client: AsyncClient) -> None:
    await log_in(client)
    chart = (await client.get(f"/sites/{SITE}/chart?back_h=0.16&ahead_h=1")).json()

    inner = [gap for gap in chart["measured"]["gaps"] if gap["from_s"] > chart["from_s"]]
    assert [(gap["until_s"] - gap["from_s"]) for gap in inner] == [120]
    assert None in chart["measured"]["grid_kw"]
    assert len(chart["planned"]["start_s"]) == 4


async def test_the_csv_is_the_filtered_log(client: AsyncClient) -> None:
    await log_in(client)
    all_ = await client.get(f"/sites/{SITE}/dispatch-log.csv")
    none = await client.get(f"/sites/{SITE}/dispatch-log.csv?status=failed")

    assert all_.headers["content-type"].startswith("text/csv")
    assert [line["requested_kw"] for line in csv.DictReader(StringIO(all_.text))] == ["-25.0"]
    assert list(csv.DictReader(StringIO(none.text))) == []


async def test_static_files_are_kept_by_the_browser_under_their_hash_only(client: AsyncClient) -> None:
    login = (await client.get("/login")).text
    for name in ("enexa.css", "shell.js"):
        path = re.search(rf'"(/assets/[0-9a-f]+/{name})"', login)
        assert path
        fresh = await client.get(path.group(1))
        old = await client.get(f"/assets/000000000000/{name}")
        assert "immutable" in fresh.headers["cache-control"]
        assert old.headers["cache-control"] == "no-store"
        assert fresh.headers["content-encoding"] == "gzip"
        assert fresh.text == old.text
    assert (await client.get("/assets/000000000000/..%2fpages.py")).status_code == 404


async def test_the_chart_library_comes_from_the_installed_package(client: AsyncClient) -> None:
    await log_in(client)
    page = (await client.get(f"/sites/{SITE}/monitoring", headers=HTML)).text
    path = re.search(r'"(/assets/[0-9a-f]+/plotly.min.js)"', page)
    assert path
    script = await client.get(path.group(1))

    assert script.status_code == 200
    assert "Plotly" in script.text[:20_000]
    assert "http://" not in re.findall(r'<script[^>]*src="([^"]*)"', page)[0]


async def test_the_live_page_carries_the_frame_of_this_second(client: AsyncClient) -> None:
    await log_in(client)
    page = (await client.get(f"/sites/{SITE}/monitoring", headers=HTML)).text
    first = re.search(r'id="first-frame">(.*?)</script>', page)
    assert first
    frame = msgspec.json.decode(first.group(1))

    assert frame["at"] == NOW.isoformat().replace("+00:00", "Z")
    assert frame["freshness"] == "live"
    assert {flow["node"] for flow in frame["flows"]} == {"grid", "string1", "string2", "charger1", "charger2", "own"}


def test_a_log_in_leads_only_to_paths_of_ours() -> None:
    assert safe_next("/sites/SITE001/plan?x=1") == "/sites/SITE001/plan?x=1"
    for bad in ("https://elsewhere", "//elsewhere", "/\\elsewhere", "", "javascript:x", "/a\r\nb", "/" + "a" * 600):
        assert safe_next(bad) == "/"


def test_every_page_of_the_customers_navigation_is_there() -> None:
    shown = {page.title for group in existing(operator=True) for page in group.pages}
    customers = (
        "Input Summary, Simulation Algorithms, Result Overview, Location Setup, Financials, Solar Production, "
        "Charging Sessions, Not Modeled, BMS Algorithm, BMS Reactive, SmartEMS Algorithm, SmartEMS Config, "
        "SmartEMS Results, SmartEMS Dispatching, Solution Overview, Comm Architecture, Middleware API, "
        "Onboarding & Config, Exception Handling, Site Monitoring, Dispatch Logs, Impact Dashboard, What-If Scenarios"
    )

    assert set(customers.split(", ")) <= shown
    assert "audit" not in {page.key for group in existing(operator=False) for page in group.pages}


async def test_a_comparison_that_is_still_running_says_so_and_comes_back_by_itself(client: AsyncClient) -> None:
    await log_in(client)
    for path in ("/simulation/results", "/what-if?cars_ratio=0.5"):
        page = await client.get(path, headers=HTML)
        assert page.headers["refresh"] == "2"
        assert "engine is running" in page.text
        assert "uplift" not in page.text.lower()


async def test_a_knob_beyond_its_bounds_is_named_and_computes_nothing(client: AsyncClient) -> None:
    await log_in(client)
    page = await client.get("/what-if?battery_ratio=9&price_spread_ratio=x", headers=HTML)
    beyond = await client.get("/what-if?battery_ratio=9", headers=HTML)

    assert (page.status_code, beyond.status_code) == (422, 422)
    assert "not a number" in page.text
    assert re.search(r'name="battery_ratio"[^>]*value="9"[^>]*aria-invalid', beyond.text)
    assert "refresh" not in beyond.headers


async def test_the_gates_page_lists_every_gate(client: AsyncClient) -> None:
    await log_in(client)
    page = await client.get(f"/sites/{SITE}/gates", headers=HTML)

    for gate in ("blind", "ev_assist", "discharge", "wait"):
        assert f"<td>{gate}</td>" in page.text


async def test_the_impact_page_and_its_csv_agree_to_the_cent(client: AsyncClient) -> None:
    await log_in(client)
    page = await client.get(f"/sites/{SITE}/impact", headers=HTML)
    lines = list(csv.DictReader(StringIO((await client.get(f"/sites/{SITE}/impact.csv")).text)))
    shown = re.search(r'id="net-saving">([^ ]+) ', page.text)

    assert len(lines) == 1
    assert shown
    assert float(shown.group(1).replace("−", "-")) == sum(int(line["net_saving_cents"]) for line in lines) / 100
    assert "Nothing was measured" in (await client.get(f"/sites/{SITE}/impact?day=2026-06-01", headers=HTML)).text


async def test_the_audit_log_says_who_changed_what_and_keeps_quiet_about_scripts(
    client: AsyncClient, desk: World
) -> None:
    csrf = await log_in(client)
    page = await client.get(f"/sites/{SITE}/plan", headers=HTML)
    style = re.search(r'href="(/assets/[0-9a-f]+/enexa.css)"', page.text)
    assert style
    await client.get(style.group(1))
    await client.get(f"/sites/{SITE}/chart")
    await client.post(f"/sites/{SITE}/replan", data={"csrf": csrf}, follow_redirects=False)
    await client.post(f"/sites/{SITE}/replan", data={"csrf": "guessed"})
    said = [(each.principal, each.action, each.status) for each in await desk.store.audit.entries()][::-1]

    assert said == [
        ("operator", "POST /login", 303),
        ("operator", f"GET /sites/{SITE}/plan", 200),
        ("operator", f"POST /sites/{SITE}/replan", 303),
        ("operator", f"POST /sites/{SITE}/replan", 403),
    ]


async def test_every_operation_of_both_services_has_its_page(client: AsyncClient) -> None:
    await log_in(client)
    listed = (await client.get("/api", headers=HTML)).text
    links = re.findall(r'href="(/api/(?:enexa|amperio)/\w+)"', listed)

    assert len(links) == sum(each.served for each in OPERATIONS)
    for link in links:
        page = await client.get(link, headers=HTML)
        assert page.status_code == 200, link
    dispatch = (await client.get("/api/amperio/dispatch", headers=HTML)).text
    assert "SetBatteryPower" in dispatch
    assert (await client.get("/api/amperio/nothing", headers=HTML)).status_code == 404


async def test_onboarding_lists_the_seed_controller_and_offers_no_walk_without_a_station(client: AsyncClient) -> None:
    csrf = await log_in(client)
    page = await client.get(f"/sites/{SITE}/onboarding", headers=HTML)

    assert "no emulated station" in page.text
    assert (await client.post(f"/sites/{SITE}/onboarding", data={"csrf": csrf, "serial": "X"})).status_code == 404
    assert (await client.post(f"/sites/{SITE}/drills/enexa_comes_back", data={"csrf": csrf})).status_code == 404


async def test_a_period_is_its_days_and_a_wrong_one_is_named(client: AsyncClient) -> None:
    await log_in(client)
    csv_text = (await client.get(f"/sites/{SITE}/impact/period.csv?from=2026-06-15&to=2026-06-16")).text
    lines = list(csv.DictReader(StringIO(csv_text)))
    day = list(csv.DictReader(StringIO((await client.get(f"/sites/{SITE}/impact.csv?day=2026-06-16")).text)))

    assert [line["day"] for line in lines] == ["2026-06-15", "2026-06-16"]
    assert int(lines[1]["net_saving_cents"]) == sum(int(line["net_saving_cents"]) for line in day)
    for query, said in (
        ("from=soon", "2026-06-16"),
        ("from=2026-06-16&to=2026-06-01", "begins after"),
        ("from=2020-01-01", "31 days"),
    ):
        wrong = await client.get(f"/sites/{SITE}/impact/period?{query}", headers=HTML)
        assert wrong.status_code == 422
        assert said in wrong.text


async def test_a_kept_comparison_and_a_saved_day_need_an_operator(client: AsyncClient) -> None:
    csrf = await log_in(client, "viewer")
    for path in (
        "/what-if",
        "/days/sessions",
        "/days/solar",
        "/what-if/kept/000000000000/remove",
        f"/sites/{SITE}/onboarding",
    ):
        assert (await client.post(path, data={"csrf": csrf})).status_code == 403, path


async def test_the_record_of_a_reconnection_shows_all_that_it_found_and_did(desk: World, client: AsyncClient) -> None:
    await log_in(client, "viewer")
    before = await client.get(f"/sites/{SITE}/drills/reconnection")
    desk.board.site(SITE).reconciliation = ReconcileView(
        record_id="r1",
        site_id=SITE,
        cause="middleware_back",
        started_at=NOW,
        steps=tuple(ReconcileStep(name=each.value, state="done", at=NOW, note="as it was") for each in ORDER),
        outage_s=5400.0,
        expected_soc_pct=61.5,
        actual_soc_pct=47.3,
        missed_samples=5400,
        replayed_samples=5391,
        missed_events=7,
        missed_sessions=2,
        schedule_version=42,
        commands_verified=("abcdef0123456789",),
        metrics_before=Metrics(coverage_pct=3.5, import_kwh=0.3, cost_eur=0.04),
        metrics_after=Metrics(coverage_pct=99.8, import_kwh=31.8, cost_eur=6.35),
        finished_at=NOW,
    )
    after = await client.get(f"/sites/{SITE}/drills/reconnection")

    assert "no reconnection yet" in before.text
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", after.text))
    for words in (
        "61.5 % and 47.3 %",
        "5,400 and 5,391",
        "7 and 2",
        "version 42",
        "abcdef01",
        "3.5 % and 99.8 %",
        "0.3 kWh and 31.8 kWh",
        "0.04 € and 6.35 €",
    ):
        assert words in shown, (words, shown)
    assert f'href="/sites/{SITE}/commands/abcdef0123456789"' in after.text
