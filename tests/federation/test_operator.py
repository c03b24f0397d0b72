"""What operators decide about other servers: lists, `.well-known`, the proxy, the signing key."""

from __future__ import annotations

import itertools
import pathlib
import signal
import socket
import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from harness.client import V3, Client
from harness.federation import Federation, eventually
from harness.peer import V1, Peer
from harness.wire import Response, Wire, path

pytestmark = [pytest.mark.own_server]

_numbers = itertools.count(1)


@pytest.fixture
def peer(federation: Federation) -> Iterator[Peer]:
    made = Peer(federation.authority)
    yield made
    made.stop()


def asks(peer: Peer, home: Any, alice: Client) -> Response:
    """A signed question of the peer's."""
    return peer.request(home, "GET", f"{V1}/query/profile?user_id={alice.user}")


def asked(alice: Client, peer: Peer) -> Response:
    """Alice asks something of the peer that is not known here yet."""
    return alice.raw("GET", path(f"{V3}/profile", peer.user(f"nobody{next(_numbers)}")))


def hang_up(home: Any, **settings: Any) -> None:
    """Changes the configuration file and says so."""
    home.settings.update({key.replace("__", "."): value for key, value in settings.items()})
    home.config_path.write_text(home.config())
    home.process.send_signal(signal.SIGHUP)


def test_a_list_that_changes_counts_at_once_both_ways(federation: Federation, peer: Peer) -> None:
    home = federation.althing()
    alice = Client.register(home)
    assert asks(peer, home, alice).status == 200
    assert asked(alice, peer).status == 200

    hang_up(home, federation__deny_servers=["local*"])
    barred = eventually(lambda: (a := asks(peer, home, alice)).status == 403 and a, "the refusal")
    assert barred.errcode == "M_FORBIDDEN"
    before = len(peer.asked)
    assert asked(alice, peer).status == 403
    assert len(peer.asked) == before, "a barred server is not asked"

    # A mistake in the file leaves things as they were.
    home.config_path.write_text(home.config() + "\n[federation.deny_servers]\nx = 1\n")
    home.process.send_signal(signal.SIGHUP)
    eventually(lambda: "stay as they were" in home.log_tail(), "the complaint")
    assert asks(peer, home, alice).status == 403

    hang_up(home, federation__deny_servers=[], federation__allow_servers=["localhost"])
    eventually(lambda: asks(peer, home, alice).status == 200, "the pardon")
    assert asked(alice, peer).status == 200

    hang_up(home, federation__allow_servers=["elsewhere.example"])
    eventually(lambda: asks(peer, home, alice).status == 403, "the refusal")


def test_keys_are_shown_to_barred_and_unsigned_servers_and_nothing_else_is(federation: Federation, peer: Peer) -> None:
    home = federation.althing(federation__deny_servers=["localhost"])
    alice = Client.register(home)
    assert asks(peer, home, alice).status == 403
    unsigned = peer.request(home, "GET", f"{V1}/query/profile?user_id={alice.user}", authorization="")
    assert (unsigned.status, unsigned.errcode) == (401, "M_UNAUTHORIZED")
    assert peer.request(home, "GET", "/_matrix/key/v2/server", authorization="").status == 200


def test_well_known_tells_where_the_server_is(federation: Federation) -> None:
    home = federation.althing(federation__well_known="matrix.example.org:443")
    # At every listener, without asking who it is.
    for wire in (home.wire, Wire(f"https://{home.name}", tls=federation.authority.trusting())):
        answer = wire.request("GET", "/.well-known/matrix/server")
        assert (answer.status, answer.json) == (200, {"m.server": "matrix.example.org:443"})
    silent = federation.althing()
    assert silent.wire.request("GET", "/.well-known/matrix/server").status == 404


class Proxy(socketserver.ThreadingTCPServer):
    """Connects wherever it is asked to."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        proxy = self

        class Handler(socketserver.StreamRequestHandler):
            rbufsize = 0

            def handle(self) -> None:
                first = self.rfile.readline().decode()
                while self.rfile.readline().strip():
                    pass
                method, to, _ = first.split(" ")
                assert method == "CONNECT"
                proxy.asked.append(to)
                host, _, port = to.rpartition(":")
                with socket.create_connection((host, int(port))) as there:
                    self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    back = threading.Thread(target=_copy, args=(there, self.connection), daemon=True)
                    back.start()
                    _copy(self.connection, there)
                    back.join(10)

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def test_other_servers_are_asked_by_way_of_the_proxy(federation: Federation, peer: Peer) -> None:
    proxy = Proxy()
    try:
        home = federation.althing(federation__proxy=f"http://127.0.0.1:{proxy.server_address[1]}")
        alice = Client.register(home)
        assert asked(alice, peer).status == 200
        assert proxy.asked == [peer.name]
    finally:
        proxy.shutdown()
        proxy.server_close()


def test_a_rotated_key_is_used_and_the_old_one_is_told(federation: Federation, peer: Peer) -> None:
    home = federation.althing()
    alice = Client.register(home)
    wire = Wire(f"https://{home.name}", tls=federation.authority.trusting())
    keys = lambda: wire.request("GET", "/_matrix/key/v2/server").json  # noqa: E731
    before = keys()
    if home.engine == "embedded":
        refused = home.command("key", "rotate")
        assert refused.returncode == 1, "a server that runs would go on with the old key"
        same = keys()
        assert all(same[name] == before[name] for name in ("verify_keys", "old_verify_keys"))
    assert home.terminate() == 0
    done = home.command("key", "rotate")
    assert done.returncode == 0, done.stderr
    home.start()
    after = keys()
    (old,), (new,) = before["verify_keys"], after["verify_keys"]
    assert old != new and old in done.stdout and new in done.stdout
    assert list(after["old_verify_keys"]) == [old]
    assert after["old_verify_keys"][old]["key"] == before["verify_keys"][old]["key"]
    assert after["old_verify_keys"][old]["expired_ts"] < after["valid_until_ts"]
    # Other servers are asked with the new one, and the secret of the old one is gone.
    assert asked(alice, peer).status == 200
    header = next(one for one in reversed(peer.asked) if one.origin == home.name)
    assert new in header.handler.headers["Authorization"]
    assert pathlib.Path(home.data_dir, "retired_keys").read_text().count(old) == 1
