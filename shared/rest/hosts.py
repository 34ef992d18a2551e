"""The names that a service answers to; under another one it is not addressed, whatever a foreign name server says.

Without this a page of some other site could give its own name our address and then speak to us from a person's browser
(DNS rebinding). An address itself cannot be given away like that, so each is allowed.
"""

import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509

from shared.errors import InvalidMessage, Misdirected

ALWAYS = "localhost"
HOST = re.compile(r"^(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9_.-]{1,253}))(?::[0-9]{1,5})?$")
ACCEPTED_MAX = 1000


class Hosts:
    """Our names, in any case and with any port."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {ALWAYS, *(each.lower() for each in names)}
        self._accepted: set[str] = set()

    def check(self, host: str) -> None:
        """InvalidMessage where it is no host at all, Misdirected where it is somebody else."""
        if host in self._accepted:
            return
        found = HOST.fullmatch(host)
        if found is None:
            raise InvalidMessage("the Host header is none", field="Host")
        name = (found["six"] or found["name"]).lower().removesuffix(".")
        if name not in self._names and not _is_address(name):
            raise Misdirected("nobody here has the name in the Host header", field="Host")
        if len(self._accepted) < ACCEPTED_MAX:
            self._accepted.add(host)


def names_in(cert: Path | None) -> tuple[str, ...]:
    """The DNS names that a certificate is for; none where there is no certificate that can be read."""
    if cert is None:
        return ()
    try:
        alternatives = x509.load_pem_x509_certificate(cert.read_bytes()).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except (OSError, ValueError, x509.ExtensionNotFound):
        return ()
    return tuple(alternatives.value.get_values_for_type(x509.DNSName))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
