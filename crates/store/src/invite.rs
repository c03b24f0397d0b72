//! Whose invites a user of this server wants (spec: Client-Server API, "Invite permission", "Ignoring users";
//! MSC4155, MSC4380). One answer for who sends an invite, who shows it, and who tells of it.

use std::sync::Arc;

use base::{Reply, Room, User};
use protocol::invite::{InviteRules, Reception};

use crate::{
    Kind,
    schema::{ACCOUNT_DATA, NOTICE_SENDER},
    user,
    view::{CacheSpace, View},
};

static RULES: CacheSpace = CacheSpace { tag: 91, owned: Some(Kind::AccountData) };
/// What decoded rules cost beside their texts.
const RULES_OVERHEAD: usize = 128;
/// The same text is kept several times, in lower case and as a pattern.
const RULES_PER_BYTE: usize = 4;

/// What becomes of an invite of `sender` to `invitee`. A user whose account is elsewhere has no rules here: theirs
/// are allowed.
///
/// # Errors
/// Faults of the store.
pub fn reception(view: &View, invitee: User, sender: User) -> Reply<Reception> {
    let rules = rules(view, invitee)?;
    if rules.admit_all() {
        return Ok(Reception::Allow);
    }
    match rules.reception(&user::id(view, sender)?) {
        // The server's own notices are not refused (spec: "Server Notices").
        _ if view.get(&NOTICE_SENDER, (0,))? == Some(sender) => Ok(Reception::Allow),
        reception => Ok(reception),
    }
}

fn rules(view: &View, user: User) -> Reply<Arc<InviteRules>> {
    view.cached(&RULES, u128::from(user.0), |view| {
        let of = |kind: &str| -> Reply<Option<String>> {
            let row = view.get(&ACCOUNT_DATA, (user, Room(0), kind.to_owned()))?;
            Ok(row.map(|row| row.content))
        };
        let texts = [
            of("m.ignored_user_list")?,
            of("m.invite_permission_config")?,
            of("org.matrix.msc4380.invite_permission_config")?,
            of("org.matrix.msc4155.invite_permission_config")?,
        ];
        let bytes: usize = texts.iter().flatten().map(String::len).sum();
        let [ignored, stable, all, filter] = texts.each_ref().map(Option::as_deref);
        let rules = InviteRules::new(ignored, stable, all, filter);
        Ok((rules, RULES_OVERHEAD + RULES_PER_BYTE * bytes))
    })
}
