//! What a user keeps for a room goes with them when they join the room that replaced it (spec: Client-Server API, "Room
//! Upgrades": tags, notifications; `m.direct`). What they keep for the new room already stays as it is.

use base::{Reply, Room, User};
use ruma::{
    RoomId, UserId,
    push::{
        ConditionalPushRule, NewConditionalPushRule, NewPushRule, NewSimplePushRule, PushCondition,
        Ruleset,
    },
};
use serde_json::{Value, json};
use store::Tx;

use crate::{
    account_data::{self, GLOBAL},
    push_rules, tag,
};

const DIRECT: &str = "m.direct";
/// Rules that name a room: nobody has more for one.
const RULES_MAX: usize = 100;

/// Copies what the user keeps for `old` to `new`.
///
/// # Errors
/// 413 `M_TOO_LARGE` if there is no place for it; faults.
pub fn carry_over(
    tx: &mut Tx,
    user: User,
    id: &UserId,
    old: (Room, &RoomId),
    new: (Room, &RoomId),
) -> Reply<()> {
    carry_tags(tx, user, old.0, new.0)?;
    carry_direct(tx, user, old.1, new.1)?;
    carry_rules(tx, user, id, old.1, new.1)
}

fn carry_tags(tx: &mut Tx, user: User, old: Room, new: Room) -> Reply<()> {
    let there = tag::list(tx, user, new)?;
    for (name, info) in tag::list(tx, user, old)? {
        // A client may have written anything into the tags.
        if !there.contains_key(&name) && info.is_object() {
            tag::set(tx, user, new, &name, info)?;
        }
    }
    Ok(())
}

fn carry_direct(tx: &mut Tx, user: User, old: &RoomId, new: &RoomId) -> Reply<()> {
    let Some(content) = account_data::get(tx, user, GLOBAL, DIRECT)? else { return Ok(()) };
    let Ok(Value::Object(mut chats)) = serde_json::from_str(&content) else { return Ok(()) };
    let mut changed = false;
    for rooms in chats.values_mut().filter_map(Value::as_array_mut) {
        if rooms.iter().any(|room| room == old.as_str()) && !rooms.iter().any(|r| r == new.as_str())
        {
            rooms.push(json!(new));
            changed = true;
        }
    }
    match changed {
        true => account_data::put(tx, user, GLOBAL, DIRECT, Value::Object(chats).to_string()),
        false => Ok(()),
    }
}

fn carry_rules(tx: &mut Tx, user: User, id: &UserId, old: &RoomId, new: &RoomId) -> Reply<()> {
    let rules = push_rules::get(tx, user, id)?;
    for (rule, enabled) in copies(&rules, old, new).into_iter().take(RULES_MAX) {
        let (kind, name) = (rule.kind(), rule.rule_id().to_owned());
        if rules.get(kind.clone(), &name).is_some() {
            continue;
        }
        push_rules::set_rule(tx, user, id, rule, None, None)?;
        if !enabled {
            push_rules::set_enabled(tx, user, id, kind, &name, false)?;
        }
    }
    Ok(())
}

/// The user's rules for the old room, as rules for the new one, and whether they are switched on.
fn copies(rules: &Ruleset, old: &RoomId, new: &RoomId) -> Vec<(NewPushRule, bool)> {
    let of_room = rules.room.iter().filter(|rule| rule.rule_id == old);
    let of_room = of_room.map(|rule| {
        let copy = NewSimplePushRule::new(new.to_owned(), rule.actions.clone());
        (NewPushRule::Room(copy), rule.enabled)
    });
    let overriding = rules.override_.iter().filter_map(|rule| {
        let copy = copy(rule, old, new)?;
        Some((NewPushRule::Override(copy), rule.enabled))
    });
    let underriding = rules.underride.iter().filter_map(|rule| {
        let copy = copy(rule, old, new)?;
        Some((NewPushRule::Underride(copy), rule.enabled))
    });
    of_room.chain(overriding).chain(underriding).collect()
}

/// A rule that is named by the old room and asks for it, as clients make them to mute a room.
fn copy(rule: &ConditionalPushRule, old: &RoomId, new: &RoomId) -> Option<NewConditionalPushRule> {
    if !rule.rule_id.contains(old.as_str()) {
        return None;
    }
    let mut found = false;
    let mut conditions = rule.conditions.clone();
    for condition in &mut conditions {
        if let PushCondition::EventMatch(asked) = condition
            && asked.key == "room_id"
            && asked.pattern == old.as_str()
        {
            asked.pattern = new.to_string();
            found = true;
        }
    }
    let name = rule.rule_id.replace(old.as_str(), new.as_str());
    found.then(|| NewConditionalPushRule::new(name, conditions, rule.actions.clone()))
}
