//! What this server is and can: `/versions`, `/capabilities`, `/.well-known/matrix/client` and `…/support`.

use base::{Error, Reply};
use http::Method;
use protocol::version::SUPPORTED;
use ruma::api::client::discovery::{discover_homeserver, get_capabilities, get_supported_versions};
use serde_json::json;
use store::View;

use super::voip;
use crate::{
    answer::Json,
    asked::Asked,
    handler::{Anyone, Around, Auth, Caller, Routes},
    outside::Support,
};

pub(super) fn routes() -> Routes {
    const SUPPORT: [&str; 1] = ["/.well-known/matrix/support"];
    Routes::default().read(versions).read_with(capabilities).read_with(well_known).raw_read(
        Method::GET,
        &SUPPORT,
        Auth::None,
        support,
    )
}

/// The newest minor version of the specification that is implemented, of all since 1.1.
const MINOR_VERSION: u32 = 19;
/// What clients ask for by flag because they do not trust the version, or because it is in no version yet.
const FEATURES: &[&str] = &[
    "org.matrix.msc3814",
    "org.matrix.msc3874",
    "org.matrix.msc3881",
    "org.matrix.msc3391",
    "org.matrix.msc3912",
    "org.matrix.msc3916.stable",
    "org.matrix.msc4028",
    "org.matrix.msc4108",
    "org.matrix.msc4140",
    "org.matrix.msc4140.stable",
    "org.matrix.msc4143",
    "org.matrix.msc4155",
    "org.matrix.msc4222",
    "org.matrix.msc4306",
    "org.matrix.msc4354",
    "io.element.msc4388",
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
        "m.delayed_events": {
            "max_delay_ms": rooms::delayed::DELAY_MS_MAX,
            "max_scheduled": rooms::delayed::SCHEDULED_MAX,
        },
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
    let mut answer = serde_json::Map::new();
    answer.insert("m.homeserver".to_owned(), json!({ "base_url": base_url }));
    let transports = voip::rtc(around.settings);
    if !transports.is_empty() {
        answer.insert("org.matrix.msc4143.rtc_foci".to_owned(), transports.into());
    }
    Ok(json!(answer).to_string().into())
}

fn support(_: &View, around: Around<'_>, _: Option<Caller>, _: Asked) -> Reply<Json> {
    let Support { page, email, user, security_email } = &around.settings.support;
    let mut contacts = Vec::new();
    for (role, email, user) in
        [("m.role.admin", email, user), ("m.role.security", security_email, &None)]
    {
        let mut contact = serde_json::Map::new();
        for (key, value) in [("email_address", email), ("matrix_id", user)] {
            contact.extend(value.iter().map(|text| (key.to_owned(), json!(text))));
        }
        if !contact.is_empty() {
            contact.insert("role".to_owned(), role.into());
            contacts.push(contact);
        }
    }
    let mut answer = serde_json::Map::new();
    if !contacts.is_empty() {
        answer.insert("contacts".to_owned(), json!(contacts));
    }
    answer.extend(page.iter().map(|page| ("support_page".to_owned(), json!(page))));
    if answer.is_empty() {
        return Err(Error::not_found("Nobody is named whom to ask for help."));
    }
    Ok(json!(answer).to_string().into())
}
