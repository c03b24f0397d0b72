"""What a client asks first: versions, well-known, capabilities."""

from harness.client import V3


def test_versions_list_the_spec(nobody):
    """#get_matrixclientversions; matrix-js-sdk refuses a server that has none of v1.1 to v1.13."""
    answer = nobody.get("/_matrix/client/versions")
    assert "v1.1" in answer["versions"]
    assert "v1.11" in answer["versions"]
    assert all(isinstance(on, bool) for on in answer.get("unstable_features", {}).values())


def test_versions_work_with_a_token_too(alice):
    assert alice.get("/_matrix/client/versions")["versions"]


def test_well_known_names_the_homeserver(nobody):
    """#well-known-uris"""
    answer = nobody.raw("GET", "/.well-known/matrix/client")
    assert answer.status == 200, answer
    assert answer.json["m.homeserver"]["base_url"].startswith("http")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_capabilities(alice):
    """#capabilities-negotiation"""
    answer = alice.get(f"{V3}/capabilities")["capabilities"]
    assert answer["m.change_password"]["enabled"] is True
    versions = answer["m.room_versions"]
    assert versions["default"] == "12"
    assert all(versions["available"][version] == "stable" for version in ("10", "11", "12"))


def test_capabilities_need_a_session(nobody):
    assert nobody.raw("GET", f"{V3}/capabilities").errcode == "M_MISSING_TOKEN"
