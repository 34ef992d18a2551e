"""The checks that both services have to pass alike: TLS, tokens, health, refusals, the rate limit."""

import ssl
from typing import Any

from shared.conformance.checks import Check, Kit, NoAnswer, NotTried, Saw
from shared.conformance.peer import Answer, Peer
from shared.contract.wire import decode_reply
from shared.errors import InvalidMessage

RATE_TRIES = 600
ACCESS_LIFE_S = 3600


def fields_of(value: Any, *names: str) -> str:
    """Which of these names a JSON object lacks, as words; empty where it has all."""
    if not isinstance(value, dict):
        return "no JSON object"
    lacking = [name for name in names if name not in value]
    return f"without {', '.join(lacking)}" if lacking else ""


def answered(answer: Answer, of: Any, *names: str) -> Saw:
    """A success whose body is the contract's message; it still works where the page's own names are there."""
    if answer.status != 200:
        return Saw(False, False, f"HTTP {answer.status}")
    lacking = fields_of(answer.json, *names)
    if lacking:
        return Saw(False, False, lacking)
    try:
        decode_reply(answer.body, of)
    except InvalidMessage as error:
        return Saw(False, True, error.sentence)
    return Saw(True, True, "as the contract has it")


def refused(answer: Answer, *statuses: int) -> Saw:
    """A refusal by one of these statuses, with a problem document; any 4xx still works, a success never does."""
    told = f"HTTP {answer.status}" + ("" if answer.problem else ", no problem document")
    return Saw(answer.status in statuses and answer.problem, 400 <= answer.status < 500, told)


def common_checks(prefix: str, probe: str) -> tuple[Check[Peer], ...]:
    """The common part of a kit; `probe` is a path that needs a token."""

    check = Kit(prefix).check

    def without_token(peer: Peer) -> Saw:
        saw = refused(answer := peer.send("GET", probe), 401)
        challenged = "www-authenticate" in answer.headers
        told = saw.seen + ("" if challenged else ", no WWW-Authenticate")
        return Saw(saw.conforms and challenged, answer.status in (401, 403), told)

    def bad_token(peer: Peer) -> Saw:
        saw = refused(answer := peer.send("GET", probe, bearer="0" * 43), 401)
        return Saw(saw.conforms, answer.status in (401, 403), saw.seen)

    def refuses_post(peer: Peer) -> Saw:
        return refused(peer.send("DELETE", probe, bearer=peer.bearer()), 405, 404)

    return (
        check("TLS13", "TLS 1.3 is spoken", "P020 P147 P148 P221", _speaks_tls_13),
        check("TLS12", "nothing older than TLS 1.3 is spoken", "P148", _refuses_tls_12),
        check("HEALTH", "health answers without a token and tells the service's clock", "P088 P089 P215 P216", _health),
        check("NOTOKEN", "a call without a token is refused with 401", "P150 P211 P212", without_token),
        check("BADTOKEN", "a call with an unknown token is refused with 401", "P150 P211 P212", bad_token),
        check("TOKEN", "credentials buy a bearer token that lives an hour", "P149 P150 P153 P154", _token),
        check("SECRET", "a wrong secret buys nothing", "P149 P150", _wrong_secret),
        check("REFRESH", "a refresh token buys a successor", "P154", _refresh),
        check("REFRESHBAD", "an unknown refresh token buys nothing", "P154", _bad_refresh),
        check("METHOD", "a method that is not offered is refused", "P218", refuses_post),
        check("RATE", "a flood is answered with 429 and Retry-After", "P157 P158 P213 P214", _rate(probe), writes=True),
    )


def _speaks_tls_13(peer: Peer) -> Saw:
    if not peer.secure:
        raise NotTried("the address given is plain http")
    version = peer.hello()
    return Saw(version == "TLSv1.3", True, version)


def _refuses_tls_12(peer: Peer) -> Saw:
    if not peer.secure:
        raise NotTried("the address given is plain http")
    try:
        version = peer.hello(ssl.TLSVersion.TLSv1_2)
    except NoAnswer:
        return Saw(True, True, "refused")
    return Saw(False, True, f"speaks {version}")


def _health(peer: Peer) -> Saw:
    answer = peer.send("GET", "/v1/health")
    told = answer.json
    lacking = fields_of(told, "status", "service", "version", "clock")
    known = isinstance(told, dict) and told.get("status") in ("ok", "degraded", "unhealthy")
    fits = answer.status == (503 if known and told["status"] == "unhealthy" else 200)
    return Saw(not lacking and known and fits, answer.status in (200, 503), f"HTTP {answer.status} {lacking}".strip())


def _token(peer: Peer) -> Saw:
    answer = peer.token()
    told = answer.json
    lacking = fields_of(told, "access_token", "token_type", "expires_in", "refresh_token")
    works = answer.status == 200 and isinstance(told, dict) and isinstance(told.get("access_token"), str)
    life_s = told.get("expires_in") if isinstance(told, dict) else None
    conforms = works and not lacking and life_s == ACCESS_LIFE_S and str(told["token_type"]).lower() == "bearer"
    return Saw(conforms, works, f"HTTP {answer.status}, lives {life_s} s {lacking}".strip())


def _wrong_secret(peer: Peer) -> Saw:
    form = {"grant_type": "client_credentials", "client_id": peer.client_id or "nobody", "client_secret": "wrong"}
    return refused(peer.grant(form), 401)


def _refresh(peer: Peer) -> Saw:
    first = peer.log_in().json
    if not isinstance(first, dict) or not first.get("refresh_token"):
        return Saw(False, True, "no refresh token was given; credentials have to do")
    answer = peer.grant({"grant_type": "refresh_token", "refresh_token": first["refresh_token"]})
    fresh = answer.status == 200 and isinstance(answer.json, dict) and bool(answer.json.get("access_token"))
    return Saw(fresh and answer.json["access_token"] != first["access_token"], True, f"HTTP {answer.status}")


def _bad_refresh(peer: Peer) -> Saw:
    return refused(peer.grant({"grant_type": "refresh_token", "refresh_token": "0" * 43}), 401)


def _rate(probe: str) -> Any:
    def ask(peer: Peer) -> Saw:
        bearer = peer.bearer()
        for count in range(1, RATE_TRIES + 1):
            answer = peer.send("GET", probe, bearer=bearer)
            if answer.status == 429:
                told = answer.headers.get("retry-after", "")
                return Saw(told.isdigit() and int(told) >= 1, True, f"after {count} calls; Retry-After '{told}'")
        return Saw(False, True, f"{RATE_TRIES} calls in a row were all answered")

    return ask
