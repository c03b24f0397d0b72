//! `GET` and `POST /login`, `POST /login/get_token`.

use accounts::{
    account::{self, Found},
    device::{self, LoggedIn, Login},
    login_token,
    uia::{Auth as Interactive, Identifier},
};
use base::{Error, Reply};
use http::Method;
use protocol::appservice::Registration;
use ruma::{UserId, api::client::session::get_login_types};
use serde::Deserialize;
use serde_json::json;
use store::{View, user};

use super::{
    ghost::{APPLICATION_SERVICE, application_service, exclusive, no_login},
    register::add_session,
    required,
    uia::{ask_password, guarded},
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
    const GET_TOKEN: [&str; 1] = ["/_matrix/client/v1/login/get_token"];
    Routes::default().read_with(flows).raw_flow(Method::POST, &PATHS, Auth::None, login).raw_flow(
        Method::POST,
        &GET_TOKEN,
        Auth::Required,
        get_token,
    )
}

fn flows(_: &View, around: Around<'_>, _: Anyone, _: get_login_types::v3::Request) -> Reply<Json> {
    let by_token = json!({ "type": "m.login.token", "get_login_token": true });
    let mut flows = vec![json!({ "type": "m.login.password" }), by_token];
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
    address: Option<String>,
    password: Option<String>,
    token: Option<String>,
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
        Some("m.login.password") => by_password(&outside, body).await,
        Some("m.login.token") => by_token(&outside, body).await,
        Some(APPLICATION_SERVICE) => {
            let service = application_service(&outside, &asked)?;
            login_ghost(&outside, &service, body).await
        }
        Some(_) => Err(Error::refused(400, "M_UNKNOWN", "Bad login type.")),
        None => Err(Error::missing_param("The login type is missing.")),
    }
}

fn wanted(body: &Body) -> Login {
    Login {
        device: body.device_id.clone(),
        display_name: body.initial_device_display_name.clone(),
        refreshable: body.refresh_token.unwrap_or_default(),
    }
}

async fn by_password(outside: &Outside, body: Body) -> Reply<Json> {
    let (who, login) = (who(&body)?, wanted(&body));
    let password = body.password.ok_or_else(|| Error::missing_param("The password is missing."))?;
    let find = move |view: &View| match &who {
        Who::Name(typed) => account::find(view, typed),
        Who::Address(typed) => account::find_by_address(view, typed),
    };
    let found = outside.store.read(find).await?;
    let phc = found.as_ref().and_then(|found| found.password.clone());
    let known = outside.accounts.verify(password, phc).await?;
    let Some(found) = found.filter(|found| known && !found.deactivated) else {
        return Err(wrong());
    };
    let Found { user, id, password, .. } = found;
    let written = outside.store.write(None, move |tx| {
        // It may have been changed while it was verified.
        if account::password(tx, user)? != password {
            return Err(wrong());
        }
        device::log_in(tx, user, &login)
    });
    Ok(answer(outside, &id, written.await?.value))
}

async fn by_token(outside: &Outside, body: Body) -> Reply<Json> {
    let login = wanted(&body);
    let token = body.token.ok_or_else(|| Error::missing_param("The token is missing."))?;
    let written = outside.store.write(None, move |tx| {
        let user = login_token::redeem(tx, &token)?;
        Ok((user::id(tx, user)?, device::log_in(tx, user, &login)?))
    });
    let (id, logged_in) = written.await?.value;
    Ok(answer(outside, &id, logged_in))
}

/// The user of an application service, without a password.
async fn login_ghost(outside: &Outside, service: &Registration, body: Body) -> Reply<Json> {
    if service.manages_devices {
        return Err(no_login());
    }
    let Who::Name(typed) = who(&body)? else {
        return Err(Error::invalid_param("An application service names its users."));
    };
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
    let (user, login) = (found.user, wanted(&body));
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

/// How someone says who they are.
enum Who {
    /// A user id or its localpart.
    Name(String),
    /// A mail address.
    Address(String),
}

/// What the person typed as their name.
fn who(body: &Body) -> Reply<Who> {
    let missing = || Error::missing_param("The user is missing.");
    let address = |text: Option<&str>| text.map(|a| Who::Address(a.to_owned())).ok_or_else(wrong);
    match &body.identifier {
        Some(identifier) => match identifier.kind.as_deref() {
            Some("m.id.user") => identifier.user.clone().map(Who::Name).ok_or_else(missing),
            // The spec: 403 for addresses that the server does not know. Of numbers it knows none.
            Some("m.id.thirdparty") => address(identifier.mail()),
            Some("m.id.phone") => Err(wrong()),
            Some(_) => Err(Error::invalid_param("Unknown type of identifier.")),
            None => Err(Error::missing_param("The type of the identifier is missing.")),
        },
        None if body.user.is_none() && body.medium.is_some() => {
            address(body.address.as_deref().filter(|_| body.medium.as_deref() == Some("email")))
        }
        None => body.user.clone().map(Who::Name).ok_or_else(missing),
    }
}

#[derive(Deserialize)]
struct Consent {
    auth: Option<Interactive>,
}

/// A token for another client. Consent is asked for each time: a session of user-interactive authentication serves one
/// request.
async fn get_token(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    let body: Consent = asked.json()?;
    let ask = ask_password(["get login token", caller.id.as_str(), &caller.device]);
    let user = caller.user;
    let token = guarded(&outside, &caller, ask, body.auth, move |tx| login_token::issue(tx, user));
    let answer = json!({
        "login_token": token.await?,
        "expires_in_ms": login_token::LOGIN_TOKEN_MS,
    });
    Ok(answer.to_string().into())
}
