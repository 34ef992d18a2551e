"""Numbers and times as German and English readers write them; local time is shown, UTC is in the hover text."""

from datetime import UTC, datetime
from enum import StrEnum

from markupsafe import Markup

from shared.energy.slots import MARKET_ZONE

NOTHING = "–"
NO_TIME = Markup("–")


class Format(StrEnum):
    """How numbers and times are written; the language of the pages is English."""

    GERMAN = "de"
    ENGLISH = "en"


def chosen_format(cookie: str | None, accept_language: str) -> Format:
    """The reader's own choice, else the first language that the browser asks for and we know."""
    wanted = [cookie or ""] + [part.split(";")[0].strip()[:2].lower() for part in accept_language.split(",")]
    return next((Format(each) for each in wanted if each in tuple(Format)), Format.ENGLISH)


def number(value: float | None, form: Format, digits: int = 0, *, sign: bool = False) -> str:
    """A number with its separators and a real minus sign; a dash for None."""
    if value is None:
        return NOTHING
    rounded = round(value, digits) + 0.0
    text = f"{rounded:{'+' if sign and rounded else ''},.{digits}f}".replace("-", "−")
    return text.translate(str.maketrans(",.", ".,")) if form is Format.GERMAN else text


def date_text(at: datetime, form: Format) -> str:
    local = at.astimezone(MARKET_ZONE)
    return local.strftime("%d.%m.%Y") if form is Format.GERMAN else local.strftime("%d %b %Y")


def clock_text(at: datetime, *, seconds: bool = True) -> str:
    return at.astimezone(MARKET_ZONE).strftime("%H:%M:%S" if seconds else "%H:%M")


def time_tag(at: datetime | None, form: Format, style: str = "clock") -> Markup:
    """A `<time>` element; styles: clock (19:04:05), minute (19:04), date, both."""
    if at is None:
        return NO_TIME
    texts = {
        "clock": clock_text(at),
        "minute": clock_text(at, seconds=False),
        "date": date_text(at, form),
        "both": f"{date_text(at, form)} {clock_text(at)}",
    }
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        utc.isoformat(), utc.strftime("%Y-%m-%d %H:%M:%S"), texts[style]
    )


def duration(seconds: float | None, form: Format) -> str:
    """A length of time in the largest unit that keeps it readable."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return f"{number(seconds * 1000, form)} ms"
    if seconds < 120:
        return f"{number(seconds, form, 1 if seconds < 10 else 0)} s"
    if seconds < 7200:
        return f"{number(seconds / 60, form)} min"
    return f"{number(seconds / 3600, form, 1)} h"
