"""Certificates and secrets for one development machine, made on first start and kept."""

import contextlib
import hashlib
import secrets
from pathlib import Path

import msgspec
import trustme
from msgspec import Struct

from services.stack.places import Places

HOSTS = ("localhost", "127.0.0.1", "::1")
SERVERS = ("enexa", "amperio")
SITES = ["SITE001"]
CLIENTS_OF_ENEXA = {"CTRL001": ("amperio_at_enexa", "middleware")}
CLIENTS_OF_AMPERIO = {"enexa": ("enexa_at_amperio", "platform")}
PEOPLE = {"operator": ("operator", "operator"), "viewer": ("viewer", "viewer")}


DATABASE_KEY = "postgres"
"""For the database of Compose's profile of that name."""


class Client(Struct, frozen=True, kw_only=True):
    """One who may log in; the service keeps only the digest of the secret (256 random bits need no slow hash).

    A middleware speaks for its own sites; people and the platform see every site, also those that come later.
    """

    client_id: str
    secret_sha256: str
    scope: str
    sites: list[str]


def make_credentials(places: Places) -> bool:
    """Create whatever is missing; True where something was made."""
    made = not (places.pki / "ca.pem").exists()
    if made:
        make_certificates(places.pki)
    for name, clients in (("enexa", CLIENTS_OF_ENEXA), ("amperio", CLIENTS_OF_AMPERIO)):
        known = {**clients, **PEOPLE}
        listed = [
            Client(
                client_id=client,
                secret_sha256=_digest(_secret(places.secrets / file)),
                scope=scope,
                sites=SITES if scope == "middleware" else [],
            )
            for client, (file, scope) in known.items()
        ]
        _write(places.secrets / f"{name}_clients.json", msgspec.json.format(msgspec.json.encode(listed)))
    _secret(places.secrets / DATABASE_KEY)
    return made


def make_certificates(pki: Path) -> None:
    """A certificate authority and one server certificate for each service; the authority's key is not kept."""
    authority = trustme.CA(organization_name="charging twins, development only")
    for server in SERVERS:
        issued = authority.issue_cert(*HOSTS, server)
        _write(pki / f"{server}.key", issued.private_key_pem.bytes())
        _write(pki / f"{server}.pem", b"".join(part.bytes() for part in issued.cert_chain_pems))
    _write(pki / "ca.pem", authority.cert_pem.bytes())


def open_to_containers(places: Places) -> None:
    """Let uid 10001 read the mounted files; on this machine the directories around them still keep others out."""
    for directory in (places.pki, places.secrets):
        for file in directory.iterdir():
            file.chmod(0o444)


def read_secret(places: Places, name: str) -> str:
    return (places.secrets / name).read_text(encoding="utf-8").strip()


def _secret(path: Path) -> str:
    """The secret in this file; a new one where there is none."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8").strip()
    secret = secrets.token_urlsafe(32)
    _write(path, secret.encode())
    return secret


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _write(path: Path, content: bytes) -> None:
    """Write for the owner's eyes only, from the first byte on."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)
