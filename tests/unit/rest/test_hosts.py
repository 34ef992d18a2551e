"""The names that a service answers to: its own, those of its certificate, and any address."""

from pathlib import Path

import pytest
import trustme

from shared.errors import Misdirected
from shared.rest.hosts import Hosts, names_in


def test_the_names_of_a_certificate_are_ours_and_no_others(tmp_path: Path) -> None:
    cert = tmp_path / "cert.pem"
    trustme.CA().issue_cert("api.enexa.io", "enexa", "127.0.0.1").cert_chain_pems[0].write_to_path(cert)
    hosts = Hosts(names_in(cert))

    for ours in ("api.enexa.io", "API.Enexa.IO:443", "enexa:8443", "localhost", "10.0.0.7", "[::1]:8000"):
        hosts.check(ours)
    for other in ("enexa.io", "evil.api.enexa.io", "api.enexa.io.evil", "10.0.0.7.evil"):
        with pytest.raises(Misdirected):
            hosts.check(other)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_certificate_that_cannot_be_read_has_no_names(tmp_path: Path, content: bytes | None) -> None:
    cert = tmp_path / "cert.pem"
    if content is not None:
        cert.write_bytes(content)

    assert names_in(cert) == ()
