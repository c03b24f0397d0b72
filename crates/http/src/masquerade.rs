//! Whom an application service acts as (spec: Application Service API, "Identity assertion"; devices: MSC4326).

use std::sync::Arc;

use accounts::{device, session};
use base::{Error, Reply, User};
use http::Uri;
use protocol::appservice::Registration;
use ruma::{OwnedUserId, UserId};
use store::{View, user};

use crate::{asked::query_value, handler::Caller};

/// The caller behind an application service's token: its own user, or the one that `user_id` names, by the device that
/// `device_id` names.
///
/// # Errors
/// 403 `M_FORBIDDEN` for a user outside of its namespaces or without an account; 403 `M_USER_DEACTIVATED`; 400
/// `M_UNKNOWN_DEVICE`; 400 `M_INVALID_PARAM` for what is no user id.
pub(crate) fn caller(view: &View, service: &Arc<Registration>, uri: &Uri) -> Reply<Caller> {
    let query = uri.query().unwrap_or_default();
    let id = asserted(service, query)?;
    let unknown = || Error::forbidden("The application service has not registered this user.");
    let user = user::find(view, &id)?.ok_or_else(unknown)?;
    let account = session::account(view, user)?.ok_or_else(unknown)?;
    if account.deactivated {
        return Err(Error::refused(403, "M_USER_DEACTIVATED", "This user has been deactivated."));
    }
    Ok(Caller {
        user,
        id,
        device: device_of(view, user, query)?,
        guest: account.guest,
        admin: account.admin,
        token: service.as_token,
        service: Some(service.clone()),
    })
}

fn asserted(service: &Registration, query: &str) -> Reply<OwnedUserId> {
    let Some(asserted) = query_value(query, "user_id") else { return Ok(service.sender.clone()) };
    let id = UserId::parse(asserted.as_ref())
        .map_err(|_| Error::invalid_param("user_id is no user id."))?;
    if !service.has_user(&id) {
        return Err(Error::forbidden("The application service may not act as this user."));
    }
    Ok(id)
}

/// Empty: no device.
fn device_of(view: &View, user: User, query: &str) -> Reply<String> {
    // The second is what it was called before it was part of the spec.
    let names = ["device_id", "org.matrix.msc3202.device_id"];
    let Some(id) = names.iter().find_map(|name| query_value(query, name)) else {
        return Ok(String::new());
    };
    if !device::exists(view, user, &id)? {
        return Err(Error::refused(400, "M_UNKNOWN_DEVICE", "This user has no such device."));
    }
    Ok(id.into_owned())
}
