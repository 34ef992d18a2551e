"""Logs: one JSON line per event in production, colours on a terminal; secrets are never among the fields."""

import logging
import sys
from typing import Literal, TypeAlias

import structlog

LogFormat: TypeAlias = Literal["auto", "json", "console"]

SECRET_WORDS = ("token", "secret", "password", "api_key", "authorization")


def set_up_logs(program: str, *, level: str = "info", form: LogFormat = "auto") -> None:
    """Configure structlog once, in `__main__`; `program` is bound to every line."""
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            hide_secrets,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(program=program)
    logging.basicConfig(level=logging.WARNING, format="%(name)s %(levelname)s %(message)s", stream=sys.stderr)


def hide_secrets(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Replace the value of any field whose name speaks of a secret."""
    for name in event:
        if any(word in name for word in SECRET_WORDS):
            event[name] = "(hidden)"
    return event
