//! Push rules, kept as the account data `m.push_rules` (spec: Client-Server API, "Push Rules"). What is stored are the
//! user's rules and what they changed about the server's; the server's own are merged in whenever rules are read,
//! so that new defaults reach everyone.

use base::{Error, Reply, User};
use protocol::push::with_defaults;
use ruma::{
    UserId,
    push::{Action, InsertPushRuleError, NewPushRule, RemovePushRuleError, RuleKind, Ruleset},
};
use serde::{Deserialize, Serialize};
use store::{Tx, View};

use crate::{
    account_data::{self, GLOBAL},
    text::check_name,
};

const KIND: &str = "m.push_rules";
/// All rules of a user, in bytes: every message in every room of theirs is judged by them.
const RULES_BYTES_MAX: usize = 128 << 10;

#[derive(Deserialize, Serialize)]
struct Content {
    #[serde(default)]
    global: Ruleset,
}

/// A user's rules with the server's defaults.
///
/// # Errors
/// Faults only.
pub fn get(view: &View, user: User, id: &UserId) -> Reply<Ruleset> {
    let stored = account_data::get(view, user, GLOBAL, KIND)?;
    // Only this module writes them; what an older version left that cannot be read is no rule of the user's any more.
    let stored = stored.and_then(|text| serde_json::from_str::<Content>(&text).ok());
    Ok(with_defaults(stored.map(|content| content.global), id))
}

/// The content of `m.push_rules`, as sync and GET /account_data show it: a JSON object text.
///
/// # Errors
/// Faults only.
pub fn content(view: &View, user: User, id: &UserId) -> Reply<String> {
    text(get(view, user, id)?)
}

fn text(global: Ruleset) -> Reply<String> {
    serde_json::to_string(&Content { global }).map_err(|e| Error::fault(format!("push rules: {e}")))
}

fn put(tx: &mut Tx, user: User, rules: Ruleset) -> Reply<()> {
    let text = text(rules)?;
    if text.len() > RULES_BYTES_MAX {
        return Err(Error::too_large(format!(
            "Push rules may have at most {RULES_BYTES_MAX} bytes."
        )));
    }
    account_data::put(tx, user, GLOBAL, KIND, text)
}

/// Adds or changes a rule of the user's own.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for a rule id that is not the user's to give, or a place that does not exist; 413
/// `M_TOO_LARGE` for too many rules.
pub fn set_rule(
    tx: &mut Tx,
    user: User,
    id: &UserId,
    rule: NewPushRule,
    after: Option<&str>,
    before: Option<&str>,
) -> Reply<()> {
    check_name("A rule id", rule.rule_id())?;
    let mut rules = get(tx, user, id)?;
    rules.insert(rule, after, before).map_err(refuse_insert)?;
    put(tx, user, rules)
}

fn refuse_insert(error: InsertPushRuleError) -> Error {
    match error {
        InsertPushRuleError::UnknownRuleId => {
            Error::refused(400, "M_UNKNOWN", "The rule named by before or after was not found.")
        }
        other => Error::invalid_param(other.to_string()),
    }
}

/// Removes a rule of the user's own.
///
/// # Errors
/// 404 `M_NOT_FOUND`; 400 `M_INVALID_PARAM` for a rule of the server's.
pub fn remove_rule(tx: &mut Tx, user: User, id: &UserId, kind: RuleKind, rule: &str) -> Reply<()> {
    let mut rules = get(tx, user, id)?;
    rules.remove(kind, rule).map_err(|error| match error {
        RemovePushRuleError::NotFound => no_rule(),
        other => Error::invalid_param(other.to_string()),
    })?;
    put(tx, user, rules)
}

/// 404: there is no such rule.
#[must_use]
pub fn no_rule() -> Error {
    Error::not_found("There is no such push rule.")
}

/// Switches a rule on or off.
///
/// # Errors
/// 404 `M_NOT_FOUND`.
pub fn set_enabled(
    tx: &mut Tx,
    user: User,
    id: &UserId,
    kind: RuleKind,
    rule: &str,
    enabled: bool,
) -> Reply<()> {
    let mut rules = get(tx, user, id)?;
    rules.set_enabled(kind, rule, enabled).map_err(|_| no_rule())?;
    put(tx, user, rules)
}

/// Changes what a rule does.
///
/// # Errors
/// 404 `M_NOT_FOUND`.
pub fn set_actions(
    tx: &mut Tx,
    user: User,
    id: &UserId,
    kind: RuleKind,
    rule: &str,
    actions: Vec<Action>,
) -> Reply<()> {
    let mut rules = get(tx, user, id)?;
    rules.set_actions(kind, rule, actions).map_err(|_| no_rule())?;
    put(tx, user, rules)
}
