//! `GET` and `PUT /admin/suspend/{userId}` and `/admin/lock/{userId}`.

use base::Reply;
use policy::restraint::{self, Administrator};
use ruma::api::client::admin::{is_user_locked, is_user_suspended, lock_user, suspend_user};
use store::{Tx, View};

use crate::handler::{Caller, Routes};

fn is_suspended(
    view: &View,
    caller: Caller,
    request: is_user_suspended::v1::Request,
) -> Reply<is_user_suspended::v1::Response> {
    let by = Administrator::new(caller.user, caller.admin)?;
    let restraint = restraint::get(view, by, &request.user_id)?;
    Ok(is_user_suspended::v1::Response::new(restraint.suspended))
}

fn suspend(
    tx: &mut Tx,
    caller: Caller,
    request: suspend_user::v1::Request,
) -> Reply<suspend_user::v1::Response> {
    let by = Administrator::new(caller.user, caller.admin)?;
    let now = restraint::set(tx, by, &request.user_id, |r| r.suspended = request.suspended)?;
    Ok(suspend_user::v1::Response::new(now.suspended))
}

fn is_locked(
    view: &View,
    caller: Caller,
    request: is_user_locked::v1::Request,
) -> Reply<is_user_locked::v1::Response> {
    let by = Administrator::new(caller.user, caller.admin)?;
    let restraint = restraint::get(view, by, &request.user_id)?;
    Ok(is_user_locked::v1::Response::new(restraint.locked))
}

fn lock(
    tx: &mut Tx,
    caller: Caller,
    request: lock_user::v1::Request,
) -> Reply<lock_user::v1::Response> {
    let by = Administrator::new(caller.user, caller.admin)?;
    let now = restraint::set(tx, by, &request.user_id, |r| r.locked = request.locked)?;
    Ok(lock_user::v1::Response::new(now.locked))
}

pub(super) fn routes() -> Routes {
    Routes::default().read(is_suspended).write(suspend).read(is_locked).write(lock)
}
