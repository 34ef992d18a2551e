"""The configuration form: what is shown can be saved unchanged, and whatever is wrong is named by its field."""

from datetime import UTC, datetime

import pytest

from services.enexa.registry.configs import changes, document_of
from services.enexa.seeds import load_seed
from services.enexa.web.config_form import parts_of, read, shown, typed
from services.enexa.web.formats import Format
from shared.contract.config import ConfigDocument, SiteConfig

PAGES = ("location", "financials", "planner")
SEED = load_seed("chargepost").config
CONFIG = SiteConfig(
    site_id="SITE001",
    version=4,
    updated_at=datetime(2026, 6, 16, tzinfo=UTC),
    author="test",
    **{name: getattr(SEED, name) for name in ConfigDocument.__struct_fields__},
)


def sent(page: str, form: Format) -> dict[str, str]:
    """What a browser sends when nothing was changed: unchecked boxes are left out."""
    fields = [each for part in parts_of(page, CONFIG) for each in shown(part, CONFIG, form)]
    return {each.field.path: each.text for each in fields if each.kind != "check" or each.text}


@pytest.mark.parametrize("form", list(Format))
@pytest.mark.parametrize("page", PAGES)
def test_a_form_sent_back_as_it_came_changes_nothing(page: str, form: Format) -> None:
    document, problems = read(parts_of(page, CONFIG), CONFIG, form, sent(page, form))

    assert problems == {}
    assert document is not None
    assert changes(document_of(CONFIG), document) == ()


def test_every_number_of_the_document_is_on_some_page() -> None:
    """But the ids, and PV, which this site does not have."""
    paths = {each.path for page in PAGES for part in parts_of(page, CONFIG) for each in part.fields}
    sections = {name for name in ConfigDocument.__struct_fields__ if name != "pv"}

    assert {path.replace("[", ".").split(".")[0] for path in paths} == sections
    for name in ("grid", "tariff", "planner", "safety", "telemetry"):
        fields = set(getattr(CONFIG, name).__struct_fields__)
        assert {path.split(".")[1] for path in paths if path.startswith(f"{name}.")} == fields


def test_numbers_may_be_written_the_readers_way() -> None:
    german = read(
        parts_of("location", CONFIG),
        CONFIG,
        Format.GERMAN,
        {**sent("location", Format.GERMAN), "grid.import_limit_kw": "70,25"},
    )
    english = read(
        parts_of("location", CONFIG),
        CONFIG,
        Format.ENGLISH,
        {**sent("location", Format.ENGLISH), "grid.import_limit_kw": "70.25"},
    )

    assert german[0] is not None
    assert english[0] is not None
    assert german[0].grid.import_limit_kw == english[0].grid.import_limit_kw == 70.25


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("grid.import_limit_kw", "eighty", "not a number"),
        ("grid.import_limit_kw", "", "missing"),
        ("grid.import_limit_kw", "-1", "at least 0.0"),
        ("grid.import_limit_kw", "500", "above what the connection can carry"),
        ("battery.soc_max_pct", "101", "at most 100.0"),
        ("battery.soc_reserve_pct", "95", "outside the SOC window"),
        ("battery.units[1].capacity_kwh", "0", "more than 0.0"),
        ("safety.watchdog_s", "1.5", "whole number"),
        ("safety.watchdog_s", "1", "at least 2"),
        ("chargers[1].efficiency", "1.2", "at most 1.0"),
        ("safety.control_mode", "by hand", "Invalid enum value"),
        ("grid.import_limit_kw", "nan", "not a number"),
    ],
)
def test_a_refusal_names_the_field_and_what_was_typed_is_kept(path: str, text: str, said: str) -> None:
    parts = parts_of("location", CONFIG)
    given = {**sent("location", Format.ENGLISH), path: text}
    document, problems = read(parts, CONFIG, Format.ENGLISH, given)

    assert document is None
    assert list(problems) == [path]
    assert said in problems[path]
    kept = {each.field.path: each for part in parts for each in typed(part, CONFIG, Format.ENGLISH, given, problems)}
    assert (kept[path].text, kept[path].problem) == (text, problems[path])


def test_an_unchecked_box_means_no() -> None:
    parts = parts_of("planner", CONFIG)
    given = sent("planner", Format.ENGLISH)
    del given["planner.enabled"]
    document, _ = read(parts, CONFIG, Format.ENGLISH, given)

    assert document is not None
    assert document.planner.enabled is False
