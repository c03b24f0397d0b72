"""Push rules: the defaults, and a user's own ("Push Rules")."""

import pytest

from harness.client import V3
from harness.wire import path

PLACE = f"{V3}/pushrules/global"


def rule(kind, rule_id, *part):
    return path(PLACE, kind, rule_id, *part)


def ruleset(client):
    return client.get(f"{V3}/pushrules/")["global"]


def ids_of(client, kind):
    return [r["rule_id"] for r in ruleset(client).get(kind, [])]


def test_default_rules(alice):
    """#default-rules"""
    rules = ruleset(alice)
    assert set(rules) >= {"override", "underride"}  # a kind without rules may be left out
    override = ids_of(alice, "override")
    assert override[0] == ".m.rule.master"
    wanted = [
        ".m.rule.suppress_notices",
        ".m.rule.invite_for_me",
        ".m.rule.member_event",
        ".m.rule.is_user_mention",
        ".m.rule.is_room_mention",
        ".m.rule.tombstone",
        ".m.rule.reaction",
        ".m.rule.room.server_acl",
        ".m.rule.suppress_edits",
    ]
    assert [r for r in override if r in wanted] == wanted
    assert ids_of(alice, "underride")[:1] == [".m.rule.call"]
    assert {".m.rule.room_one_to_one", ".m.rule.message", ".m.rule.encrypted"} <= set(ids_of(alice, "underride"))
    master = rules["override"][0]
    assert (master["enabled"], master["default"], master["actions"]) == (False, True, [])
    mention = next(r for r in rules["override"] if r["rule_id"] == ".m.rule.is_user_mention")
    assert {"set_tweak": "highlight"} in mention["actions"] or {"set_tweak": "highlight", "value": True} in (
        mention["actions"]
    )
    condition = mention["conditions"][0]
    assert condition["kind"] == "event_property_contains"
    assert condition["value"] == alice.user


def test_rulesets_are_readable_at_both_levels(alice):
    assert alice.get(f"{PLACE}/") == ruleset(alice)
    read = alice.get(rule("override", ".m.rule.master"))
    assert read["rule_id"] == ".m.rule.master"
    assert alice.get(rule("override", ".m.rule.master", "enabled")) == {"enabled": False}
    assert alice.get(rule("override", ".m.rule.master", "actions")) == {"actions": []}


@pytest.mark.parametrize(
    ("kind", "rule_id", "body"),
    [
        ("override", "mine", {"actions": ["notify"], "conditions": [{"kind": "room_member_count", "is": "2"}]}),
        ("underride", "mine", {"actions": [], "conditions": []}),
        ("content", "cake", {"actions": ["notify"], "pattern": "cake*lie"}),
        ("room", "!room:example.org", {"actions": []}),
        ("sender", "@user:example.org", {"actions": ["notify", {"set_tweak": "highlight"}]}),
    ],
)
def test_own_rule_is_stored_and_deleted(alice, kind, rule_id, body):
    target = rule(kind, rule_id)
    alice.call("PUT", target, body)
    read = alice.get(target)
    assert (read["rule_id"], read["enabled"], read["default"]) == (rule_id, True, False)
    assert {key: read[key] for key in body} == body
    alice.call("DELETE", target)
    for answer in (alice.raw("GET", target), alice.raw("DELETE", target)):
        assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND"), answer


def test_own_rules_come_before_the_defaults_and_new_ones_first(alice):
    """#predefined-rules: user rules have a higher priority; master is the exception."""
    for name in ("one", "two"):
        alice.call("PUT", rule("override", name), {"actions": [], "conditions": []})
    of_the_spec = [r for r in ids_of(alice, "override") if not r.startswith(".org.")]
    assert of_the_spec[:4] == [".m.rule.master", "two", "one", ".m.rule.suppress_notices"]


def test_before_and_after_place_a_rule(alice):
    for name in ("a", "b"):
        alice.call("PUT", rule("room", f"!{name}:x"), {"actions": []})
    alice.call("PUT", rule("room", "!c:x"), {"actions": []}, query={"after": "!b:x"})
    alice.call("PUT", rule("room", "!d:x"), {"actions": []}, query={"before": "!a:x"})
    assert ids_of(alice, "room") == ["!b:x", "!c:x", "!d:x", "!a:x"]
    answer = alice.raw("PUT", rule("room", "!e:x"), {"actions": []}, query={"before": "!nosuch:x"})
    assert answer.status in (400, 404), answer


def test_rules_can_be_disabled_and_their_actions_changed(alice):
    for target in (rule("override", ".m.rule.master"), rule("underride", ".m.rule.message")):
        alice.call("PUT", f"{target}/enabled", {"enabled": False})
        assert alice.get(target)["enabled"] is False
        alice.call("PUT", f"{target}/enabled", {"enabled": True})
        alice.call("PUT", f"{target}/actions", {"actions": ["notify"]})
        read = alice.get(target)
        assert (read["enabled"], read["actions"]) == (True, ["notify"])


def test_changing_a_rule_keeps_its_place_and_its_switch(alice):
    for name in ("one", "two"):
        alice.call("PUT", rule("override", name), {"actions": [], "conditions": []})
    alice.call("PUT", rule("override", "one", "enabled"), {"enabled": False})
    alice.call("PUT", rule("override", "one", "actions"), {"actions": ["notify"]})
    assert ids_of(alice, "override")[1:3] == ["two", "one"]
    assert alice.get(rule("override", "one"))["enabled"] is False


@pytest.mark.parametrize(
    ("kind", "rule_id", "body"),
    [
        ("override", ".m.rule.mine", {"actions": [], "conditions": []}),
        ("override", "a/b", {"actions": [], "conditions": []}),
        ("override", "a\\b", {"actions": [], "conditions": []}),
        ("content", "nopattern", {"actions": []}),
        ("override", "noactions", {"conditions": []}),
        ("nosuchkind", "mine", {"actions": []}),
        ("override", "badactions", {"actions": "notify", "conditions": []}),
    ],
)
def test_malformed_rules_are_refused(alice, kind, rule_id, body):
    answer = alice.raw("PUT", rule(kind, rule_id), body)
    assert answer.status == 400 or (kind == "nosuchkind" and answer.status == 404), answer
    assert answer.errcode, answer


def test_default_rules_cannot_be_deleted(alice):
    answer = alice.raw("DELETE", rule("override", ".m.rule.master"))
    assert answer.status in (400, 403, 404), answer
    assert ".m.rule.master" in ids_of(alice, "override")


def test_unknown_rules_are_not_found(alice):
    for target in (rule("override", "nosuch"), rule("room", "!r:x", "enabled"), rule("sender", "@u:x", "actions")):
        answer = alice.raw("GET", target)
        assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND"), answer


def test_changes_are_synced_as_m_push_rules(alice):
    """#push-rules-events"""
    alice.sync()
    alice.call("PUT", rule("override", "mine"), {"actions": [], "conditions": []})

    def rules(answer):
        return [e for e in answer.get("account_data", {}).get("events", []) if e["type"] == "m.push_rules"]

    changed = alice.sync_until(rules)
    assert "mine" in [r["rule_id"] for r in changed[-1]["content"]["global"]["override"]]
    first = rules(alice.sync(since=None, advance=False))
    assert first[0]["content"]["global"] == ruleset(alice)


def test_rules_are_ones_own(alice, bob):
    alice.call("PUT", rule("override", "mine"), {"actions": [], "conditions": []})
    assert "mine" not in ids_of(bob, "override")
