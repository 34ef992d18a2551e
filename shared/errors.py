"""The tree of failures, sorted by who must act; a bug is an assertion and not part of it.

    SiteError
    ├── Refused               the caller asked for something it must not repeat   4xx, never retry
    ├── Unreachable           the other side did not answer                       retry with backoff
    ├── DeviceRefused         the ChargePost answered no                          no blind retry, tell a human
    ├── PlanUnavailable       no plan can be made                                 keep the last one
    ├── StoreFailed           our own disk                                        alarm at once
    └── Overloaded            too many ask at once                                come back as told

Each class owns its `code`, `http_status` and `retry`; an instance carries facts as fields, so nobody parses a message.
"""

from typing import ClassVar, TypeAlias, TypeVar

Fact: TypeAlias = str | int | float | bool | None


class SiteError(Exception):
    """Anything that may go wrong without being a bug."""

    code: ClassVar[str] = "site_error"
    http_status: ClassVar[int] = 503
    retry: ClassVar[bool] = False

    def __init__(self, sentence: str, **facts: Fact) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.facts = facts

    def __str__(self) -> str:
        told = ", ".join(f"{name}={value}" for name, value in self.facts.items())
        return f"{self.sentence} ({told})" if told else self.sentence


class Refused(SiteError):
    """The caller asked for something it must not repeat."""

    code = "refused"
    http_status = 422


class Unauthenticated(Refused):
    """No token, an unknown token or an expired one."""

    code = "unauthenticated"
    http_status = 401


class TokenReused(Unauthenticated):
    """A refresh token that was spent long ago; it may be stolen, so all its descendants are revoked."""

    code = "token_reused"


class Forbidden(Refused):
    """A good token without the scope, or an address that is not allowed."""

    code = "forbidden"
    http_status = 403


class Misdirected(Refused):
    """The request was meant for somebody else: its Host is none of our names."""

    code = "misdirected"
    http_status = 421


class RateLimited(Refused):
    """Too many requests; the fact `retry_after_s` says when to come back."""

    code = "rate_limited"
    http_status = 429
    retry = True


class NotFound(Refused):
    """No such thing, or not yours: the two look the same on purpose."""

    code = "not_found"
    http_status = 404


class UnknownSite(NotFound):
    code = "unknown_site"


class UnknownController(NotFound):
    code = "unknown_controller"


class InvalidMessage(Refused):
    """The body does not fit the contract: syntax, shape or type."""

    code = "invalid_message"
    http_status = 400


class OutOfBounds(Refused):
    """Well formed, but a value lies outside what the contract allows."""

    code = "out_of_bounds"


class TooLarge(Refused):
    code = "too_large"
    http_status = 413


class WrongMediaType(Refused):
    code = "unsupported_media_type"
    http_status = 415


class LimitExceeded(Refused):
    """The setpoint lies outside nameplate or configuration."""

    code = "limit_exceeded"


class StaleCommand(Refused):
    """Older than the command in force, too old, or past its validity."""

    code = "stale_command"


class IdempotencyMismatch(Refused):
    """The same id with another body."""

    code = "idempotency_mismatch"


class Conflict(Refused):
    """The state of things does not allow it."""

    code = "conflict"
    http_status = 409


class InProgress(Conflict):
    """The first request with this id is still being worked on."""

    code = "in_progress"


class Locked(Conflict):
    """Locked on site; only a person there can unlock."""

    code = "locked"


class NotNow(Conflict):
    """A step out of order, for instance activate before bootstrap."""

    code = "not_now"


class LostUpdate(Refused):
    """`If-Match` names a version that is no longer the current one."""

    code = "lost_update"
    http_status = 412


class Unreachable(SiteError):
    """The other side did not answer."""

    code = "unreachable"
    retry = True


class LinkDown(Unreachable):
    """Modbus/TCP: no connection, or silence."""

    code = "link_down"


class WrongReply(LinkDown):
    """Modbus/TCP: a reply that does not belong to the request; the connection is closed."""

    code = "wrong_reply"


class PeerDown(Unreachable):
    """The other twin: no connection, timeout, 5xx, or an answer that is none."""

    code = "peer_down"


class PeerBusy(Unreachable):
    """429 or 503; the fact `retry_after_s` says when to come back."""

    code = "peer_busy"


class DeviceRefused(SiteError):
    """The ChargePost answered no."""

    code = "device_refused"
    http_status = 502


class IllegalFunction(DeviceRefused):
    code = "illegal_function"


class IllegalAddress(DeviceRefused):
    code = "illegal_address"


class IllegalValue(DeviceRefused):
    code = "illegal_value"


class DeviceFailed(DeviceRefused):
    code = "device_failed"


class DeviceBusy(DeviceRefused):
    code = "device_busy"
    retry = True


class DeviceWorking(DeviceRefused):
    """Exception 5: it took the order and needs longer; what becomes of it shows in the registers."""

    code = "device_working"
    retry = True


class GatewayProblem(DeviceRefused):
    """Exceptions 0x0A and 0x0B: the path to the device, not the device."""

    code = "gateway_problem"
    retry = True


class ReadbackMismatch(DeviceRefused):
    """The device said yes, and the register says otherwise."""

    code = "readback_mismatch"


class PlanUnavailable(SiteError):
    """No plan can be made now; the last one stays in force."""

    code = "plan_unavailable"


class SolverFailed(PlanUnavailable):
    code = "solver_failed"


class InputsStale(PlanUnavailable):
    code = "inputs_stale"


class StoreFailed(SiteError):
    """Our own disk; an operator must act."""

    code = "store_failed"
    http_status = 503


class Overloaded(SiteError):
    """More is asked than can be done now; the fact `retry_after_s` says when to come back."""

    code = "overloaded"
    http_status = 503
    retry = True


class BadInput(SiteError):
    """A file or a setting that a person gave us; the sentence names the thing and the remedy."""

    code = "bad_input"
    http_status = 422


E = TypeVar("E", bound=SiteError)


def family(of: type[E]) -> tuple[type[E], ...]:
    """`of` and everything below it in the tree; docs, tests and clients read the tree through this."""
    return (of, *(each for child in of.__subclasses__() for each in family(child)))
