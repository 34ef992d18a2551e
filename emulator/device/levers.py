"""The setpoints in force: what the EMS's registers mean while it is trusted, and what holds when it is not."""

from emulator.device.bank import Bank
from emulator.physics.nameplate import StationProfile
from shared.chargepost.registers import CONFIG, CONTROLS, MANAGEMENT, PV_CONTROL, PV_UNIT
from shared.chargepost.states import ChargingMode, EnergySaving, GradientMode, GridMode, OperationMode

_MANAGEMENT = {name: field.address for name, field in MANAGEMENT.fields.items()}
_CONFIG = {name: field.address for name, field in CONFIG.fields.items()}
_CONTROLS = tuple({name: field.address for name, field in span.fields.items()} for span in CONTROLS)
OPERATION_MODE, GRID_MODE = _MANAGEMENT["operation_mode"], _MANAGEMENT["grid_mode"]
WATCHDOG_INTERVAL, CLEARANCE = _MANAGEMENT["watchdog_interval_s"], _MANAGEMENT["clearance_kw"]
REQUEST = _MANAGEMENT["request_kw"]


class Levers:
    """Plain numbers that the physics step reads; `read` works them out anew after every change of a register."""

    __slots__ = (
        "ceiling_pct",
        "clearance_kw",
        "coupled",
        "external",
        "gradient_on",
        "limit_a",
        "limit_kw",
        "manual",
        "mode_on",
        "outlet_on",
        "profile",
        "pv_limit_kw",
        "request_kw",
        "reserve_pct",
        "sleeps",
        "target_kw",
        "unit_on",
    )

    def __init__(self, profile: StationProfile) -> None:
        self.profile = profile
        self.mode_on = self.external = self.manual = self.gradient_on = self.sleeps = False
        self.clearance_kw = profile.grid.fallback_clearance_kw
        self.request_kw: float | None = None
        self.reserve_pct = 20.0
        self.ceiling_pct = [90.0, 90.0]
        self.coupled = profile.coupled
        self.outlet_on = [True, True]
        self.unit_on = [True, True]
        self.limit_kw = [0.0, 0.0]
        self.limit_a = [0.0, 0.0]
        self.target_kw = [0.0, 0.0]
        self.pv_limit_kw = 1e9

    def read(self, bank: Bank, *, trusted: bool) -> None:
        """Take over what the registers say, as far as their writer is trusted."""
        profile = self.profile
        self.mode_on = bank.value(1, OPERATION_MODE) == OperationMode.ON
        self.external = self.mode_on and trusted
        self.manual = self.external and bank.value(1, GRID_MODE) == GridMode.MANUAL
        self.gradient_on = bank.value(1, _MANAGEMENT["gradient_mode"]) == GradientMode.VDE_4105
        self.sleeps = bank.value(1, _MANAGEMENT["energy_saving"]) == EnergySaving.SLOW
        self.reserve_pct = _number(bank, 1, _CONFIG["soc_reserve_pct"])
        station_ceiling = _number(bank, 1, _CONFIG["soc_max_pct"])
        self.clearance_kw = profile.grid.fallback_clearance_kw
        self.request_kw = None
        if self.external:
            self.clearance_kw = _number(bank, 1, CLEARANCE)
            asked = bank.value(1, REQUEST)
            self.request_kw = None if asked is None or self.manual else max(0.0, float(asked))
        modes = []
        for index, at in enumerate(_CONTROLS):
            mode = ChargingMode.DUAL if profile.coupled and index == 0 else ChargingMode.SINGLE
            self.ceiling_pct[index] = station_ceiling
            self.limit_kw[index] = profile.outlet.coupled_kw
            self.limit_a[index] = profile.outlet.current_a
            self.target_kw[index] = 0.0
            if self.external:
                mode = ChargingMode(int(_number(bank, 1, at["charging_mode"])))
                self.ceiling_pct[index] = min(station_ceiling, _number(bank, 1, at["soc_max_pct"]))
                self.limit_kw[index] = _number(bank, 1, at["ev_limit_kw"])
                self.limit_a[index] = _number(bank, 1, at["ev_limit_a"])
                self.target_kw[index] = _number(bank, 1, at["grid_target_kw"])
            modes.append(mode)
            self.outlet_on[index] = mode in {ChargingMode.SINGLE, ChargingMode.DUAL}
            self.unit_on[index] = mode is not ChargingMode.OFF
        self.coupled = modes[0] is ChargingMode.DUAL or (modes[1] is ChargingMode.DUAL and profile.outlets == 2)
        if PV_UNIT in bank.units:
            self.pv_limit_kw = _number(bank, PV_UNIT, PV_CONTROL.fields["pv_limit_kw"].address)


def _number(bank: Bank, unit_id: int, address: int) -> float:
    value = bank.value(unit_id, address)
    assert isinstance(value, int | float), "a power-on value and every accepted write is a number"
    return float(value)
