//! Keeps the user directory up to people's names.

use base::{Reply, Seq};
use store::{Tx, follow::Follower, log::Entry};

pub(crate) struct People;

impl Follower for People {
    fn id(&self) -> &'static str {
        "people"
    }

    fn wants(&self, entry: &Entry) -> bool {
        match entry {
            Entry::Profile { key, .. } => key == "displayname",
            entry => matches!(entry, Entry::Account { .. }),
        }
    }

    fn step(&self, tx: &mut Tx, _: Seq, entry: &Entry) -> Reply<()> {
        match entry {
            Entry::Profile { user, .. } | Entry::Account { user } => {
                search::people::index(tx, *user)
            }
            _ => Ok(()),
        }
    }
}
