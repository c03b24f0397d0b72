//! From news to a transaction (spec: Server-Server API, "Transactions").

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
};

use base::{Error, Event, Reply, Room, Seq, User};
use ruma::ServerName;
use serde_json::value::RawValue;
use store::{CacheSpace, Kind, View, event, schema::Parcel};
use sync::server_gate::ServerGate;

use super::{
    concern::{self, Item, News},
    edus,
    wire::Transaction,
};

/// Events of one transaction (the spec).
pub(super) const EVENTS_MAX: usize = 50;
/// EDUs of one transaction, without those of memory. With them, the spec says at most 100.
const EDUS_MAX: usize = 90;
/// EDUs of one transaction (the spec).
pub(super) const EDUS_IN_ALL_MAX: usize = 100;
/// Messages for devices in one transaction, bytes.
const BYTES_MAX: usize = 4 << 20;
/// Entries of the log that are looked at before others have their turn.
const ENTRIES_MAX: usize = 1_024;
/// What an event costs in the cache beside its text.
const PDU_OVERHEAD: usize = 64;

/// Events as they are sent: made once for all servers.
static PDUS: CacheSpace = CacheSpace { tag: 129, owned: Some(Kind::Event) };

/// What lives in memory only and is to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ephemeral {
    /// Who types, or stopped typing, where.
    pub(super) typing: BTreeMap<(Room, User), bool>,
    /// Whose presence changed.
    pub(super) presence: BTreeSet<User>,
}

impl Ephemeral {
    pub(super) fn is_empty(&self) -> bool {
        self.typing.is_empty() && self.presence.is_empty()
    }

    /// Its EDUs, at most so many.
    pub(super) fn write(&self, view: &View, server: &str, most: usize) -> Reply<Vec<String>> {
        let mut out = Vec::new();
        out.extend(edus::presence(view, &self.presence)?);
        for ((room, user), typing) in self.typing.iter().take(most.saturating_sub(1)) {
            if concern::may_hear(view, *room, server)? {
                out.push(edus::typing(view, *room, *user, *typing)?);
            }
        }
        Ok(out)
    }
}

/// Puts together what one server is told next.
pub(super) struct Composed {
    /// What is to be sent; `upto` says how far the news go that are in it.
    pub(super) parcel: Parcel,
    /// News that had no place in it.
    pub(super) left: Vec<Item>,
}

/// Takes news in their order.
pub(super) fn from_items(view: &View, server: &str, items: Vec<Item>) -> Reply<Composed> {
    let name = <&ServerName>::try_from(server)
        .map_err(|e| Error::fault(format!("{server} is no server: {e}")))?;
    let mut gates = HashMap::new();
    let mut builder = Builder::default();
    let mut items = items.into_iter();
    for item in items.by_ref() {
        if !item.late || is_for_it(view, &mut gates, name, &item.news)? {
            builder.take(view, server, &item)?;
        }
        builder.parcel.upto = item.at;
        if builder.is_full() {
            break;
        }
    }
    Ok(Composed { parcel: builder.finish(), left: items.collect() })
}

/// Reads the log after `from`. Ends early when there is enough for one transaction.
pub(super) fn from_log(view: &View, server: &str, from: Seq) -> Reply<Parcel> {
    let head = view.head();
    let entries = view.log(from, head, ENTRIES_MAX)?;
    let all = entries.len() < ENTRIES_MAX;
    let name = <&ServerName>::try_from(server)
        .map_err(|e| Error::fault(format!("{server} is no server: {e}")))?;
    let mut gates = HashMap::new();
    let mut builder = Builder::default();
    builder.parcel.upto = from;
    for (at, entry) in entries {
        if let Some(news) = concern::news(view, &entry)?
            && concern::is_for(view, &news, server)?
            && is_for_it(view, &mut gates, name, &news)?
        {
            builder.take(view, server, &Item { at, news: Arc::new(news), late: false })?;
        }
        builder.parcel.upto = at;
        if builder.is_full() {
            return Ok(builder.finish());
        }
    }
    if all {
        // Entries of other tenants lie between.
        builder.parcel.upto = builder.parcel.upto.max(head);
    }
    Ok(builder.finish())
}

/// Is this for the server still? It may have come into the room long after, or back into it.
fn is_for_it<'a>(
    view: &'a View,
    gates: &mut HashMap<Room, ServerGate<'a>>,
    server: &'a ServerName,
    news: &News,
) -> Reply<bool> {
    let (event, room) = match news {
        News::Event { target: Some(target), .. } if target == server.as_str() => return Ok(true),
        News::Event { event, room, .. } | News::Beside { event, room, .. } => (event, room),
        _ => return Ok(true),
    };
    let gate = match gates.entry(*room) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(ServerGate::new(view, *room, server)?),
    };
    let stored = event::load(view, *event)?;
    if matches!(news, News::Beside { .. }) { gate.sees(&stored) } else { gate.is_told(&stored) }
}

/// Is there nothing to send?
pub(super) fn is_empty(parcel: &Parcel) -> bool {
    parcel.events.is_empty() && parcel.edus.is_empty() && parcel.messages.is_empty()
}

#[derive(Default)]
struct Builder {
    parcel: Parcel,
    receipts: edus::Receipts,
    bytes: usize,
}

impl Builder {
    fn take(&mut self, view: &View, server: &str, item: &Item) -> Reply<()> {
        match &*item.news {
            News::Event { event, .. } | News::Beside { event, .. } => {
                self.parcel.events.push(*event);
            }
            News::Receipt { room, user } => {
                if concern::may_hear(view, *room, server)? {
                    self.receipts.add(view, *room, *user, item.at)?;
                }
            }
            News::Device { user } => {
                self.parcel.edus.extend(edus::device(view, *user, item.at)?);
            }
            News::Message { .. } => {
                if let Some(text) = edus::message(view, server, item.at)? {
                    self.bytes += text.len();
                    self.parcel.messages.push(item.at);
                }
            }
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        let edus = self.parcel.edus.len() + self.receipts.len() + self.parcel.messages.len();
        self.parcel.events.len() >= EVENTS_MAX || edus >= EDUS_MAX || self.bytes >= BYTES_MAX
    }

    fn finish(mut self) -> Parcel {
        self.parcel.edus.extend(self.receipts.finish());
        self.parcel
    }
}

/// The transaction that a parcel is. The same whenever it is asked for, but for what has been redacted since.
pub(super) fn transaction(
    view: &View,
    server: &str,
    stream: u64,
    parcel: &Parcel,
) -> Reply<Transaction> {
    let pdus = parcel.events.iter().map(|event| pdu(view, *event)).collect::<Reply<_>>()?;
    let mut edus = parcel.edus.clone();
    for at in &parcel.messages {
        edus.extend(edus::message(view, server, *at)?);
    }
    let id = format!("{stream:x}-{}", parcel.number);
    Ok(Transaction { id, at: parcel.at.0, pdus, edus })
}

/// An event in federation format.
pub(super) fn pdu(view: &View, event: Event) -> Reply<Arc<Box<RawValue>>> {
    view.cached(&PDUS, u128::from(event.0), |view| {
        let room = event::load(view, event)?.row.room;
        let text = store::pdu::Wire::of(view, room)?.one(view, event)?;
        let bytes = text.len() + PDU_OVERHEAD;
        let raw = RawValue::from_string(text)
            .map_err(|e| Error::fault(format!("event {event} is no JSON: {e}")))?;
        Ok((raw, bytes))
    })
}
