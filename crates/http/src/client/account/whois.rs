//! `GET /admin/whois/{userId}`: from where a user's devices were last used. For the user and for administrators.

use accounts::{device, profile};
use base::Reply;
use ruma::api::client::admin::get_user_info;
use serde_json::{Map, Value, json};
use store::View;

use super::own;
use crate::{
    answer::Json,
    handler::{Caller, Routes},
};

pub(super) fn routes() -> Routes {
    Routes::default().read(whois)
}

fn whois(view: &View, caller: Caller, request: get_user_info::v3::Request) -> Reply<Json> {
    if !caller.admin {
        own(&caller, &request.user_id)?;
    }
    let user = profile::subject(view, &request.user_id)?;
    let mut devices = Map::new();
    for device in device::list(view, user)? {
        let connections: Vec<Value> = device
            .seen
            .into_iter()
            .map(|seen| json!({ "ip": seen.ip, "last_seen": seen.at.0, "user_agent": seen.agent }))
            .collect();
        devices.insert(device.id, json!({ "sessions": [{ "connections": connections }] }));
    }
    Ok(json!({ "user_id": request.user_id, "devices": devices }).to_string().into())
}
