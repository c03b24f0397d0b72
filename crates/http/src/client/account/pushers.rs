//! `GET /pushers`, `POST /pushers/set`; MSC3881 lets a client see and switch the pushers of others.

use accounts::pusher::{self, Can, New};
use base::{Error, Reply};
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::{Tx, View, schema::Pusher};

use super::required;
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Around, Auth, Caller, Routes},
};

pub(super) fn routes() -> Routes {
    // Not ruma's types: they know nothing of MSC3881, and refuse what the spec lets servers take.
    const LIST: [&str; 2] = ["/_matrix/client/v3/pushers", "/_matrix/client/r0/pushers"];
    const SET: [&str; 2] = ["/_matrix/client/v3/pushers/set", "/_matrix/client/r0/pushers/set"];
    Routes::default().raw_read(Method::GET, &LIST, Auth::Required, list).raw_write(
        Method::POST,
        &SET,
        Auth::Required,
        set,
    )
}

fn list(view: &View, _: Around<'_>, caller: Option<Caller>, _: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    let pushers = pusher::list(view, caller.user)?;
    let pushers = pushers.iter().map(|(_, pusher)| shown(pusher)).collect::<Reply<Vec<_>>>()?;
    Ok(json!({ "pushers": pushers }).to_string().into())
}

fn shown(pusher: &Pusher) -> Reply<Value> {
    let mut data: Map<String, Value> = serde_json::from_str(&pusher.data)
        .map_err(|e| Error::fault(format!("data of a pusher: {e}")))?;
    data.extend(pusher.url.as_ref().map(|url| ("url".to_owned(), url.clone().into())));
    let mut out = json!({
        "app_id": pusher.app_id,
        "pushkey": pusher.pushkey,
        "kind": pusher.kind,
        "app_display_name": pusher.app_display_name,
        "device_display_name": pusher.device_display_name,
        "lang": pusher.lang,
        "data": data,
        "org.matrix.msc3881.enabled": pusher.enabled,
        "org.matrix.msc3881.device_id": pusher.device,
    });
    if let (Value::Object(out), Some(tag)) = (&mut out, &pusher.profile_tag) {
        out.insert("profile_tag".to_owned(), tag.clone().into());
    }
    Ok(out)
}

#[derive(Deserialize)]
struct Body {
    app_id: Option<String>,
    pushkey: Option<String>,
    /// `null` deletes; missing is a mistake.
    #[serde(default, deserialize_with = "present")]
    kind: Option<Option<String>>,
    app_display_name: Option<String>,
    device_display_name: Option<String>,
    profile_tag: Option<String>,
    lang: Option<String>,
    data: Option<Map<String, Value>>,
    append: Option<bool>,
    #[serde(rename = "org.matrix.msc3881.enabled")]
    enabled: Option<bool>,
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

fn missing(what: &str) -> Error {
    Error::missing_param(format!("Missing parameter: {what}"))
}

fn set(tx: &mut Tx, around: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    let body: Body = asked.json()?;
    let app_id = body.app_id.ok_or_else(|| missing("app_id"))?;
    let pushkey = body.pushkey.ok_or_else(|| missing("pushkey"))?;
    let done = Json::from("{}".to_owned());
    let Some(kind) = body.kind.ok_or_else(|| missing("kind"))? else {
        pusher::remove(tx, caller.user, &app_id, &pushkey)?;
        return Ok(done);
    };
    let new = New {
        app_id,
        pushkey,
        kind,
        app_display_name: body.app_display_name.ok_or_else(|| missing("app_display_name"))?,
        device_display_name: body
            .device_display_name
            .ok_or_else(|| missing("device_display_name"))?,
        profile_tag: body.profile_tag,
        lang: body.lang.ok_or_else(|| missing("lang"))?,
        data: body.data.ok_or_else(|| missing("data"))?,
        enabled: body.enabled.unwrap_or(true),
    };
    let can = Can { plain_http: around.settings.allow_private_ips, mail: around.settings.mail };
    let append = body.append.unwrap_or_default();
    pusher::set(tx, caller.user, &caller.device, new, append, can)?;
    Ok(done)
}
