"""How a controller becomes part of a site: a table of states, and no way around it (pure)."""

from enum import StrEnum

from shared.contract.registry import OnboardingState
from shared.errors import NotNow


class Step(StrEnum):
    """What may happen to a controller."""

    BOOTSTRAP = "bootstrap"
    ACTIVATE = "activate"
    SUSPEND = "suspend"
    RESUME = "resume"


TRANSITIONS: dict[OnboardingState, dict[Step, OnboardingState]] = {
    OnboardingState.REGISTERED: {
        Step.BOOTSTRAP: OnboardingState.BOOTSTRAPPED,
        Step.SUSPEND: OnboardingState.SUSPENDED,
    },
    OnboardingState.BOOTSTRAPPED: {
        # A lost reply must not lock a controller out of its first configuration.
        Step.BOOTSTRAP: OnboardingState.BOOTSTRAPPED,
        Step.ACTIVATE: OnboardingState.ACTIVE,
        Step.SUSPEND: OnboardingState.SUSPENDED,
    },
    OnboardingState.ACTIVE: {
        Step.SUSPEND: OnboardingState.SUSPENDED,
    },
    OnboardingState.SUSPENDED: {
        # Whoever was shut out proves itself again, step by step; else suspending would be a way around them.
        Step.RESUME: OnboardingState.REGISTERED,
    },
}


def after(state: OnboardingState, step: Step) -> OnboardingState:
    """The state that follows; NotNow where the step is out of order."""
    following = TRANSITIONS[state].get(step)
    if following is None:
        raise NotNow(f"{step.value} is not possible while the controller is {state.value}", state=state.value)
    return following
