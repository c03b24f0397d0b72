//! `GET /mutual_rooms`, and the path that it had before (MSC2666), where the tokens had other names.

use base::{Error, Reply};
use http::Method;
use rooms::members::mutual;
use ruma::OwnedUserId;
use serde_json::{Map, Value, json};
use store::View;

use crate::{
    answer::Json,
    asked::Asked,
    client::query::known,
    handler::{Around, Auth, Caller, Routes},
};

fn get(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    page(view, caller, &asked, ("from", "next_batch"))
}

fn get_unstable(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    page(view, caller, &asked, ("batch_token", "next_batch_token"))
}

fn page(
    view: &View,
    caller: Option<Caller>,
    asked: &Asked,
    (from, next): (&str, &str),
) -> Reply<Json> {
    let caller = known(caller)?;
    let other = asked.query("user_id").ok_or_else(|| Error::missing_param("user_id is missing"))?;
    let other = OwnedUserId::try_from(&*other);
    let other = other.map_err(|_| Error::invalid_param("user_id is not a user id"))?;
    let found = mutual(view, caller.user, &other, asked.query(from).as_deref())?;
    let mut answer = Map::new();
    answer.insert("joined".to_owned(), json!(found.joined));
    answer.insert("count".to_owned(), json!(found.count));
    answer.extend(found.next.map(|token| (next.to_owned(), token.into())));
    Ok(Value::Object(answer).to_string().into())
}

pub(super) fn routes() -> Routes {
    let unstable = ["/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms"];
    Routes::default()
        .raw_read(Method::GET, &["/_matrix/client/v1/mutual_rooms"], Auth::Required, get)
        .raw_read(Method::GET, &unstable, Auth::Required, get_unstable)
}
