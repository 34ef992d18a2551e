"""The customer's navigation as a table, with the pages that this product adds to it."""

from msgspec import Struct


class Page(Struct, frozen=True, kw_only=True):
    """One page; `path` may hold `{site_id}`."""

    key: str
    title: str
    hint: str
    path: str
    operator_only: bool = False


class Group(Struct, frozen=True, kw_only=True):
    title: str
    pages: tuple[Page, ...]


def _page(key: str, title: str, hint: str, path: str, *, operator_only: bool = False) -> Page:
    return Page(key=key, title=title, hint=hint, path=path, operator_only=operator_only)


SITE = "/sites/{site_id}"
NAVIGATION: tuple[Group, ...] = (
    Group(
        title="Prototype",
        pages=(
            _page("monitoring", "Site Monitoring", "Real-time telemetry dashboard", f"{SITE}/monitoring"),
            _page("dispatch_log", "Dispatch Logs", "Command execution & verification", f"{SITE}/dispatch-log"),
            _page("plan", "Plan", "Prices, setpoints, reserve, reasons", f"{SITE}/plan"),
            _page("fleet", "Fleet", "All sites at a glance", "/fleet"),
            _page("alerts", "Alerts", "Open and past", "/alerts"),
            _page("audit", "Audit", "Every API call, tamper-evident", "/audit", operator_only=True),
            _page("impact", "Impact Dashboard", "Savings & value demonstration", f"{SITE}/impact"),
            _page("what_if", "What-If Scenarios", "Scenario analysis & comparison", "/what-if"),
        ),
    ),
    Group(
        title="Solution Overview",
        pages=(
            _page("solution", "Solution Overview", "Architecture & responsibilities", "/solution"),
            _page("communication", "Comm Architecture", "API integration patterns", f"{SITE}/communication"),
            _page("api", "Middleware API", "Telemetry & command schema", "/api"),
            _page("exceptions", "Exception Handling", "Fallbacks & failure scenarios", f"{SITE}/exceptions"),
            _page("onboarding", "Onboarding & Config", "Master data & config API", f"{SITE}/onboarding"),
        ),
    ),
    Group(
        title="Configuration",
        pages=(
            _page("location", "Location Setup", "Equipment specs & constraints", f"{SITE}/config/location"),
            _page("financials", "Financials", "Costs, income & margins", f"{SITE}/config/financials"),
            _page("solar", "Solar Production", "PV generation profile", "/days/solar"),
            _page("sessions", "Charging Sessions", "EV demand profile", "/days/sessions"),
            _page("versions", "Versions", "Who changed what, and when", f"{SITE}/config/versions"),
            _page("not_modelled", "Not Modeled", "Known gaps & limitations", "/not-modelled"),
        ),
    ),
    Group(
        title="Simulation Overview",
        pages=(
            _page("inputs", "Input Summary", "All configuration parameters", "/simulation/inputs"),
            _page("algorithms", "Simulation Algorithms", "Reactive vs Smart EMS explained", "/simulation/algorithms"),
            _page("results", "Result Overview", "Side-by-side comparison", "/simulation/results"),
        ),
    ),
    Group(
        title="Reactive BMS",
        pages=(
            _page("bms_algorithm", "BMS Algorithm", "How the reactive BMS works", "/bms/algorithm"),
            _page("bms_reactive", "BMS Reactive", "Rule-based simulation results", "/bms/results"),
        ),
    ),
    Group(
        title="SmartEMS",
        pages=(
            _page("ems_algorithm", "SmartEMS Algorithm", "How the 2-layer optimizer works", "/smartems/algorithm"),
            _page("planner", "SmartEMS Config", "Planner tuning parameters", f"{SITE}/config/planner"),
            _page("ems_results", "SmartEMS Results", "Optimized simulation output", "/smartems/results"),
            _page("ems_dispatching", "SmartEMS Dispatching", "Gate logic & energy flow rules", f"{SITE}/gates"),
        ),
    ),
)


def existing(*, operator: bool, without: frozenset[str] = frozenset()) -> tuple[Group, ...]:
    """What the navigation shows: only those pages that the reader may open.

    `without` are keys of pages whose source is not part of this installation.
    """
    groups = (
        Group(
            title=group.title,
            pages=tuple(
                each for each in group.pages if each.key not in without and (operator or not each.operator_only)
            ),
        )
        for group in NAVIGATION
    )
    return tuple(group for group in groups if group.pages)
