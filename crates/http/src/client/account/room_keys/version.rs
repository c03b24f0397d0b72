//! `POST` and `GET /room_keys/version`, `GET`, `PUT` and `DELETE /room_keys/version/{version}`.

use ::devices::backup::version::{self, Described, Shown};
use base::Reply;
use http::Method;
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use store::{Tx, View};

use super::super::required;
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Around, Auth, Caller, Routes},
};

pub(super) fn routes() -> Routes {
    const MANY: [&str; 2] =
        ["/_matrix/client/unstable/room_keys/version", "/_matrix/client/v3/room_keys/version"];
    const ONE: [&str; 2] = [
        "/_matrix/client/unstable/room_keys/version/{version}",
        "/_matrix/client/v3/room_keys/version/{version}",
    ];
    Routes::default()
        .raw_write(Method::POST, &MANY, Auth::Required, create)
        .raw_read(Method::GET, &MANY, Auth::Required, latest)
        .raw_read(Method::GET, &ONE, Auth::Required, get)
        .raw_write(Method::PUT, &ONE, Auth::Required, update)
        .raw_write(Method::DELETE, &ONE, Auth::Required, delete)
}

#[derive(Deserialize)]
struct Body {
    algorithm: String,
    auth_data: Box<RawValue>,
    version: Option<String>,
}

impl Body {
    fn described(self) -> Described {
        Described { algorithm: self.algorithm, auth_data: self.auth_data.get().to_owned() }
    }
}

fn create(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    let body: Body = asked.json()?;
    let version = version::create(tx, caller.user, body.described())?;
    Ok(json!({ "version": version }).to_string().into())
}

/// `auth_data` is spliced in as the client gave it.
fn render(shown: &Shown) -> Reply<Json> {
    let Shown { version, described, state } = shown;
    let auth_data: Result<&RawValue, _> = serde_json::from_str(&described.auth_data);
    let auth_data =
        auth_data.map_err(|e| base::Error::fault(format!("a backup is no JSON: {e}")))?;
    #[derive(serde::Serialize)]
    struct Answer<'a> {
        algorithm: &'a str,
        auth_data: &'a RawValue,
        count: u64,
        etag: &'a str,
        version: &'a str,
    }
    let answer = Answer {
        algorithm: &described.algorithm,
        auth_data,
        count: state.count,
        etag: &state.etag,
        version,
    };
    let text = serde_json::to_string(&answer);
    text.map(Json::from).map_err(|e| base::Error::fault(format!("cannot write a backup: {e}")))
}

fn latest(view: &View, _: Around<'_>, caller: Option<Caller>, _: Asked) -> Reply<Json> {
    render(&version::latest(view, required(caller)?.user)?)
}

fn get(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    render(&version::get(view, required(caller)?.user, asked.arg(0))?)
}

fn update(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    let mut body: Body = asked.json()?;
    let named = body.version.take();
    version::update(tx, caller.user, asked.arg(0), named.as_deref(), body.described())?;
    Ok("{}".to_owned().into())
}

fn delete(tx: &mut Tx, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    version::delete(tx, required(caller)?.user, asked.arg(0))?;
    Ok("{}".to_owned().into())
}
