//! `GET` and `POST /login`.

use accounts::{
    account::{self, Found},
    device::{self, LoggedIn, Login},
    uia::Identifier,
};
use base::{Error, Reply};
use http::Method;
use protocol::appservice::Registration;
use ruma::{UserId, api::client::session::get_login_types};
use serde::Deserialize;
use serde_json::json;
use store::View;

use super::{
    ghost::{APPLICATION_SERVICE, application_service, exclusive, no_login},
    register::add_session,
};
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Anyone, Around, Auth, Caller, Routes},
    outside::Outside,
};

pub(super) fn routes() -> Routes {
    // Not ruma's type: it panics on a body without `type`.
    const PATHS: [&str; 2] = ["/_matrix/client/v3/login", "/_matrix/client/r0/login"];
    Routes::default().read_with(flows).raw_flow(Method::POST, &PATHS, Auth::None, login)
}

fn flows(_: &View, around: Around<'_>, _: Anyone, _: get_login_types::v3::Request) -> Reply<Json> {
    let mut flows = vec![json!({ "type": "m.login.password" })];
    if !around.settings.appservices.is_empty() {
        flows.push(json!({ "type": APPLICATION_SERVICE }));
    }
    Ok(json!({ "flows": flows }).to_string().into())
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "type")]
    kind: Option<String>,
    identifier: Option<Identifier>,
    user: Option<String>,
    medium: Option<String>,
    password: Option<String>,
    device_id: Option<String>,
    initial_device_display_name: Option<String>,
    refresh_token: Option<bool>,
}

/// One answer for an unknown user and a wrong password, after the same time.
fn wrong() -> Error {
    Error::forbidden("Invalid user name or password.")
}

async fn login(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Json> {
    let body: Body = asked.json()?;
    match body.kind.as_deref() {
        Some("m.login.password") => {}
        Some(APPLICATION_SERVICE) => {
            let service = application_service(&outside, &asked)?;
            return login_ghost(&outside, &service, body).await;
        }
        Some(_) => return Err(Error::refused(400, "M_UNKNOWN", "Bad login type.")),
        None => return Err(Error::missing_param("The login type is missing.")),
    }
    let typed = who(&body)?;
    let password = body.password.ok_or_else(|| Error::missing_param("The password is missing."))?;
    let found = outside.store.read(move |view| account::find(view, &typed)).await?;
    let phc = found.as_ref().and_then(|found| found.password.clone());
    let known = outside.accounts.verify(password, phc).await?;
    let Some(found) = found.filter(|found| known && !found.deactivated) else {
        return Err(wrong());
    };
    let login = Login {
        device: body.device_id,
        display_name: body.initial_device_display_name,
        refreshable: body.refresh_token.unwrap_or_default(),
    };
    let Found { user, id, password, .. } = found;
    let written = outside.store.write(None, move |tx| {
        // It may have been changed while it was verified.
        if account::password(tx, user)? != password {
            return Err(wrong());
        }
        device::log_in(tx, user, &login)
    });
    let logged_in = written.await?.value;
    Ok(answer(&outside, &id, logged_in))
}

/// The user of an application service, without a password.
async fn login_ghost(outside: &Outside, service: &Registration, body: Body) -> Reply<Json> {
    if service.manages_devices {
        return Err(no_login());
    }
    let typed = who(&body)?;
    let (id, found) = outside
        .store
        .read(move |view| {
            let id = match UserId::parse(&typed) {
                Ok(id) => id,
                Err(_) => account::id_of(view, &typed)?,
            };
            Ok((id, account::find(view, &typed)?))
        })
        .await?;
    if !service.has_user(&id) {
        return Err(exclusive("This user is not the application service's."));
    }
    let found = found.ok_or_else(|| Error::forbidden("There is no such user."))?;
    if found.deactivated {
        return Err(Error::refused(403, "M_USER_DEACTIVATED", "This user has been deactivated."));
    }
    let login = Login {
        device: body.device_id,
        display_name: body.initial_device_display_name,
        refreshable: body.refresh_token.unwrap_or_default(),
    };
    let user = found.user;
    let written = outside.store.write(None, move |tx| device::log_in(tx, user, &login));
    Ok(answer(outside, &found.id, written.await?.value))
}

fn answer(outside: &Outside, id: &UserId, logged_in: LoggedIn) -> Json {
    let mut out = json!({ "user_id": id, "home_server": id.server_name() });
    if let Some(url) = &outside.settings.base_url
        && let Some(out) = out.as_object_mut()
    {
        out.insert("well_known".to_owned(), json!({ "m.homeserver": { "base_url": url } }));
    }
    add_session(&mut out, logged_in);
    out.to_string().into()
}

/// What the person typed as their name.
fn who(body: &Body) -> Reply<String> {
    let missing = || Error::missing_param("The user is missing.");
    match &body.identifier {
        Some(identifier) => match identifier.kind.as_deref() {
            Some("m.id.user") => identifier.user.clone().ok_or_else(missing),
            // The spec: 403 for addresses that the server does not know. It knows none.
            Some("m.id.thirdparty" | "m.id.phone") => Err(wrong()),
            Some(_) => Err(Error::invalid_param("Unknown type of identifier.")),
            None => Err(Error::missing_param("The type of the identifier is missing.")),
        },
        None if body.user.is_none() && body.medium.is_some() => Err(wrong()),
        None => body.user.clone().ok_or_else(missing),
    }
}
