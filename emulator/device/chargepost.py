"""A ChargePost: one second of firmware and physics per `step`, one Modbus PDU per `request`, no sockets anywhere."""

import struct
from collections.abc import Mapping
from math import exp
from zoneinfo import ZoneInfo

from emulator.device.bank import Bank, Key
from emulator.device.control import Demand, Flows, automatic, manual
from emulator.device.faults import ActiveFault, Faults, kind_of
from emulator.device.levers import CLEARANCE, GRID_MODE, OPERATION_MODE, REQUEST, Levers
from emulator.device.masks import Masks
from emulator.device.measures import measures_of
from emulator.device.memory import Memory, remind
from emulator.device.requests import answer, write
from emulator.device.truth import Truth
from emulator.device.watchdog import Watch, Watchdog
from emulator.physics.battery_string import BatteryString
from emulator.physics.charger import CHARGING, Outlet
from emulator.physics.environment import Environment
from emulator.physics.grid_meter import GridMeter
from emulator.physics.nameplate import StationProfile
from emulator.physics.vehicle import Vehicle
from shared.chargepost.layout import Value
from shared.chargepost.registers import MANAGEMENT
from shared.chargepost.states import ContactorState, Errors, GridMode, OperationMode, Warnings
from shared.moment import Moment
from shared.scenario.days import second_of_day
from shared.scenario.schema import Car, DailyProfile

ENVIRONMENT_EVERY = 60
IDLE_BEFORE_SLEEP_S = 60.0
PRECHARGE_S = 1.0
SAFE_STATE = ("estop", "crash_sensor")


class ChargePost:
    """The station. Call `step` once for every second of the clock; requests in between all see that second."""

    def __init__(
        self,
        profile: StationProfile,
        now: Moment,
        *,
        pv_ratio: DailyProfile | None = None,
        ambient_c: float = 20.0,
        soc_pct: tuple[float, float] | None = None,
        zone: ZoneInfo | None = None,
        seed: int = 1,
        memory: Memory | None = None,
        truth: Truth | None = None,
    ) -> None:
        self.profile = profile
        self.now = now
        self.seed = seed
        self.steps = 0
        self.faults: Faults = Faults()
        self.masks = Masks()
        self.truth = truth or Truth()
        self.environment = Environment(mean_c=ambient_c, pv_ratio=pv_ratio, seed=seed)
        self.meter = GridMeter(profile.grid, self.environment)
        socs = soc_pct or profile.soc_start_pct
        self.strings = tuple(BatteryString(profile.string, soc_pct=soc, ambient_c=ambient_c) for soc in socs)
        self.outlets = (Outlet(profile.outlet), Outlet(profile.outlet))
        self.flows = Flows()
        self.pv_kwh = 0.0
        self.watchdog = Watchdog(lateness_ratio=profile.watchdog_lateness_ratio)
        self.levers = Levers(profile)
        defaults = {
            "P_grid_clearance_cfg": round(profile.grid.fallback_clearance_kw * 1000.0),
            "station.config.P_grid_clearance_cfg": round(profile.grid.fallback_clearance_kw * 1000.0),
        }
        self.bank = Bank(measures_of(self), defaults, has_pv=profile.pv is not None, check=self._consistent)
        self.silent_until_s = 0.0
        self.started_s = now.s
        self._ready_s = now.s + profile.startup_s
        self._demand = Demand()
        self._zone = zone or ZoneInfo("Europe/Berlin")
        self._hvac_kw = 0.0
        self._hvac_keep = 1.0 - exp(-1.0 / profile.own.hvac_lag_s)
        self._idle_s = 0.0
        self._seen_faults = -1
        self._told_departures = 0
        self._safe_state = self._blackout = self._away = False
        self.connection_kw = self.meter.most_kw()
        self.pv_available_kw = 0.0
        demand = self._demand
        demand.unit_kva = profile.grid.unit_kva
        demand.export_kw = profile.grid.export_limit_kw
        demand.loss_linear_ratio = profile.outlet.loss_linear_ratio
        demand.loss_quadratic_per_kw = profile.outlet.loss_quadratic_per_kw
        self._power_on()
        self._look_around()
        if memory is not None:
            remind(self, memory)

    # --- what the outside does -------------------------------------------------------------------------------------

    def request(self, now: Moment, unit_id: int, pdu: bytes, *, peer: str = "local") -> bytes:
        """The reply PDU to one request PDU, both without header; empty where the station stays silent."""
        return b"" if self.silent else answer(self, now, unit_id, pdu, peer)

    @property
    def silent(self) -> bool:
        """Whether the station is rebooting: connections are closed and nobody answers."""
        return self.now.s < self.silent_until_s

    @property
    def standing(self) -> bool:
        """Whether no power may flow: a reboot, contactors still closing, an emergency stop or no grid."""
        return self.now.s < self._ready_s or self._safe_state or self._blackout

    def contactor(self, closes_after_s: float) -> ContactorState:
        """A contactor's state: they close one after the other while the station starts, after a precharge of 1 s."""
        on_for_s = self.now.s - self.started_s
        if self.silent or self._safe_state or self._blackout or on_for_s < closes_after_s - PRECHARGE_S:
            return ContactorState.OPEN
        return ContactorState.CLOSED if on_for_s >= closes_after_s else ContactorState.UNDEFINED

    def outlet_max_kw(self, index: int) -> float:
        """What the hardware could deliver at this outlet now: grid and batteries less own consumption and losses."""
        if self.standing:
            return 0.0
        supply = self.connection_kw + sum(string.discharge_max_kw for string in self.strings) - self._demand.base_kw
        return max(0.0, min(self.outlets[index].rating_kw, supply / 1.05))

    def plug(self, car: Car, outlet: int) -> None:
        """A car arrives at outlet 1 or 2, which must be free."""
        self.outlets[outlet - 1].plug(Vehicle(car, arrived_s=self.now.s))
        self.truth.note(self.now.at, "car", "plugged", new=f"outlet {outlet}, {car.soc_start_pct:g} %")

    def unplug(self, outlet: int) -> bool:
        """The driver pulls the plug; False if there was no car."""
        gone = self.outlets[outlet - 1].unplug() is not None
        self._tell_departures()
        return gone

    def free_outlet(self, wanted: int | None = None) -> int | None:
        """The number of an outlet that a car could take now."""
        for number in (wanted,) if wanted else range(1, self.profile.outlets + 1):
            if number <= self.profile.outlets and self.outlets[number - 1].free:
                return number
        return None

    def begin_fault(
        self, name: str, *, for_s: float | None = None, options: dict[str, float] | None = None
    ) -> ActiveFault:
        """Raise a fault of the catalogue now."""
        fault = self.faults.begin(name, self.now.s, for_s=for_s, options=options or {})
        told = ", ".join(f"{key} {value:g}" for key, value in fault.options.items())
        edge = "happens" if kind_of(name).instant else "begins"
        self.truth.note(self.now.at, "fault", name, new=f"{edge} ({told})" if told else edge)
        self._happen(fault)
        self.masks.change(self)
        return fault

    def end_fault(self, name: str) -> bool:
        """Clear a fault; False if it was not active."""
        gone = self.faults.end(name)
        if gone:
            self.truth.note(self.now.at, "fault", name, new="ends")
            self.masks.change(self)
        return gone

    def reboot(self) -> None:
        """Connections drop, registers return to power-on values, counters stay; the profile says for how long."""
        self.silent_until_s = self.now.s + self.profile.reboot_s
        self.started_s = self.silent_until_s
        self._ready_s = self.started_s + self.profile.startup_s
        self._power_on()
        self._away = True
        self.truth.note(self.now.at, "station", "rebooted")

    # --- the second ------------------------------------------------------------------------------------------------

    def step(self, now: Moment) -> None:
        """One second of everything, ending at `now`."""
        self.now = now
        s = now.s
        self.steps += 1
        if self.steps % ENVIRONMENT_EVERY == 0:
            self._look_around()
        if self._away and not self.silent:
            self._away = False
            self.truth.note(now.at, "station", "answers_again")
        faults = self.faults
        if s >= faults.next_end_s:
            for fault in faults.expired(s):
                self.truth.note(now.at, "fault", fault.name, new="ends")
            self.masks.change(self)
        if faults.version != self._seen_faults:
            self._feel_faults()
        if self.watchdog.expired(s):
            self._trip()
        if faults.active and faults.has("second_master"):
            self._be_overruled()
        if s < self._ready_s or self._safe_state or self._blackout:
            self._stand_still(s)
        else:
            self._run(s)
        self._book()
        if self.outlets[0].finished_sessions + self.outlets[1].finished_sessions != self._told_departures:
            self._tell_departures()
        if self.masks.active:
            self.masks.remember(self)

    def _run(self, s: float) -> None:
        levers, demand, flows = self.levers, self._demand, self.flows
        outlet_1, outlet_2 = self.outlets
        string_1, string_2 = self.strings
        if outlet_1.coupled != levers.coupled:
            self._couple()
        if outlet_1.vehicle is None:
            demand.ev_1_kw = 0.0
        else:
            demand.ev_1_kw = outlet_1.demand(s, self._limit_kw(0))
        if outlet_2.vehicle is None:
            demand.ev_2_kw = 0.0
        else:
            demand.ev_2_kw = outlet_2.demand(s, self._limit_kw(1))
        string_1.look(levers.ceiling_pct[0])
        string_2.look(levers.ceiling_pct[1])
        self._fill_battery_limits()
        clearance = levers.clearance_kw
        clearance = min(clearance, self.connection_kw)
        if levers.gradient_on:
            clearance = self._within_gradient(clearance)
        demand.base_kw = self._base_kw(clearance)
        demand.clearance_kw = clearance
        demand.request_kw = levers.request_kw
        demand.pv_kw = min(self.pv_available_kw, levers.pv_limit_kw)
        if levers.manual:
            demand.target_1_kw, demand.target_2_kw = levers.target_kw
            manual(demand, flows)
        else:
            automatic(demand, flows)
        outlet_1.deliver(flows.ev_1_kw)
        outlet_2.deliver(flows.ev_2_kw)
        ambient = self.environment.ambient_c
        string_1.carry(flows.battery_1_kw, ambient)
        string_2.carry(flows.battery_2_kw, ambient)

    def _stand_still(self, s: float) -> None:
        """No power flows: rebooting, an emergency stop, or no grid; cars wait, electronics live on their buffer."""
        flows = self.flows
        for outlet in self.outlets:
            if outlet.vehicle is not None:
                outlet.demand(s, 0.0)
            outlet.deliver(0.0)
        flows.ev_1_kw = flows.ev_2_kw = flows.battery_1_kw = flows.battery_2_kw = 0.0
        flows.pv_kw = flows.loss_kw = flows.curtailed_kw = 0.0
        flows.clearance_violated = False
        flows.own_kw = flows.grid_kw = 0.0 if self._blackout else self.profile.own.asleep_kw
        self._demand.ev_1_kw = self._demand.ev_2_kw = 0.0
        self._hvac_kw = 0.0
        for string in self.strings:
            string.charge_max_kw = string.discharge_max_kw = 0.0
            string.carry(0.0, self.environment.ambient_c)

    def _book(self) -> None:
        flows = self.flows
        self.meter.count(flows.grid_kw)
        if flows.pv_kw > 0.0:
            self.pv_kwh += flows.pv_kw / 3600.0
        first, second = self.strings
        demand = self._demand
        self.truth.record(
            (
                self.now.at.timestamp(),
                flows.grid_kw,
                flows.battery_1_kw,
                flows.battery_2_kw,
                flows.ev_1_kw,
                flows.ev_2_kw,
                flows.pv_kw,
                flows.own_kw,
                flows.loss_kw,
                first.energy_kwh,
                second.energy_kwh,
                first.temperature_c,
                second.temperature_c,
                self.meter.imported_kwh,
                self.meter.exported_kwh,
                demand.clearance_kw,
                flows.curtailed_kw,
                demand.ev_1_kw + demand.ev_2_kw,
                1.0 if self.levers.external else 0.0,
                self.environment.ambient_c,
            )
        )

    # --- the parts of a second -------------------------------------------------------------------------------------

    def _tell_departures(self) -> None:
        """Note every car that has left, whoever pulled the plug."""
        for number, outlet in enumerate(self.outlets, 1):
            if outlet.departed is not None:
                soc_pct, outlet.departed = outlet.departed, None
                told = f"outlet {number}, {soc_pct:.1f} %, {outlet.session_kwh:.2f} kWh"
                self.truth.note(self.now.at, "car", "unplugged", new=told)
        self._told_departures = sum(outlet.finished_sessions for outlet in self.outlets)

    def _limit_kw(self, index: int) -> float:
        levers, outlet = self.levers, self.outlets[index]
        if not levers.outlet_on[index] or outlet.vehicle is None:
            return 0.0
        limit = levers.limit_kw[index]
        by_current = levers.limit_a[index] * outlet.vehicle.volts / 1000.0
        return min(limit, by_current)

    def _fill_battery_limits(self) -> None:
        levers, demand = self.levers, self._demand
        first, second = self.strings
        soc_1 = 100.0 * first.energy_kwh / first.capacity_kwh
        soc_2 = 100.0 * second.energy_kwh / second.capacity_kwh
        demand.soc_1_pct, demand.soc_2_pct = soc_1, soc_2
        demand.charge_1_kw, demand.charge_2_kw = first.charge_max_kw, second.charge_max_kw
        unprotected = levers.manual or first.floor_off
        reserve = levers.reserve_pct
        demand.discharge_1_kw = first.discharge_max_kw if soc_1 > reserve or unprotected else 0.0
        demand.discharge_2_kw = second.discharge_max_kw if soc_2 > reserve or unprotected else 0.0
        if not (levers.unit_on[0] and levers.unit_on[1]):
            if not levers.unit_on[0]:
                demand.charge_1_kw = demand.discharge_1_kw = 0.0
            if not levers.unit_on[1]:
                demand.charge_2_kw = demand.discharge_2_kw = 0.0

    def _base_kw(self, clearance_kw: float) -> float:
        """Electronics and HVAC; the HVAC gives way when it alone would break the clearance."""
        own, flows = self.profile.own, self.flows
        through = abs(flows.battery_1_kw) + abs(flows.battery_2_kw) + flows.ev_1_kw + flows.ev_2_kw
        if through > 0.01 or self.outlets[0].vehicle is not None or self.outlets[1].vehicle is not None:
            self._idle_s = 0.0
        else:
            self._idle_s += 1.0
        weather = 0.35 + 0.65 * min(1.0, abs(self.environment.ambient_c - own.comfort_c) / 17.0)
        wish = own.hvac_kw * weather * min(1.0, through / own.hvac_full_load_kw)
        self._hvac_kw += (wish - self._hvac_kw) * self._hvac_keep
        standby = own.asleep_kw if self.levers.sleeps and self._idle_s > IDLE_BEFORE_SLEEP_S else own.awake_kw
        base = standby + self._hvac_kw
        return standby if base > clearance_kw else base

    def _within_gradient(self, clearance_kw: float) -> float:
        grid = self.profile.grid
        rise = grid.apparent_kva * grid.gradient_pct_per_min / 100.0 / 60.0
        return min(clearance_kw, max(self.meter.grid_kw, self.profile.own.awake_kw) + rise)

    def _couple(self) -> None:
        """The boost contactor moves only while no car charges and the outlet it takes away is empty."""
        first, second = self.outlets
        if first.process is CHARGING or second.process is CHARGING:
            return
        wanted = self.levers.coupled
        if wanted and first.vehicle is not None and second.vehicle is not None:
            return
        first.coupled = second.coupled = self._demand.coupled = wanted

    # --- firmware --------------------------------------------------------------------------------------------------

    def written(self, names: set[str], now: Moment) -> None:
        """Registers were written: let the firmware act on them."""
        mode_on = self.bank.value(1, OPERATION_MODE) == OperationMode.ON
        if "management.watchdog_interval_s" in names and not self.faults.has("heartbeat_ignored"):
            interval = self.bank.value(1, 2500)
            assert isinstance(interval, int | float)
            self.watchdog.beat(now.s, float(interval), mode_on=mode_on)
        self.watchdog.mode_written(mode_on=mode_on)
        self.refresh()
        self.bank.outdate()

    def refresh(self) -> None:
        """Work out anew which setpoints are in force."""
        levers = self.levers
        if not (self.faults.has("setpoint_not_applied") and self.watchdog.trusts):
            levers.read(self.bank, trusted=self.watchdog.trusts)
        if self.faults.has("setpoint_clamped"):
            levers.clearance_kw = min(levers.clearance_kw, self.faults.option("setpoint_clamped", "limit"))
        if self.faults.has("setpoint_inverted"):
            levers.target_kw = [-target for target in levers.target_kw]
        for index, outlet in enumerate(self.outlets):
            taken = levers.coupled and index == 1
            outlet.unavailable = index >= self.profile.outlets or not levers.outlet_on[index] or taken

    def warnings(self) -> Warnings:
        """Register 2100."""
        bits = Warnings(0)
        if self.watchdog.state is Watch.TRIPPED:
            bits |= Warnings.WATCHDOG_TRIGGERED
        elif self.watchdog.state is Watch.NO_CONTROL:
            bits |= Warnings.NO_MODBUS_CONTROL
        if self.levers.manual:
            bits |= Warnings.MANUAL_CONTROL
        if self.flows.clearance_violated:
            bits |= Warnings.POWER_CLEARANCE_VIOLATION
        most_a = self.profile.grid.apparent_kva * 1000.0 / 3.0 / self.profile.grid.voltage_v
        if max(self.meter.currents_a(self.now.s)) > most_a * 1.02:
            bits |= Warnings.CURRENT_CLEARANCE_VIOLATION
        return bits

    def errors(self) -> Errors:
        """Register 2110."""
        bits = Errors(0)
        for name, bit in ERROR_OF_FAULT.items():
            if self.faults.has(name):
                bits |= bit
        return bits

    def _be_overruled(self) -> None:
        """A second master writes its clearance whenever it finds another one."""
        wanted_kw = self.faults.option("second_master", "clearance")
        if self.bank.value(1, CLEARANCE) != wanted_kw:
            order = MANAGEMENT.write(clearance_kw=wanted_kw)
            data = struct.pack(f">{len(order.words)}H", *order.words)
            write(self, self.now, order.unit_id, order.function, order.address, data, "second master")

    def _trip(self) -> None:
        """The watchdog ran out: the EMS loses control and its orders are forgotten."""
        self.bank.set(1, OPERATION_MODE, OperationMode.OFF)
        self.bank.set(1, GRID_MODE, GridMode.AUTOMATIC)
        self.bank.set(1, CLEARANCE, self.profile.grid.fallback_clearance_kw)
        self.bank.set(1, REQUEST, None)
        self.truth.note(self.now.at, "station", "watchdog_tripped")
        self.refresh()

    def _power_on(self) -> None:
        self.bank.power_on()
        self.watchdog.power_on()
        self.refresh()

    def _consistent(self, after: Mapping[Key, Value]) -> bool:
        """Reserve below the ceiling, and a unit's ceiling not above the station's: judged on what a write leaves."""
        ceiling = after.get((1, "config.soc_max_pct"), self.bank.value(1, 515))
        reserve = after.get((1, "config.soc_reserve_pct"), self.bank.value(1, 517))
        assert isinstance(ceiling, int | float)
        assert isinstance(reserve, int | float)
        units = [after.get((1, f"charger_{number}.control.soc_max_pct"), 0.0) for number in (1, 2)]
        return reserve < ceiling and all(isinstance(unit, int | float) and unit <= ceiling for unit in units)

    # --- faults and weather ----------------------------------------------------------------------------------------

    def _feel_faults(self) -> None:
        """Turn the active faults into what the step reads, once per change."""
        faults = self.faults
        self._seen_faults = faults.version
        self._safe_state = any(faults.has(name) for name in SAFE_STATE)
        self._blackout = faults.has("grid_outage") or faults.has("phase_loss")
        self.meter.outage = faults.has("grid_outage")
        self.meter.phase_lost = faults.has("phase_loss")
        self.meter.factor = faults.option("kva_plateau", "power_factor", self.profile.grid.power_factor_ratio)
        self.connection_kw = 0.0 if self._blackout else self.meter.most_kw()
        deep = faults.has("deep_drain")
        hot = faults.option("thermal_alarm", "temperature")
        dead = {int(faults.option(name, "unit")) for name in ("contactor_stuck", "string_offline")}
        for number, string in enumerate(self.strings, 1):
            string.floor_off = deep
            string.offline = number in dead or faults.has("limits_collapse")
            if hot:
                string.temperature_c = hot
        for outlet in self.outlets:
            outlet.failed = self._safe_state or self._blackout or faults.has("ups_failure")
        self.watchdog.lateness_ratio = faults.option("watchdog_skewed", "ratio", self.profile.watchdog_lateness_ratio)
        self.refresh()

    def _happen(self, fault: ActiveFault) -> None:
        """Faults that are one event."""
        options = fault.options
        if fault.name == "reboot":
            self.reboot()
        elif fault.name == "control_lost_silently":
            self.bank.set(1, OPERATION_MODE, OperationMode.OFF)
            self.refresh()
        elif fault.name == "grid_mode_flipped":
            flipped = GridMode.AUTOMATIC if self.bank.value(1, GRID_MODE) == GridMode.MANUAL else GridMode.MANUAL
            self.bank.set(1, GRID_MODE, flipped)
            self.refresh()
        elif fault.name == "pack_imbalance":
            for string, soc in zip(self.strings, (options["first"], options["second"]), strict=True):
                string.energy_kwh = string.capacity_kwh * soc / 100.0
        elif fault.name == "soc_jump":
            string = self.strings[1 if options["unit"] == 2.0 else 0]
            moved = string.energy_kwh + string.capacity_kwh * options["points"] / 100.0
            string.energy_kwh = min(max(0.0, moved), string.capacity_kwh)
        elif fault.name == "counter_reset":
            self.meter.imported_kwh = self.meter.exported_kwh = options["to_kwh"]

    def _look_around(self) -> None:
        second = second_of_day(self.now.at, self._zone)
        self.environment.look(second)
        for string in self.strings:
            string.age()
        pv = self.profile.pv
        if pv is not None:
            self.pv_available_kw = min(pv.peak_kw * self.environment.sun_ratio(second), pv.inverter_kw)


ERROR_OF_FAULT = {
    "error_flags_corrupted": Errors.ERROR_FLAGS_CORRUPTED,
    "crash_sensor": Errors.CRASH_SENSOR,
    "ups_failure": Errors.UPS_GRID_SUPPLY_FAILURE,
    "estop": Errors.EMERGENCY_STOP,
    "thermal_alarm": Errors.THERMAL,
    "contactor_stuck": Errors.CONTACTOR,
    "string_offline": Errors.STRING_OFFLINE,
    "grid_outage": Errors.GRID_OUTAGE,
    "phase_loss": Errors.PHASE_LOSS,
}
