//! From the log to a transaction (spec: Application Service API, "Pushing events").

use base::{Epoch, Event, Reply, Seq};
use protocol::appservice::Registration;
use ruma::UserId;
use store::{View, event, log::Entry};
use sync::{appservice as told, json::Out};

use super::interest::Interest;

/// Events of one transaction: what a bridge handles in a moment.
const EVENTS_MAX: usize = 100;
/// Ephemeral events of one transaction.
const EPHEMERAL_MAX: usize = 100;
/// The events of one transaction, bytes: below what web frameworks take by default (aiohttp: 1 MiB).
const BYTES_MAX: usize = 600 << 10;
/// Entries of the log that are looked at before others have their turn.
const ENTRIES_MAX: usize = 1_024;

/// What comes next for an application service.
pub(super) struct Composed {
    /// All that concerns it up to here is in it, or was told before.
    pub(super) upto: Seq,
    /// Its events, in the order of the log.
    pub(super) events: Vec<Event>,
    /// Ephemeral events, each as JSON text.
    pub(super) ephemeral: Vec<String>,
    /// Who types was told up to here.
    pub(super) typing: Epoch,
}

/// Reads the log after `from`. Ends early when there is enough for one transaction.
pub(super) fn compose(
    view: &View,
    interest: &mut Interest,
    service: &Registration,
    from: Seq,
    typing: Epoch,
) -> Reply<Composed> {
    let head = view.head();
    let entries = view.log(from, head, ENTRIES_MAX)?;
    let all = entries.len() < ENTRIES_MAX;
    let mut composed = Composed { upto: from, events: Vec::new(), ephemeral: Vec::new(), typing };
    let mut bytes = 0;
    let mut full = false;
    for (seq, entry) in entries {
        match &entry {
            Entry::Event { event, .. } if interest.event(view, &entry)? => {
                let size = event::load(view, *event)?.client().len();
                if bytes + size > BYTES_MAX && !composed.events.is_empty() {
                    full = true;
                    break;
                }
                bytes += size;
                composed.events.push(*event);
            }
            Entry::Receipt { .. } if service.ephemeral => {
                composed.receipt(view, interest, &entry, seq)?;
            }
            _ => {}
        }
        composed.upto = seq;
        if composed.events.len() >= EVENTS_MAX || composed.ephemeral.len() >= EPHEMERAL_MAX {
            full = true;
            break;
        }
    }
    if all && !full {
        // Entries of other tenants lie between.
        composed.upto = composed.upto.max(head);
        if service.ephemeral {
            composed.typists(view, interest)?;
        }
    }
    Ok(composed)
}

impl Composed {
    /// Is there nothing to tell?
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.ephemeral.is_empty()
    }

    fn receipt(
        &mut self,
        view: &View,
        interest: &mut Interest,
        entry: &Entry,
        seq: Seq,
    ) -> Reply<()> {
        let Entry::Receipt { room, user, private } = entry else { return Ok(()) };
        let concerns = match private {
            // The spec: private ones only of its own users.
            true => interest.user(view, *user)?,
            false => interest.room(view, *room)?,
        };
        let mut out = Out::default();
        if concerns && told::write_receipts(view, &mut out, (*room, *user), seq, *private)? {
            self.ephemeral.push(out.finish());
        }
        Ok(())
    }

    /// Who types now, in rooms where that has changed.
    fn typists(&mut self, view: &View, interest: &mut Interest) -> Reply<()> {
        let (before, now) = (self.typing, view.typing_epoch());
        for room in view.typing_rooms(before) {
            if !interest.room(view, room)? {
                continue;
            }
            if let Some(typists) = view.typing(room, before) {
                let mut out = Out::default();
                told::write_typing(view, &mut out, room, &typists)?;
                self.ephemeral.push(out.finish());
            }
        }
        self.typing = now;
        Ok(())
    }
}

/// The body of a transaction.
pub(super) fn body(
    view: &View,
    service: &Registration,
    events: &[Event],
    ephemeral: &[String],
) -> Reply<String> {
    let mut out = Out::with_capacity(BYTES_MAX / 8);
    out.open().key("events").open_array();
    let its = |id: &UserId| service.has_user(id);
    for event in events {
        told::write_event(view, &mut out, *event, &its)?;
    }
    out.close_array();
    if !ephemeral.is_empty() {
        // The second is what it was called before it was part of the spec (MSC2409).
        for key in ["ephemeral", "de.sorunome.msc2409.ephemeral"] {
            out.key(key).open_array();
            for text in ephemeral {
                out.raw(text);
            }
            out.close_array();
        }
    }
    out.close();
    Ok(out.finish())
}
