//! Who is deactivated leaves all rooms and rejects all invites (spec: `POST /account/deactivate`).

use base::{Reply, Seq};
use store::{Tx, follow::Follower, log::Entry, schema::ACCOUNTS};

use crate::ROOMS_AT_ONCE;

pub(crate) struct Departure;

impl Follower for Departure {
    fn id(&self) -> &'static str {
        "departure"
    }

    fn wants(&self, entry: &Entry) -> bool {
        matches!(entry, Entry::Account { .. })
    }

    fn step(&self, tx: &mut Tx, _: Seq, entry: &Entry) -> Reply<()> {
        let Entry::Account { user } = entry else { return Ok(()) };
        let account = tx.get(&ACCOUNTS, (*user,))?;
        if account.is_some_and(|account| account.deactivated)
            && rooms::leave::quit_all(tx, *user, ROOMS_AT_ONCE)?
        {
            tx.announce(Entry::Account { user: *user });
        }
        Ok(())
    }
}
