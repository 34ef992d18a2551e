"""What a person puts in front of the running platform from the command line: new sites and enrolment tokens.

Two directories under the data directory. A file in `sites` is a seed that becomes a site; a file in `enrolments` is
named after the SHA-256 of a one-time token. So the command line never writes the database that the server has open.
"""

import json
import re
import secrets
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from msgspec import Struct

from services.enexa.seeds import SEEDS, load_seed
from shared.errors import BadInput
from shared.rest.auth import digest

SITE_ID = re.compile(r"^[A-Za-z0-9_-]{1,64}$")
NAME_MAX_CHARS = 100
NAME = re.compile(r"^name = .*$", re.MULTILINE)
ENROLMENT_LIFE = timedelta(hours=24)


class Invitation(Struct, frozen=True, kw_only=True):
    """An enrolment token's site and end; the token itself is known only to whoever was given it."""

    site_id: str
    expires_at: datetime


class Inbox:
    """The directories; small enough to be looked into now and then."""

    def __init__(self, directory: Path) -> None:
        self._sites = directory / "sites"
        self._enrolments = directory / "enrolments"

    def put_site(self, site_id: str, station: str, name: str = "") -> Path:
        """A new site like a seed, under its own name; the running platform takes it within seconds."""
        load_seed(station)
        if not SITE_ID.match(site_id):
            raise BadInput(f"a site's id is made of letters, digits, _ and -, not {site_id!r}")
        if len(name) > NAME_MAX_CHARS or not name.isprintable():
            raise BadInput(f"a site's name has at most {NAME_MAX_CHARS} characters, and none that cannot be printed")
        self._sites.mkdir(parents=True, exist_ok=True)
        path = self._sites / f"{site_id}.toml"
        if path.exists():
            raise BadInput(f"{site_id} was added before ({path})")
        seed = (SEEDS / f"{station}.toml").read_text(encoding="utf-8")
        own = f"name = {json.dumps(name or site_id, ensure_ascii=False)}"
        path.write_text(NAME.sub(lambda _: own, seed, count=1), encoding="utf-8")
        return path

    def sites(self) -> dict[str, Path]:
        """Seeds by site id, taken or not."""
        return {each.stem: each for each in sorted(self._sites.glob("*.toml")) if SITE_ID.match(each.stem)}

    def invite(self, site_id: str, now: datetime) -> str:
        """A fresh one-time token; only its hash is kept."""
        token = secrets.token_urlsafe(32)
        self._enrolments.mkdir(parents=True, exist_ok=True)
        invitation = Invitation(site_id=site_id, expires_at=now + ENROLMENT_LIFE)
        path = self._enrolments / digest(token)
        path.touch(mode=0o600)
        path.write_bytes(msgspec.json.encode(invitation))
        return token

    def invitation(self, token: str, now: datetime) -> Invitation | None:
        """What a token invites to; None where it is none, or has run out, or is spent."""
        path = self._enrolments / digest(token)
        try:
            invitation = msgspec.json.decode(path.read_bytes(), type=Invitation)
        except (OSError, msgspec.DecodeError):
            return None
        return invitation if now < invitation.expires_at else None

    def spend(self, token: str) -> bool:
        """Take the token away; False where somebody was faster."""
        try:
            (self._enrolments / digest(token)).unlink()
        except OSError:
            return False
        return True
