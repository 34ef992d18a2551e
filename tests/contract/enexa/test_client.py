"""The generated client against a running Enexa: whole messages in and out, ETags and keys as plain arguments."""

import pytest

from shared.clients.enexa import EnexaApi
from shared.contract.config import ConfigDocument, RollBack
from shared.contract.reads import PageQuery
from shared.contract.telemetry import Battery, Telemetry
from shared.errors import LostUpdate, UnknownController
from tests.integration.enexa.stage import PAGE_TIME, Stage


async def test_a_sample_is_posted_and_read_back_by_type(stage: Stage) -> None:
    middleware, viewer = EnexaApi(stage.caller("CTRL001")), EnexaApi(stage.caller("viewer"))
    sample = Telemetry(site_id="SITE001", timestamp=PAGE_TIME, battery=Battery(soc_pct=65.0))

    assert (await middleware.post_telemetry(sample)).accepted == 1
    assert (await viewer.get_latest("SITE001")).sample == sample
    assert [each.id for each in (await viewer.list_sites(query=PageQuery(limit=1))).sites] == ["SITE001"]


async def test_a_configuration_is_changed_under_its_etag_and_rolled_back(stage: Stage) -> None:
    operator = EnexaApi(stage.caller("operator"))
    config = await operator.get_config("SITE001")
    assert config is not None
    document = ConfigDocument(**{name: getattr(config, name) for name in ConfigDocument.__struct_fields__})

    changed = await operator.put_config("SITE001", document, if_match='"1"')
    with pytest.raises(LostUpdate):
        await operator.put_config("SITE001", document, if_match='"1"')
    back = await operator.roll_back_config("SITE001", RollBack(version=1), if_match='"2"', idempotency_key="once")
    again = await operator.roll_back_config("SITE001", RollBack(version=1), if_match='"2"', idempotency_key="once")

    assert (changed.version, back.version, again.version) == (2, 3, 3)
    assert await operator.get_config("SITE001", if_none_match='"3"') is None
    with pytest.raises(UnknownController):
        await operator.get_controller("CTRL999")
