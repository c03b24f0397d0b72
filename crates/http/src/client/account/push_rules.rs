//! `/pushrules/…`: all rules, one rule, its `enabled` and its `actions`.

use accounts::push_rules;
use base::Reply;
use ruma::{
    api::client::push::{
        delete_pushrule, get_pushrule, get_pushrule_actions, get_pushrule_enabled,
        get_pushrules_all, get_pushrules_global_scope, set_pushrule, set_pushrule_actions,
        set_pushrule_enabled,
    },
    push::{AnyPushRule, RuleKind},
};
use store::{Tx, View};

use crate::handler::{Caller, Routes};

pub(super) fn routes() -> Routes {
    Routes::default()
        .read(all)
        .read(global)
        .read(get)
        .write(set)
        .write(remove)
        .read(enabled)
        .write(set_enabled)
        .read(actions)
        .write(set_actions)
}

fn all(
    view: &View,
    caller: Caller,
    _: get_pushrules_all::v3::Request,
) -> Reply<get_pushrules_all::v3::Response> {
    let rules = push_rules::get(view, caller.user, &caller.id)?;
    Ok(get_pushrules_all::v3::Response::new(rules))
}

fn global(
    view: &View,
    caller: Caller,
    _: get_pushrules_global_scope::v3::Request,
) -> Reply<get_pushrules_global_scope::v3::Response> {
    let rules = push_rules::get(view, caller.user, &caller.id)?;
    Ok(get_pushrules_global_scope::v3::Response::new(rules))
}

/// Clients name this kind in paths as it is named in the rules.
fn named(kind: RuleKind) -> RuleKind {
    if kind.as_str() == "postcontent" { RuleKind::PostContent } else { kind }
}

fn one(view: &View, caller: &Caller, kind: RuleKind, id: &str) -> Reply<AnyPushRule> {
    let kind = named(kind);
    let rules = push_rules::get(view, caller.user, &caller.id)?;
    rules.get(kind, id).map(|rule| rule.to_owned()).ok_or_else(push_rules::no_rule)
}

fn get(
    view: &View,
    caller: Caller,
    request: get_pushrule::v3::Request,
) -> Reply<get_pushrule::v3::Response> {
    let rule = one(view, &caller, request.kind, &request.rule_id)?;
    Ok(get_pushrule::v3::Response::new(rule.into()))
}

fn set(
    tx: &mut Tx,
    caller: Caller,
    request: set_pushrule::v3::Request,
) -> Reply<set_pushrule::v3::Response> {
    let (after, before) = (request.after.as_deref(), request.before.as_deref());
    push_rules::set_rule(tx, caller.user, &caller.id, request.rule, after, before)?;
    Ok(set_pushrule::v3::Response::new())
}

fn remove(
    tx: &mut Tx,
    caller: Caller,
    request: delete_pushrule::v3::Request,
) -> Reply<delete_pushrule::v3::Response> {
    push_rules::remove_rule(tx, caller.user, &caller.id, request.kind, &request.rule_id)?;
    Ok(delete_pushrule::v3::Response::new())
}

fn enabled(
    view: &View,
    caller: Caller,
    request: get_pushrule_enabled::v3::Request,
) -> Reply<get_pushrule_enabled::v3::Response> {
    let rule = one(view, &caller, request.kind, &request.rule_id)?;
    Ok(get_pushrule_enabled::v3::Response::new(rule.enabled()))
}

fn set_enabled(
    tx: &mut Tx,
    caller: Caller,
    request: set_pushrule_enabled::v3::Request,
) -> Reply<set_pushrule_enabled::v3::Response> {
    let (kind, rule) = (named(request.kind), request.rule_id.as_str());
    push_rules::set_enabled(tx, caller.user, &caller.id, kind, rule, request.enabled)?;
    Ok(set_pushrule_enabled::v3::Response::new())
}

fn actions(
    view: &View,
    caller: Caller,
    request: get_pushrule_actions::v3::Request,
) -> Reply<get_pushrule_actions::v3::Response> {
    let rule = one(view, &caller, request.kind, &request.rule_id)?;
    Ok(get_pushrule_actions::v3::Response::new(rule.actions().to_vec()))
}

fn set_actions(
    tx: &mut Tx,
    caller: Caller,
    request: set_pushrule_actions::v3::Request,
) -> Reply<set_pushrule_actions::v3::Response> {
    let (kind, rule) = (named(request.kind), request.rule_id.as_str());
    push_rules::set_actions(tx, caller.user, &caller.id, kind, rule, request.actions)?;
    Ok(set_pushrule_actions::v3::Response::new())
}
