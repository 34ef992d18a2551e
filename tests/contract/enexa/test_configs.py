"""Configuration over the wire: versions, lost updates, refusals by field, acknowledgements."""

from typing import Any

import pytest

from tests.contract.enexa.http import Got, Http, http
from tests.integration.enexa.stage import Stage

PATH = "/v1/config/SITE001"
OWN = ("site_id", "version", "updated_at", "author")


async def document(link: Http) -> dict[str, Any]:
    got = await link.send("GET", PATH, as_="operator")
    return {name: value for name, value in got.json.items() if name not in OWN}


async def put(link: Http, content: dict[str, Any], if_match: str | None = '"1"', as_: str = "operator") -> Got:
    headers = {"If-Match": if_match} if if_match is not None else {}
    return await link.send("PUT", PATH, as_=as_, json=content, headers=headers)


async def test_a_put_raises_the_version_and_old_ones_stay_readable(stage: Stage) -> None:
    async with http(stage) as link:
        content = await document(link)
        content["battery"]["soc_max_pct"] = 85
        made = await put(link, content)
        now = await link.send("GET", PATH, as_="CTRL001")
        versions = (await link.send("GET", PATH + "/versions", as_="viewer")).json["versions"]

    assert (made.status, made.json["version"], made.json["author"], made.headers["etag"]) == (200, 2, "operator", '"2"')
    assert now.json["battery"]["soc_max_pct"] == 85
    assert [(each["version"], each["battery"]["soc_max_pct"]) for each in versions] == [(2, 85), (1, 90)]


async def test_the_second_of_two_writers_is_told(stage: Stage) -> None:
    async with http(stage) as link:
        content = await document(link)
        first, second = await put(link, content), await put(link, content)

    assert (first.status, second.status) == (200, 412)
    assert (second.json["code"], second.json["facts"]["current_version"]) == ("lost_update", 2)


async def test_without_if_match_nothing_is_replaced(stage: Stage) -> None:
    async with http(stage) as link:
        got = await put(link, await document(link), if_match=None)

    assert (got.status, got.json["field"]) == (400, "If-Match")


WRONG: list[tuple[str, str, dict[str, Any]]] = [
    ("battery.soc_min_pct", "battery", {"soc_min_pct": 95, "soc_max_pct": 90}),
    ("battery.soc_reserve_pct", "battery", {"soc_reserve_pct": 95}),
    ("grid.import_limit_kw", "grid", {"import_limit_kw": 500}),
    ("grid.export_limit_kw", "grid", {"export_limit_kw": 30}),
    ("safety.fallback_import_kw", "safety", {"fallback_import_kw": 84}),
    ("safety.watchdog_s", "safety", {"watchdog_s": 61}),
    ("battery.soc_max_pct", "battery", {"soc_max_pct": 101}),
]


@pytest.mark.parametrize(("field", "section", "change"), WRONG, ids=[row[0] for row in WRONG])
async def test_a_document_that_contradicts_itself_is_refused_with_the_field(
    stage: Stage, field: str, section: str, change: dict[str, Any]
) -> None:
    async with http(stage) as link:
        content = await document(link)
        content[section] |= change
        got = await put(link, content)
        now = await link.send("GET", PATH, as_="viewer")

    assert (got.status, got.json["field"]) == (422, field)
    assert now.json["version"] == 1


async def test_a_rejection_by_the_middleware_is_an_alert_until_a_version_is_applied(stage: Stage) -> None:
    ack = {"site_id": "SITE001", "version": 1, "timestamp": "2024-01-15T10:00:01Z"}
    async with http(stage) as link:
        word = {**ack, "status": "rejected", "reason": "the watchdog refuses"}
        rejected = await link.send("POST", PATH + "/ack", as_="CTRL001", json=word)
        alerts = (await link.send("GET", "/v1/alerts", as_="viewer")).json["alerts"]
        applied = await link.send("POST", PATH + "/ack", as_="CTRL001", json={**ack, "status": "applied"})
        after = (await link.send("GET", "/v1/alerts", as_="viewer")).json["alerts"]
        unknown = await link.send("POST", PATH + "/ack", as_="CTRL001", json={**ack, "version": 7, "status": "applied"})

    assert rejected.json == {"wanted_version": 1, "applied_version": None}
    assert [(each["code"], each.get("cleared_at")) for each in alerts] == [("config_rejected", None)]
    assert applied.json == {"wanted_version": 1, "applied_version": 1}
    assert after[0]["cleared_at"] is not None
    assert unknown.status == 409


async def test_a_rollback_is_an_old_version_under_a_new_number_and_the_diff_says_what_came_back(stage: Stage) -> None:
    async with http(stage) as link:
        content = await document(link)
        content["battery"]["soc_max_pct"] = 80
        await put(link, content)
        back = await link.send(
            "POST", PATH + "/rollback", as_="operator", json={"version": 1}, headers={"If-Match": '"2"'}
        )
        late = await link.send(
            "POST", PATH + "/rollback", as_="operator", json={"version": 1}, headers={"If-Match": '"2"'}
        )
        unknown = await link.send(
            "POST", PATH + "/rollback", as_="operator", json={"version": 9}, headers={"If-Match": '"3"'}
        )
        loose = await link.send("POST", PATH + "/rollback", as_="operator", json={"version": 1})
        newest = (await link.send("GET", PATH + "/diff", as_="viewer")).json
        whole = (await link.send("GET", PATH + "/diff?from=1&to=3", as_="viewer")).json
        missing = await link.send("GET", PATH + "/diff?from=1&to=9", as_="viewer")

    assert (back.status, back.json["version"], back.json["battery"]["soc_max_pct"]) == (201, 3, 90)
    assert back.headers["etag"] == '"3"'
    assert (late.status, unknown.status, loose.status, missing.status) == (412, 404, 400, 404)
    assert newest["changes"] == [{"field": "battery.soc_max_pct", "before": 80.0, "after": 90.0}]
    assert (whole["from_version"], whole["to_version"], whole["changes"]) == (1, 3, [])


async def test_wanted_applied_and_read_back_stand_beside_each_other(stage: Stage) -> None:
    word = {
        "site_id": "SITE001",
        "version": 1,
        "status": "applied",
        "timestamp": "2024-01-15T10:00:01Z",
        "read_back": {"watchdog_s": 10.0},
    }
    async with http(stage) as link:
        await put(link, await document(link))
        await link.send("POST", PATH + "/ack", as_="CTRL001", json=word)
        got = (await link.send("GET", PATH + "/acks", as_="viewer")).json

    assert (got["wanted_version"], got["applied_version"]) == (2, 1)
    assert [(each["version"], each["read_back"]) for each in got["acks"]] == [(1, {"watchdog_s": 10.0})]


@pytest.mark.parametrize(
    ("tag", "status"), [('W/"1"', 412), ('"1", "2"', 400), ("1", 400), ("*", 400), ('"one"', 412), ("", 400)]
)
async def test_an_etag_that_is_weak_or_none_replaces_nothing(stage: Stage, tag: str, status: int) -> None:
    async with http(stage) as link:
        got = await put(link, await document(link), if_match=tag)

    assert got.status == status
