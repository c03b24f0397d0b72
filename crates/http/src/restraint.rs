//! Which endpoints accounts may call that an administrator has locked or suspended (spec: "Account moderation").

use base::{Error, Reply};
use store::schema::Restraint;

use crate::guests::endpoint;

/// All that a locked account may do. Method and path without the version, arguments as `{}`.
const OPEN_TO_LOCKED: &[(&str, &str)] = &[("POST", "logout"), ("POST", "logout/all")];

/// What a suspended account may not do, beside what follows from who may write into rooms: there, what is written decides.
const CLOSED_TO_SUSPENDED: &[(&str, &str)] = &[
    ("PUT", "profile/{}/{}"),
    ("PUT", "profile/{}/displayname"),
    ("PUT", "profile/{}/avatar_url"),
    ("DELETE", "profile/{}/{}"),
    ("POST", "createRoom"),
    ("POST", "join/{}"),
    ("POST", "rooms/{}/join"),
    ("POST", "knock/{}"),
    ("POST", "rooms/{}/invite"),
    ("POST", "rooms/{}/kick"),
    ("POST", "rooms/{}/ban"),
    ("POST", "rooms/{}/unban"),
    ("POST", "rooms/{}/upgrade"),
    ("PUT", "directory/room/{}"),
    ("DELETE", "directory/room/{}"),
    ("PUT", "directory/list/room/{}"),
];

/// What an endpoint is to restrained accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Openness {
    locked: bool,
    suspended: bool,
}

impl Openness {
    /// By method and paths, with their arguments as `{}`.
    pub(crate) fn of(method: &str, paths: &[String]) -> Openness {
        let any = |list: &[(&str, &str)]| {
            let mut endpoints = paths.iter().filter_map(|path| endpoint(path));
            endpoints.any(|endpoint| list.contains(&(method, endpoint)))
        };
        Openness { locked: any(OPEN_TO_LOCKED), suspended: !any(CLOSED_TO_SUSPENDED) }
    }

    /// Refuses who is restrained, where the endpoint is not open to them.
    ///
    /// # Errors
    /// 401 `M_USER_LOCKED`, 403 `M_USER_SUSPENDED`.
    pub(crate) fn admit(self, restraint: Restraint) -> Reply<()> {
        if restraint.locked && !self.locked {
            return Err(accounts::session::locked());
        }
        if restraint.suspended && !self.suspended {
            let text = "you cannot do this while your account is suspended";
            return Err(Error::refused(403, "M_USER_SUSPENDED", text));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, path: &str) -> Openness {
        Openness::of(method, &[format!("/_matrix/client/v3/{path}")])
    }

    #[test]
    fn a_locked_account_only_logs_out() {
        assert!(of("POST", "logout").locked && of("POST", "logout/all").locked);
        assert!(!of("GET", "sync").locked && !of("POST", "login").locked);
    }

    #[test]
    fn a_suspended_account_reads_leaves_and_keeps_its_keys() {
        for (method, path) in [
            ("GET", "sync"),
            ("POST", "rooms/{}/leave"),
            ("PUT", "rooms/{}/redact/{}/{}"),
            ("POST", "keys/upload"),
            ("POST", "account/deactivate"),
            ("GET", "profile/{}/{}"),
        ] {
            assert!(of(method, path).suspended, "{method} {path}");
        }
        assert!(!of("POST", "join/{}").suspended && !of("PUT", "profile/{}/{}").suspended);
    }
}
