//! Relations between events (spec: Client-Server API, "Forming relationships between events" and
//! "Rich replies"): what `m.relates_to` in an event's content says.

use std::borrow::Cow;

use ruma::OwnedEventId;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// A relation to another event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The kind, for example `m.thread`, `m.replace`, `m.annotation` or `m.reference`.
    pub rel_type: String,
    /// The event related to.
    pub event_id: OwnedEventId,
    /// For an annotation, what it is grouped by (the reaction).
    pub key: Option<String>,
    /// For a thread, whether the reply in it is only for clients that know no threads.
    pub is_falling_back: bool,
}

/// All that `m.relates_to` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelatesTo {
    /// The relation, if it has a type and an event.
    pub relation: Option<Relation>,
    /// The event that this one replies to.
    pub in_reply_to: Option<OwnedEventId>,
}

/// Reads `m.relates_to` of a content; `None` if there is none that is an object.
///
/// Costs one search through the text where there is none. What is malformed counts as absent: a
/// relation is a hint of the sender's, and an event is not refused for it.
#[must_use]
pub fn relates_to(content: &str) -> Option<RelatesTo> {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(rename = "m.relates_to", borrow)]
        relates_to: &'a RawValue,
    }
    if !content.contains("m.relates_to") {
        return None;
    }
    let content: Content<'_> = serde_json::from_str(content).ok()?;
    let value: Value = serde_json::from_str(content.relates_to.get()).ok()?;
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let event = |id: &str| OwnedEventId::try_from(id).ok();
    let relation = text("rel_type").zip(text("event_id").and_then(event));
    let relation = relation.map(|(rel_type, event_id)| Relation {
        rel_type: rel_type.to_owned(),
        event_id,
        key: text("key").map(str::to_owned),
        is_falling_back: value.get("is_falling_back") == Some(&Value::Bool(true)),
    });
    let reply = value.pointer("/m.in_reply_to/event_id").and_then(Value::as_str);
    value.is_object().then(|| RelatesTo { relation, in_reply_to: reply.and_then(event) })
}

/// The relation of an event's content, if it has one.
#[must_use]
pub fn relation(content: &str) -> Option<Relation> {
    relates_to(content)?.relation
}

/// The thread that an event is in by its own relation: the id of the thread's root.
#[must_use]
pub fn thread_root(content: &str) -> Option<OwnedEventId> {
    relation(content).filter(|relation| relation.rel_type == "m.thread").map(|r| r.event_id)
}

/// Whether a content has a `url`, which filters ask for (`contains_url`): a string.
#[must_use]
pub fn contains_url(content: &str) -> bool {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(borrow)]
        url: Cow<'a, str>,
    }
    content.contains("\"url\"")
        && serde_json::from_str::<Content<'_>>(content).is_ok_and(|found| !found.url.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_with_a_fallback_reply_is_read_whole() {
        let content = r#"{"body":"x","m.relates_to":{"rel_type":"m.thread","event_id":"$root",
            "is_falling_back":true,"m.in_reply_to":{"event_id":"$last"}}}"#;
        let found = relates_to(content).unwrap();
        let relation = found.relation.unwrap();
        assert_eq!((relation.rel_type.as_str(), relation.event_id.as_str()), ("m.thread", "$root"));
        assert!(relation.is_falling_back && relation.key.is_none());
        assert_eq!(found.in_reply_to.unwrap(), "$last");
        assert_eq!(thread_root(content).unwrap(), "$root");
    }

    #[test]
    fn a_reaction_has_a_key_and_is_in_no_thread() {
        let content = r#"{"m.relates_to":{"rel_type":"m.annotation","event_id":"$e","key":"👍"}}"#;
        assert_eq!(relation(content).unwrap().key.as_deref(), Some("👍"));
        assert!(!relation(content).unwrap().is_falling_back);
        assert_eq!(thread_root(content), None);
    }

    #[test]
    fn a_plain_reply_has_no_relation() {
        let found = relates_to(r#"{"m.relates_to":{"m.in_reply_to":{"event_id":"$e"}}}"#).unwrap();
        assert_eq!((found.relation, found.in_reply_to.unwrap().as_str()), (None, "$e"));
    }

    #[test]
    fn malformed_relations_count_as_absent() {
        for content in [
            r#"{"m.relates_to":[]}"#,
            r#"{"m.relates_to":null}"#,
            r#"{"body":"m.relates_to"}"#,
            r#"{"body":"x"}"#,
        ] {
            assert_eq!(relates_to(content), None, "{content}");
        }
        for content in [
            r#"{"m.relates_to":{"rel_type":1,"event_id":"$e"}}"#,
            r#"{"m.relates_to":{"rel_type":"m.thread","event_id":"e"}}"#,
            r#"{"m.relates_to":{"rel_type":"m.thread"}}"#,
            r#"{"m.relates_to":{"m.in_reply_to":"$e"}}"#,
        ] {
            assert_eq!(relates_to(content), Some(RelatesTo::default()), "{content}");
        }
    }

    #[test]
    fn a_url_is_a_string_at_the_top_of_the_content() {
        assert!(contains_url(r#"{"url":"mxc://a/b"}"#));
        for content in [r#"{"url":1}"#, r#"{"info":{"url":"x"}}"#, "{}", r#"{"url":""}"#] {
            assert!(!contains_url(content), "{content}");
        }
    }
}
