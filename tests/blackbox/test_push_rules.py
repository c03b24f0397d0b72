"""Push rules: the defaults, and a user's own ("Push Rules")."""

import pytest

from harness.client import V3, joined
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


# -- what rules do: as `unread_notifications` of /sync count it ----------------------------------------------------


def counted(client, room):
    """Notifications and highlights that /sync tells of a room."""
    part = joined(client.sync(since=None, advance=False), room)["unread_notifications"]
    return part["notification_count"], part["highlight_count"]


NOTIFY = ["notify"]
LOUD = ["notify", {"set_tweak": "highlight"}]


def quiet(client):
    """Only what a test says notifies."""
    for name in (".m.rule.message", ".m.rule.room_one_to_one"):
        client.call("PUT", rule("underride", name, "enabled"), {"enabled": False})


@pytest.mark.parametrize(
    ("condition", "matching", "other"),
    [
        ({"kind": "event_match", "key": "content.body", "pattern": "ca?e*"}, "free cake", "free pancakes"),
        ({"kind": "event_match", "key": "content.msgtype", "pattern": "M.TEXT"}, "any", None),
        ({"kind": "event_match", "key": "content.nothing", "pattern": "*"}, None, "any"),
        ({"kind": "event_property_is", "key": "content.body", "value": "exact"}, "exact", "Exact"),
        ({"kind": "event_property_contains", "key": "content.list", "value": 1}, None, "any"),
        ({"kind": "room_member_count", "is": "2"}, "any", None),
        ({"kind": "room_member_count", "is": ">2"}, None, "any"),
        ({"kind": "room_member_count", "is": "<=2"}, "any", None),
        ({"kind": "sender_notification_permission", "key": "room"}, None, "any"),
        ({"kind": "org.example.unknown"}, None, "any"),
    ],
)
def test_conditions_decide(alice, bob, condition, matching, other):
    """#conditions-1"""
    room = alice.room_with(bob)
    quiet(alice)
    alice.call("PUT", rule("override", "mine"), {"actions": LOUD, "conditions": [condition]})
    before = counted(alice, room)
    if other is not None:
        bob.text(room, other)
        assert counted(alice, room) == before
    if matching is not None:
        bob.text(room, matching)
        assert counted(alice, room) == (before[0] + 1, before[1] + 1)


def test_values_of_properties_are_matched_exactly(alice, bob):
    room = alice.room_with(bob)
    quiet(alice)
    condition = {"kind": "event_property_contains", "key": r"content.my\.list", "value": 7}
    alice.call("PUT", rule("override", "mine"), {"actions": NOTIFY, "conditions": [condition]})
    start = counted(alice, room)[0]
    for wrong in (["7"], [70], 7, [[7]]):
        bob.text(room, "x", **{"my.list": wrong})
    assert counted(alice, room)[0] == start
    bob.text(room, "x", **{"my.list": ["a", 7]})
    assert counted(alice, room)[0] == start + 1


def test_who_may_notify_everybody_is_decided_by_power(alice, bob):
    room = alice.room_with(bob)
    quiet(alice)
    quiet(bob)
    mention = {"m.mentions": {"room": True}}
    bob.text(room, "all of you", **mention)
    assert counted(alice, room) == (0, 0)
    alice.text(room, "all of you", **mention)
    assert counted(bob, room) == (1, 1)


@pytest.mark.parametrize("kind", ["override", "content", "room", "sender", "underride"])
def test_each_kind_of_rule_acts_and_can_be_switched_off(alice, bob, kind):
    room = alice.room_with(bob)
    quiet(alice)
    name = {"room": room, "sender": bob.user}.get(kind, "mine")
    body = {"actions": LOUD}
    if kind == "content":
        body["pattern"] = "cake"
    elif kind in ("override", "underride"):
        body["conditions"] = [{"kind": "event_match", "key": "type", "pattern": "m.room.message"}]
    target = rule(kind, name)
    alice.call("PUT", target, body)
    bob.text(room, "there is Cake!")
    assert counted(alice, room) == (1, 1)
    # Counts follow the rules of today.
    alice.call("PUT", f"{target}/actions", {"actions": NOTIFY})
    assert counted(alice, room) == (1, 0)
    alice.call("PUT", f"{target}/actions", {"actions": ["dont_notify"]})
    assert counted(alice, room) == (0, 0)
    alice.call("PUT", f"{target}/actions", {"actions": LOUD})
    alice.call("PUT", f"{target}/enabled", {"enabled": False})
    assert counted(alice, room) == (0, 0)
    alice.call("PUT", f"{target}/enabled", {"enabled": True})
    assert counted(alice, room) == (1, 1)
    alice.call("DELETE", target)
    assert counted(alice, room) == (0, 0)


def test_kinds_are_asked_in_the_order_of_the_specification(alice, bob):
    """#push-rules: override, content, room, sender, underride; the first that matches decides."""
    room = alice.room_with(bob)
    quiet(alice)
    rules = [
        (rule("underride", "mine"), {"actions": [], "conditions": []}),
        (rule("sender", bob.user), {"actions": LOUD}),
        (rule("room", room), {"actions": []}),
        (rule("content", "mine"), {"actions": LOUD, "pattern": "cake"}),
        (rule("override", "mine"), {"actions": [], "conditions": []}),
    ]
    bob.text(room, "cake")
    seen = []
    for target, body in rules:
        alice.call("PUT", target, body)
        seen.append(counted(alice, room))
    assert seen == [(0, 0), (1, 1), (0, 0), (1, 1), (0, 0)]


def test_the_master_rule_silences_everything(alice, bob):
    room = alice.room_with(bob)
    bob.text(room, f"hey {alice.user}", **{"m.mentions": {"user_ids": [alice.user]}})
    assert counted(alice, room) == (1, 1)
    master = rule("override", ".m.rule.master", "enabled")
    alice.call("PUT", master, {"enabled": True})
    assert counted(alice, room) == (0, 0)
    alice.call("PUT", master, {"enabled": False})
    assert counted(alice, room) == (1, 1)


def test_who_is_ignored_is_not_counted(alice, bob, carol):
    """Module "Ignoring Users": what one does not see cannot be unread."""
    room = alice.room_with(bob, carol)
    bob.text(room, "one")
    carol.text(room, "two")
    assert counted(alice, room)[0] == 2
    alice.call("PUT", alice.account_data("account_data", "m.ignored_user_list"), {"ignored_users": {bob.user: {}}})
    assert counted(alice, room)[0] == 1
    alice.call("PUT", alice.account_data("account_data", "m.ignored_user_list"), {"ignored_users": {}})
    assert counted(alice, room)[0] == 2
