//! `…/requestToken`: a letter with a link, to whoever wants to register with an address, set a new password, or add the
//! address to an account.

use accounts::threepid::{self, Purpose, Request};
use base::{Error, Reply};
use egress::mail::{Letter, Undelivered};
use http::Method;
use serde::Deserialize;
use serde_json::json;
use store::View;

use super::validate;
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Around, Auth, Caller, Routes},
    outside::{Outside, RegistrationMode},
};

pub(super) fn routes() -> Routes {
    const REGISTER: [&str; 2] = [
        "/_matrix/client/v3/register/email/requestToken",
        "/_matrix/client/r0/register/email/requestToken",
    ];
    const PASSWORD: [&str; 2] = [
        "/_matrix/client/v3/account/password/email/requestToken",
        "/_matrix/client/r0/account/password/email/requestToken",
    ];
    const ADD: [&str; 2] = [
        "/_matrix/client/v3/account/3pid/email/requestToken",
        "/_matrix/client/r0/account/3pid/email/requestToken",
    ];
    const PHONE: [&str; 6] = [
        "/_matrix/client/v3/register/msisdn/requestToken",
        "/_matrix/client/r0/register/msisdn/requestToken",
        "/_matrix/client/v3/account/password/msisdn/requestToken",
        "/_matrix/client/r0/account/password/msisdn/requestToken",
        "/_matrix/client/v3/account/3pid/msisdn/requestToken",
        "/_matrix/client/r0/account/3pid/msisdn/requestToken",
    ];
    Routes::default()
        .raw_flow(Method::POST, &REGISTER, Auth::None, to_register)
        .raw_flow(Method::POST, &PASSWORD, Auth::None, to_reset)
        .raw_flow(Method::POST, &ADD, Auth::None, to_add)
        .raw_read(Method::POST, &PHONE, Auth::None, by_phone)
}

#[derive(Deserialize)]
struct Body {
    client_secret: Option<String>,
    email: Option<String>,
    send_attempt: Option<u64>,
    next_link: Option<String>,
}

async fn to_register(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Json> {
    if outside.settings.registration.mode == RegistrationMode::Closed {
        let text = "Registration is disabled.";
        return Err(Error::refused(403, "M_THREEPID_DENIED", text));
    }
    begin(&outside, &asked, Purpose::Register).await
}

async fn to_reset(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Json> {
    begin(&outside, &asked, Purpose::Password).await
}

async fn to_add(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Json> {
    begin(&outside, &asked, Purpose::Add).await
}

fn unsupported(text: &str) -> Error {
    Error::refused(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED", text)
}

fn by_phone(_: &View, _: Around<'_>, _: Option<Caller>, asked: Asked) -> Reply<Json> {
    let _body: serde_json::Value = asked.json()?;
    let text = "This server sends no text messages.";
    Err(Error::refused(403, "M_THREEPID_MEDIUM_NOT_SUPPORTED", text))
}

async fn begin(outside: &Outside, asked: &Asked, purpose: Purpose) -> Reply<Json> {
    let body: Body = asked.json()?;
    let missing = |what: &str| Error::missing_param(format!("Missing parameter: {what}"));
    let request = Request {
        purpose,
        address: threepid::canonical(&body.email.ok_or_else(|| missing("email"))?)?,
        client_secret: body.client_secret.ok_or_else(|| missing("client_secret"))?,
        attempt: body.send_attempt.ok_or_else(|| missing("send_attempt"))?,
        next_link: body.next_link,
    };
    let Some(mail) = &outside.mail else {
        return Err(unsupported("This server sends no mail."));
    };
    let (secret, address) = (request.client_secret.clone(), request.address.clone());
    let written = outside.store.write(None, move |tx| {
        let owner = threepid::owner(tx, &request.address)?;
        match (purpose, owner) {
            (Purpose::Register | Purpose::Add, Some(_)) => Err(threepid::in_use()),
            (Purpose::Password, None) => {
                let text = "No account has this address.";
                Err(Error::refused(400, "M_THREEPID_NOT_FOUND", text))
            }
            _ => threepid::begin(tx, &request),
        }
    });
    let begun = written.await?.value;
    if let Some(token) = begun.token {
        let link = validate::link(&outside.settings, &begun.sid, &secret, &token);
        let server = outside.settings.server_name.as_str();
        let letter = notify::validation::letter(server, purpose, &link);
        let letter = Letter {
            to: address,
            subject: letter.subject,
            text: letter.text,
            html: letter.html,
            unsubscribe: None,
        };
        mail.send(&letter).await.map_err(undelivered)?;
    }
    Ok(json!({ "sid": begun.sid }).to_string().into())
}

fn undelivered(why: Undelivered) -> Error {
    match why {
        Undelivered::Never(why) => {
            tracing::debug!(%why, "a letter was refused");
            Error::invalid_param("The mail server does not take this address.")
        }
        Undelivered::NotNow(why) => Error::fault(format!("the mail server: {why}")),
    }
}
