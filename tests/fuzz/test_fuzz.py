"""Bad input over the rim: every endpoint of the spec, whatever is thrown at it.

Never a 5xx, a connection cut off, or memory that grows beyond a bound; and the server is well at the
end. One seed is fixed, one is fresh and printed: `ALTHING_TEST_SEED` repeats it, `ALTHING_TEST_CASES`
says how many requests each endpoint gets per seed.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import re
import socket
from typing import Any

import pytest

from harness.client import V3, Client, fresh
from harness.wire import Response, quote

ENDPOINTS = json.loads((pathlib.Path(__file__).parent / "endpoints.json").read_text())
CASES = int(os.environ.get("ALTHING_TEST_CASES", "40"))
FRESH_SEED = int(os.environ.get("ALTHING_TEST_SEED", str(random.randrange(1 << 32))))
GROWTH_MAX = 128 << 20
OVERSIZED = 1_300_000
DEEP = 20_000

# Path segments as they go over the wire: already percent-encoded, or never to be.
ODD_SEGMENTS = [
    "", ".", "..", "%2e%2e", "%00", "a%00b", "%2F", "%2F..%2F", "a%2Fb%2Fc", "%FF%FE", "%C3%28", "%ED%A0%80",
    "%zz", "%", "%2", "%25", "%2525", "%20", "%0A", "%0D%0AX-Injected:%201", "x" * 300, "x" * 5000, "%F0%9F%A6%8A",
    "!", "@", "#", "$", ":", "!:", "@:", "@a", "@a:", "@:b", "#a:", "!a:b:c", "@" + "a" * 300 + ":b", "$a:b",
    "-1", "0", "9" * 30, "1e400", "NaN", "null", "true", "{}", "[]", "%7B%22a%22:1%7D", "m.room.message",
    "m.room.member", "m.room.create", "m.room.power_levels", "m.push_rules", "m.fully_read", "global", "override",
    "%E2%80%AE%E2%80%8B", "a;b=c", "a+b", "a%2Bb", "~", "*", "'%22%3C%3E",
]  # fmt: skip
ODD_VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**53, -(2**53), 2**63, 2**64, 10**40, 0.5, -0.0, 1e308, "", " ", "x",
    "\u0000", "\ud800", "🦊" * 50, "x" * 300, "x" * 70_000, "@a:b", "!a:b", "$a", "#a:b", "mxc://a/b", "m.login.dummy",
    [], [None], [[]], [{}], ["x"] * 2000, {}, {"": None}, {"a": {"b": {"c": []}}}, {"type": 5}, {"@a:b": 1},
    [{"type": "m.room.member", "state_key": "@a:b", "content": {"membership": "join"}}],
    {"type": "m.login.password"}, {"type": "m.login.password", "identifier": 5}, {"session": "x"},
]  # fmt: skip
ODD_TOKENS = [None, "", "x", "x" * 20_000, "a b", "\xff\xfe"]
ODD_TYPES = ["application/json", "text/plain", "application/json; charset=latin-1", "multipart/form-data", "", ";;", "x" * 5000]


class Fuzzer:
    """Makes requests from a seed."""

    def __init__(self, seed: int, server: Any) -> None:
        self.dice = random.Random(seed)
        self.server = server
        self.renew()

    def renew(self) -> None:
        """A user in a room with an event: what valid segments refer to."""
        self.me, self.friend = Client.register(self.server), Client.register(self.server)
        self.room = self.me.room_with(self.friend)
        self.event = self.me.text(self.room, "x")
        alias = fresh("alias")
        self.alias = f"#{alias}:{self.me.server_name}"
        self.me.call("PUT", f"{V3}/directory/room/{quote(self.alias)}", {"room_id": self.room})

    def still_logged_in(self) -> bool:
        return self.me.raw("GET", f"{V3}/joined_rooms").status == 200

    def pick(self, values: list[Any]) -> Any:
        return self.dice.choice(values)

    def segment(self, name: str) -> str:
        if self.dice.random() < 0.3:
            return self.pick(ODD_SEGMENTS)
        valid = {
            "roomId": [self.room], "roomIdOrAlias": [self.room, self.alias], "roomAlias": [self.alias],
            "eventId": [self.event], "userId": [self.me.user, self.friend.user], "deviceId": [self.me.device],
            "eventType": ["m.room.message", "m.room.name", "m.room.power_levels", "m.room.member", "org.test"],
            "type": ["org.test", "m.direct", "m.ignored_user_list"], "stateKey": ["", self.me.user, "key"],
            "kind": ["override", "content", "room", "sender", "underride"], "ruleId": ["mine", ".m.rule.master"],
            "relType": ["m.annotation", "m.thread", "m.replace"], "receiptType": ["m.read", "m.read.private"],
            "serverName": [self.me.server_name], "keyName": ["displayname", "avatar_url", "org.test"],
            "version": ["1"], "filterId": ["0", "1"], "tag": ["u.test"], "txnId": [fresh("f")],
        }.get(name, ["x"])  # fmt: skip
        return quote(self.pick(valid))

    def value(self, depth: int = 0) -> Any:
        if depth < 3 and self.dice.random() < 0.2:
            if self.dice.random() < 0.5:
                return [self.value(depth + 1) for _ in range(self.dice.randrange(4))]
            return {self.key(): self.value(depth + 1) for _ in range(self.dice.randrange(4))}
        return self.pick(ODD_VALUES)

    def key(self) -> str:
        return self.pick(["type", "content", "a", "", "m.relates_to", "membership", "users", "limit", "x" * 300])

    def body(self, names: list[str]) -> bytes | None:
        whole = {name: self.value() for name in names if self.dice.random() < 0.6}
        if self.dice.random() < 0.2:
            whole |= {"m.relates_to": self.value(), "membership": self.value(), "displayname": self.value()}
        text = json.dumps(whole).encode("utf-8", "surrogatepass")
        match self.dice.randrange(12):
            case 0:
                return None
            case 1:
                return text[: self.dice.randrange(len(text))]
            case 2:
                return b'{"a":"' + b"x" * OVERSIZED + b'"}'
            case 3:
                name = json.dumps(self.pick(names or ["a"])).encode()
                deep = self.pick([b"[", b'{"a":'])
                return b"{" + name + b":" + deep * DEEP
            case 4:
                name = json.dumps(self.pick(names or ["a"])).encode()
                return b"{" + name + b":" + b"[" * 120 + b"]" * 120 + b"}"
            case 5:
                return self.pick([b"", b"null", b"[]", b'"x"', b"0", b"\x00", b"\xff\xfe", b"{\"a\":\xff}", b"{}{}"])
            case 6:
                return text.replace(b":", b": NaN,", 1)
            case _:
                return text

    def query(self, names: list[str]) -> str:
        parts = []
        for name in names:
            # A long poll that is allowed to wait would stop the test, not the server.
            waits = "timeout" in name
            odd = ["-1", "abc", "0", "10"] if waits else [*ODD_SEGMENTS, "10", "b", "f", "s1", "s999999999999"]
            if waits or self.dice.random() < 0.5:
                parts.append(f"{name}={self.pick(odd)}")
        if self.dice.random() < 0.1:
            parts.append(self.pick(["=", "&&&", "%00=%00", "access_token=x", "a=" + "b" * 4000, "x&x&x"]))
        return "?" + "&".join(parts) if parts else ""

    def request(self, endpoint: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
        target = re.sub(r"\{(\w+)\}", lambda found: self.segment(found[1]), endpoint["path"])
        target += self.query(endpoint["query"])
        more: dict[str, Any] = {"token": self.me.token, "headers": {}}
        if self.dice.random() < 0.08:
            more["token"] = self.pick(ODD_TOKENS)
        if endpoint["method"] in ("POST", "PUT") or self.dice.random() < 0.05:
            more["data"] = self.body(endpoint["body"])
        if self.dice.random() < 0.2:
            more["headers"]["Content-Type"] = self.pick(ODD_TYPES)
        return endpoint["method"], target, more


def resident(pid: int) -> int:
    """Bytes of memory that the process holds; pages of the mapped store, which the kernel owns, apart."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no RssAnon")


def judge(answer: Response) -> str | None:
    """What is wrong with an answer, if anything."""
    if answer.status >= 500:
        return f"a {answer.status}"
    challenged = answer.status == 401 and b'"flows"' in answer.body
    if answer.status >= 400 and answer.errcode is None and not challenged:
        return f"a {answer.status} without an error code"
    return None


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("seed", [1, FRESH_SEED], ids=["fixed", "fresh"])
def test_every_endpoint_survives_bad_input(make_server, seed):
    server = make_server()
    print(f"ALTHING_TEST_SEED={seed}")
    fuzzer = Fuzzer(seed, server)
    wrong: list[str] = []
    for endpoint in ENDPOINTS:  # once over everything, so that caches and pools are warm
        server.wire.request(*fuzzer.request(endpoint)[:2], token=fuzzer.me.token)
    fuzzer.renew()
    before = resident(server.pid)
    for endpoint in ENDPOINTS:
        for case in range(CASES):
            method, target, more = fuzzer.request(endpoint)
            try:
                verdict = judge(server.wire.request(method, target, **more))
            except (OSError, ValueError) as error:
                verdict = f"{type(error).__name__}: {error}"
            if verdict:
                data = more.get("data")
                wrong.append(f"{verdict}: {method} {target[:300]} body={data and data[:300]!r} case={case}")
        if not fuzzer.still_logged_in():
            fuzzer.renew()
    assert server.wire.request("GET", "/health").status == 200
    if server.engine != "external":
        assert "panicked" not in server.log_path.read_text(errors="replace"), server.log_tail()
    grown = resident(server.pid) - before
    print(f"{len(ENDPOINTS) * CASES} requests, memory grew by {grown >> 20} MiB from {before >> 20} MiB")
    assert not wrong, f"{len(wrong)} wrong, the first:\n" + "\n".join(wrong[:25])
    assert grown < GROWTH_MAX


RAW = [
    b"GET /_matrix/client/v3/sync HTTP/1.1\r\n\r\n",
    b"GET /_matrix/client/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://elsewhere.example/_matrix/client/versions HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET //_matrix//client/versions HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /_matrix/client/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /" + b"a/" * 30_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /_matrix/client/versions?" + b"a=b&" * 30_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 5000 + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"b" * 1_000_000 + b"\r\n\r\n",
    b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"GET /_matrix/client/v3/sync HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \x7f\r\n\r\n",
    b"BREW /_matrix/client/versions HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /_matrix/client/versions HTTP/9.9\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x00" * 4096,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
]


def speak(server: Any, data: bytes) -> bytes:
    """Sends raw bytes, gives what comes back before the server closes or has nothing more to say."""
    received = b""
    with socket.create_connection((server.wire.host, server.wire.port), timeout=3) as link:
        try:
            link.sendall(data)
            link.shutdown(socket.SHUT_WR)
            while chunk := link.recv(65536):
                received += chunk
        except OSError:
            pass
    return received


def test_bytes_that_are_no_good_http_do_no_harm(server):
    for data in RAW:
        answer = speak(server, data)
        status = re.match(rb"HTTP/1\.[01] (\d)", answer)
        assert status is None or status[1] != b"5", (data[:80], answer[:200])
        assert server.wire.request("GET", "/_matrix/client/versions").status == 200, data[:80]


def test_clients_that_vanish_do_no_harm(server):
    """Half a request, or an answer that nobody reads: neither holds the server up."""
    alice = Client.register(server)
    alice.sync()
    head = f"GET {V3}/sync?timeout=30000&since={alice.since} HTTP/1.1\r\nHost: x\r\n"
    full = f"{head}Authorization: Bearer {alice.token}\r\n\r\n".encode()
    links = []
    for number in range(200):
        link = socket.create_connection((server.wire.host, server.wire.port), timeout=3)
        link.sendall(full if number % 2 else full[: number % len(full)])
        links.append(link)
    for link in links:
        link.close()
    room = alice.create_room()
    assert alice.text(room, "still here")
