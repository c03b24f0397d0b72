//! Which servers may take part in a room: `m.room.server_acl` (spec: Client-Server API, "Server Access Control Lists
//! (ACLs) for rooms").

use ruma::ServerName;
use serde_json::Value;

use crate::push::glob::Glob;

/// Patterns of one list that are read. An event of the largest size holds about as many.
const PATTERNS_MAX: usize = 16_384;

/// Patterns of server names: `*` any characters, `?` any one. Without regard to case; of names, ports do not count.
#[derive(Debug, Default)]
pub struct Names {
    globs: Vec<Glob>,
    texts: Vec<String>,
}

impl Clone for Names {
    fn clone(&self) -> Names {
        Names::new(&self.texts)
    }
}

impl Names {
    /// A list of patterns.
    #[must_use]
    pub fn new(patterns: &[String]) -> Names {
        let texts: Vec<String> = patterns.iter().take(PATTERNS_MAX).cloned().collect();
        Names { globs: texts.iter().map(|text| Glob::new(text, false)).collect(), texts }
    }

    /// Nobody at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.globs.is_empty()
    }

    /// Does one of the patterns match the server's name?
    #[must_use]
    pub fn has(&self, server: &ServerName) -> bool {
        let name = server.host().to_lowercase();
        self.globs.iter().any(|glob| glob.matches(&name))
    }

    fn bytes(&self) -> usize {
        self.texts.iter().map(|text| 96 + 9 * text.len()).sum()
    }
}

/// Who may take part.
#[derive(Clone, Debug)]
pub struct Acl {
    allow: Names,
    deny: Names,
    allow_ip_literals: bool,
}

impl Acl {
    /// Reads the content of the event. What has another shape than it should counts as missing: without `allow`, nobody
    /// may take part; of a list, only the texts count.
    #[must_use]
    pub fn read(content: &str) -> Acl {
        let content: Value = serde_json::from_str(content).unwrap_or_default();
        let names = |key: &str| {
            let list = content.get(key).and_then(Value::as_array).map(Vec::as_slice);
            let texts = list.unwrap_or_default().iter().filter_map(Value::as_str);
            Names::new(&texts.map(str::to_owned).collect::<Vec<_>>())
        };
        let literals = content.get("allow_ip_literals").and_then(Value::as_bool);
        Acl {
            allow: names("allow"),
            deny: names("deny"),
            allow_ip_literals: literals.unwrap_or(true),
        }
    }

    /// May the server take part?
    #[must_use]
    pub fn admits(&self, server: &ServerName) -> bool {
        if !self.allow_ip_literals && server.is_ip_literal() {
            return false;
        }
        !self.deny.has(server) && self.allow.has(server)
    }

    /// Roughly what it takes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.allow.bytes() + self.deny.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(content: &str, server: &str) -> bool {
        Acl::read(content).admits(<&ServerName>::try_from(server).unwrap())
    }

    #[test]
    fn denied_comes_before_allowed_and_what_is_neither_is_denied() {
        let acl = r#"{"allow":["*.example","b.org"],"deny":["evil.example","*.evil.example"]}"#;
        assert!(admits(acl, "a.example"));
        assert!(admits(acl, "b.org"));
        assert!(!admits(acl, "evil.example"));
        assert!(!admits(acl, "x.evil.example"));
        assert!(!admits(acl, "c.org"));
        assert!(!admits(acl, "example"));
    }

    #[test]
    fn ports_and_case_do_not_matter() {
        let acl = r#"{"allow":["*"],"deny":["EVIL.example","x?.example"]}"#;
        assert!(!admits(acl, "evil.example:8448"));
        assert!(!admits(acl, "Evil.Example"));
        assert!(!admits(acl, "xY.example:1"));
        assert!(admits(acl, "x.example:1"));
    }

    #[test]
    fn without_a_list_of_the_allowed_nobody_is() {
        for acl in ["{}", r#"{"allow":[]}"#, r#"{"allow":"*"}"#, "[]", "1", r#"{"allow":[1,{}]}"#] {
            assert!(!admits(acl, "a.example"), "{acl}");
        }
        assert!(admits(r#"{"allow":[1,"*"],"deny":"*"}"#, "a.example"));
    }

    #[test]
    fn addresses_are_allowed_unless_it_is_said_that_they_are_not() {
        for literal in ["1.2.3.4", "1.2.3.4:8448", "[::1]", "[::1]:8448"] {
            assert!(admits(r#"{"allow":["*"]}"#, literal));
            assert!(admits(r#"{"allow":["*"],"allow_ip_literals":"no"}"#, literal));
            assert!(!admits(r#"{"allow":["*"],"allow_ip_literals":false}"#, literal));
        }
        assert!(admits(r#"{"allow":["*"],"allow_ip_literals":false}"#, "a.example"));
        assert!(!admits(r#"{"allow":["*"],"deny":["[::1]"]}"#, "[::1]:1"));
    }
}
