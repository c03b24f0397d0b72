//! Whose invites a user wants to see (spec: Client-Server API, "Invite permission" and "Ignoring
//! users"; MSC4380 for its first name, MSC4155 for rules by user and server).

use std::collections::BTreeSet;

use ruma::UserId;
use serde::{Deserialize, de::IgnoredAny};

use crate::push::glob::Glob;

/// Patterns of one list that count: more than anyone keeps by hand.
const PATTERNS_MAX: usize = 10_000;

/// What becomes of an invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// It is shown.
    Allow,
    /// It is sent, but the invited user is not told.
    Ignore,
    /// It is refused.
    Block,
}

/// What a user's account data say about invites.
#[derive(Debug, Default)]
pub struct InviteRules {
    ignored: BTreeSet<String>,
    block_all: bool,
    users: [Vec<Glob>; 3],
    servers: [Vec<Glob>; 3],
}

/// In the order in which the lists are asked.
const ORDER: [Reception; 3] = [Reception::Allow, Reception::Ignore, Reception::Block];

#[derive(Default, Deserialize)]
struct Ignored {
    #[serde(default)]
    ignored_users: std::collections::BTreeMap<String, IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct Config {
    #[serde(default)]
    default_action: Option<serde_json::Value>,
    #[serde(default)]
    block_all: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Filter {
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(default)]
    allowed_users: Vec<String>,
    #[serde(default)]
    ignored_users: Vec<String>,
    #[serde(default)]
    blocked_users: Vec<String>,
    #[serde(default)]
    allowed_servers: Vec<String>,
    #[serde(default)]
    ignored_servers: Vec<String>,
    #[serde(default)]
    blocked_servers: Vec<String>,
}

fn yes() -> bool {
    true
}

impl InviteRules {
    /// From the contents of `m.ignored_user_list`, `m.invite_permission_config`, and that one's
    /// unstable forms of MSC4380 and MSC4155. What cannot be read says nothing.
    #[must_use]
    pub fn new(
        ignored: Option<&str>,
        config: Option<&str>,
        msc4380: Option<&str>,
        msc4155: Option<&str>,
    ) -> InviteRules {
        let ignored: Ignored = read(ignored).unwrap_or_default();
        let action = read::<Config>(config).and_then(|config| config.default_action);
        let all = read::<Config>(msc4380).and_then(|config| config.block_all);
        let mut rules = InviteRules {
            ignored: ignored.ignored_users.into_keys().collect(),
            block_all: action.is_some_and(|a| a == "block") || all.is_some_and(|all| all == true),
            ..InviteRules::default()
        };
        if let Some(filter) = read::<Filter>(msc4155).filter(|filter| filter.enabled) {
            rules.users =
                [filter.allowed_users, filter.ignored_users, filter.blocked_users].map(globs);
            rules.servers =
                [filter.allowed_servers, filter.ignored_servers, filter.blocked_servers].map(globs);
        }
        rules
    }

    /// Is there nothing to ask?
    #[must_use]
    pub fn admit_all(&self) -> bool {
        let lists = self.users.iter().chain(&self.servers);
        self.ignored.is_empty() && !self.block_all && lists.map(Vec::len).sum::<usize>() == 0
    }

    /// What becomes of an invite of this user.
    #[must_use]
    pub fn reception(&self, sender: &UserId) -> Reception {
        if self.ignored.contains(sender.as_str()) {
            return Reception::Ignore;
        }
        if self.block_all {
            return Reception::Block;
        }
        let user = sender.as_str().to_lowercase();
        // Without the port, as in server ACLs.
        let server = sender.server_name().host().to_lowercase();
        for (lists, text) in [(&self.users, user), (&self.servers, server)] {
            for (list, reception) in lists.iter().zip(ORDER) {
                if list.iter().any(|glob| glob.matches(&text)) {
                    return reception;
                }
            }
        }
        Reception::Allow
    }
}

fn read<'a, T: Deserialize<'a>>(text: Option<&'a str>) -> Option<T> {
    serde_json::from_str(text?).ok()
}

fn globs(patterns: Vec<String>) -> Vec<Glob> {
    patterns.iter().take(PATTERNS_MAX).map(|pattern| Glob::new(pattern, false)).collect()
}

#[cfg(test)]
mod tests {
    use ruma::user_id;
    use serde_json::json;

    use super::*;

    fn filtered(content: serde_json::Value) -> InviteRules {
        InviteRules::new(None, None, None, Some(&content.to_string()))
    }

    #[test]
    fn without_rules_everyone_may_invite() {
        for text in [None, Some("{}"), Some("no JSON"), Some(r#"{"default_action":1}"#)] {
            let rules = InviteRules::new(text, text, text, text);
            assert!(rules.admit_all(), "{text:?}");
            assert_eq!(rules.reception(user_id!("@a:x")), Reception::Allow);
        }
    }

    #[test]
    fn all_invites_can_be_blocked_under_either_name() {
        let stable = InviteRules::new(None, Some(r#"{"default_action":"block"}"#), None, None);
        let unstable = InviteRules::new(None, None, Some(r#"{"block_all":true}"#), None);
        for rules in [stable, unstable] {
            assert!(!rules.admit_all());
            assert_eq!(rules.reception(user_id!("@a:x")), Reception::Block);
        }
    }

    #[test]
    fn who_is_ignored_is_not_refused_even_where_all_are() {
        let ignored = Some(r#"{"ignored_users":{"@a:x":{}}}"#);
        let rules = InviteRules::new(ignored, Some(r#"{"default_action":"block"}"#), None, None);
        assert_eq!(rules.reception(user_id!("@a:x")), Reception::Ignore);
        assert_eq!(rules.reception(user_id!("@b:x")), Reception::Block);
    }

    #[test]
    fn users_are_asked_before_servers_and_allowing_before_ignoring_before_blocking() {
        let rules = filtered(json!({
            "allowed_users": ["@good:bad.org"], "ignored_users": ["@no*:*"],
            "blocked_users": ["@good:bad.org", "@evil:good.org"],
            "allowed_servers": ["good.org"], "ignored_servers": ["*.quiet.org"],
            "blocked_servers": ["*"],
        }));
        for (sender, expected) in [
            ("@good:bad.org", Reception::Allow),
            ("@nobody:good.org", Reception::Ignore),
            ("@evil:good.org", Reception::Block),
            ("@a:good.org:8448", Reception::Allow),
            ("@a:very.quiet.org", Reception::Ignore),
            ("@a:quiet.org", Reception::Block),
        ] {
            assert_eq!(rules.reception(sender.try_into().unwrap()), expected, "{sender}");
        }
    }

    #[test]
    fn a_filter_can_be_switched_off() {
        let rules = filtered(json!({"enabled": false, "blocked_servers": ["*"]}));
        assert_eq!(rules.reception(user_id!("@a:x")), Reception::Allow);
    }
}
