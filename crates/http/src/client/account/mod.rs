//! Accounts, sessions, devices, profiles, account data, discovery. One endpoint, or one tight family of them, per file.

mod account_data;
mod cross_signing;
mod deactivate;
mod dehydrated_device;
mod devices;
mod discovery;
mod fallback;
mod filters;
mod ghost;
mod keys;
mod login;
mod openid;
mod password;
mod presence;
mod profile;
mod push_rules;
mod pushers;
mod register;
mod request_token;
mod room_keys;
mod session;
mod shared_secret;
mod tags;
#[cfg(test)]
mod tests;
mod threepid;
mod to_device;
mod uia;
mod unsubscribe;
mod user_directory;
mod validate;
mod voip;
mod whois;

use base::{Error, Reply};
use ruma::UserId;

use crate::handler::{Caller, Routes};

/// The routes of this area.
pub(crate) fn routes() -> Routes {
    Routes::default()
        .and(discovery::routes())
        .and(register::routes())
        .and(shared_secret::routes())
        .and(login::routes())
        .and(session::routes())
        .and(password::routes())
        .and(deactivate::routes())
        .and(threepid::routes())
        .and(devices::routes())
        .and(whois::routes())
        .and(profile::routes())
        .and(user_directory::routes())
        .and(presence::routes())
        .and(account_data::routes())
        .and(tags::routes())
        .and(filters::routes())
        .and(push_rules::routes())
        .and(pushers::routes())
        .and(unsubscribe::routes())
        .and(request_token::routes())
        .and(validate::routes())
        .and(fallback::routes())
        .and(openid::routes())
        .and(to_device::routes())
        .and(keys::routes())
        .and(cross_signing::routes())
        .and(room_keys::routes())
        .and(dehydrated_device::routes())
        .and(voip::routes())
}

/// Refuses callers that ask for what is another user's.
fn own(caller: &Caller, asked: &UserId) -> Reply<()> {
    match caller.id == asked {
        true => Ok(()),
        false => Err(Error::forbidden("This belongs to another user.")),
    }
}

/// The caller of a raw route that wants one.
fn required(caller: Option<Caller>) -> Reply<Caller> {
    caller.ok_or_else(|| Error::refused(401, "M_MISSING_TOKEN", "Missing access token."))
}

/// A user id in a raw route's path.
fn user_id(text: &str) -> Reply<ruma::OwnedUserId> {
    UserId::parse(text).map_err(|_| Error::invalid_param("This is no user id."))
}
