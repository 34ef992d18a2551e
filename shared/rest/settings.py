"""Settings that both services have: how much each caller may ask, telemetry, commands and the rest counted apart."""

from typing import Annotated

from msgspec import Meta

from shared.contract.operations import Budget
from shared.rest.limits import DEFAULT_RATES, Limits, Rate
from shared.settings import ProcessSettings

PerSecond = Annotated[float, Meta(gt=0.0, le=1_000_000.0)]
Burst = Annotated[float, Meta(ge=1.0, le=1_000_000.0)]


class ServiceSettings(ProcessSettings, frozen=True, kw_only=True):
    """For each credential: so many requests a clock second on average, and so many at once."""

    rate_telemetry_per_s: PerSecond = DEFAULT_RATES[Budget.TELEMETRY].per_s
    rate_telemetry_burst: Burst = DEFAULT_RATES[Budget.TELEMETRY].burst
    rate_command_per_s: PerSecond = DEFAULT_RATES[Budget.COMMAND].per_s
    rate_command_burst: Burst = DEFAULT_RATES[Budget.COMMAND].burst
    rate_general_per_s: PerSecond = DEFAULT_RATES[Budget.GENERAL].per_s
    rate_general_burst: Burst = DEFAULT_RATES[Budget.GENERAL].burst

    def limits(self) -> Limits:
        return Limits(
            {
                Budget.TELEMETRY: Rate(self.rate_telemetry_per_s, self.rate_telemetry_burst),
                Budget.COMMAND: Rate(self.rate_command_per_s, self.rate_command_burst),
                Budget.GENERAL: Rate(self.rate_general_per_s, self.rate_general_burst),
            }
        )
