//! `POST /keys/device_signing/upload`, `/keys/signatures/upload`.

use std::collections::BTreeMap;

use ::devices::keys::{
    cross_signing::{self, Keys, Outcome},
    query::Asked as Wanted,
    signatures::{self, SignedKeys},
};
use accounts::uia::Auth as Interactive;
use base::Reply;
use http::Method;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    required,
    uia::{ask_password, guarded},
};
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Auth, Caller, Routes},
    outside::Outside,
};

pub(super) fn routes() -> Routes {
    const KEYS: [&str; 2] = [
        "/_matrix/client/v3/keys/device_signing/upload",
        "/_matrix/client/unstable/keys/device_signing/upload",
    ];
    const SIGNATURES: [&str; 2] = [
        "/_matrix/client/v3/keys/signatures/upload",
        "/_matrix/client/unstable/keys/signatures/upload",
    ];
    Routes::default().raw_flow(Method::POST, &KEYS, Auth::Required, upload).raw_flow(
        Method::POST,
        &SIGNATURES,
        Auth::Required,
        sign,
    )
}

#[derive(Deserialize)]
struct Upload {
    master_key: Option<Box<RawValue>>,
    self_signing_key: Option<Box<RawValue>>,
    user_signing_key: Option<Box<RawValue>>,
    auth: Option<Interactive>,
}

async fn upload(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    let body: Upload = asked.json()?;
    let text = |key: Option<Box<RawValue>>| key.map(|key| key.get().to_owned());
    let keys = Keys {
        master: text(body.master_key),
        self_signing: text(body.self_signing_key),
        user_signing: text(body.user_signing_key),
    };
    let (user, id, new) = (caller.user, caller.id.clone(), keys.clone());
    let first =
        outside.store.write(None, move |tx| cross_signing::upload(tx, (user, &id), &new, false));
    if first.await?.value == Outcome::NeedsProof {
        let parts = [&keys.master, &keys.self_signing, &keys.user_signing];
        let parts = parts.map(|key| key.as_deref().unwrap_or_default());
        let what = ["replace cross-signing keys", caller.id.as_str()].into_iter();
        let ask = ask_password(what.chain(parts));
        let (user, id, keys) = (caller.user, caller.id.clone(), keys.clone());
        guarded(&outside, &caller, ask, body.auth, move |tx| {
            cross_signing::upload(tx, (user, &id), &keys, true)
        })
        .await?;
    }
    Ok("{}".to_owned().into())
}

async fn sign(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    let body: BTreeMap<String, BTreeMap<String, Box<RawValue>>> = asked.json()?;
    let texts = |keys: BTreeMap<String, Box<RawValue>>| {
        keys.into_iter().map(|(name, key)| (name, key.get().to_owned())).collect()
    };
    let keys: SignedKeys = body.into_iter().map(|(id, keys)| (id, texts(keys))).collect();
    // What users of other servers have is asked of those.
    let wanted: Wanted = keys.keys().map(|id| (id.clone(), Vec::new())).collect();
    let (theirs, _) = outside.inbound.device_lists().query(&wanted, None).await?;
    let (user, id, masters) = (caller.user, caller.id, theirs.master_keys);
    let signed =
        outside.store.write(None, move |tx| signatures::upload(tx, (user, &id), &keys, &masters));
    Ok(json!({ "failures": signed.await?.value }).to_string().into())
}
