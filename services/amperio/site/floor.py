"""Below the reserve the cars get what import leaves, also where the station's own floor does not see to it.

A healthy station curtails its cars at the reserve by itself, and then these ceilings change nothing. One whose floor is
off, or that is run in manual mode, gives a large car the rest from its battery until that is empty; there a ceiling on
each outlet is the only lever that is left.
"""

from math import floor

from services.amperio.site.image import SiteImage
from services.amperio.site.limits import CHARGEPOST, LimitsInForce
from services.amperio.site.trust import Trusted

BELOW_RESERVE_PCT = 2.0
"""A healthy station stops at the reserve; whole-percent readings of two strings may stand a point below it."""
SPARE_KW = 2.0
"""Left for the battery, so that a doubtful meter does not drain it."""


def outlet_ceilings_kw(
    image: SiteImage, trusted: Trusted, limits: LimitsInForce, *, throttled: bool
) -> tuple[float, float] | None:
    """What each outlet may give in this cycle, shared equally by the cars that charge; None = no reason to throttle.

    `throttled` says that it was so a cycle ago: once begun it lasts until the reserve is there again.
    """
    known = [soc_pct for soc_pct in trusted.soc_pct if soc_pct is not None]
    charging = sum(image.charging(index) for index in range(len(image.chargers)))
    if not known or not charging or trusted.own_kw is None:
        return None
    if min(known) >= limits.reserve_pct - (0.0 if throttled else BELOW_RESERVE_PCT):
        return None
    left_kw = limits.import_max_kw - trusted.own_kw + trusted.pv_kw - SPARE_KW
    each_kw = float(floor(max(left_kw, 0.0) / charging))
    return min(each_kw, CHARGEPOST.outlet_kw), min(each_kw, CHARGEPOST.outlet_kw)
