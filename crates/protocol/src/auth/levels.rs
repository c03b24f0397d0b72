//! The rules for `m.room.power_levels` (rule 10 of version 12, whose numbers are used here).

use std::collections::{BTreeMap, BTreeSet};

use super::Room;
use super::rule::{self, Check, Decision, Numbered, refuse};
use crate::power::{Field, Levels, Malformed, Power, PowerLevels};

pub(super) fn check(room: &Room<'_>, power: &PowerLevels) -> Decision {
    let new = match Levels::read(room.rules, room.pdu.content.get()) {
        Ok(levels) => levels,
        Err(Malformed::Number) => return Err(&rule::LEVELS_NUMBER),
        Err(Malformed::Map) => return Err(&rule::LEVELS_MAP),
        Err(Malformed::Users) => return Err(&rule::LEVELS_USERS),
    };
    if room.rules.explicitly_privilege_room_creators {
        let listed = new.users.keys().any(|user| power.is_creator(user));
        refuse(listed, &rule::LEVELS_CREATOR)?;
    }
    let Some(old) = power.levels() else { return Ok(&rule::LEVELS_FIRST) };
    let sender = power.user(&room.pdu.sender);
    numbers(old, &new, sender)?;
    let (from, to) = (&rule::LEVELS_EVENT_FROM, &rule::LEVELS_EVENT_TO);
    let above = |_: &String, level: i64| sender < level;
    changes(&old.events, &new.events, sender, above, (from, to))?;
    if room.rules.limit_notifications_power_levels {
        changes(&old.notifications, &new.notifications, sender, above, (from, to))?;
    }
    let not_below = |user: &_, level: i64| *user != room.pdu.sender && sender <= level;
    let (from, to) = (&rule::LEVELS_USER_FROM, &rule::LEVELS_USER_TO);
    changes(&old.users, &new.users, sender, not_below, (from, to))?;
    Ok(&rule::LEVELS)
}

/// Rule 10.6. Where a value was or becomes absent, its default is meant.
fn numbers(old: &Levels, new: &Levels, sender: Power) -> Check {
    let altered = |field: &&Field| old.explicit(**field) != new.explicit(**field);
    for field in Field::ALL.iter().filter(altered) {
        refuse(sender < old.level(*field), &rule::LEVELS_FROM)?;
        refuse(sender < new.level(*field), &rule::LEVELS_TO)?;
    }
    Ok(())
}

/// Rules 10.7 to 10.10: no entry is changed or removed that is out of the sender's `reach`, and
/// none is set above the sender's power.
fn changes<K: Ord>(
    old: &BTreeMap<K, i64>,
    new: &BTreeMap<K, i64>,
    sender: Power,
    out_of_reach: impl Fn(&K, i64) -> bool,
    (from, to): (&'static Numbered, &'static Numbered),
) -> Check {
    let names: BTreeSet<&K> = old.keys().chain(new.keys()).collect();
    let altered: Vec<&K> =
        names.into_iter().filter(|name| old.get(*name) != new.get(*name)).collect();
    for name in &altered {
        refuse(old.get(*name).is_some_and(|level| out_of_reach(name, *level)), from)?;
    }
    for name in altered {
        refuse(new.get(name).is_some_and(|level| sender < *level), to)?;
    }
    Ok(())
}
