"""Every operation of the Client-Server API answers as the specification's OpenAPI data says (operations.json).

The printed total is what is implemented; what is missing is listed by name in `asks.MISSING`, and nothing else may be.
"""

from __future__ import annotations

import functools
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from harness.server import Server
from harness.wire import Response, quote

from . import asks
from .scene import Ask, Scene, registration
from .stubs import Mailbox, World

SPEC = json.loads((pathlib.Path(__file__).parent / "operations.json").read_text())
OPERATIONS = {o["name"]: o for o in SPEC["operations"]}
IMPLEMENTED = [o for o in OPERATIONS.values() if o["name"] not in asks.MISSING]
METHODS = ("GET", "PUT", "POST", "DELETE", "PATCH")
UNKNOWN = "org.example.unknown"
FORMATS = {
    "mx-user-id": "@.*:.+", "mx-event-id": r"\$.+", "mx-room-id": "!.+", "mx-room-alias": "#.+:.+",
    "mx-mxc-uri": "mxc://[^/]+/[A-Za-z0-9_-]+", "mx-server-name": r"[^/\s]+", "mx-unpadded-base64": "[A-Za-z0-9+/]*",
    "mx-urlsafe-unpadded-base64": "[A-Za-z0-9_-]*", "uri": r"[a-z][a-z0-9+.-]*:\S+", "email": r"\S+@\S+",
}  # fmt: skip

checker = jsonschema.FormatChecker(formats=())
for _name, _pattern in FORMATS.items():
    checker.checks(_name)(functools.partial(
        lambda pattern, value: not isinstance(value, str) or re.fullmatch(pattern, value) is not None, _pattern))


@pytest.fixture(scope="module")
def scene(engine: str, cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    world, mailbox = World(), Mailbox()
    bridge = tmp_path_factory.mktemp("coverage") / "bridge.yaml"
    bridge.write_text(registration(world))
    settings = {
        "email.smtp": mailbox.url,
        "email.from": "Althing <noreply@example.org>",
        "appservices.registrations": [str(bridge)],
        "federation.allow_private_ips": True,
        "turn.uris": ["turn:turn.example.org"],
        "turn.shared_secret": "coverage-turn-secret",
        "support.email": "admin@example.org",
    }
    server = Server(engine, settings, store_url=cluster.create_database() if cluster else None).start()
    yield Scene(server, world, mailbox)
    server.stop()
    mailbox.stop()
    world.shutdown()


def target(operation: dict[str, Any], args: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda name: quote(args.get(name[1], "x")), operation["path"])


def perform(scene: Scene, operation: dict[str, Any], ask: Ask, **changed: Any) -> Response:
    more: dict[str, Any] = {"token": ask.token, "query": ask.query, "headers": ask.headers}
    more.update({"json": ask.body} if ask.data is None else {"data": ask.data})
    more.update(changed)
    return scene.server.wire.request(operation["method"], target(operation, ask.args), **more)


def judge(operation: dict[str, Any], answer: Response, status: int) -> None:
    """The answer has the status that was expected, and its body the shape that the specification gives."""
    assert answer.status == status, answer
    assert answer.headers["Access-Control-Allow-Origin"] == "*", dict(answer.headers)
    schema = operation["answers"].get(str(status))
    if status >= 400:
        assert answer.errcode, answer
    elif schema is not None:
        assert answer.headers["Content-Type"].startswith("application/json"), answer
        jsonschema.Draft202012Validator({**schema, "$defs": SPEC["$defs"]}, format_checker=checker).validate(answer.json)


def names(operations: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(o, id=o["name"]) for o in operations]


@pytest.mark.parametrize("operation", names(IMPLEMENTED))
def test_answers_by_schema(scene: Scene, operation: dict[str, Any]) -> None:
    ask = asks.ask(operation["name"], scene)
    judge(operation, perform(scene, operation, ask), ask.status)


@pytest.mark.parametrize("operation", names(IMPLEMENTED))
def test_unknown_fields_change_nothing(scene: Scene, operation: dict[str, Any]) -> None:
    ask = asks.ask(operation["name"], scene)
    changed: dict[str, Any] = {"query": {**ask.query, UNKNOWN: "1"}}
    if isinstance(ask.body, dict) and ask.data is None:
        # A profile field is set by a body that has nothing but the field.
        changed["json"] = ask.body if operation["name"] == "setProfileField" else {**ask.body, UNKNOWN: {"a": [1]}}
    judge(operation, perform(scene, operation, ask, **changed), ask.status)


@pytest.mark.parametrize("operation", names([o for o in IMPLEMENTED if o["token"] in ("required", "appservice")]))
def test_a_token_is_wanted(scene: Scene, operation: dict[str, Any]) -> None:
    without = perform(scene, operation, Ask())
    assert (without.status, without.errcode) == (401, "M_MISSING_TOKEN"), without
    unknown = perform(scene, operation, Ask(token="nobody-has-this"))
    assert (unknown.status, unknown.errcode) == (401, "M_UNKNOWN_TOKEN"), unknown
    assert unknown.json.get("soft_logout", False) is False, unknown


# The body of `requestOpenIdToken` has no field that means anything, and is not looked at.
READ = [o for o in IMPLEMENTED if o["body"] and o["token"] == "required" and o["name"] != "requestOpenIdToken"]


@pytest.mark.parametrize("operation", names(READ))
def test_a_body_has_to_be_an_object(scene: Scene, operation: dict[str, Any]) -> None:
    ask = asks.ask(operation["name"], scene)
    broken = perform(scene, operation, ask, json=None, data=b"{", headers={"Content-Type": "application/json"})
    assert (broken.status, broken.errcode) == (400, "M_NOT_JSON"), broken
    listed = perform(scene, operation, ask, json=["not", "an", "object"])
    assert (listed.status, listed.errcode) == (400, "M_BAD_JSON"), listed


# What is not here at all answers as any unknown path does, whatever the method.
ABSENT = {"getWellknownPolicy", "getAuthMetadata"}


@pytest.mark.parametrize("path", sorted({o["path"] for o in IMPLEMENTED if o["name"] not in ABSENT}))
def test_other_methods_are_refused(scene: Scene, path: str) -> None:
    served = {o["method"] for o in OPERATIONS.values() if o["path"] == path}
    # `GET` may be served beside the specification's operations, for old clients.
    for method in set(METHODS) - served - {"GET"}:
        answer = scene.server.wire.request(method, target({"path": path}, {}), token=scene.alice.token)
        assert (answer.status, answer.errcode) == (405, "M_UNRECOGNIZED"), answer


def test_an_unknown_path_is_not_recognised(scene: Scene) -> None:
    answer = scene.server.wire.request("GET", "/_matrix/client/v3/nothing/here", token=scene.alice.token)
    assert (answer.status, answer.errcode) == (404, "M_UNRECOGNIZED"), answer


@pytest.mark.parametrize("operation", names([o for o in OPERATIONS.values() if o["name"] in asks.MISSING]))
def test_what_is_missing_is_still_missing(scene: Scene, operation: dict[str, Any]) -> None:
    """So that the list of what is missing does not outlive its truth."""
    answer = perform(scene, operation, Ask(token=scene.alice.token, body={}))
    assert (answer.status, answer.errcode) in ((404, "M_UNRECOGNIZED"), (405, "M_UNRECOGNIZED")), answer


def test_every_operation_is_asked_or_named_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert asks.known() | asks.MISSING == set(OPERATIONS), asks.known() ^ (set(OPERATIONS) - asks.MISSING)
    with capsys.disabled():
        done = len(IMPLEMENTED) - len(asks.REFUSED)
        print(f"\nClient-Server API v1.19: {done} of {len(OPERATIONS)} operations implemented")
        print(f"answered by a refusal: {', '.join(sorted(asks.REFUSED))}")
        print(f"left to OAuth 2.0 and single sign-on: {', '.join(sorted(asks.OAUTH))}")
