//! What this server is and can: `/versions`, `/capabilities`, `/.well-known/matrix/client`.

use base::{Error, Reply};
use protocol::version::SUPPORTED;
use ruma::api::client::discovery::{discover_homeserver, get_capabilities, get_supported_versions};
use serde_json::json;
use store::View;

use crate::{
    answer::Json,
    handler::{Anyone, Around, Caller, Routes},
};

pub(super) fn routes() -> Routes {
    Routes::default().read(versions).read_with(capabilities).read_with(well_known)
}

/// The newest minor version of the specification that is implemented, of all since 1.1.
const MINOR_VERSION: u32 = 19;
/// What clients ask for by flag because they do not trust the version, or because it is in no version yet.
const FEATURES: &[&str] = &[
    "org.matrix.msc3874",
    "org.matrix.msc3881",
    "org.matrix.msc3391",
    "org.matrix.msc3912",
    "org.matrix.msc3916.stable",
    "org.matrix.msc4155",
    "org.matrix.msc4222",
    "uk.half-shot.msc2666.query_mutual_rooms",
    "org.matrix.simplified_msc3575",
    "org.matrix.msc4380",
    "org.matrix.msc4380.stable",
    "uk.tcpip.msc4133",
    "uk.tcpip.msc4133.stable",
    "uk.timedout.msc4323",
];

fn versions(_: &View, _: Option<Caller>, _: get_supported_versions::Request) -> Reply<Json> {
    let versions: Vec<String> = (1..=MINOR_VERSION).map(|minor| format!("v1.{minor}")).collect();
    let features: serde_json::Map<_, _> =
        FEATURES.iter().map(|name| ((*name).to_owned(), true.into())).collect();
    Ok(json!({ "versions": versions, "unstable_features": features }).to_string().into())
}

fn capabilities(
    _: &View,
    around: Around<'_>,
    caller: Caller,
    _: get_capabilities::v3::Request,
) -> Reply<Json> {
    let available: serde_json::Map<_, _> =
        SUPPORTED.iter().map(|version| (version.to_string(), "stable".into())).collect();
    let on = json!({ "enabled": true });
    let off = json!({ "enabled": false });
    let mut capabilities = json!({
        "m.change_password": { "enabled": !caller.guest },
        "m.room_versions": {
            "default": around.settings.default_room_version,
            "available": available,
        },
        "m.profile_fields": on,
        "uk.tcpip.msc4133.profile_fields": on,
        "m.set_displayname": on,
        "m.set_avatar_url": on,
        "m.3pid_changes": { "enabled": around.settings.mail && !caller.guest },
        "m.get_login_token": { "enabled": !caller.guest },
        "m.forget_forced_upon_leave": off,
    });
    // To be left out for everyone else (spec: `GET /capabilities`).
    if caller.admin
        && let Some(all) = capabilities.as_object_mut()
    {
        let moderation = json!({ "suspend": true, "lock": true });
        all.insert("m.account_moderation".to_owned(), moderation);
    }
    Ok(json!({ "capabilities": capabilities }).to_string().into())
}

fn well_known(
    _: &View,
    around: Around<'_>,
    _: Anyone,
    _: discover_homeserver::Request,
) -> Reply<Json> {
    let base_url = around.settings.base_url.as_deref();
    let base_url = base_url.ok_or_else(|| Error::not_found("No address is configured."))?;
    Ok(json!({ "m.homeserver": { "base_url": base_url } }).to_string().into())
}
