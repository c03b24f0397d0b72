//! Push rules (spec: Client-Server API, "Push rules"): which events notify whom, and how.
//!
//! An event is flattened once ([`Flat`]) and a user's rules are compiled once ([`CompiledRules`]);
//! then one evaluation is a handful of comparisons, so that a message in a large room can be judged
//! for every member. Evaluation costs at most the length of the event times the length of the
//! rules' patterns, whatever a user writes into them.

mod flat;
pub(crate) mod glob;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use ruma::UserId;
use ruma::push::{
    Action, ComparisonOperator, ConditionalPushRuleInit, EventMatchConditionData, PushCondition,
    RoomMemberCountIs, Ruleset, ScalarJsonValue,
};

pub use self::flat::Flat;
use self::flat::Scalar;
use self::glob::Glob;

/// A user's rules with the server's defaults of today.
///
/// What the user changed about a default rule (whether it is enabled, its actions) is kept; default
/// rules that the spec dropped, such as the ones that searched the body for names, go away.
/// `.m.rule.master` comes first, then the user's own rules, then the defaults.
#[must_use]
pub fn with_defaults(stored: Option<Ruleset>, user: &UserId) -> Ruleset {
    let defaults = defaults(user);
    let Some(mut rules) = stored else { return defaults };
    let after_content = defaults.postcontent.clone();
    rules.update_with_server_default(defaults);
    for rule in after_content {
        // Keeps what the user changed about it.
        if rules.postcontent.get(rule.rule_id.as_str()).is_none() {
            rules.postcontent.insert(rule);
        }
    }
    rules
}

/// The rules of the spec, those for polls (MSC3930) and thread subscriptions (MSC4306), and one that is off until somebody
/// wants to be told of every encrypted event (MSC4028).
fn defaults(user: &UserId) -> Ruleset {
    let mut rules = Ruleset::server_default(user);
    let encrypted = ConditionalPushRuleInit {
        actions: vec![Action::Notify],
        default: true,
        enabled: false,
        rule_id: ENCRYPTED_EVENT.to_owned(),
        conditions: vec![PushCondition::EventMatch(EventMatchConditionData::new(
            "type".to_owned(),
            "m.room.encrypted".to_owned(),
        ))],
    };
    // Behind `.m.rule.master`.
    let place = rules.override_.len().min(1);
    rules.override_.shift_insert(place, encrypted.into());
    rules
}

const ENCRYPTED_EVENT: &str = ".org.matrix.msc4028.encrypted_event";

/// What an evaluation asks about the room and the user in it.
pub struct Context<'a> {
    /// The room's id.
    pub room_id: &'a str,
    /// How many users are joined.
    pub joined_members: u64,
    /// Whether the sender's power level suffices for this kind of notification (`room`).
    pub sender_may_notify: &'a dyn Fn(&str) -> bool,
    /// The user's display name in the room.
    pub display_name: Option<&'a str>,
    /// Whether the user is subscribed to the thread that the event is in (MSC4306). `None`: it is in none, or the user's
    /// clients know nothing of subscriptions.
    pub thread_subscribed: Option<bool>,
}

/// What the first matching rule says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome<'a> {
    /// Whether to notify. If not, the rest has no effect.
    pub notify: bool,
    /// Whether to highlight.
    pub highlight: bool,
    /// The sound to play.
    pub sound: Option<&'a str>,
    /// The rule's actions; empty if no rule matched.
    pub actions: &'a [Action],
}

/// The enabled rules of a user, ready to be evaluated.
#[derive(Debug)]
pub struct CompiledRules {
    user: String,
    override_: Vec<Rule>,
    content: Vec<Rule>,
    /// Of threads (MSC4306): stronger than rules for rooms and senders.
    postcontent: Vec<Rule>,
    /// By room id and by user id: each has one rule at most.
    room: HashMap<String, Outcomes>,
    sender: HashMap<String, Outcomes>,
    underride: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    conditions: Vec<Condition>,
    outcome: Outcomes,
}

/// The actions of a rule, and what they come to.
#[derive(Debug)]
struct Outcomes {
    notify: bool,
    highlight: bool,
    sound: Option<String>,
    actions: Vec<Action>,
}

#[derive(Debug)]
enum Condition {
    EventMatch {
        key: String,
        pattern: Glob,
    },
    PropertyIs {
        key: String,
        value: Scalar,
    },
    PropertyContains {
        key: String,
        value: Scalar,
    },
    DisplayName,
    MemberCount {
        operator: ComparisonOperator,
        count: u64,
    },
    SenderMayNotify(String),
    ThreadSubscription(bool),
    /// Not known, so it never holds.
    Never,
}

impl CompiledRules {
    /// Compiles the rules of a user; disabled ones are left out.
    #[must_use]
    pub fn compile(rules: &Ruleset, user: &UserId) -> CompiledRules {
        let conditional = |rule: &ruma::push::ConditionalPushRule| Rule {
            conditions: rule.conditions.iter().map(Condition::compile).collect(),
            outcome: Outcomes::of(&rule.actions),
        };
        let content = |rule: &ruma::push::PatternedPushRule| Rule {
            conditions: vec![Condition::event_match("content.body", &rule.pattern)],
            outcome: Outcomes::of(&rule.actions),
        };
        CompiledRules {
            user: user.to_string(),
            override_: rules.override_.iter().filter(|r| r.enabled).map(conditional).collect(),
            content: rules.content.iter().filter(|r| r.enabled).map(content).collect(),
            postcontent: rules.postcontent.iter().filter(|r| r.enabled).map(conditional).collect(),
            room: rules
                .room
                .iter()
                .filter(|r| r.enabled)
                .map(|r| (r.rule_id.to_string(), Outcomes::of(&r.actions)))
                .collect(),
            sender: rules
                .sender
                .iter()
                .filter(|r| r.enabled)
                .map(|r| (r.rule_id.to_string(), Outcomes::of(&r.actions)))
                .collect(),
            underride: rules.underride.iter().filter(|r| r.enabled).map(conditional).collect(),
        }
    }

    /// What the rules say about an event. One's own events never notify.
    #[must_use]
    pub fn evaluate<'a>(&'a self, event: &Flat, context: &Context<'_>) -> Outcome<'a> {
        let sender = event.text("sender").unwrap_or_default();
        if sender == self.user {
            return Outcome::default();
        }
        let first = |rules: &'a [Rule]| {
            let matching = |rule: &&Rule| rule.conditions.iter().all(|c| c.holds(event, context));
            rules.iter().find(matching).map(|rule| &rule.outcome)
        };
        let found = first(&self.override_)
            .or_else(|| first(&self.content))
            .or_else(|| first(&self.postcontent))
            .or_else(|| self.room.get(context.room_id))
            .or_else(|| self.sender.get(sender))
            .or_else(|| first(&self.underride));
        found.map(Outcomes::shown).unwrap_or_default()
    }
}

impl Outcomes {
    fn of(actions: &[Action]) -> Outcomes {
        Outcomes {
            notify: actions.iter().any(Action::should_notify),
            highlight: actions.iter().any(Action::is_highlight),
            sound: actions.iter().find_map(Action::sound).map(|sound| sound.as_str().to_owned()),
            actions: actions.to_vec(),
        }
    }

    fn shown(&self) -> Outcome<'_> {
        Outcome {
            notify: self.notify,
            highlight: self.highlight,
            sound: self.sound.as_deref(),
            actions: &self.actions,
        }
    }
}

impl Condition {
    fn compile(condition: &PushCondition) -> Condition {
        match condition {
            PushCondition::EventMatch(data) => Condition::event_match(&data.key, &data.pattern),
            PushCondition::EventPropertyIs(data) => {
                Condition::PropertyIs { key: data.key.clone(), value: scalar(&data.value) }
            }
            PushCondition::EventPropertyContains(data) => {
                Condition::PropertyContains { key: data.key.clone(), value: scalar(&data.value) }
            }
            PushCondition::RoomMemberCount(data) => Condition::member_count(&data.is),
            PushCondition::SenderNotificationPermission(data) => {
                Condition::SenderMayNotify(data.key.as_str().to_owned())
            }
            PushCondition::ThreadSubscription(data) => {
                Condition::ThreadSubscription(data.subscribed)
            }
            // Deprecated, and so without a name to match on; users' own rules may still have it.
            other if other.kind() == "contains_display_name" => Condition::DisplayName,
            _ => Condition::Never,
        }
    }

    fn event_match(key: &str, pattern: &str) -> Condition {
        let pattern = Glob::new(pattern, key == "content.body");
        Condition::EventMatch { key: key.to_owned(), pattern }
    }

    fn member_count(is: &RoomMemberCountIs) -> Condition {
        Condition::MemberCount { operator: is.prefix, count: u64::from(is.count) }
    }

    fn holds(&self, event: &Flat, context: &Context<'_>) -> bool {
        match self {
            Condition::EventMatch { key, pattern } if key == "room_id" => {
                pattern.matches(&context.room_id.to_lowercase())
            }
            Condition::EventMatch { key, pattern } => {
                event.lower(key).is_some_and(|text| pattern.matches(text))
            }
            Condition::PropertyIs { key, value } => event.is(key, value),
            Condition::PropertyContains { key, value } => event.contains(key, value),
            Condition::DisplayName => context.display_name.is_some_and(|name| {
                let body = event.lower("content.body");
                body.is_some_and(|body| Glob::literal_word(name).matches(body))
            }),
            Condition::MemberCount { operator, count } => match operator {
                ComparisonOperator::Eq => context.joined_members == *count,
                ComparisonOperator::Lt => context.joined_members < *count,
                ComparisonOperator::Gt => context.joined_members > *count,
                ComparisonOperator::Ge => context.joined_members >= *count,
                ComparisonOperator::Le => context.joined_members <= *count,
            },
            Condition::SenderMayNotify(key) => (context.sender_may_notify)(key),
            Condition::ThreadSubscription(wanted) => context.thread_subscribed == Some(*wanted),
            Condition::Never => false,
        }
    }
}

fn scalar(value: &ScalarJsonValue) -> Scalar {
    match value {
        ScalarJsonValue::Null => Scalar::Null,
        ScalarJsonValue::Bool(value) => Scalar::Bool(*value),
        ScalarJsonValue::Integer(value) => Scalar::Integer(i64::from(*value)),
        ScalarJsonValue::String(value) => Scalar::Text(value.clone()),
    }
}
