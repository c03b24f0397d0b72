//! What registering and logging in have in common when an application service does it for one of its users (spec:
//! Application Service API, "Server admin style permissions").

use std::sync::Arc;

use base::{Error, Reply};
use protocol::appservice::Registration;

use crate::{asked::Asked, outside::Outside, proof};

/// The type of such logins.
pub(super) const APPLICATION_SERVICE: &str = "m.login.application_service";

/// The application service that asks.
///
/// # Errors
/// 401 `M_MISSING_TOKEN` or `M_UNKNOWN_TOKEN`.
pub(super) fn application_service(outside: &Outside, asked: &Asked) -> Reply<Arc<Registration>> {
    let settings = &outside.settings;
    if let Some(service) = proof::service(settings, &asked.headers, &asked.uri) {
        return Ok(service);
    }
    let code = match proof::token(&asked.headers, &asked.uri, settings.token_in_query) {
        Some(_) => "M_UNKNOWN_TOKEN",
        None => "M_MISSING_TOKEN",
    };
    Err(Error::refused(401, code, "No application service has this token."))
}

/// A name that is somebody else's alone.
pub(super) fn exclusive(why: &str) -> Error {
    Error::refused(400, "M_EXCLUSIVE", why)
}

/// Who manages devices by themselves does not log in (MSC4190).
pub(super) fn no_login() -> Error {
    let why = "This application service makes devices by PUT /devices, and acts by them with its own token.";
    Error::refused(400, "M_APPSERVICE_LOGIN_UNSUPPORTED", why)
}
