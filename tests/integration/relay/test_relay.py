"""Every verb of the relay does to bytes what its name says."""

import socket
import socketserver
import threading
from collections.abc import Iterator

import pytest

from shared.clock import real_now_s
from tests.live.relay import DOWN, UP, Relay, Toxic, Verb

PATIENCE_S = 20.0


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.settimeout(PATIENCE_S)
        try:
            while data := self.request.recv(4096):
                self.request.sendall(data)
        except OSError:
            return


@pytest.fixture
def relay() -> Iterator[Relay]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        with Relay(server.server_address[1]) as running:
            yield running
        server.shutdown()
        thread.join(timeout=PATIENCE_S)


def _connect(relay: Relay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), timeout=PATIENCE_S)


def _back(link: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = link.recv(size - len(data))
        if not more:
            break
        data += more
    return data


def test_without_a_toxic_everything_passes(relay: Relay) -> None:
    with _connect(relay) as link:
        link.sendall(b"hello" * 1000)
        assert _back(link, 5000) == b"hello" * 1000
    assert relay.counts == {}


@pytest.mark.parametrize(("verb", "amount"), [(Verb.LATENCY, 0.2), (Verb.BANDWIDTH, 25.0)])
def test_a_slow_wire_is_slow(relay: Relay, verb: Verb, amount: float) -> None:
    relay.add(Toxic(verb=verb, amount=amount))
    with _connect(relay) as link:
        began_s = real_now_s()
        link.sendall(b"hello")
        assert _back(link, 5) == b"hello"
    assert real_now_s() - began_s >= 0.19
    assert relay.counts == {verb: 1}


def test_a_duplicate_comes_twice(relay: Relay) -> None:
    relay.add(Toxic(verb=Verb.DUPLICATE))
    with _connect(relay) as link:
        link.sendall(b"hello")
        assert _back(link, 10) == b"hellohello"


def test_corruption_flips_one_bit(relay: Relay) -> None:
    relay.add(Toxic(verb=Verb.CORRUPT))
    with _connect(relay) as link:
        link.sendall(b"hello")
        got = _back(link, 5)
    assert sum((a ^ b).bit_count() for a, b in zip(got, b"hello", strict=True)) == 1


def test_a_swap_turns_two_pieces_round(relay: Relay) -> None:
    relay.add(Toxic(verb=Verb.SWAP))
    with _connect(relay) as link:
        link.sendall(b"one")
        _until(lambda: relay.counts.get(Verb.SWAP) == 1)
        link.sendall(b"two")
        assert _back(link, 6) == b"twoone"


def test_a_response_is_held_until_it_is_released(relay: Relay) -> None:
    relay.add(Toxic(verb=Verb.HOLD))
    with _connect(relay) as link:
        link.sendall(b"hello")
        _until(lambda: relay.counts.get(Verb.HOLD) == 1)
        link.settimeout(0.2)
        with pytest.raises(TimeoutError):
            link.recv(1)
        link.settimeout(PATIENCE_S)
        relay.release()
        assert _back(link, 5) == b"hello"


def test_slices_arrive_whole(relay: Relay) -> None:
    relay.add(Toxic(verb=Verb.SLICER, amount=1))
    with _connect(relay) as link:
        link.sendall(b"hello")
        assert _back(link, 5) == b"hello"
    assert relay.counts == {Verb.SLICER: 1}


@pytest.mark.parametrize("verb", [Verb.RESET_PEER, Verb.LIMIT_DATA])
def test_a_connection_ends_after_so_many_bytes(relay: Relay, verb: Verb) -> None:
    relay.add(Toxic(verb=verb, direction=UP, amount=4))
    with _connect(relay) as link:
        link.sendall(b"hello")
        assert _ended(link)
    assert relay.counts == {verb: 1}


def test_a_timeout_swallows_one_direction(relay: Relay) -> None:
    relay.add(Toxic(verb=Verb.TIMEOUT, direction=DOWN))
    with _connect(relay) as link:
        link.sendall(b"hello")
        _until(lambda: relay.counts.get(Verb.TIMEOUT) == 1)
        relay.remove(Verb.TIMEOUT)
        link.sendall(b"again")
        assert _back(link, 5) == b"again"


def test_down_cuts_what_is_connected_and_takes_nobody_new(relay: Relay) -> None:
    with _connect(relay) as link:
        link.sendall(b"hello")
        assert _back(link, 5) == b"hello"
        relay.add(Toxic(verb=Verb.DOWN))
        assert _ended(link)
    with _connect(relay) as link:
        assert _ended(link)

    relay.remove(Verb.DOWN)
    with _connect(relay) as link:
        link.sendall(b"hello")
        assert _back(link, 5) == b"hello"


def test_a_slow_close_ends_late(relay: Relay) -> None:
    relay.add(Toxic(verb=Verb.SLOW_CLOSE, direction=UP, amount=0.2))
    with _connect(relay) as link:
        link.sendall(b"hello")
        assert _back(link, 5) == b"hello"
        began_s = real_now_s()
        link.shutdown(socket.SHUT_WR)
        assert link.recv(1) == b""
    assert real_now_s() - began_s >= 0.19


def _ended(link: socket.socket) -> bool:
    try:
        return link.recv(1) == b""
    except ConnectionResetError:
        return True


def _until(look: object) -> None:
    assert callable(look)
    until_s = real_now_s() + PATIENCE_S
    while not look():
        assert real_now_s() < until_s, "it never came"
        threading.Event().wait(0.01)
