//! `POST /register`, `GET /register/available`, `GET …/m.login.registration_token/validity`.

use accounts::{
    account::{self, New},
    device::{self, LoggedIn, Login},
    registration,
    threepid::{self, Purpose},
    uia::{self, Ask, Auth as Interactive, DUMMY, EMAIL_IDENTITY, REGISTRATION_TOKEN, Shown},
};
use base::{Error, Reply, User};
use http::Method;
use protocol::appservice::{Appservices, Registration};
use ruma::{
    OwnedUserId,
    api::client::account::{check_registration_token_validity, get_username_availability},
};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Tx, View};

use super::{
    ghost::{APPLICATION_SERVICE, application_service, exclusive, no_login},
    uia::{judge, step},
};
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Anyone, Around, Auth, Caller, Routes},
    outside::{Outside, RegistrationMode, Settings},
};

pub(super) fn routes() -> Routes {
    // Not ruma's type: `auth` has forms that it refuses, and the query may name a kind that it does not know.
    const PATHS: [&str; 2] = ["/_matrix/client/v3/register", "/_matrix/client/r0/register"];
    Routes::default()
        .raw_flow(Method::POST, &PATHS, Auth::None, register)
        .read_with(available)
        .read_with(token_validity)
}

#[derive(Default, Deserialize)]
struct Body {
    auth: Option<Interactive>,
    username: Option<String>,
    password: Option<String>,
    device_id: Option<String>,
    initial_device_display_name: Option<String>,
    inhibit_login: Option<bool>,
    refresh_token: Option<bool>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

async fn register(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Json> {
    let body: Body = asked.json()?;
    match asked.query("kind").as_deref() {
        None | Some("user") => {}
        Some("guest") => return register_guest(&outside, body).await,
        Some(_) => return Err(Error::invalid_param("The kind of account is user or guest.")),
    }
    if body.kind.as_deref() == Some(APPLICATION_SERVICE) {
        let service = application_service(&outside, &asked)?;
        return register_ghost(&outside, &service, body).await;
    }
    register_user(&outside, body).await
}

/// The user of an application service: no password, no questions (spec: Application Service API, "Server admin style
/// permissions").
async fn register_ghost(outside: &Outside, service: &Registration, body: Body) -> Reply<Json> {
    let inhibit_login = body.inhibit_login.unwrap_or_default();
    if service.manages_devices && !inhibit_login {
        return Err(no_login());
    }
    let missing = || Error::missing_param("The user name is missing.");
    let name = body.username.ok_or_else(missing)?;
    let id = outside.store.read(move |view| account::id_of(view, &name)).await?;
    let services = &outside.settings.appservices;
    if !service.has_user(&id) || services.excludes_user(&id, Some(service)) {
        return Err(exclusive("This user name is not the application service's."));
    }
    let name = Some(id.localpart().to_owned());
    let new = New { name, password: None, admin: false, guest: false, display_name: None };
    let login = (!inhibit_login).then(|| Login {
        device: body.device_id,
        display_name: body.initial_device_display_name,
        refreshable: body.refresh_token.unwrap_or_default(),
    });
    let made = outside.store.write(None, move |tx| make(tx, &new, login.as_ref())).await?;
    Ok(answer(made.value))
}

/// Refuses names that belong to an application service.
pub(super) fn check_free(view: &View, services: &Appservices, name: &str) -> Reply<()> {
    let id = account::available(view, name)?;
    match services.excludes_user(&id, None) {
        true => Err(exclusive("This user name is reserved for an application service.")),
        false => Ok(()),
    }
}

/// With a stage that every client passes: some take the account only from the answer to that one.
const WITH_TOKEN: &[&[&str]] = &[&[REGISTRATION_TOKEN, DUMMY]];
const WITH_NOTHING: &[&[&str]] = &[&[DUMMY]];
const TOKEN_AND_MAIL: &[&[&str]] = &[&[REGISTRATION_TOKEN, EMAIL_IDENTITY]];
const MAIL: &[&[&str]] = &[&[EMAIL_IDENTITY]];
const TOKEN_MAYBE_MAIL: &[&[&str]] =
    &[&[REGISTRATION_TOKEN], &[EMAIL_IDENTITY, REGISTRATION_TOKEN]];
const MAYBE_MAIL: &[&[&str]] = &[&[DUMMY], &[EMAIL_IDENTITY]];

/// The ways to register: an address can be proven where mail can be sent, and may have to be.
fn ways(settings: &Settings) -> Reply<&'static [&'static [&'static str]]> {
    let must = settings.registration.require_email;
    Ok(match (settings.registration.mode, settings.mail) {
        (RegistrationMode::Closed, _) => return Err(closed()),
        (_, false) if must => return Err(closed()),
        (RegistrationMode::Open, false) => WITH_NOTHING,
        (RegistrationMode::Token, false) => WITH_TOKEN,
        (RegistrationMode::Open, true) if must => MAIL,
        (RegistrationMode::Token, true) if must => TOKEN_AND_MAIL,
        (RegistrationMode::Open, true) => MAYBE_MAIL,
        (RegistrationMode::Token, true) => TOKEN_MAYBE_MAIL,
    })
}

async fn register_user(outside: &Outside, body: Body) -> Reply<Json> {
    let settings = &outside.settings.registration;
    let flows = ways(&outside.settings)?;
    // The spec wants the name judged before anything is asked for.
    if let Some(name) = body.username.clone() {
        let services = outside.settings.appservices.clone();
        outside.store.read(move |view| check_free(view, &services, &name)).await?;
    }
    // A person may choose another name on the way, so the session is for registering, whoever it will be.
    let ask = Ask {
        request: uia::bind(["register"]),
        flows,
        registration_token: settings.token.clone(),
        params: json!({}),
        address_for: Purpose::Register,
    };
    let auth = body.auth.unwrap_or_default();
    let session = auth.session.clone();
    let shown = judge(outside, None, &ask, auth).await?;
    // A hash is expensive: not for whoever only asks what is asked for, or has not shown it all.
    let last = completes(outside, &ask, session.clone(), shown.clone()).await?;
    let password = match body.password.filter(|_| last) {
        Some(password) => Some(outside.accounts.hash(password).await?),
        None => None,
    };
    let new = New { name: body.username, password, admin: false, guest: false, display_name: None };
    let login = (!body.inhibit_login.unwrap_or_default()).then(|| Login {
        device: body.device_id,
        display_name: body.initial_device_display_name,
        refreshable: body.refresh_token.unwrap_or_default(),
    });
    let made = step(outside, ask, session, shown, move |tx, proven| {
        if new.password.is_none() {
            return Err(Error::missing_param("The password is missing."));
        }
        let (user, made) = make_user(tx, &new, login.as_ref())?;
        if let Some(proven) = proven {
            threepid::add(tx, user, &proven.address, proven.validated)?;
        }
        Ok(made)
    });
    made.await.map(answer)
}

fn closed() -> Error {
    Error::forbidden("Registration is disabled.")
}

/// Is this the last step? Only then is a password hashed for it.
async fn completes(
    outside: &Outside,
    ask: &Ask,
    session: Option<String>,
    shown: Shown,
) -> Reply<bool> {
    let ask = ask.clone();
    let judged = move |view: &View| uia::completes(view, &ask, session.as_deref(), &shown);
    outside.store.read(judged).await
}

async fn register_guest(outside: &Outside, body: Body) -> Reply<Json> {
    let settings = &outside.settings.registration;
    if !settings.guests || settings.mode == RegistrationMode::Closed {
        return Err(Error::forbidden("This server has no guest accounts."));
    }
    let new = New { name: None, password: None, admin: false, guest: true, display_name: None };
    // The spec: of a guest's request, only this counts.
    let login = Login { display_name: body.initial_device_display_name, ..Login::default() };
    let made = outside.store.write(None, move |tx| make(tx, &new, Some(&login))).await?;
    Ok(answer(made.value))
}

/// An account that was made, logged in or not.
pub(super) type Made = (OwnedUserId, Option<LoggedIn>);

pub(super) fn make(tx: &mut Tx, new: &New, login: Option<&Login>) -> Reply<Made> {
    Ok(make_user(tx, new, login)?.1)
}

fn make_user(tx: &mut Tx, new: &New, login: Option<&Login>) -> Reply<(User, Made)> {
    let (user, id) = account::register(tx, new)?;
    let logged_in = login.map(|login| device::log_in(tx, user, login)).transpose()?;
    Ok((user, (id, logged_in)))
}

pub(super) fn answer((id, logged_in): Made) -> Json {
    let mut out = json!({ "user_id": id, "home_server": id.server_name() });
    if let Some(logged_in) = logged_in {
        add_session(&mut out, logged_in);
    }
    out.to_string().into()
}

/// Adds device and tokens to an answer.
pub(super) fn add_session(out: &mut Value, logged_in: LoggedIn) {
    let LoggedIn { device, tokens } = logged_in;
    let fields = [
        ("device_id", Some(device.into())),
        ("access_token", Some(tokens.access.into())),
        ("refresh_token", tokens.refresh.map(Value::from)),
        ("expires_in_ms", tokens.expires_in_ms.map(Value::from)),
    ];
    if let Value::Object(out) = out {
        for (name, value) in fields {
            out.extend(value.map(|value| (name.to_owned(), value)));
        }
    }
}

fn available(
    view: &View,
    around: Around<'_>,
    _: Anyone,
    request: get_username_availability::v3::Request,
) -> Reply<get_username_availability::v3::Response> {
    if around.settings.registration.mode == RegistrationMode::Closed {
        return Err(closed());
    }
    check_free(view, &around.settings.appservices, &request.username)?;
    Ok(get_username_availability::v3::Response::new(true))
}

fn token_validity(
    view: &View,
    around: Around<'_>,
    _: Anyone,
    request: check_registration_token_validity::v1::Request,
) -> Reply<check_registration_token_validity::v1::Response> {
    let settings = &around.settings.registration;
    if settings.mode == RegistrationMode::Closed {
        return Err(closed());
    }
    let valid = registration::token_is_valid(view, &request.token, settings.token.as_deref())?;
    Ok(check_registration_token_validity::v1::Response::new(valid))
}
