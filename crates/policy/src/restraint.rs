//! Suspending and locking accounts (spec: Client-Server API, "Account moderation"). What follows from it is for those who
//! serve requests and write events.

use base::{Error, Reply, User};
use ruma::UserId;
use store::{
    Tx, View,
    log::Entry,
    schema::{ACCOUNTS, RESTRAINTS, Restraint},
    user,
};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Administrator {
    user: User,
}

impl Administrator {
    /// Only administrators ask, and that is judged before anyone is looked up.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN`.
    pub fn new(user: User, admin: bool) -> Reply<Administrator> {
        if admin {
            return Ok(Administrator { user });
        }
        Err(Error::forbidden("Only administrators of this server may do this."))
    }
}

/// How an account is restrained.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for users of other servers; 404 `M_NOT_FOUND` for one who does not exist or is deactivated; 403
/// `M_FORBIDDEN` for another administrator.
pub fn get(view: &View, by: Administrator, id: &UserId) -> Reply<Restraint> {
    let of = subject(view, by, id)?;
    Ok(view.get(&RESTRAINTS, (of,))?.unwrap_or_default())
}

/// Changes how an account is restrained.
///
/// # Errors
/// As [`get`]; 403 `M_FORBIDDEN` also for oneself.
pub fn set(
    tx: &mut Tx,
    by: Administrator,
    id: &UserId,
    change: impl FnOnce(&mut Restraint),
) -> Reply<Restraint> {
    let of = subject(tx, by, id)?;
    if of == by.user {
        return Err(Error::forbidden("You cannot do this to yourself."));
    }
    put(tx, of, change)
}

/// Changes how a local account is restrained, for who sits at the machine.
///
/// # Errors
/// 404 `M_NOT_FOUND` for who has no account here.
pub fn set_here(tx: &mut Tx, id: &UserId, change: impl FnOnce(&mut Restraint)) -> Reply<Restraint> {
    let of = user::find(tx, id)?.ok_or_else(unknown)?;
    if !tx.has(&ACCOUNTS, (of,))? {
        return Err(unknown());
    }
    put(tx, of, change)
}

fn put(tx: &mut Tx, of: User, change: impl FnOnce(&mut Restraint)) -> Reply<Restraint> {
    let before = tx.get(&RESTRAINTS, (of,))?.unwrap_or_default();
    let mut restraint = before;
    change(&mut restraint);
    if restraint == before {
        return Ok(restraint);
    }
    if restraint == Restraint::default() {
        tx.delete(&RESTRAINTS, (of,));
    } else {
        tx.put(&RESTRAINTS, (of,), &restraint);
    }
    // A sync that waits asks again, and is told.
    tx.announce(Entry::Account { user: of });
    Ok(restraint)
}

fn subject(view: &View, by: Administrator, id: &UserId) -> Reply<User> {
    if !user::is_local(view, id) {
        return Err(Error::invalid_param("This user does not belong to this server."));
    }
    let of = user::find(view, id)?.ok_or_else(unknown)?;
    let account = view.get(&ACCOUNTS, (of,))?.filter(|account| !account.deactivated);
    if account.ok_or_else(unknown)?.admin && of != by.user {
        return Err(Error::forbidden("This user is an administrator, too."));
    }
    Ok(of)
}

fn unknown() -> Error {
    Error::not_found("There is no such user.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, refusal};

    #[test]
    fn administrators_restrain_others_but_neither_each_other_nor_themselves() {
        let world = World::new();
        let (root, other) = (world.admin("root"), world.admin("other"));
        let bob = world.user("bob");
        let by = Administrator::new(root, true).unwrap();
        assert_eq!(refusal(Administrator::new(bob, false)), Some((403, "M_FORBIDDEN")));
        let suspend = |id: &'static str, on| {
            let id = <&UserId>::try_from(id).unwrap();
            world.store.write_here(move |tx| set(tx, by, id, |r| r.suspended = on))
        };
        for (id, expected) in [
            ("@bob:y.org", (400, "M_INVALID_PARAM")),
            ("@nobody:x.org", (404, "M_NOT_FOUND")),
            ("@other:x.org", (403, "M_FORBIDDEN")),
            ("@root:x.org", (403, "M_FORBIDDEN")),
        ] {
            assert_eq!(refusal(suspend(id, true)), Some(expected), "{id}");
        }
        let now = |user| world.store.read_here(|view| user::restraint(view, user)).unwrap();
        assert_eq!(now(other), Restraint::default());
        suspend("@bob:x.org", true).unwrap();
        assert_eq!(now(bob), Restraint { suspended: true, locked: false });
        suspend("@bob:x.org", false).unwrap();
        assert_eq!(now(bob), Restraint::default());
    }
}
