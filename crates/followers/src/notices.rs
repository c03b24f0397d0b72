//! Delivers the server's notices (spec: Client-Server API, "Server Notices").

use accounts::{account, tag};
use base::{Error, Reply, Seq, User};
use policy::notice::{Due, take};
use rooms::notice::{TAG, deliver};
use serde_json::json;
use store::{Tx, follow::Follower, log::Entry, schema::NOTICE_SENDER};

/// Users reached in one transaction: the first notice to each of them is a new room.
const USERS_AT_ONCE: usize = 8;
/// Names under which the server speaks, the first that is free; then one that nobody has.
const NAMES: [Option<&str>; 3] = [Some("server-notices"), Some("althing-server-notices"), None];
const DISPLAY_NAME: &str = "Server notices";

pub(crate) struct Notices;

impl Follower for Notices {
    fn id(&self) -> &'static str {
        "notices"
    }

    fn wants(&self, entry: &Entry) -> bool {
        matches!(entry, Entry::Notice { .. })
    }

    fn step(&self, tx: &mut Tx, _: Seq, entry: &Entry) -> Reply<()> {
        let Entry::Notice { notice } = entry else { return Ok(()) };
        let Some(Due { to, text }) = take(tx, *notice, USERS_AT_ONCE)? else { return Ok(()) };
        let sender = sender(tx)?;
        for user in to.into_iter().filter(|user| *user != sender) {
            let room = match deliver(tx, sender, user, &text) {
                Ok(room) => room,
                // Who cannot be reached keeps it from nobody else.
                Err(Error::Refused(_)) => continue,
                Err(fault) => return Err(fault),
            };
            if !tag::list(tx, user, room)?.contains_key(TAG) {
                tag::set(tx, user, room, TAG, json!({}))?;
            }
        }
        Ok(())
    }
}

/// The account by which the server speaks: without a password, so nobody logs into it.
fn sender(tx: &mut Tx) -> Reply<User> {
    if let Some(sender) = tx.get(&NOTICE_SENDER, (0,))? {
        return Ok(sender);
    }
    for name in NAMES {
        let new = account::New {
            name: name.map(str::to_owned),
            password: None,
            admin: false,
            guest: false,
            display_name: Some(DISPLAY_NAME.to_owned()),
        };
        match account::register(tx, &new) {
            Ok((sender, _)) => {
                tx.put(&NOTICE_SENDER, (0,), &sender);
                return Ok(sender);
            }
            Err(Error::Refused(_)) => {}
            Err(fault) => return Err(fault),
        }
    }
    Err(Error::fault("the server has no name to speak under"))
}
