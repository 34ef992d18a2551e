"""A story as an audience sees it: which chapter is told now, and its cut lines, played on Enexa's own cable."""

from msgspec import Struct

from services.enexa.cable import Cable
from services.enexa.insight.drills import Way
from shared.clock import SystemClock
from shared.scenario.schema import LinkFails, Scenario

LOOK_EVERY_S = 1.0
WAYS = {"amperio_enexa": tuple(Way), "to_enexa": (Way.INWARD,), "to_amperio": (Way.OUTWARD,)}


class Telling(Struct, frozen=True, kw_only=True):
    """The chapter of this moment; `number` counts from 1, `left_s` is real time and None in the last one."""

    number: int
    count: int
    title: str
    caption: str
    left_s: float | None


class Story:
    """One scenario with chapters, from the stack's origin on."""

    def __init__(self, scenario: Scenario, clock: SystemClock, cable: Cable) -> None:
        self._scenario = scenario
        self._clock = clock
        self._cable = cable
        cuts = [each for each in scenario.timeline if isinstance(each, LinkFails) and each.link in WAYS]
        self._cuts = sorted(cuts, key=lambda each: each.at_s, reverse=True)

    def telling(self) -> Telling | None:
        """What an audience reads now; None for a scenario without chapters, and once the story is over."""
        passed_s, chapters = self._clock.since_origin_s, self._scenario.chapters
        begun = [each for each in chapters if each.at_s <= passed_s]
        if not begun or passed_s > self._scenario.duration_s:
            return None
        following = next((each for each in chapters if each.at_s > passed_s), None)
        return Telling(
            number=len(begun),
            count=len(chapters),
            title=begun[-1].title,
            caption=begun[-1].caption,
            left_s=(following.at_s - passed_s) / self._clock.speed if following is not None else None,
        )

    async def playing(self) -> None:
        """Cut the lines when their time comes; a loop of the application. A cut that is over already is left out."""
        while self._cuts:
            passed_s = self._clock.since_origin_s
            if self._cuts[-1].at_s <= passed_s:
                cut = self._cuts.pop()
                self._cable.cut(WAYS[cut.link], cut.at_s + cut.for_s - passed_s)
                continue
            await self._clock.sleep(min(self._cuts[-1].at_s - passed_s, LOOK_EVERY_S * self._clock.speed))
