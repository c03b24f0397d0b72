"""The door: what every request meets before any handler (client-server API, "API standards")."""

import http.client
import json

import pytest

from harness.client import V1, V3, Client, fresh
from harness.wire import path

CREATE = f"{V3}/createRoom"
WHOAMI = f"{V3}/account/whoami"


def assert_error(answer, status, errcode):
    assert (answer.status, answer.errcode) == (status, errcode), answer
    assert isinstance(answer.json.get("error"), str), answer
    assert answer.headers["Content-Type"].split(";")[0] == "application/json"


@pytest.mark.parametrize(
    "target",
    [
        f"{V3}/no_such_thing",
        "/_matrix/client/v99/sync",
        "/_matrix/client/v3",
        "/_matrix/no_such_api/v1/thing",
        f"{V3}/rooms/!r:x/no_such_verb",
        f"{V1}/media/no_such_thing",
    ],
)
def test_unknown_route_is_404_unrecognized(alice, nobody, target):
    """#common-error-codes: M_UNRECOGNIZED, 404 for a path that is not implemented."""
    for caller in (alice, nobody):
        for method in ("GET", "POST"):
            assert_error(caller.raw(method, target), 404, "M_UNRECOGNIZED")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", WHOAMI),
        ("GET", CREATE),
        ("DELETE", f"{V3}/sync"),
        ("PUT", f"{V3}/login"),
        ("POST", "/_matrix/client/versions"),
        ("PATCH", f"{V3}/rooms/!r:x/messages"),
    ],
)
def test_wrong_method_is_405_unrecognized(alice, method, target):
    """#common-error-codes: M_UNRECOGNIZED, 405 for a method that the endpoint does not have."""
    assert_error(alice.raw(method, target), 405, "M_UNRECOGNIZED")


@pytest.mark.parametrize("body", [b"{", b"not json", b'{"a":}', b'{"name":"\xff\xfe"}', b'{"a":1} trailing'])
def test_body_that_is_not_json_is_not_json(alice, body):
    """#common-error-codes: M_NOT_JSON."""
    assert_error(alice.raw("POST", CREATE, data=body), 400, "M_NOT_JSON")


@pytest.mark.parametrize("body", [[], "text", 5, None, {"preset": 5}, {"invite": "nobody"}, {"name": {"a": 1}}])
def test_json_of_the_wrong_shape_is_bad_json(alice, body):
    """#common-error-codes: M_BAD_JSON, valid JSON that is malformed in some way."""
    # Synapse 1.163 has M_UNKNOWN for the last two.
    answer = alice.raw("POST", CREATE, data=json.dumps(body).encode())
    assert answer.status == 400, answer
    assert answer.errcode in ("M_BAD_JSON", "M_INVALID_PARAM"), answer


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_nesting_is_refused(alice, opening):
    answer = alice.raw("POST", CREATE, data=opening * 50_000)
    assert answer.status in (400, 413), answer
    assert answer.errcode in ("M_NOT_JSON", "M_BAD_JSON", "M_TOO_LARGE"), answer
    assert alice.get(WHOAMI)["user_id"] == alice.user


@pytest.mark.parametrize("size", [66_000, 1_200_000])
def test_event_that_is_too_large_is_too_large(alice, size):
    """#size-limits: 65,536 bytes an event; M_TOO_LARGE, 413."""
    room = alice.create_room()
    target = alice.room_call(room, "send", "m.room.message", fresh())
    body = {"msgtype": "m.text", "body": "x" * size}
    assert_error(alice.raw("PUT", target, body), 413, "M_TOO_LARGE")


def test_body_far_over_the_limit_does_no_harm(alice):
    try:
        answer = alice.raw("POST", CREATE, data=b'{"name":"' + b"x" * 20_000_000 + b'"}')
        assert answer.status in (400, 413), answer
    except ConnectionError:
        pass  # closing on someone who pours twenty megabytes is fair
    assert alice.get(WHOAMI)["user_id"] == alice.user


def test_identifiers_over_255_bytes_are_refused(alice):
    """#size-limits: `type` and `state_key` have at most 255 bytes (bytes, not characters)."""
    room = alice.create_room()
    for kind, key in (("t" * 256, ""), ("org.test", "k" * 256), ("org.test", "é" * 128)):
        answer = alice.raw("PUT", alice.room_call(room, "state", kind, key), {})
        assert answer.status in (400, 413), answer
        assert answer.errcode in ("M_TOO_LARGE", "M_INVALID_PARAM", "M_BAD_JSON"), answer
    alice.set_state(room, "org.test", {}, "é" * 127)


def test_missing_token_is_missing_token(nobody):
    """#using-access-tokens: 401 M_MISSING_TOKEN."""
    for method, target in (("GET", WHOAMI), ("POST", CREATE), ("GET", f"{V3}/sync")):
        assert_error(nobody.raw(method, target, {} if method == "POST" else None), 401, "M_MISSING_TOKEN")


def test_unknown_token_is_unknown_token(nobody):
    """#using-access-tokens: 401 M_UNKNOWN_TOKEN."""
    # Synapse 1.163 answers 500 to the last.
    for token in ("wrong", "", "x" * 5000, "ümlaut".encode().decode("latin-1")):
        answer = nobody.raw("GET", WHOAMI, headers={"Authorization": f"Bearer {token}"}, token=None)
        assert answer.status == 401, answer
        assert answer.errcode in ("M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"), answer
    assert_error(nobody.raw("GET", WHOAMI, token="wrong"), 401, "M_UNKNOWN_TOKEN")


def test_authentication_comes_before_the_body(nobody):
    """Who may not call does not learn what is wrong with the body."""
    assert_error(nobody.raw("POST", CREATE, data=b"{"), 401, "M_MISSING_TOKEN")


def test_options_answers_cors_without_a_token(nobody):
    """#web-browser-clients: the three headers, and the request is not run."""
    for target in (WHOAMI, CREATE, f"{V3}/sync", f"{V1}/media/config", "/.well-known/matrix/client"):
        answer = nobody.raw("OPTIONS", target)
        assert answer.status in (200, 204), answer
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        methods = answer.headers["Access-Control-Allow-Methods"]
        assert all(method in methods for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS")), methods
        allowed = answer.headers["Access-Control-Allow-Headers"].lower()
        assert all(name in allowed for name in ("x-requested-with", "content-type", "authorization")), allowed


def test_answers_and_errors_carry_cors(alice, nobody):
    """#web-browser-clients: on every answer, or a browser hides the error from the client."""
    answers = [
        alice.raw("GET", WHOAMI),
        nobody.raw("GET", WHOAMI),
        nobody.raw("GET", f"{V3}/no_such_thing"),
        alice.raw("POST", WHOAMI),
        alice.raw("POST", CREATE, data=b"{"),
        nobody.raw("GET", "/_matrix/client/versions"),
    ]
    for answer in answers:
        assert answer.headers["Access-Control-Allow-Origin"] == "*", answer


def test_a_missing_body_is_an_empty_one(alice, bob):
    """Clients post nothing where nothing is required (matrix-nio joins that way)."""
    room = alice.create_room(preset="public_chat")
    for verb in ("join", "leave", "join"):
        answer = bob.raw("POST", bob.room_call(room, verb))
        assert answer.status == 200, answer
    assert bob.raw("POST", path(f"{V3}/join", room)).status == 200
    assert bob.raw("POST", f"{V3}/logout").status == 200


def test_unknown_query_parameters_and_body_keys_are_ignored(alice):
    assert alice.get(WHOAMI, org_unknown="1")["user_id"] == alice.user
    assert alice.create_room(org_unknown={"deep": [1]})


def test_malformed_query_is_a_client_error(alice):
    for query in ("timeout=abc", "timeout=-1&since=%FF", "since=nonsense", "set_presence=dancing"):
        answer = alice.raw("GET", f"{V3}/sync?{query}")
        assert answer.status == 400 or (answer.status == 200 and "set_presence" in query), answer


def test_path_segments_are_percent_decoded_once(alice):
    """A state key may hold any character, slashes and percent signs included."""
    room = alice.create_room()
    for key in ("a/b", "%2F", "a?b#c", "späce key", "+plus+"):
        alice.set_state(room, "org.test.key", {"is": key}, key)
        assert alice.state(room, "org.test.key", key) == {"is": key}
        assert alice.full_state(room)["org.test.key", key]["content"] == {"is": key}


def test_health_is_ok(nobody):
    """The outer contract: GET /health is 200 `ok` when able to serve."""
    answer = nobody.raw("GET", "/health")
    assert (answer.status, answer.body.strip().lower()) == (200, b"ok")


@pytest.mark.own_server
def test_metrics_are_prometheus_text(nobody):
    """The outer contract: GET /metrics on listeners that have the `metrics` resource."""
    nobody.raw("GET", "/_matrix/client/versions")
    answer = nobody.raw("GET", "/metrics")
    assert answer.status == 200, answer
    assert answer.headers["Content-Type"].startswith("text/plain")
    samples = [line for line in answer.body.decode().splitlines() if line and not line.startswith("#")]
    assert samples
    for line in samples:
        float(line.rsplit(" ", 1)[1])


@pytest.mark.own_server
def test_rate_limits_answer_429_with_retry_after(make_server):
    """#rate-limiting: M_LIMIT_EXCEEDED, `Retry-After` in seconds, `retry_after_ms` for old clients."""
    server = make_server(limits__rate_limits=True)
    alice = Client.register(server)
    room = alice.create_room()
    for number in range(2000):
        target = alice.room_call(room, "send", "m.room.message", f"t{number}")
        answer = alice.raw("PUT", target, {"msgtype": "m.text", "body": "x"})
        if answer.status != 200:
            break
    assert_error(answer, 429, "M_LIMIT_EXCEEDED")
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.json["retry_after_ms"] > 0
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.own_server
def test_sigterm_drains_long_polls_and_exits_0(make_server):
    """The outer contract: SIGTERM drains and exits 0; a waiting /sync gets a whole answer."""
    server = make_server()
    alice = Client.register(server)
    alice.sync()
    polls = [http.client.HTTPConnection(server.wire.host, server.wire.port, timeout=20) for _ in range(5)]
    for poll in polls:
        headers = {"Authorization": f"Bearer {alice.token}"}
        poll.request("GET", f"{V3}/sync?timeout=60000&since={alice.since}", headers=headers)
    alice.call("GET", WHOAMI)  # the server has turned to a newer request since, so the polls are in
    assert server.terminate() == 0
    for poll in polls:
        answer = poll.getresponse()
        assert answer.status == 200
        assert json.loads(answer.read())["next_batch"]
        poll.close()


@pytest.mark.own_server
def test_closed_and_open_registration(make_server):
    """The outer contract: `[registration] mode`."""
    body = {"username": "someone", "password": "correct horse", "auth": {"type": "m.login.dummy"}}
    closed = Client(make_server(registration__mode="closed", registration__token=None))
    assert_error(closed.raw("POST", f"{V3}/register", body), 403, "M_FORBIDDEN")
    opened = Client(make_server(registration__mode="open", registration__token=None))
    challenge = opened.raw("POST", f"{V3}/register", {"username": "someone", "password": "correct horse"})
    assert challenge.status == 401, challenge
    assert {"stages": ["m.login.dummy"]} in challenge.json["flows"]
    body["auth"]["session"] = challenge.json["session"]
    answer = opened.call("POST", f"{V3}/register", body)
    assert answer["user_id"].startswith("@someone:")


def test_path_quotes_every_segment():
    """The suite's own `path` must not hide a slash."""
    assert path("/a", "b/c", "é") == "/a/b%2Fc/%C3%A9"
