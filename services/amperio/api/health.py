"""Health: what a probe and a person may know without a token."""

from typing import Any, Protocol

from shared.contract.operations import AMPERIO_HEALTH
from shared.contract.reads import Health
from shared.moment import Moment
from shared.rest.gate import Answer, Call, Route, serves


class Doctor(Protocol):
    def health(self, now: Moment) -> Health: ...


def routes(doctor: Doctor) -> list[Route]:
    """The one route of health: 200 while it serves, 503 where it cannot."""

    @serves(AMPERIO_HEALTH)
    async def health(call: Call[Any]) -> Answer:
        report = doctor.health(call.now)
        return Answer(report, status=503 if report.status == "unhealthy" else 200)

    return [health]
