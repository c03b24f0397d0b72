"""Calls: credentials for a relay, transports for calls of many; whom to ask for help."""

import base64
import hashlib
import hmac
import time

import pytest

from harness.client import V1, V3, Client

TURN = f"{V3}/voip/turnServer"
UNSTABLE = "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports"
URIS = ["turn:turn.example.org?transport=udp", "turns:turn.example.org"]


@pytest.fixture
def home(make_server):
    return make_server(
        turn__uris=URIS, turn__shared_secret="north", turn__ttl=3600,
        rtc__livekit=["https://livekit.example.org"],
        support__email="admin@example.org", support__user="@admin:example.com",
        support__security_email="security@example.org", support__page="https://example.org/help",
    )


def test_credentials_are_those_that_the_relay_expects(home):
    alice = Client.register(home)
    answer = alice.get(TURN)
    until, _, user = answer["username"].partition(":")
    assert user == alice.user
    assert 0 <= int(until) - time.time() <= 3600
    mac = hmac.new(b"north", answer["username"].encode(), hashlib.sha1).digest()
    assert answer["password"] == base64.b64encode(mac).decode()
    assert (answer["uris"], answer["ttl"]) == (URIS, 3600)


def test_transports_are_told_to_users_and_in_well_known(home):
    alice, nobody = Client.register(home), Client(home)
    transport = {"type": "livekit", "livekit_service_url": "https://livekit.example.org"}
    for target in (UNSTABLE, f"{V1}/rtc/transports"):
        assert alice.get(target) == {"rtc_transports": [transport]}
        assert nobody.raw("GET", target).errcode == "M_MISSING_TOKEN"
    assert nobody.get("/.well-known/matrix/client")["org.matrix.msc4143.rtc_foci"] == [transport]
    assert alice.get("/_matrix/client/versions")["unstable_features"]["org.matrix.msc4143"]


def test_whom_to_ask_for_help(home):
    assert Client(home).get("/.well-known/matrix/support") == {
        "contacts": [
            {"role": "m.role.admin", "email_address": "admin@example.org", "matrix_id": "@admin:example.com"},
            {"role": "m.role.security", "email_address": "security@example.org"},
        ],
        "support_page": "https://example.org/help",
    }


def test_without_configuration_there_is_nothing(alice, nobody):
    assert alice.get(TURN) == {}
    assert nobody.raw("GET", TURN).errcode == "M_MISSING_TOKEN"
    assert alice.get(UNSTABLE) == {"rtc_transports": []}
    assert "org.matrix.msc4143.rtc_foci" not in nobody.get("/.well-known/matrix/client")
    answer = nobody.raw("GET", "/.well-known/matrix/support")
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")
