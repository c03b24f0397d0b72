"""Where two devices meet to sign one of them in by a QR code: MSC4108 as it is deployed, and MSC4388."""

from __future__ import annotations

import email.utils
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from harness.wire import Response

BY_ETAG = "/_matrix/client/unstable/org.matrix.msc4108/rendezvous"
BY_TOKEN = "/_matrix/client/unstable/io.element.msc4388/rendezvous"


def refused(answer: Response) -> tuple[int, str]:
    return answer.status, answer.errcode


def say(server: Any, method: str, target: str, text: str, **headers: str) -> Response:
    headers = {"Content-Type": "text/plain", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return server.wire.request(method, target, data=text.encode(), headers=headers)


def meet(server: Any, text: str = "one") -> tuple[str, str]:
    """A session of MSC4108: its path, and the tag of its message."""
    answer = say(server, "POST", BY_ETAG, text)
    assert answer.status == 201, answer
    return urlsplit(answer.json["url"]).path, answer.headers["ETag"]


def test_the_server_says_that_devices_can_meet(server):
    features = server.wire.request("GET", "/_matrix/client/versions").json["unstable_features"]
    assert features["org.matrix.msc4108"] is True
    assert features["io.element.msc4388"] is True
    discovered = server.wire.request("GET", BY_TOKEN)
    assert (discovered.status, discovered.json) == (200, {"create_available": True})


# -- MSC4108 -----------------------------------------------------------------------------------------------------


def test_two_devices_without_an_account_exchange_messages(server):
    path, first = meet(server, "from the new one")
    seen = server.wire.request("GET", path)
    assert (seen.status, seen.body.decode(), seen.headers["ETag"]) == (200, "from the new one", first)
    assert seen.headers["Content-Type"] == "text/plain"
    unchanged = server.wire.request("GET", path, headers={"If-None-Match": first})
    assert (unchanged.status, unchanged.body, unchanged.headers["ETag"]) == (304, b"", first)
    written = say(server, "PUT", path, "from the old one", If_Match=first)
    assert (written.status, written.body) == (202, b"")
    second = written.headers["ETag"]
    assert second != first
    changed = server.wire.request("GET", path, headers={"If-None-Match": first})
    assert (changed.status, changed.body.decode(), changed.headers["ETag"]) == (200, "from the old one", second)
    assert server.wire.request("DELETE", path).status == 204
    assert refused(server.wire.request("GET", path)) == (404, "M_NOT_FOUND")
    assert refused(server.wire.request("DELETE", path)) == (404, "M_NOT_FOUND")
    assert refused(say(server, "PUT", path, "late", If_Match=second)) == (404, "M_NOT_FOUND")


def test_equal_messages_have_tags_of_their_own(server):
    path, first = meet(server, "same")
    other = meet(server, "same")
    again = say(server, "PUT", path, "same", If_Match=first)
    assert len({first, other[1], again.headers["ETag"]}) == 3


def test_who_does_not_know_the_last_message_does_not_replace_it(server):
    path, first = meet(server)
    second = say(server, "PUT", path, "two", If_Match=first).headers["ETag"]
    stale = say(server, "PUT", path, "three", If_Match=first)
    assert refused(stale) == (412, "M_UNKNOWN")
    assert stale.json["org.matrix.msc4108.errcode"] == "M_CONCURRENT_WRITE"
    assert stale.headers["ETag"] == second
    assert server.wire.request("GET", path).body == b"two"


def test_every_answer_says_how_long_it_holds_and_is_kept_nowhere(server):
    path, tag = meet(server)
    answers = [
        say(server, "POST", BY_ETAG, ""),
        server.wire.request("GET", path),
        server.wire.request("GET", path, headers={"If-None-Match": tag}),
        say(server, "PUT", path, "x", If_Match='"unknown"'),
        say(server, "PUT", path, "x", If_Match=tag),
    ]
    assert [answer.status for answer in answers] == [201, 200, 304, 412, 202]
    for answer in answers:
        until = email.utils.parsedate_to_datetime(answer.headers["Expires"])
        since = email.utils.parsedate_to_datetime(answer.headers["Last-Modified"])
        assert 0 < (until - since).total_seconds() <= 300
        assert "no-store" in answer.headers["Cache-Control"]
        assert answer.headers["Pragma"] == "no-cache"
        assert "etag" in answer.headers["Access-Control-Expose-Headers"].lower()
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_pages_may_send_tags(server):
    path, _ = meet(server)
    asked = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "PUT"}
    answer = server.wire.request("OPTIONS", path, headers=asked)
    allowed = {name.strip().lower() for name in answer.headers["Access-Control-Allow-Headers"].split(",")}
    assert {"if-match", "if-none-match", "content-type"} <= allowed


@pytest.mark.parametrize(
    ("headers", "errcode"),
    [
        ({"Content-Type": "application/json", "If-Match": "TAG"}, "M_INVALID_PARAM"),
        ({"Content-Type": "text/plain"}, "M_MISSING_PARAM"),
        ({"Content-Type": "text/plain", "If-Match": "W/TAG"}, "M_INVALID_PARAM"),
        ({"Content-Type": "text/plain", "If-Match": "*"}, "M_INVALID_PARAM"),
    ],
    ids=["another type", "no tag", "a weak tag", "any tag"],
)
def test_a_malformed_message_is_refused(server, headers, errcode):
    path, tag = meet(server)
    headers = {name: value.replace("TAG", tag) for name, value in headers.items()}
    answer = server.wire.request("PUT", path, data=b"x", headers=headers)
    assert refused(answer) == (400, errcode)
    assert server.wire.request("GET", path).body == b"one"


def test_a_message_has_four_kilobytes_at_most(server):
    path, tag = meet(server, "x" * 4096)
    assert refused(say(server, "POST", BY_ETAG, "x" * 4097)) == (413, "M_TOO_LARGE")
    assert refused(say(server, "PUT", path, "x" * 4097, If_Match=tag)) == (413, "M_TOO_LARGE")


# -- MSC4388 -----------------------------------------------------------------------------------------------------


def create(server: Any, data: str = "one") -> tuple[str, str]:
    """A session of MSC4388: its path, and the token of its message."""
    answer = server.wire.request("POST", BY_TOKEN, json={"data": data})
    assert answer.status == 200, answer
    assert 120_000 <= answer.json["expires_in_ms"] <= 300_000
    assert answer.json["expires_ts"] > 1_700_000_000_000
    return f"{BY_TOKEN}/{answer.json['id']}", answer.json["sequence_token"]


def test_two_devices_exchange_messages_by_token(server):
    path, first = create(server, "")
    seen = server.wire.request("GET", path)
    assert seen.status == 200
    assert (seen.json["data"], seen.json["sequence_token"]) == ("", first)
    assert 0 < seen.json["expires_in_ms"] <= 300_000
    assert "no-store" in seen.headers["Cache-Control"]
    written = server.wire.request("PUT", path, json={"sequence_token": first, "data": "two"})
    assert written.status == 200
    second = written.json["sequence_token"]
    assert second != first
    seen = server.wire.request("GET", path).json
    assert (seen["data"], seen["sequence_token"]) == ("two", second)
    assert server.wire.request("DELETE", path).status == 200
    for method in ("GET", "DELETE"):
        assert refused(server.wire.request(method, path)) == (404, "M_NOT_FOUND")


def test_a_stale_token_conflicts_and_a_repeated_request_does_not(server):
    path, first = create(server)
    request = {"sequence_token": first, "data": "two"}
    second = server.wire.request("PUT", path, json=request).json
    assert server.wire.request("PUT", path, json=request).json == second
    stale = server.wire.request("PUT", path, json={"sequence_token": first, "data": "other"})
    assert refused(stale) == (409, "IO_ELEMENT_MSC4388_CONCURRENT_WRITE")
    assert server.wire.request("GET", path).json["data"] == "two"


def test_a_message_has_4096_characters_at_most_however_they_are_written(server):
    path, token = create(server, "\U0001f600" * 4096)
    assert server.wire.request("GET", path).json["data"] == "\U0001f600" * 4096
    for method, target, more in [("POST", BY_TOKEN, {}), ("PUT", path, {"sequence_token": token})]:
        answer = server.wire.request(method, target, json={"data": "x" * 4097, **more})
        assert refused(answer) == (413, "M_TOO_LARGE")


def test_a_browser_that_is_sent_there_is_shown_nothing(server):
    by_token, by_etag = create(server)[0], meet(server)[0]
    for path in (by_token, by_etag):
        for headers in ({"Sec-Fetch-Mode": "navigate"}, {"Sec-Fetch-Dest": "document"}):
            assert refused(server.wire.request("GET", path, headers=headers)) == (403, "M_FORBIDDEN")
        assert server.wire.request("GET", path, headers={"Sec-Fetch-Mode": "cors"}).status == 200


def test_the_sessions_of_one_form_are_not_those_of_the_other(server):
    by_token, by_etag = create(server)[0], meet(server)[0]
    for path in (by_token.replace(BY_TOKEN, BY_ETAG), by_etag.replace(BY_ETAG, BY_TOKEN)):
        assert refused(server.wire.request("GET", path)) == (404, "M_NOT_FOUND")


def test_whoever_makes_sessions_without_end_is_slowed_down(make_server):
    server = make_server(limits__rate_limits=True)
    answers = [say(server, "POST", BY_ETAG, str(n)) for n in range(20)]
    assert answers[0].status == 201
    assert refused(answers[-1]) == (429, "M_LIMIT_EXCEEDED")
    assert json.loads(answers[-1].body)["retry_after_ms"] > 0
