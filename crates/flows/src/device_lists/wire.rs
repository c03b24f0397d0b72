//! How other servers are asked for devices, and how their answers are read: leniently, device by device.

use std::collections::BTreeMap;

use devices::{
    keys::query::Asked,
    lists::{self, Snapshot},
};
use ruma::{ServerName, UserId, api::federation::keys::get_keys};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use crate::{
    device_keys::turn,
    peers::{Patience, Peers, Unanswered},
};

/// `POST /user/keys/query`, by user. A server speaks for nobody whom it was not asked for.
pub(super) async fn query(
    peers: &Peers,
    server: &ServerName,
    asked: &Asked,
    patience: Patience,
) -> Result<BTreeMap<String, Snapshot>, Unanswered> {
    let odd = || Unanswered::Silent("there are no such devices".to_owned());
    let request = get_keys::v1::Request::new(turn(asked).ok_or_else(odd)?);
    let answer = peers.request(server, request, patience).await?;
    type ByUser<T> = BTreeMap<String, T>;
    let devices: ByUser<BTreeMap<String, Value>> = turn(&answer.device_keys).unwrap_or_default();
    let mut masters: ByUser<Value> = turn(&answer.master_keys).unwrap_or_default();
    let mut self_signing: ByUser<Value> = turn(&answer.self_signing_keys).unwrap_or_default();
    let devices = devices.into_iter().filter(|(id, _)| asked.contains_key(id));
    let read = devices.filter_map(|(id, devices)| {
        let user = <&UserId>::try_from(id.as_str()).ok()?;
        let key = |keys: &mut ByUser<Value>| {
            keys.remove(&id).and_then(|key| lists::cross_signing_key(user, &key.to_string()))
        };
        let (master, self_signing) = (key(&mut masters), key(&mut self_signing));
        let devices = devices.into_iter().filter_map(|(device, keys)| {
            let name = keys["unsigned"]["device_display_name"].as_str();
            let read = lists::device(user, &device, &keys.to_string(), name)?;
            Some((device, read))
        });
        let list = Snapshot { version: None, devices: devices.collect(), master, self_signing };
        Some((id.clone(), list))
    });
    Ok(read.collect())
}

#[derive(Deserialize)]
struct List {
    stream_id: Option<u64>,
    #[serde(default)]
    devices: Vec<Box<RawValue>>,
    master_key: Option<Box<RawValue>>,
    self_signing_key: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Device {
    device_id: String,
    keys: Box<RawValue>,
    device_display_name: Option<String>,
}

/// `GET /user/devices/{userId}`. Devices without keys are nothing here.
pub(super) async fn list(
    peers: &Peers,
    server: &ServerName,
    user: &UserId,
    patience: Patience,
) -> Result<Snapshot, Unanswered> {
    let path = format!("/_matrix/federation/v1/user/devices/{}", escaped(user.as_str()));
    let (_, body) = peers.fetch(server, &path, patience).await?;
    let List { stream_id, devices, master_key, self_signing_key } = read(&body)?;
    let key =
        |key: Option<Box<RawValue>>| key.and_then(|key| lists::cross_signing_key(user, key.get()));
    let devices = devices.into_iter().take(store::remote_lists::DEVICES_MAX);
    let devices = devices.filter_map(|device| {
        let Device { device_id, keys, device_display_name } =
            serde_json::from_str(device.get()).ok()?;
        let read = lists::device(user, &device_id, keys.get(), device_display_name.as_deref())?;
        Some((device_id, read))
    });
    Ok(Snapshot {
        version: stream_id,
        devices: devices.collect(),
        master: key(master_key),
        self_signing: key(self_signing_key),
    })
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unanswered> {
    let odd = |e: serde_json::Error| Unanswered::Silent(format!("what came is no list: {e}"));
    serde_json::from_slice(body).map_err(odd)
}

/// As one part of a path (RFC 3986, "Reserved Characters").
fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let part = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(part).collect()
}
