//! What the two shapes have in common: extensions, and most of a room.

use std::collections::BTreeMap;

use base::{Error, Reply};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::PresenceState;

use super::{
    ask::{Extensions, Scoped, ThreadSubscriptions, ToDevice},
    room::{Field, Part},
};
use crate::{json::Out, token::Token};

/// To-device messages in one answer, if the request does not say, and at most.
const TO_DEVICE_MAX: u64 = 100;

/// The names of an extension: stable, and while it was none.
struct Names(&'static str, &'static str);

const TO_DEVICE: Names = Names("to_device", "org.matrix.msc4538.to_device");
const E2EE: Names = Names("e2ee", "org.matrix.msc4543.e2ee");
const ACCOUNT_DATA: Names = Names("account_data", "org.matrix.msc3959.account_data");
const RECEIPTS: Names = Names("receipts", "org.matrix.msc3960.receipts");
const TYPING: Names = Names("typing", "org.matrix.msc4508.typing");
const THREADS: Names = Names("thread_subscriptions", "io.element.msc4308.thread_subscriptions");

/// Any extension. Those that we do not know are never looked at.
#[derive(Default, Deserialize)]
struct Asked {
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    lists: Option<Vec<String>>,
    #[serde(default)]
    rooms: Option<Vec<String>>,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    limit: Option<u64>,
}

/// Reads `extensions`.
pub(super) fn extensions(asked: &BTreeMap<String, Box<RawValue>>) -> Reply<Extensions> {
    let find = |names: &Names| -> Reply<Option<(String, Asked)>> {
        let name = [names.0, names.1].into_iter().find(|name| asked.contains_key(*name));
        let Some((name, value)) = name.and_then(|name| Some((name, asked.get(name)?))) else {
            return Ok(None);
        };
        let bad = |e: serde_json::Error| Error::bad_json(format!("extension {name}: {e}"));
        let asked: Asked = serde_json::from_str(value.get()).map_err(bad)?;
        Ok(Some((name.to_owned(), asked)).filter(|(_, asked)| asked.enabled == Some(true)))
    };
    let scoped = |names: &Names| -> Reply<Option<Scoped>> {
        let found = find(names)?;
        Ok(found.map(|(key, asked)| Scoped { key, lists: asked.lists, rooms: asked.rooms }))
    };
    let limit = |asked: &Asked| match asked.limit {
        Some(0) => Err(Error::invalid_param("a limit is at least 1")),
        limit => Ok(limit.unwrap_or(TO_DEVICE_MAX).min(TO_DEVICE_MAX)),
    };
    let to_device = match find(&TO_DEVICE)? {
        Some((key, asked)) => {
            let limit = limit(&asked)?;
            let since = asked.since.as_deref().filter(|since| !since.is_empty());
            Some(ToDevice { key, limit, since: since.map(Token::parse).transpose()? })
        }
        None => None,
    };
    let thread_subscriptions = match find(&THREADS)? {
        Some((key, asked)) => Some(ThreadSubscriptions { key, limit: limit(&asked)? }),
        None => None,
    };
    Ok(Extensions {
        to_device,
        e2ee: find(&E2EE)?.map(|(key, _)| key),
        account_data: scoped(&ACCOUNT_DATA)?,
        receipts: scoped(&RECEIPTS)?,
        typing: scoped(&TYPING)?,
        thread_subscriptions,
    })
}

/// `pos` and `lists`.
pub(super) fn begin(pos: &str, counts: &BTreeMap<String, u64>) -> Out {
    let mut out = Out::with_capacity(4 * 1_024);
    out.open().key("pos").text(pos);
    out.key("lists").open();
    for (name, count) in counts {
        out.key(name).open().key("count").number(*count).close();
    }
    out.close();
    out
}

/// What is written of a room in both shapes alike.
pub(super) fn common(out: &mut Out, part: &Part) {
    if let Some(bump) = part.bump {
        out.key("bump_stamp").number(bump.0);
    }
    if part.initial {
        out.key("initial").flag(true);
    }
    if let Some(prev_batch) = &part.prev_batch {
        out.key("prev_batch").text(prev_batch);
    }
    if part.limited {
        out.key("limited").flag(true);
    }
    if part.timeline.is_some() {
        out.key("num_live").number(part.live);
    }
    if let Some(heroes) = &part.heroes {
        out.key("heroes").open_array();
        for hero in heroes {
            out.open().key("user_id").text(&hero.id);
            if let Some(name) = &hero.name {
                out.key("displayname").text(name);
            }
            if let Some(avatar) = &hero.avatar {
                out.key("avatar_url").text(avatar);
            }
            out.close();
        }
        out.close_array();
    }
    if let Some(dm) = part.dm {
        out.key("is_dm").flag(dm);
    }
    for (key, number) in [("joined_count", part.joined), ("invited_count", part.invited)] {
        if let Some(number) = number {
            out.key(key).number(number);
        }
    }
}

/// A field that may be told to be gone.
pub(super) fn field(out: &mut Out, key: &str, field: &Field<String>) {
    match field {
        Field::Same => {}
        Field::Gone => drop(out.key(key).raw("null")),
        Field::Is(value) => drop(out.key(key).text(value)),
    }
}

/// A JSON array that is ready.
pub(super) fn array(out: &mut Out, key: &str, json: Option<&String>) {
    if let Some(json) = json {
        out.key(key).raw(json);
    }
}

/// `set_presence`: how present syncing makes the user (MSC4186: an unknown value is refused).
///
/// # Errors
/// 400 `M_INVALID_PARAM`.
pub fn presence(wanted: Option<&str>) -> Reply<PresenceState> {
    let wanted = wanted.map_or(Some(PresenceState::Online), PresenceState::parse);
    wanted.ok_or_else(|| Error::invalid_param("set_presence is online, unavailable or offline"))
}
