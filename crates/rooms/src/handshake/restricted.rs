//! Rooms that members of other rooms may join (spec: Server-Server API, "Restricted rooms").

use base::{Error, Reply, Room};
use ruma::{OwnedUserId, UserId};
use store::{View, room, schema::Standing};

use crate::{
    ground,
    join::{JoinRules, local_inviter},
    membership,
};

/// Who of this server lets a user in, if the room is restricted and the user is not in it or invited anyway.
///
/// # Errors
/// 403 `M_FORBIDDEN` if the user meets no condition, 400 `M_UNABLE_TO_AUTHORISE_JOIN` if this server cannot tell, 400
/// `M_UNABLE_TO_GRANT_JOIN` if nobody here may invite.
pub(super) fn authoriser(view: &View, room: Room, user: &UserId) -> Reply<Option<OwnedUserId>> {
    let Some(rules) = rules(view, room, user)? else { return Ok(None) };
    check(view, user, &rules)?;
    let head = room::head(view, room)?;
    let power = ground::power(view, &*room::info(view, room)?, head.state)?;
    let none = || {
        let text = "This server cannot send invites to you.";
        Error::refused(400, "M_UNABLE_TO_GRANT_JOIN", text)
    };
    local_inviter(view, room, &power)?.ok_or_else(none).map(Some)
}

/// Does the user meet a condition of the room, if it has conditions?
///
/// # Errors
/// As [`authoriser`].
pub(super) fn check_conditions(view: &View, room: Room, user: &UserId) -> Reply<()> {
    match rules(view, room, user)? {
        Some(rules) => check(view, user, &rules),
        None => Ok(()),
    }
}

/// The conditions, if they count for the user.
fn rules(view: &View, room: Room, user: &UserId) -> Reply<Option<JoinRules>> {
    match membership::standing(view, room, user)? {
        Some(Standing::Join | Standing::Invite) => return Ok(None),
        Some(Standing::Ban) => return Err(Error::forbidden("You are banned from this room.")),
        _ => {}
    }
    let root = room::head(view, room)?.state;
    let rules = room::state(view, root, "m.room.join_rules", "")?;
    let rules = rules.and_then(|event| event.content_as::<JoinRules>());
    let restricted =
        |rules: &JoinRules| matches!(rules.join_rule.as_str(), "restricted" | "knock_restricted");
    Ok(rules.filter(restricted))
}

fn check(view: &View, user: &UserId, rules: &JoinRules) -> Reply<()> {
    let mut unknown = false;
    for id in rules.rooms() {
        match room::find(view, id)? {
            Some(other) if room::is_resident(view, other)? => {
                if membership::standing(view, other, user)? == Some(Standing::Join) {
                    return Ok(());
                }
            }
            _ => unknown = true,
        }
    }
    if unknown {
        let text =
            "This server is not in the rooms whose members may join, so that it cannot tell.";
        return Err(Error::refused(400, "M_UNABLE_TO_AUTHORISE_JOIN", text));
    }
    Err(Error::forbidden("You are in none of the rooms whose members may join."))
}
