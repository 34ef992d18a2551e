"""A study as one page that needs nothing beside itself: figures first, then days, money, causes and conditions.

It opens from a file, in light and dark, on paper and on a phone. Choosing a day is a link: no script is needed.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from html import escape

from services.enexa.simulation.drawing import Axis, Line, axis, figure, number
from services.enexa.simulation.page_style import STYLE
from services.enexa.simulation.study import Part, Study, Track
from shared.energy.slots import MARKET_ZONE

LABELS = {
    "reactive": "Reactive BMS",
    "smart": "SmartEMS",
    "lp": "SmartEMS, live planner",
    "perfect": "Perfect foresight",
}
HOVERED_PARTS_MAX = 62
"""Longer studies are drawn without the texts under the pointer, or the page grows beyond reading."""
SPLIT = (
    ("energy", "Energy", 1.0, "energy_eur"),
    ("fees", "Fees and taxes", 1.0, "fees_eur"),
    ("wear", "Battery wear", 1.0, "wear_eur"),
    ("unserved", "Energy not served", 1.0, "unserved_eur"),
    ("export", "Export revenue", -1.0, "export_eur"),
    ("left", "More energy left than at the start", -1.0, "left_eur"),
)
FIGURES = (
    ("Service", (("EV energy delivered", "kWh", "ev_kwh"), ("Energy not served", "kWh", "unserved_kwh"),
                 ("Sessions fully served", "", "sessions_served_count"))),
    ("Grid and sun", (("Import", "kWh", "import_kwh"), ("Export", "kWh", "export_kwh"),
                      ("Sun used on site", "kWh", "pv_used_kwh"), ("Sun curtailed", "kWh", "pv_curtailed_kwh"),
                      ("Own consumption and losses to cars", "kWh", "own_kwh"),
                      ("Highest quarter hour", "kW", "peak_kw"), ("CO₂ of the import", "kg", "co2_kg"))),
    ("Battery", (("Charged", "kWh", "charged_kwh"), ("Discharged", "kWh", "discharged_kwh"),
                 ("Full cycles", "", "cycles_count"), ("Lowest charge", "%", "soc_min_pct"),
                 ("Highest charge", "%", "soc_max_pct"))),
    ("Money", (("Energy", "€", "energy_eur"), ("Fees and taxes", "€", "fees_eur"), ("Battery wear", "€", "wear_eur"),
               ("Export revenue", "€", "export_eur"), ("Cost", "€", "cost_eur"),
               ("Net cost, energy left valued", "€", "net_eur"), ("Demand charge, beside it", "€", "demand_charge_eur"),
               ("Revenue from cars", "€", "revenue_eur"), ("Margin", "€", "margin_eur"))),
)  # fmt: skip


def page(study: Study) -> str:
    """The whole document."""
    parts = [
        _head(study),
        _headline(study),
        _tiles(study),
        _per_day(study),
        _days(study),
        _money(study),
        _regret(study),
        _figures(study),
        _conditions(study),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(study.title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _head(study: Study) -> str:
    first, last = study.parts[0].label, study.parts[-1].label
    days = f"{first:%-d %B %Y}" if len(study.parts) == 1 else f"{first:%-d %B %Y} to {last:%-d %B %Y}"
    return (
        f"<header><h1>{escape(study.title)}</h1><p>{days} · {study.sessions_count} charging sessions · "
        f"{_amount(study.requested_kwh, 'kWh', 0)} wanted</p></header>"
    )


def _headline(study: Study) -> str:
    judged = study.track(study.judged)
    if judged is study.baseline:
        text = f"{_name(judged)} pays <b>{_amount(judged.kpis.net_eur, '€')}</b> net."
    else:
        cost_eur = study.baseline.kpis.net_eur
        word = "saves" if study.saved_eur >= 0 else "loses"
        share = f", {_percent(study.saved_eur / cost_eur)} of its cost" if cost_eur > 0.01 else ""
        text = f"{_name(judged)} {word} <b>{_amount(abs(study.saved_eur), '€')}</b> against the reactive rule{share}."
    captured = study.captured_ratio
    if captured is not None and study.possible_eur is not None:
        text += f" That is <b>{_percent(captured)}</b> of the {_amount(study.possible_eur, '€')} that were possible."
    elif study.bounded:
        text += " There was nothing to gain."
    return f'<p class="headline">{text}</p>'


def _tiles(study: Study) -> str:
    judged = study.track(study.judged).kpis
    tiles = [
        (f"{judged.sessions_served_count} of {judged.sessions_count}", "sessions fully served"),
        (_amount(judged.unserved_kwh, "kWh", 1), "not served"),
        (_amount(judged.net_eur, "€"), "net cost"),
        (_amount(judged.peak_kw, "kW", 0), "highest quarter hour"),
        (f"{judged.cycles_count:.1f}", "full battery cycles"),
        (_amount(judged.co2_kg, "kg", 0), "CO₂ of the import"),
    ]
    if study.plans_count:
        tiles.append((f"{study.plans_count:,}".replace(",", " "), "plans made"))
    inner = "".join(f"<li><b>{value}</b><span>{text}</span></li>" for value, text in tiles)
    return f'<ul class="tiles">{inner}</ul>'


def _per_day(study: Study) -> str:
    """Bars per day: what was possible, and what was captured of it. One day needs no bars."""
    if len(study.parts) < 2 or len(study.tracks) < 2:
        return ""
    judged = study.track(study.judged)
    saved = [base - have for base, have in zip(study.baseline.parts_eur, judged.parts_eur, strict=True)]
    bound = study.tracks[-1].parts_eur if study.bounded else judged.parts_eur
    possible = [base - best for base, best in zip(study.baseline.parts_eur, bound, strict=True)]
    shown = axis([*saved, *possible])
    bars = "".join(_bar(study, index, saved[index], possible[index], shown) for index in range(len(study.parts)))
    every = -(-len(study.parts) // 7)
    ticks = "".join(
        f'<span class="x{" minor" if index // every % 2 else ""}" '
        f'style="left:{(index + 0.5) / len(study.parts) * 100:.2f}%">{part.label:%-d %b}</span>'
        for index, part in enumerate(study.parts)
        if index % every == 0
    )
    grid = "".join(f'<line class="grid" x1="0" x2="1000" y1="{shown.y(m)}" y2="{shown.y(m)}"/>' for m in shown.marks)
    marks = "".join(f'<span class="y" style="top:{shown.y(m) / 10:.2f}%">{number(m)}</span>' for m in shown.marks)
    keys = '<span class="key possible">possible</span>' if study.bounded else ""
    return (
        "<section><h2>Saved per day</h2><p>A click on a day shows its hours below.</p>"
        f'<figure class="plot tall"><figcaption><i>€ against the reactive rule</i>{keys}'
        f'<span class="key smart">captured</span></figcaption><div class="box">'
        f'<svg viewBox="0 0 1000 1000" preserveAspectRatio="none">{grid}{bars}</svg>{marks}{ticks}</div></figure>'
        "</section>"
    )


def _bar(study: Study, index: int, saved: float, possible: float, shown: Axis) -> str:
    width = 1000 / len(study.parts)
    part = study.parts[index]
    text = f"{part.label:%a %-d %b}: {saved:.2f} € saved, {possible:.2f} € possible, {part.sessions_count} cars"

    def rect(value: float, css: str, left: float, wide: float) -> str:
        top, bottom = shown.y(max(value, 0.0)), shown.y(min(value, 0.0))
        return (
            f'<rect class="{css}" x="{width * (index + left):.2f}" width="{width * wide:.2f}" y="{top}" '
            f'height="{max(bottom - top, 1.0):.1f}"/>'
        )

    inner = (rect(possible, "possible", 0.08, 0.84) if study.bounded else "") + rect(saved, "smart", 0.2, 0.6)
    column = f'<rect class="hover" x="{width * index:.2f}" width="{width:.2f}" y="0" height="1000"/>'
    return f'<a href="#{_anchor(part)}"><title>{escape(text)}</title>{inner}{column}</a>'


def _days(study: Study) -> str:
    best = _telling(study)
    return (
        '<section class="days"><h2>Hour by hour</h2>'
        + "".join(_day(study, index, chosen=index == best) for index in range(len(study.parts)))
        + "</section>"
    )


def _telling(study: Study) -> int:
    """The day to open with: where the judged controller saved most."""
    judged = study.track(study.judged)
    saved = [base - have for base, have in zip(study.baseline.parts_eur, judged.parts_eur, strict=True)]
    return saved.index(max(saved))


def _day(study: Study, index: int, *, chosen: bool) -> str:
    part = study.parts[index]
    columns = slice(part.first, part.last)
    judged, baseline = study.track(study.judged), study.baseline
    others = [track for track in study.tracks if track is not judged]
    ticks = _ticks(study, part)
    hovers = _hovers(study, part) if len(study.parts) <= HOVERED_PARTS_MAX else ()
    price = [Line(name="day-ahead price", css="price", values=study.price_eur_per_mwh[columns], step=True, filled=True)]
    power = [
        Line(name="cars want", css="ev", values=study.ev_wanted_kw[columns], step=True, filled=True),
        *([Line(name="sun", css="pv", values=study.pv_kw[columns], step=True)] if any(study.pv_kw) else []),
        Line(name="grid", css="grid-kw", values=judged.import_kw[columns], step=True),
        Line(name="battery, + discharging", css="battery", values=judged.battery_kw[columns], step=True),
    ]
    if judged is not baseline:
        power.append(Line(name="grid, reactive", css="reactive", values=baseline.import_kw[columns], step=True,
                          dashed=True))  # fmt: skip
    soc = [
        *(Line(name=_name(each), css=each.name, values=each.soc_pct[columns], dashed=True) for each in others),
        Line(name=_name(judged), css=judged.name, values=judged.soc_pct[columns]),
    ]
    return (
        f'<article class="day{" chosen" if chosen else ""}" id="{_anchor(part)}">{_day_head(study, index)}'
        + figure(price, title="Price", unit="€/MWh", ticks=ticks, hovers=hovers, css="short")
        + figure(power, title=f"Power under {_name(judged)}", unit="kW, quarter hours", ticks=ticks, hovers=hovers)
        + figure(soc, title="Charge of the battery", unit="%", ticks=ticks, hovers=hovers,
                 scale=Axis(low=0.0, high=100.0, marks=(0.0, 25.0, 50.0, 75.0, 100.0)))
        + "</article>"
    )  # fmt: skip


def _day_head(study: Study, index: int) -> str:
    part = study.parts[index]
    costs = ", ".join(f"{_name(track)} {_amount(track.parts_eur[index], '€')}" for track in study.tracks)
    around = "".join(
        f'<a href="#{_anchor(study.parts[other])}">{text}</a>'
        for other, text in ((index - 1, "← day before"), (index + 1, "day after →"))
        if 0 <= other < len(study.parts)
    )
    return (
        f"<h3>{part.label:%A %-d %B %Y}</h3><nav>{around}</nav>"
        f"<p>{part.sessions_count} cars want {_amount(part.requested_kwh, 'kWh', 0)}. Net cost: {costs}.</p>"
    )


def _ticks(study: Study, part: Part) -> list[tuple[float, str]]:
    """Every third local hour."""
    count = part.last - part.first
    found = []
    for index in range(0, count, 4):
        local = _at(study, part.first + index)
        if local.hour % 3 == 0 and local.minute == 0:
            found.append((100.0 * index / count, f"{local:%H}"))
    return found


def _hovers(study: Study, part: Part) -> list[str]:
    judged = study.track(study.judged)
    return [
        f"{_at(study, at):%H:%M}  {study.price_eur_per_mwh[at]:.0f} €/MWh\ncars {study.ev_wanted_kw[at]:.0f} kW, "
        f"grid {judged.import_kw[at]:.0f} kW\nbattery {judged.battery_kw[at]:+.0f} kW, {judged.soc_pct[at]:.0f} %"
        for at in range(part.first, min(part.last, len(judged.soc_pct)))
    ]


def _at(study: Study, quarter: int) -> datetime:
    return (study.start + timedelta(minutes=15 * quarter)).astimezone(MARKET_ZONE)


def _money(study: Study) -> str:
    """Net cost of each controller, split by kind: costs to the right of zero, credits to the left."""
    values = {track.name: [sign * getattr(track.kpis, field) for _, _, sign, field in SPLIT] for track in study.tracks}
    spans = [(sum(min(v, 0.0) for v in each), sum(max(v, 0.0) for v in each)) for each in values.values()]
    shown = axis([value for span in spans for value in span])
    rows = "".join(_split_row(track, values[track.name], shown) for track in study.tracks)
    present = [any(abs(each[kind]) > 0.005 for each in values.values()) for kind in range(len(SPLIT))]
    keys = "".join(
        f'<span class="key {css}">{escape(name)}</span>'
        for (css, name, _, _), there in zip(SPLIT, present, strict=True)
        if there
    )
    return (
        f'<section><h2>Where the money goes</h2><p class="keys">{keys}</p><div class="split">{rows}</div>'
        "<p>Costs stand to the right of the line, credits to its left; the net cost is what is compared.</p></section>"
    )


def _split_row(track: Track, values: Sequence[float], shown: Axis) -> str:
    bars, left, right = [], 0.0, 0.0
    for (css, name, _, _), value in zip(SPLIT, values, strict=True):
        if abs(value) < 0.005:
            continue
        begin = right if value > 0 else left + value
        right, left = (right + value, left) if value > 0 else (right, left + value)
        width = shown.x(begin + abs(value)) - shown.x(begin)
        bars.append(
            f'<i class="{css}" style="left:{shown.x(begin)}%;width:{width:.2f}%" '
            f'title="{escape(name)} {abs(value):.2f} €"></i>'
        )
    return (
        f"<div><span>{_name(track)}</span><b>{_amount(track.kpis.net_eur, '€')}</b>"
        f'<div class="bar">{"".join(bars)}<u style="left:{shown.x(0.0)}%"></u></div></div>'
    )


def _regret(study: Study) -> str:
    if not study.regret_eur or not study.possible_eur or study.possible_eur <= 0.005:
        return ""
    possible_eur = study.possible_eur
    rows = [("captured", "captured", study.saved_eur)]
    rows += [(f"cause-{index}", cause, eur) for index, (cause, eur) in enumerate(study.regret_eur.items())]
    bars = "".join(
        f'<i class="{css}" style="width:{max(eur, 0.0) / possible_eur * 100:.2f}%" title="{escape(name)}"></i>'
        for css, name, eur in rows
    )
    table = "".join(
        f'<tr><th><span class="key {css}">{escape(name)}</span></th><td>{_amount(eur, "€")}</td>'
        f"<td>{_percent(eur / possible_eur)}</td></tr>"
        for css, name, eur in rows
    )
    return (
        "<section><h2>Why not more</h2><p>The same controller is run again knowing the cars, and again knowing the "
        "cars and all prices. What each brings is what not knowing it costs. The rest is its model, its control, and a "
        "horizon of days where perfect foresight sees to the end.</p>"
        f'<div class="whole">{bars}</div><table class="causes">{table}</table></section>'
    )


def _figures(study: Study) -> str:
    head = "".join(f"<th>{_name(track)}</th>" for track in study.tracks)
    body = "".join(
        f'<tr class="group"><th colspan="{len(study.tracks) + 1}">{group}</th></tr>'
        + "".join(_figure_row(study.tracks, *row) for row in rows)
        for group, rows in FIGURES
    )
    return (
        f'<section><h2>All figures</h2><div class="wide"><table><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></section>"
    )


def _figure_row(tracks: Sequence[Track], text: str, unit: str, name: str) -> str:
    digits = 0 if name == "sessions_served_count" else 2
    cells = "".join(f"<td>{_amount(getattr(track.kpis, name), '', digits)}</td>" for track in tracks)
    return f"<tr><th>{escape(text)}{f' <i>{unit}</i>' if unit else ''}</th>{cells}</tr>"


def _conditions(study: Study) -> str:
    items = _items(study.conditions)
    made = f"<p>Made by <code>{escape(study.command)}</code>.</p>" if study.command else ""
    return f"<section><h2>What these figures rest on</h2><ul>{items}</ul>{made}</section>"


def _items(texts: Iterable[str]) -> str:
    return "".join(f"<li>{escape(text)}</li>" for text in texts)


def _name(track: Track) -> str:
    return escape(LABELS.get(track.name, track.name))


def _anchor(part: Part) -> str:
    return f"day-{part.label.isoformat()}"


def _amount(value: float, unit: str, digits: int = 2) -> str:
    """With thin spaces between thousands, and a real minus; never minus zero."""
    text = f"{round(value, digits) + 0.0:,.{digits}f}".replace(",", "\u202f").replace("-", "−")
    return f"{text}\u00a0{unit}" if unit else text


def _percent(ratio: float) -> str:
    return f"{ratio * 100:.1f}\u00a0%".replace("-", "−")
