//! Calls: `GET /voip/turnServer` (spec: "Voice over IP"), `GET /rtc/transports` (MSC4143).

use base::{Error, Reply};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::Method;
use ruma::api::client::voip::get_turn_server_info::v3::Request;
use serde_json::{Value, json};
use sha1::Sha1;
use store::View;

use crate::{
    answer::Json,
    asked::Asked,
    handler::{Around, Auth, Caller, Routes},
    outside::{Settings, Turn},
};

pub(super) fn routes() -> Routes {
    const TRANSPORTS: [&str; 2] = [
        "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports",
        "/_matrix/client/v1/rtc/transports",
    ];
    Routes::default().read_with(turn_server).raw_read(
        Method::GET,
        &TRANSPORTS,
        Auth::Required,
        transports,
    )
}

fn turn_server(view: &View, around: Around<'_>, caller: Caller, _: Request) -> Reply<Json> {
    // Without a relay, clients are told so by an empty object.
    let Some(turn) = &around.settings.turn else { return Ok("{}".to_owned().into()) };
    let until = view.now().0 / 1_000 + turn.ttl_s;
    let (username, password) = credentials(turn, until, caller.id.as_str())?;
    let answer = json!({
        "username": username,
        "password": password,
        "uris": turn.uris,
        "ttl": turn.ttl_s,
    });
    Ok(answer.to_string().into())
}

/// Name and password for a relay that shares a secret with us ("REST API For Access To TURN Services"): the name holds
/// when it ends, the password is its HMAC.
fn credentials(turn: &Turn, until_s: u64, user: &str) -> Reply<(String, String)> {
    let username = format!("{until_s}:{user}");
    let mut mac = Hmac::<Sha1>::new_from_slice(turn.shared_secret.as_bytes())
        .map_err(|e| Error::fault(format!("the secret of the relay: {e}")))?;
    mac.update(username.as_bytes());
    let password = STANDARD.encode(mac.finalize().into_bytes());
    Ok((username, password))
}

fn transports(_: &View, around: Around<'_>, _: Option<Caller>, _: Asked) -> Reply<Json> {
    Ok(json!({ "rtc_transports": rtc(around.settings) }).to_string().into())
}

/// The transports, also for `.well-known`, where older clients look for them.
pub(super) fn rtc(settings: &Settings) -> Vec<Value> {
    let livekit = |url: &String| json!({ "type": "livekit", "livekit_service_url": url });
    settings.livekit.iter().map(livekit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_hmac_of_the_name() {
        let turn = Turn { uris: vec![], shared_secret: "north".to_owned(), ttl_s: 60 };
        let (name, password) = credentials(&turn, 1_433_895_918, "@ling:x").unwrap();
        assert_eq!(name, "1433895918:@ling:x");
        // printf %s "1433895918:@ling:x" | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(password, "vl4lJgwl7PY6G8qaIUs0dlS7AR8=");
    }
}
