//! Whom this server talks to at all: what the operator allows and denies.

use protocol::acl::Names;
use ruma::ServerName;

/// Lists of servers. Globs (`*`, `?`), without regard to case; ports do not matter.
#[derive(Clone, Debug, Default)]
pub struct Border {
    allow: Names,
    deny: Names,
}

impl Border {
    /// `allow` empty: all but those in `deny`.
    #[must_use]
    pub fn new(allow: &[String], deny: &[String]) -> Border {
        Border { allow: Names::new(allow), deny: Names::new(deny) }
    }

    /// Does this server talk to that one?
    #[must_use]
    pub fn admits(&self, server: &ServerName) -> bool {
        (self.allow.is_empty() || self.allow.has(server)) && !self.deny.has(server)
    }
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    fn border(allow: &[&str], deny: &[&str]) -> Border {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Border::new(&own(allow), &own(deny))
    }

    #[test]
    fn who_is_denied_is_not_admitted_and_of_the_allowed_only_they() {
        let (a, b) = (server_name!("a.example:8448"), server_name!("B.evil.example"));
        let all = border(&[], &[]);
        assert!(all.admits(a) && all.admits(b));
        let denies = border(&[], &["*.Evil.example"]);
        assert!(denies.admits(a) && !denies.admits(b));
        let allows = border(&["a.example"], &[]);
        assert!(allows.admits(a) && !allows.admits(b));
        let both = border(&["*.example"], &["b.*"]);
        assert!(both.admits(a) && !both.admits(b));
    }
}
