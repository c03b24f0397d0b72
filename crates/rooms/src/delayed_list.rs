//! What a user is told of their delayed events (MSC4140; lists as in MSC4486).

use base::{Error, Reply, UnixMs, User};
use serde_json::{Map, Value, json};
use store::{
    Direction, View, room,
    schema::{DELAYED_OF, Delayed, Finalised, Outcome},
};

use crate::{
    delayed::{DELAY_ID_BYTES, find},
    delayed_rows::{FINALISED, SCHEDULED},
    ground,
};

/// Delayed events on one page.
const PAGE_MAX: usize = 100;
/// Rows looked at for one page, however few match: a user has no more than this.
const LOOKED_AT_MAX: usize = 2_000;

/// The names of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Those of the accepted MSC.
    Accepted,
    /// Those and what clients knew before: `delay`, `running_since`.
    Deployed,
}

/// Which delayed events are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    /// Scheduled ones, finalised ones, or both.
    pub scheduled: Option<bool>,
    /// Of this room.
    pub room_id: Option<&'a str>,
    /// Of this type.
    pub kind: Option<&'a str>,
    /// `send`, `cancel`, `error`.
    pub outcome: Option<&'a str>,
    /// Finalised by an `action`, or by the `delay`.
    pub reason: Option<&'a str>,
    /// Latest first.
    pub backward: bool,
    /// Where the page before ended.
    pub from: Option<&'a str>,
}

impl Wanted<'_> {
    fn check(&self) -> Reply<()> {
        let known = |given: Option<&str>, all: &[&str]| given.is_none_or(|g| all.contains(&g));
        match known(self.outcome, &["send", "cancel", "error"])
            && known(self.reason, &["action", "delay"])
        {
            true => Ok(()),
            false => Err(Error::invalid_param("no such outcome or reason")),
        }
    }

    fn matches(&self, shown: &Value, row: &Delayed) -> bool {
        let same = |given: Option<&str>, key: &str| {
            given.is_none_or(|g| shown.get(key).and_then(Value::as_str) == Some(g))
        };
        let finalised = row.finalised.as_ref();
        let outcome = |f: &Finalised| match f.outcome {
            Outcome::Sent(_) => "send",
            Outcome::Cancelled => "cancel",
            Outcome::Failed { .. } => "error",
        };
        let reason = |f: &Finalised| if f.by_delay { "delay" } else { "action" };
        same(self.room_id, "room_id")
            && same(self.kind, "type")
            && self.outcome.is_none_or(|o| finalised.is_some_and(|f| outcome(f) == o))
            && self.reason.is_none_or(|r| finalised.is_some_and(|f| reason(f) == r))
    }
}

/// One delayed event of the user's.
///
/// # Errors
/// 404 `M_NOT_FOUND`.
pub fn get(view: &View, user: User, id: &str, form: Form) -> Reply<Value> {
    shown(view, id, &find(view, id, Some(user))?, form)
}

type Key = (User, u8, UnixMs, String);

/// The user's delayed events: the scheduled ones by when they are to be sent, then the finalised ones by when they were.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for a value that there is not.
pub fn list(view: &View, user: User, wanted: &Wanted<'_>, form: Form) -> Reply<Value> {
    wanted.check()?;
    let first = if wanted.scheduled == Some(false) { FINALISED } else { SCHEDULED };
    let last = if wanted.scheduled == Some(true) { SCHEDULED } else { FINALISED };
    let mut from = (user, first, UnixMs(0), String::new());
    let mut to = (user, last + 1, UnixMs(0), String::new());
    if let Some(token) = wanted.from {
        let place = parse(token, user)?;
        if wanted.backward {
            to = place;
        } else {
            from = place;
        }
    }
    let direction = if wanted.backward { Direction::Backward } else { Direction::Forward };
    let rows: Vec<(Key, ())> = view.range(&DELAYED_OF, from, to, direction, LOOKED_AT_MAX)?;
    let mut events = Vec::new();
    let mut next = None;
    for ((_, state, at, id), ()) in rows {
        let Ok(row) = find(view, &id, Some(user)) else { continue };
        let event = shown(view, &id, &row, form)?;
        if !wanted.matches(&event, &row) {
            continue;
        }
        if events.len() == PAGE_MAX {
            // Forward, the next page begins with this one; backward, it ends before the last one told.
            next = next.filter(|_| wanted.backward).or(Some(format!("{state}_{at}_{id}")));
            break;
        }
        next = wanted.backward.then(|| format!("{state}_{at}_{id}"));
        events.push(event);
    }
    let full = events.len() == PAGE_MAX;
    let mut answer = Map::new();
    answer.insert("delayed_events".to_owned(), events.into());
    if let Some(next) = next.filter(|_| full) {
        let key = if wanted.backward { "prev_batch" } else { "next_batch" };
        answer.insert(key.to_owned(), next.into());
    }
    Ok(answer.into())
}

fn parse(token: &str, user: User) -> Reply<Key> {
    let mut parts = token.splitn(3, '_');
    let mut part = || parts.next().unwrap_or_default();
    let (state, at, id) = (part().parse(), part().parse(), part());
    match (state, at) {
        (Ok(state @ (SCHEDULED | FINALISED)), Ok(at)) if id.len() <= DELAY_ID_BYTES => {
            Ok((user, state, UnixMs(at), id.to_owned()))
        }
        _ => Err(Error::invalid_param("not a token of this server")),
    }
}

fn shown(view: &View, id: &str, row: &Delayed, form: Form) -> Reply<Value> {
    let content: Value = serde_json::from_str(&row.content)
        .map_err(|e| Error::fault(format!("delayed event {id}: {e}")))?;
    let mut shown = Map::new();
    let mut put = |key: &str, value: Value| drop(shown.insert(key.to_owned(), value));
    put("delay_id", id.into());
    put("room_id", room::info(view, row.room)?.id.as_str().into());
    put("type", row.kind.as_str().into());
    put("delay_ms", row.delay_ms.into());
    put("delayed_since_ts", row.since.0.into());
    put("content", content);
    if let Some(state_key) = &row.state_key {
        put("state_key", state_key.as_str().into());
    }
    if form == Form::Deployed {
        put("delay", row.delay_ms.into());
        put("running_since", row.since.0.into());
    }
    if let Some(finalised) = &row.finalised {
        put("finalised", ended(view, finalised)?);
    }
    Ok(shown.into())
}

fn ended(view: &View, finalised: &Finalised) -> Reply<Value> {
    let at = finalised.at.0;
    Ok(match &finalised.outcome {
        Outcome::Sent(event) => {
            json!({ "finalised_ts": at, "event_id": ground::event_id(view, *event)? })
        }
        Outcome::Cancelled => json!({ "finalised_ts": at }),
        Outcome::Failed { errcode, error } => {
            json!({ "finalised_ts": at, "error": { "errcode": errcode, "error": error } })
        }
    })
}
