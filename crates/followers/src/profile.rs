//! A new name or avatar goes into the user's rooms (spec: Client-Server API, "Profiles", events on change of profile
//! information).

use base::{Reply, Seq};
use store::{Tx, follow::Follower, log::Entry};

use crate::ROOMS_AT_ONCE;

pub(crate) struct Profile;

impl Follower for Profile {
    fn id(&self) -> &'static str {
        "profile"
    }

    fn wants(&self, entry: &Entry) -> bool {
        matches!(entry, Entry::Profile { key, .. } if matches!(key.as_str(), "displayname" | "avatar_url"))
    }

    fn step(&self, tx: &mut Tx, _: Seq, entry: &Entry) -> Reply<()> {
        let Entry::Profile { user, key } = entry else { return Ok(()) };
        if rooms::refresh_profile(tx, *user, ROOMS_AT_ONCE)? {
            tx.announce(Entry::Profile { user: *user, key: key.clone() });
        }
        Ok(())
    }
}
