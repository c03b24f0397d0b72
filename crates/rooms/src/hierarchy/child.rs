//! A child of a space, as an `m.space.child` event names it, and the order of children (spec: "Ordering of children within
//! a space").

use protocol::json::quote;
use ruma::{OwnedRoomId, OwnedServerName};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// Characters of a child's `order` (spec: `m.space.child`).
const ORDER_MAX: usize = 50;
/// Servers of a child that are kept.
const VIA_MAX: usize = 10;
/// Children of one space that count.
const CHILDREN_MAX: usize = 1_000;

/// A child of a space.
pub(super) struct Child {
    pub(super) id: OwnedRoomId,
    pub(super) suggested: bool,
    /// Servers that may know it.
    pub(super) via: Vec<OwnedServerName>,
    /// The event, stripped, with its `origin_server_ts`.
    pub(super) stripped: String,
}

/// By what children are ordered: those with a valid `order` first, by that; then by time; then by id.
pub(super) type Rank = (bool, String, u64, String);

/// An `m.space.child` event.
pub(super) struct Said<'a> {
    pub(super) state_key: &'a str,
    /// JSON.
    pub(super) content: &'a str,
    pub(super) sender: &'a str,
    /// Milliseconds.
    pub(super) sent_at: u64,
}

/// `None`: the event names no child (any more).
pub(super) fn read(said: &Said<'_>) -> Option<(Rank, Child)> {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(default)]
        via: Value,
        #[serde(default)]
        suggested: Value,
        #[serde(borrow)]
        order: Option<&'a RawValue>,
    }
    let id = OwnedRoomId::try_from(said.state_key).ok()?;
    let content: Content<'_> = serde_json::from_str(said.content).ok()?;
    // Without servers to go by, the child was taken out.
    let via = content.via.as_array().filter(|via| !via.is_empty())?;
    let via = via.iter().map(Value::as_str).collect::<Option<Vec<&str>>>()?;
    let via = via.into_iter().filter_map(|name| OwnedServerName::try_from(name).ok());
    let via = via.take(VIA_MAX).collect();
    let order = content.order.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    let order =
        order.filter(|o| o.len() <= ORDER_MAX && o.bytes().all(|b| (0x20..=0x7E).contains(&b)));
    let stripped = format!(
        r#"{{"content":{},"origin_server_ts":{},"sender":{},"state_key":{},"type":"m.space.child"}}"#,
        said.content,
        said.sent_at,
        quote(said.sender),
        quote(id.as_str()),
    );
    let rank = (order.is_none(), order.unwrap_or_default(), said.sent_at, id.to_string());
    let suggested = content.suggested == Value::Bool(true);
    Some((rank, Child { id, suggested, via, stripped }))
}

/// Children in their order, as many as count.
pub(super) fn in_order(mut found: Vec<(Rank, Child)>) -> Vec<Child> {
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found.into_iter().take(CHILDREN_MAX).map(|(_, child)| child).collect()
}
