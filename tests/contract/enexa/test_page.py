"""The customer's page: each of its examples, verbatim, against a running Enexa at the page's own second."""

import pytest

from tests.contract.enexa.http import Http, http
from tests.integration.enexa.stage import Stage

TELEMETRY = """
{
"site_id": "SITE001",
"timestamp": "2024-01-15T10:00:01Z",
"battery": { "soc_pct": 65 },
"grid": { "import_kw": 35 }
}
"""
STATUS = '{ "site_id": "SITE001", "online": true }'
JSON = {"Content-Type": "application/json"}


async def get(link: Http, path: str) -> object:
    got = await link.send("GET", path, as_="CTRL001")
    assert got.status == 200, got.body
    return got.json


async def test_telemetry_is_taken_and_is_then_the_newest(stage: Stage) -> None:
    async with http(stage) as link:
        got = await link.send("POST", "/v1/telemetry", as_="CTRL001", data=TELEMETRY, headers=JSON)
        again = await link.send("POST", "/v1/telemetry", as_="CTRL001", data=TELEMETRY, headers=JSON)
        latest = await link.send("GET", "/v1/sites/SITE001/telemetry/latest", as_="viewer")

    assert (got.status, got.json["accepted"], got.json["duplicates"]) == (200, 1, 0)
    assert (again.status, again.json["accepted"], again.json["duplicates"]) == (200, 0, 1)
    assert latest.json["sample"]["battery"]["soc_pct"] == 65
    assert latest.json["sample"]["grid"]["import_kw"] == 35


async def test_status_is_taken(stage: Stage) -> None:
    async with http(stage) as link:
        got = await link.send("POST", "/v1/status", as_="CTRL001", data=STATUS, headers=JSON)

    assert (got.status, got.json) == (200, {"received": True})


async def test_the_configuration_has_battery_and_grid_and_tracks_its_version(stage: Stage) -> None:
    async with http(stage) as link:
        got = await link.send("GET", "/v1/config/SITE001", as_="CTRL001")
        unchanged = await link.send(
            "GET", "/v1/config/SITE001", as_="CTRL001", headers={"If-None-Match": got.headers["etag"]}
        )

    assert {"battery", "grid", "version"} <= set(got.json)
    assert (unchanged.status, unchanged.body) == (304, b"")


async def test_sites_are_listed_with_id_and_name(stage: Stage) -> None:
    async with http(stage) as link:
        found = await get(link, "/v1/sites")

    assert isinstance(found, dict)
    (site,) = found["sites"]
    assert site["id"] == "SITE001"
    assert site["name"]


async def test_assets_are_grouped_as_on_the_page(stage: Stage) -> None:
    async with http(stage) as link:
        found = await get(link, "/v1/sites/SITE001/assets")

    assert isinstance(found, dict)
    assert found["battery"]["id"] == "BAT1"
    assert [each["id"] for each in found["chargers"]] == ["CHG1", "CHG2"]
    assert [each["id"] for each in found["meters"]] == ["MTR1"]


async def test_a_controller_names_its_assets(stage: Stage) -> None:
    async with http(stage) as link:
        found = await get(link, "/v1/controllers/CTRL001")

    assert isinstance(found, dict)
    assert found["id"] == "CTRL001"
    assert {"BAT1", "CHG1"} <= set(found["assets"])


async def test_specifications_name_capacity_and_power(stage: Stage) -> None:
    async with http(stage) as link:
        found = await get(link, "/v1/equipment/battery/BAT1/specs")

    assert isinstance(found, dict)
    assert (found["capacity_kwh"], found["max_power_kw"]) == (190, 220)


async def test_a_controllers_configuration_has_version_settings_and_limits(stage: Stage) -> None:
    async with http(stage) as link:
        found = await get(link, "/v1/controllers/CTRL001/config")
        version = await get(link, "/v1/controllers/CTRL001/config/version")

    assert isinstance(found, dict)
    assert isinstance(version, dict)
    assert {"version", "settings", "limits"} <= set(found)
    assert version["version"] == found["version"]
    assert "updated_at" in version


@pytest.mark.parametrize("path", ["/v1/sites/SITE009/assets", "/v1/config/SITE009", "/v1/controllers/CTRL009"])
async def test_what_is_not_yours_and_what_does_not_exist_look_the_same(stage: Stage, path: str) -> None:
    async with http(stage) as link:
        got = await link.send("GET", path, as_="CTRL001")

    assert got.status == 404
    assert got.headers["content-type"] == "application/problem+json"
