"""Get a bearer token from a running Enexa, the way every other client does: client credentials over TLS."""

import ssl

import aiohttp
import msgspec
from msgspec import Struct

from services.stack.credentials import PEOPLE, read_secret
from services.stack.places import Places
from shared.errors import BadInput, PeerDown, Unauthenticated


class Token(Struct):
    access_token: str
    expires_in: float = 0.0


async def get_token(places: Places, role: str, *, tls_port: int) -> Token:
    """A token for `operator` or `viewer`, checked against the development authority."""
    if role not in PEOPLE:
        raise BadInput(f"ROLE={role} is not known: use {' or '.join(PEOPLE)}")
    context = ssl.create_default_context(cafile=str(places.pki / "ca.pem"))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    form = {"grant_type": "client_credentials", "client_id": role, "client_secret": read_secret(places, role)}
    timeout = aiohttp.ClientTimeout(total=5)
    url = f"https://localhost:{tls_port}/v1/oauth/token"
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=form, ssl=context) as reply,
        ):
            body = await reply.content.read(100_000)
            if reply.status != 200:
                raise Unauthenticated(
                    f"Enexa gave no token (status {reply.status}): {body.decode(errors='replace')[:300]}"
                )
            return msgspec.json.decode(body, type=Token)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise PeerDown(f"Enexa does not answer at {url}: is the stack up? (make status)") from error
