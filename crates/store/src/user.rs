//! User ids and their numbers.

use base::{Error, Reply, User};
use ruma::{OwnedUserId, UserId};

use crate::{
    Kind,
    schema::{RESTRAINTS, Restraint, USER_IDS, USERS},
    view::{CacheSpace, Tx, View},
};

static NAMES: CacheSpace = CacheSpace { tag: 2, owned: None };
static HELD_BACK: CacheSpace = CacheSpace { tag: 90, owned: Some(Kind::Account) };

/// The number of a user, if we know of them.
pub fn find(view: &View, id: &UserId) -> Reply<Option<User>> {
    view.get(&USER_IDS, (id.as_str().to_owned(),))
}

/// The number of a user; a new one if we did not know of them.
pub fn intern(tx: &mut Tx, id: &UserId) -> Reply<User> {
    let key = (id.as_str().to_owned(),);
    if let Some(user) = tx.get(&USER_IDS, key.clone())? {
        return Ok(user);
    }
    let user = User(tx.fresh()?);
    tx.put(&USER_IDS, key, &user);
    tx.put_new(&USERS, (user,), &id.as_str().to_owned());
    Ok(user)
}

/// The id of a user.
pub fn id(view: &View, user: User) -> Reply<OwnedUserId> {
    let id = view.cached(&NAMES, u128::from(user.0), |view| {
        let text = view
            .get(&USERS, (user,))?
            .ok_or_else(|| Error::fault(format!("user {user} has no id")))?;
        let id = OwnedUserId::try_from(text)
            .map_err(|e| Error::fault(format!("user {user} has a bad id: {e}")))?;
        Ok((id, 64))
    })?;
    Ok((*id).clone())
}

/// Does the user belong to this server?
pub fn is_local(view: &View, id: &UserId) -> bool {
    id.server_name() == view.server_name()
}

/// What a user of this server may not do.
pub fn restraint(view: &View, user: User) -> Reply<Restraint> {
    let restraint = view.cached(&HELD_BACK, u128::from(user.0), |view| {
        let restraint = view.get(&RESTRAINTS, (user,))?.unwrap_or_default();
        Ok((restraint, size_of::<Restraint>()))
    })?;
    Ok(*restraint)
}
