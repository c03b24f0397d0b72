//! Guests leave a room that no longer admits them (spec: Client-Server API, "Guest Access").

use base::{Reply, Room, Seq};
use rooms::guests::{GUEST_ACCESS, evict};
use store::{Tx, View, event, follow::Follower, log::Entry};

use crate::ROOMS_AT_ONCE;

pub(crate) struct Guests;

impl Follower for Guests {
    fn id(&self) -> &'static str {
        "guests"
    }

    fn wants(&self, entry: &Entry) -> bool {
        matches!(
            entry,
            Entry::Event { state: true, target: None, .. }
                | Entry::Redacted { .. }
                | Entry::Guests { .. }
        )
    }

    fn concerns(&self, view: &View, entry: &Entry) -> Reply<bool> {
        match entry {
            Entry::Event { event, .. } | Entry::Redacted { event, .. } => {
                Ok(event::load(view, *event)?.is_state(GUEST_ACCESS))
            }
            _ => Ok(true),
        }
    }

    fn step(&self, tx: &mut Tx, _: Seq, entry: &Entry) -> Reply<()> {
        let room: Room = match entry {
            Entry::Event { room, .. } | Entry::Redacted { room, .. } | Entry::Guests { room } => {
                *room
            }
            _ => return Ok(()),
        };
        if evict(tx, room, ROOMS_AT_ONCE)? {
            tx.announce(Entry::Guests { room });
        }
        Ok(())
    }
}
