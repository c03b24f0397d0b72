//! `GET` and `POST /_synapse/admin/v1/register`: accounts by shared secret, compatible with Synapse's endpoint, for
//! scripts that make accounts. As if it were not there, unless a secret is configured.

use accounts::{
    account::New,
    device::Login,
    registration::{self, Vouched},
};
use base::{Error, Reply};
use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::register::{answer, check_free, make};
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Around, Auth, Caller, Routes},
    outside::Outside,
};
use store::Tx;

pub(super) fn routes() -> Routes {
    const PATH: [&str; 1] = ["/_synapse/admin/v1/register"];
    Routes::default().raw_write(Method::GET, &PATH, Auth::None, nonce).raw_flow(
        Method::POST,
        &PATH,
        Auth::None,
        register,
    )
}

fn unconfigured() -> Error {
    Error::refused(404, "M_UNRECOGNIZED", "Shared secret registration is not enabled.")
}

fn nonce(tx: &mut Tx, around: Around<'_>, _: Option<Caller>, _: Asked) -> Reply<Json> {
    if around.settings.registration.shared_secret.is_none() {
        return Err(unconfigured());
    }
    let nonce = registration::nonce(tx)?;
    Ok(json!({ "nonce": nonce }).to_string().into())
}

#[derive(Deserialize)]
struct Body {
    nonce: Option<String>,
    username: Option<String>,
    displayname: Option<String>,
    password: Option<String>,
    admin: Option<bool>,
    user_type: Option<String>,
    mac: Option<String>,
    inhibit_login: Option<bool>,
}

async fn register(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Json> {
    let secret = outside.settings.registration.shared_secret.clone().ok_or_else(unconfigured)?;
    let body: Body = asked.json()?;
    let given = |field: Option<String>, name: &str| {
        field.ok_or_else(|| Error::bad_json(format!("{name} must be specified")))
    };
    let nonce = given(body.nonce, "nonce")?;
    let username = given(body.username, "username")?;
    let password = given(body.password, "password")?;
    let mac = given(body.mac, "mac")?;
    let (admin, user_type) = (body.admin.unwrap_or_default(), body.user_type);
    let (name, clear, number) = (username.clone(), password.clone(), nonce.clone());
    let services = outside.settings.appservices.clone();
    // Before the expensive hash: is it the secret's owner who asks, and may they have this name?
    let check = move |view: &store::View| {
        let vouched = Vouched {
            nonce: &number,
            username: &name,
            password: &clear,
            admin,
            user_type: user_type.as_deref(),
            mac: &mac,
        };
        registration::check_vouched(view, &secret, &vouched)?;
        check_free(view, &services, &name)
    };
    outside.store.read(check).await?;
    let password = Some(outside.accounts.hash(password).await?);
    let display_name = body.displayname;
    let new = New { name: Some(username), password, admin, guest: false, display_name };
    let login = (!body.inhibit_login.unwrap_or_default()).then(Login::default);
    let made = outside.store.write(None, move |tx| {
        registration::use_nonce(tx, &nonce)?;
        make(tx, &new, login.as_ref())
    });
    Ok(answer(made.await?.value))
}
