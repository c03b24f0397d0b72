//! Which endpoints guest accounts may call (spec: "Guest Access", and the flags in its OpenAPI data).

/// Method and path without the version, arguments as `{}`.
const OPEN_TO_GUESTS: &[(&str, &str)] = &[
    ("GET", "account/whoami"),
    ("GET", "devices"),
    ("GET", "devices/{}"),
    ("PUT", "devices/{}"),
    ("PUT", "profile/{}/displayname"),
    ("PUT", "profile/{}/{}"),
    ("DELETE", "profile/{}/{}"),
    ("POST", "rooms/{}/join"),
    ("POST", "rooms/{}/leave"),
    ("GET", "sync"),
    ("GET", "events"),
    ("GET", "rooms/{}/initialSync"),
    ("PUT", "rooms/{}/send/{}/{}"),
    ("PUT", "rooms/{}/state/{}/{}"),
    ("PUT", "rooms/{}/delayed_event/{}/{}"),
    ("GET", "delayed_events"),
    ("GET", "delayed_events/{}"),
    ("POST", "delayed_events/{}/{}"),
    ("GET", "rooms/{}/event/{}"),
    ("GET", "rooms/{}/state/{}/{}"),
    ("GET", "rooms/{}/state"),
    ("GET", "rooms/{}/members"),
    ("GET", "rooms/{}/messages"),
    ("GET", "rooms/{}/context/{}"),
    ("POST", "keys/upload"),
    ("POST", "keys/query"),
    ("POST", "keys/claim"),
    ("PUT", "sendToDevice/{}/{}"),
    ("GET", "media/download/{}/{}"),
    ("GET", "media/download/{}/{}/{}"),
    ("GET", "media/thumbnail/{}/{}"),
];

/// May guests call this? `path` has its arguments as `{}`.
pub(crate) fn may_call(method: &str, path: &str) -> bool {
    let Some(endpoint) = endpoint(path) else { return false };
    OPEN_TO_GUESTS.contains(&(method, endpoint))
}

/// What follows the version in the path of the client-server API.
pub(crate) fn endpoint(path: &str) -> Option<&str> {
    let path = path.strip_prefix("/_matrix/client/")?;
    if let Some(endpoint) = path.strip_prefix("unstable/org.matrix.msc4140/") {
        return Some(endpoint);
    }
    let (version, endpoint) = path.split_once('/')?;
    match version {
        "r0" | "v1" | "v3" => Some(endpoint),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_may_talk_but_not_create_rooms() {
        assert!(may_call("PUT", "/_matrix/client/v3/rooms/{}/send/{}/{}"));
        assert!(may_call("GET", "/_matrix/client/v1/media/download/{}/{}"));
        assert!(!may_call("POST", "/_matrix/client/v3/createRoom"));
        assert!(!may_call("DELETE", "/_matrix/client/v3/devices/{}"));
        assert!(!may_call("GET", "/_matrix/client/unstable/devices"));
    }
}
