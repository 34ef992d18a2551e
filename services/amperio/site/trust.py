"""How far readings may be believed: frozen registers, a power that cannot be, a state of charge that jumps.

Rule over everything here: a missing or doubtful value is unknown or estimated and flagged, never zero, and never the
last value marked good. Control then gets less authority, not a guess.
"""

from msgspec import Struct

from services.amperio.site.image import SiteImage
from shared.contract.wire import Quality
from shared.energy.balance import Flows, imbalance_kw
from shared.moment import Moment

FROZEN_AFTER_S = 8.0
"""Told within ten seconds, with a look and a beat in between."""
SOC_HELD_S = 60.0
SOC_SETTLED_S = 3.0
SOC_JUMP_PCT = 3.0
"""A string of 95 kWh at 110 kW moves 0.03 % a second; whole-percent steps are normal, three at once are not."""
EV_JUMP_KW = 30.0
EV_OFF_BALANCE_KW = 20.0
"""A car's power that leaps by so much while the bus does not: words of two seconds in one value."""
IMPORT_MAX_KW = 200.0
COUNTER_SLACK_KWH = 0.002
STUCK_EV_KWH = 0.05
NO_EV_KW = 0.05


class Trusted(Struct, frozen=True, kw_only=True):
    """What control may calculate with; None = nothing to go by."""

    ev_kw: tuple[float | None, ...]
    own_kw: float | None
    pv_kw: float
    battery_kw: float | None
    grid_kw: float | None
    import_kwh: float | None
    export_kwh: float | None
    soc_pct: tuple[float | None, ...]
    soc_authority: tuple[float, ...]
    """1 where the state of charge is believed, 0.5 while it is held, 0 where it is unknown."""
    fresh: bool
    quality: dict[str, Quality]

    @property
    def ev_total_kw(self) -> float | None:
        known = [power for power in self.ev_kw if power is not None]
        return sum(known) if len(known) == len(self.ev_kw) else None

    @property
    def soc_mean_pct(self) -> float | None:
        known = [soc for soc in self.soc_pct if soc is not None]
        return sum(known) / len(known) if known else None


class Trust:
    """Remembers just enough of the past to doubt the present."""

    def __init__(self) -> None:
        self._pulse = _Pulse()
        self._strings = (_StringSoc(), _StringSoc())
        self._outlets = (_Outlet(), _Outlet())
        self._ev_before_kw: tuple[float | None, ...] = (None, None)
        self._imported, self._exported = _Counter(), _Counter()

    def judge(self, now: Moment, image: SiteImage, *, beaten_s_ago: float) -> Trusted:
        """One image, judged; `beaten_s_ago` tells whether the device's countdown had to fall since the last look."""
        quality: dict[str, Quality] = {}
        fresh = self._pulse.alive(now, image, beaten_s_ago)
        grid_kw = image.grid.grid_kw if image.grid else None
        own_kw = image.grid.own_consumption_kw if image.grid else None
        powers = [battery.battery_kw if battery else None for battery in image.batteries]
        battery_kw = None if None in powers else sum(power for power in powers if power is not None)
        pv_kw = (image.pv.pv_kw if image.pv else None) or 0.0
        socs, authority = [], []
        for index, (string, battery) in enumerate(zip(self._strings, image.batteries, strict=True)):
            soc, weight, flag = string.judge(now, battery.soc_pct if battery else None)
            socs.append(soc)
            authority.append(weight)
            if flag is not None:
                quality[f"battery.units.{index}.soc_pct"] = flag
        ev_kw = self._ev(image, grid_kw, battery_kw, own_kw, pv_kw, quality)
        import_kwh = self._imported.judge(now, image.grid.energy_imported_kwh if image.grid else None, grid_kw)
        export_kwh = self._exported.judge(
            now, image.grid.energy_exported_kwh if image.grid else None, None if grid_kw is None else -grid_kw
        )
        for name, value in (("grid.import_kwh", import_kwh), ("grid.export_kwh", export_kwh)):
            if value is None:
                quality[name] = Quality.UNKNOWN
        for name, value in (("grid.import_kw", grid_kw), ("aux_kw", own_kw), ("battery.power_kw", battery_kw)):
            if value is None:
                quality[name] = Quality.UNKNOWN
        if not fresh:
            quality |= dict.fromkeys(("grid", "battery", "chargers"), Quality.STALE)
        return Trusted(
            ev_kw=ev_kw,
            own_kw=own_kw,
            pv_kw=pv_kw,
            battery_kw=battery_kw,
            grid_kw=grid_kw,
            import_kwh=import_kwh,
            export_kwh=export_kwh,
            soc_pct=tuple(socs),
            soc_authority=tuple(authority),
            fresh=fresh,
            quality=quality,
        )

    def _ev(
        self,
        image: SiteImage,
        grid_kw: float | None,
        battery_kw: float | None,
        own_kw: float | None,
        pv_kw: float,
        quality: dict[str, Quality],
    ) -> tuple[float | None, ...]:
        """Power into each car; where a meter is stuck or silent, what the balance of the bus leaves for it."""
        read = [status.ev_kw if status else None for status in image.chargers]
        doubted = [outlet.stuck(image, index) for index, outlet in enumerate(self._outlets)]
        torn = self._torn(read, grid_kw, battery_kw, own_kw, pv_kw)
        doubted = [one or other for one, other in zip(doubted, torn, strict=True)]
        for index, power in enumerate(read):
            if power is not None and not doubted[index]:
                continue
            quality[f"chargers.{index}.power_kw"] = Quality.UNKNOWN
            other_kw = read[1 - index]
            if grid_kw is None or battery_kw is None or own_kw is None or other_kw is None or doubted[1 - index]:
                read[index] = None
                continue
            known = Flows(grid_kw=grid_kw, battery_kw=battery_kw, pv_kw=pv_kw, charger_kw=other_kw, load_kw=own_kw)
            read[index] = max(imbalance_kw(known), 0.0)
            quality[f"chargers.{index}.power_kw"] = Quality.ESTIMATED
        self._ev_before_kw = tuple(read)
        return self._ev_before_kw

    def _torn(
        self,
        read: list[float | None],
        grid_kw: float | None,
        battery_kw: float | None,
        own_kw: float | None,
        pv_kw: float,
    ) -> list[bool]:
        """Whether a power leapt away from the balance of the bus; a car that is unplugged takes the balance along."""
        known = [power for power in read if power is not None]
        if grid_kw is None or battery_kw is None or own_kw is None or len(known) < len(read):
            return [False, False]
        flows = Flows(grid_kw=grid_kw, battery_kw=battery_kw, pv_kw=pv_kw, charger_kw=sum(known), load_kw=own_kw)
        if abs(imbalance_kw(flows)) <= EV_OFF_BALANCE_KW:
            return [False, False]
        return [
            before is not None and abs(power - before) > EV_JUMP_KW
            for power, before in zip(known, self._ev_before_kw, strict=True)
        ]


class _Pulse:
    """Freshness by the device's own countdown, which must fall between two beats; any other change is proof too."""

    def __init__(self) -> None:
        self._digest: int | None = None
        self._proof_s = 0.0

    def alive(self, now: Moment, image: SiteImage, beaten_s_ago: float) -> bool:
        moved = image.digest != self._digest
        self._digest = image.digest
        if moved or beaten_s_ago < 2.0:
            # Right after a beat the countdown stands at the full interval: standing still proves nothing.
            self._proof_s = now.s if moved else self._proof_s
            return moved or now.s - self._proof_s <= FROZEN_AFTER_S
        return now.s - self._proof_s <= FROZEN_AFTER_S


class _StringSoc:
    """A state of charge is believed while it moves as charge can move; a doubtful one is held for a minute.

    After a jump a reading counts again once it has stood: for some seconds where it fits what was believed, for a
    minute where it does not. Readings that never stand carry no power.
    """

    def __init__(self) -> None:
        self._believed_pct: float | None = None
        self._believed_s = 0.0
        self._read_pct = 0.0
        self._read_s = float("-inf")
        self._stands_since_s = 0.0
        self._jumped = False

    def judge(self, now: Moment, soc_pct: float | None) -> tuple[float | None, float, Quality | None]:
        """The value to use, the share of power it may carry, and its quality flag."""
        if soc_pct is not None and self._credible(now, soc_pct):
            self._believed_pct, self._believed_s, self._jumped = soc_pct, now.s, False
            return soc_pct, 1.0, None
        if self._believed_pct is not None and now.s - self._believed_s <= SOC_HELD_S:
            return self._believed_pct, 0.5, Quality.STALE if soc_pct is None else Quality.ESTIMATED
        return None, 0.0, Quality.UNKNOWN

    def _credible(self, now: Moment, soc_pct: float) -> bool:
        if not _continues(soc_pct, self._read_pct, now.s - self._read_s):
            self._stands_since_s = now.s
        self._read_pct, self._read_s = soc_pct, now.s
        stood_s = now.s - self._stands_since_s
        if self._believed_pct is None:
            return True
        if not _continues(soc_pct, self._believed_pct, now.s - self._believed_s):
            self._jumped = True
            return stood_s >= SOC_HELD_S
        return not self._jumped or stood_s >= SOC_SETTLED_S


def _continues(soc_pct: float, before_pct: float, seconds: float) -> bool:
    return abs(soc_pct - before_pct) <= SOC_JUMP_PCT + 0.05 * seconds


class _Counter:
    """An energy that never falls and rises no faster than its power says; a new level must be seen twice."""

    def __init__(self) -> None:
        self._believed_kwh: float | None = None
        self._doubted_kwh: float | None = None
        self._seen_s = 0.0
        self._power_kw = 0.0

    def judge(self, now: Moment, value_kwh: float | None, power_kw: float | None) -> float | None:
        """The value where it follows from the one before, else None."""
        if value_kwh is None:
            return None
        seconds = now.s - self._seen_s
        before_kw, self._power_kw = self._power_kw, IMPORT_MAX_KW if power_kw is None else power_kw
        most_kw = max(before_kw, self._power_kw, 0.0) if seconds <= 2.0 else IMPORT_MAX_KW
        rise_kwh = 1.1 * most_kw * seconds / 3600.0 + COUNTER_SLACK_KWH
        follows = any(
            level is not None and level <= value_kwh <= level + rise_kwh
            for level in (self._believed_kwh, self._doubted_kwh)
        )
        if self._believed_kwh is None or follows:
            self._believed_kwh, self._doubted_kwh, self._seen_s = value_kwh, None, now.s
            return value_kwh
        self._doubted_kwh = value_kwh
        return None


class _Outlet:
    """A meter that says 0 kW while the energy counter runs is stuck."""

    def __init__(self) -> None:
        self._energy_kwh: float | None = None
        self._stuck = False

    def stuck(self, image: SiteImage, index: int) -> bool:
        status = image.chargers[index]
        if status is None:
            return False
        silent = status.ev_kw is not None and status.ev_kw <= NO_EV_KW
        if not silent or not image.charging(index):
            self._energy_kwh, self._stuck = None, False
            return False
        counter = status.session_energy_kwh if status.session_energy_kwh is not None else status.ev_energy_kwh
        if counter is None:
            return self._stuck
        if self._energy_kwh is None or counter < self._energy_kwh:
            self._energy_kwh = counter
        self._stuck = self._stuck or counter - self._energy_kwh > STUCK_EV_KWH
        return self._stuck
