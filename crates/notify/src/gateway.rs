//! What a push gateway is told, and what it answers (spec: Push Gateway API, POST /_matrix/push/v1/notify).

use base::{Error, Reply, UnixMs};
use ruma::push::{Action, Tweak};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use store::schema::Pusher;

/// An event, as far as gateways are told of it.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// `event_id`
    pub event_id: String,
    /// `room_id`
    pub room_id: String,
    /// `type`
    pub kind: String,
    /// `sender`
    pub sender: String,
    /// The sender's name in the room today.
    pub sender_display_name: Option<String>,
    /// `m.room.name`
    pub room_name: Option<String>,
    /// `m.room.canonical_alias`
    pub room_alias: Option<String>,
    /// It is the user's own member event.
    pub user_is_target: bool,
    /// Content as JSON text.
    pub content: String,
    /// What the rule that matched says.
    pub actions: Vec<Action>,
    /// Worth waking a phone for.
    pub urgent: bool,
}

/// Rejected keys that are looked at in one answer: it was asked about one.
const REJECTED_MAX: usize = 1_000;

/// The request about an event. `unread`: all unread messages of the user.
///
/// # Errors
/// Faults only.
pub fn about(pusher: &Pusher, event: &About, unread: u64) -> Reply<String> {
    let mut out = Map::new();
    out.insert("event_id".to_owned(), event.event_id.clone().into());
    out.insert("room_id".to_owned(), event.room_id.clone().into());
    out.insert("prio".to_owned(), if event.urgent { "high" } else { "low" }.into());
    let mut device = device(pusher)?;
    // Whoever wants the id only does not want to tell more.
    if !id_only(pusher) {
        full(&mut out, event)?;
        device.insert("tweaks".to_owned(), tweaks(&event.actions)?.into());
    }
    // The spec: counts of zero are left out.
    let counts = if unread > 0 { json!({ "unread": unread }) } else { json!({}) };
    out.insert("counts".to_owned(), counts);
    out.insert("devices".to_owned(), json!([device]));
    Ok(json!({ "notification": out }).to_string())
}

/// The request that only says how much is unread. Here a zero is the news, so it is said.
///
/// # Errors
/// Faults only.
pub fn badge(pusher: &Pusher, unread: u64) -> Reply<String> {
    let device = device(pusher)?;
    let out = json!({ "counts": { "unread": unread }, "devices": [device], "prio": "low" });
    Ok(json!({ "notification": out }).to_string())
}

fn id_only(pusher: &Pusher) -> bool {
    #[derive(Deserialize)]
    struct Data {
        format: Option<String>,
    }
    let data: Option<Data> = serde_json::from_str(&pusher.data).ok();
    data.and_then(|data| data.format).as_deref() == Some("event_id_only")
}

fn device(pusher: &Pusher) -> Reply<Map<String, Value>> {
    let data: Value = serde_json::from_str(&pusher.data)
        .map_err(|e| Error::fault(format!("data of a pusher: {e}")))?;
    let mut out = Map::new();
    out.insert("app_id".to_owned(), pusher.app_id.clone().into());
    out.insert("pushkey".to_owned(), pusher.pushkey.clone().into());
    out.insert("pushkey_ts".to_owned(), (pusher.set.0 / 1_000).into());
    out.insert("data".to_owned(), data);
    Ok(out)
}

fn full(out: &mut Map<String, Value>, event: &About) -> Reply<()> {
    let content: Box<RawValue> = RawValue::from_string(event.content.clone())
        .map_err(|e| Error::fault(format!("content of an event: {e}")))?;
    let content = serde_json::to_value(&content)
        .map_err(|e| Error::fault(format!("content of an event: {e}")))?;
    out.insert("type".to_owned(), event.kind.clone().into());
    out.insert("sender".to_owned(), event.sender.clone().into());
    out.insert("content".to_owned(), content);
    for (name, value) in [
        ("sender_display_name", &event.sender_display_name),
        ("room_name", &event.room_name),
        ("room_alias", &event.room_alias),
    ] {
        out.extend(value.as_ref().map(|value| (name.to_owned(), value.clone().into())));
    }
    if event.user_is_target {
        out.insert("user_is_target".to_owned(), true.into());
    }
    Ok(())
}

/// All tweaks, also those that only client and gateway know.
fn tweaks(actions: &[Action]) -> Reply<Map<String, Value>> {
    let mut out = Map::new();
    for action in actions {
        let Action::SetTweak(tweak) = action else { continue };
        match tweak {
            Tweak::Highlight(_) => {
                out.insert("highlight".to_owned(), action.is_highlight().into());
            }
            other => {
                let text = serde_json::to_value(other)
                    .map_err(|e| Error::fault(format!("a tweak: {e}")))?;
                let name = text.get("set_tweak").and_then(Value::as_str).map(str::to_owned);
                let value = text.get("value").cloned().unwrap_or_default();
                out.extend(name.map(|name| (name, value)));
            }
        }
    }
    Ok(out)
}

/// The keys that a gateway says are no good any more.
#[must_use]
pub fn rejected(answer: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        rejected: Vec<String>,
    }
    let answer: Option<Answer> = serde_json::from_slice(answer).ok();
    let mut keys = answer.map(|answer| answer.rejected).unwrap_or_default();
    keys.truncate(REJECTED_MAX);
    keys
}

/// How long a gateway may be gone before what it was to be told is old news.
pub const NEWS_MS: u64 = 24 * 60 * 60 * 1_000;

/// Is it too late to tell of an event? Only what could not be told for a day grows old; an event that came late from
/// another server is news nevertheless.
#[must_use]
pub fn is_old(sent: UnixMs, failing: Option<UnixMs>, now: UnixMs) -> bool {
    let old = |at: UnixMs| now.0.saturating_sub(at.0) > NEWS_MS;
    failing.is_some_and(old) && old(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pusher(data: &str) -> Pusher {
        Pusher {
            app_id: "org.app".into(),
            pushkey: "key".into(),
            kind: "http".into(),
            app_display_name: "App".into(),
            device_display_name: "Phone".into(),
            profile_tag: None,
            lang: "en".into(),
            data: data.into(),
            url: None,
            enabled: true,
            device: "D".into(),
            set: UnixMs(1_700_000_001_999),
        }
    }

    fn event() -> About {
        let actions = json!(["notify", {"set_tweak": "sound", "value": "x.wav"}, {"set_tweak": "highlight"},
                   {"set_tweak": "org.light", "value": {"colour": "red"}}]);
        About {
            event_id: "$e".into(),
            room_id: "!r".into(),
            kind: "m.room.message".into(),
            sender: "@a:x".into(),
            sender_display_name: Some("A".into()),
            content: r#"{"body":"hi"}"#.into(),
            actions: serde_json::from_value(actions).unwrap(),
            urgent: true,
            ..About::default()
        }
    }

    fn told(body: &str) -> Value {
        serde_json::from_str::<Value>(body).unwrap()["notification"].take()
    }

    #[test]
    fn a_gateway_is_told_the_event_the_tweaks_and_the_count() {
        let told = told(&about(&pusher(r#"{"own":1}"#), &event(), 3).unwrap());
        let device = json!({"app_id": "org.app", "pushkey": "key", "pushkey_ts": 1_700_000_001,
            "data": {"own": 1},
            "tweaks": {"sound": "x.wav", "highlight": true, "org.light": {"colour": "red"}}});
        let wanted = json!({"event_id": "$e", "room_id": "!r", "type": "m.room.message", "sender": "@a:x",
            "sender_display_name": "A", "content": {"body": "hi"}, "prio": "high", "counts": {"unread": 3},
            "devices": [device]});
        assert_eq!(told, wanted);
    }

    #[test]
    fn who_wants_the_id_only_is_told_nothing_of_what_was_said() {
        let body = about(&pusher(r#"{"format":"event_id_only"}"#), &event(), 0).unwrap();
        let told = told(&body);
        let mut keys: Vec<_> = told.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["counts", "devices", "event_id", "prio", "room_id"]);
        assert_eq!(told["counts"], json!({}));
        assert_eq!(told["devices"][0]["data"], json!({"format": "event_id_only"}));
    }

    #[test]
    fn a_badge_of_zero_is_said() {
        let told = told(&badge(&pusher("{}"), 0).unwrap());
        assert_eq!(told["counts"], json!({"unread": 0}));
        assert!(told.get("event_id").is_none());
    }

    #[test]
    fn rejected_keys_are_read_and_rubbish_rejects_nothing() {
        assert_eq!(rejected(br#"{"rejected":["a"]}"#), ["a"]);
        for nothing in [&b"{}"[..], b"", b"<html>", br#"{"rejected":null}"#] {
            assert!(rejected(nothing).is_empty());
        }
    }

    #[test]
    fn only_what_could_not_be_told_for_a_day_grows_old() {
        let (day, now) = (NEWS_MS, UnixMs(10 * NEWS_MS));
        let ago = |ms: u64| UnixMs(now.0 - ms);
        assert!(is_old(ago(day + 1), Some(ago(day + 1)), now));
        assert!(!is_old(ago(day + 1), None, now), "late, but nobody failed");
        assert!(
            !is_old(ago(1), Some(ago(5 * day)), now),
            "new, though the gateway has long been gone"
        );
        assert!(!is_old(ago(5 * day), Some(ago(1)), now));
    }
}
