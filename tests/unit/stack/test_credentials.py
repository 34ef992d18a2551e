"""What `make up` makes on first start: secrets for their owner's eyes, digests for the services, a small authority."""

import hashlib
import ssl
from pathlib import Path

import msgspec
import pytest

from services.stack.credentials import Client, make_credentials, read_secret
from services.stack.places import Places


@pytest.fixture
def places(tmp_path: Path) -> Places:
    there = Places(tmp_path / "stack")
    there.make()
    make_credentials(there)
    return there


@pytest.mark.parametrize(
    ("file", "client", "secret", "scope", "sites"),
    [
        ("enexa_clients.json", "CTRL001", "amperio_at_enexa", "middleware", ["SITE001"]),
        ("enexa_clients.json", "operator", "operator", "operator", []),
        ("enexa_clients.json", "viewer", "viewer", "viewer", []),
        ("amperio_clients.json", "enexa", "enexa_at_amperio", "platform", []),
        ("amperio_clients.json", "operator", "operator", "operator", []),
        ("amperio_clients.json", "viewer", "viewer", "viewer", []),
    ],
)
def test_each_client_is_known_by_the_digest_of_its_secret(
    places: Places, file: str, client: str, secret: str, scope: str, sites: list[str]
) -> None:
    listed = msgspec.json.decode((places.secrets / file).read_bytes(), type=list[Client])
    entry = next(each for each in listed if each.client_id == client)

    assert entry.secret_sha256 == hashlib.sha256(read_secret(places, secret).encode()).hexdigest()
    assert entry.scope == scope
    assert entry.sites == (["SITE001"] if scope == "middleware" else [])


def test_no_secret_stands_in_a_file_that_a_service_reads_for_its_callers(places: Places) -> None:
    listed = "".join((places.secrets / f"{name}_clients.json").read_text() for name in ("enexa", "amperio"))

    for name in ("amperio_at_enexa", "enexa_at_amperio", "operator", "viewer"):
        assert read_secret(places, name) not in listed


def test_secrets_and_keys_are_for_their_owner_alone(places: Places) -> None:
    assert places.secrets.stat().st_mode & 0o777 == 0o700
    for file in (*places.secrets.iterdir(), *places.pki.glob("*.key")):
        assert file.stat().st_mode & 0o777 == 0o600


def test_a_second_start_keeps_everything(places: Places) -> None:
    before = {file: file.read_bytes() for file in (*places.secrets.iterdir(), *places.pki.iterdir())}

    assert not make_credentials(places)
    assert {file: file.read_bytes() for file in before} == before


def test_the_authority_vouches_for_both_services(places: Places) -> None:
    for name in ("enexa", "amperio"):
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(places.pki / f"{name}.pem", places.pki / f"{name}.key")
        client = ssl.create_default_context(cafile=str(places.pki / "ca.pem"))
        for host in ("localhost", "127.0.0.1", name):
            assert _shake_hands(client, server, host)


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, host: str) -> bool:
    """A TLS handshake in memory."""
    upward, downward = ssl.MemoryBIO(), ssl.MemoryBIO()
    at_client = client.wrap_bio(downward, upward, server_hostname=host)
    at_server = server.wrap_bio(upward, downward, server_side=True)
    for _ in range(4):
        for side in (at_client, at_server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return at_client.version() == "TLSv1.3"
