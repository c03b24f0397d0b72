//! The arrows between crates (ARCHITECTURE.md): downward only, never between siblings.

use std::collections::BTreeMap;

use serde_json::Value;

/// Every crate has its layer here. A dependency must lie in a lower one.
const LAYERS: &[(u8, &[&str])] = &[
    (0, &["base"]),
    (1, &["protocol", "kv", "kv-lmdb", "kv-postgres"]),
    (2, &["store", "blob", "egress"]),
    (3, &["accounts", "devices", "rooms", "sync", "media", "notify", "policy", "search"]),
    (4, &["flows"]),
    (5, &["althing-http", "followers"]),
    (6, &["althing"]),
];

/// The only arrows between siblings: an engine implements the contract.
const SIBLINGS: [(&str, &str); 2] = [("kv-lmdb", "kv"), ("kv-postgres", "kv")];

/// Crates that only the binary and tests may name.
const ENGINES: [&str; 2] = ["kv-lmdb", "kv-postgres"];

/// Crates for development, which may see everything and which nothing may see.
const DEVELOPMENT: [&str; 4] = ["xtask", "testkit", "sim", "bench"];

fn layer(name: &str) -> Option<u8> {
    LAYERS.iter().find(|(_, names)| names.contains(&name)).map(|(layer, _)| *layer)
}

/// What is wrong with the arrows that `cargo metadata --no-deps` tells of.
pub(crate) fn problems(metadata: &Value) -> Vec<String> {
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut arrows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in list(metadata, "packages").unwrap_or_default() {
        let Some(name) = text(&package, "name") else { continue };
        let inner = list(&package, "dependencies").unwrap_or_default().into_iter();
        // Tests may look upward: the store's tests may run on a real engine.
        let inner = inner
            .filter(|d| text(d, "path").is_some() && text(d, "kind").as_deref() != Some("dev"));
        arrows.insert(name, inner.filter_map(|d| text(&d, "name")).collect());
    }
    arrows.iter().flat_map(|(from, all)| of_crate(from, all)).collect()
}

fn of_crate(from: &str, dependencies: &[String]) -> Vec<String> {
    if DEVELOPMENT.contains(&from) {
        return Vec::new();
    }
    let Some(mine) = layer(from) else {
        return vec![format!("{from}: has no layer; give it one in xtask/src/layers.rs")];
    };
    let wrong = |to: &&String| {
        let lower = layer(to).is_some_and(|theirs| theirs < mine);
        let engine = ENGINES.contains(&to.as_str()) && from != "althing";
        engine || !(lower || SIBLINGS.contains(&(from, to.as_str())))
    };
    dependencies
        .iter()
        .filter(wrong)
        .map(|to| format!("{from} → {to}: not a downward arrow"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arrow(from: &str, to: &str, kind: Option<&str>) -> Vec<String> {
        problems(&json!({"packages": [{"name": from, "dependencies": [
            {"name": to, "kind": kind, "path": "/somewhere"},
            {"name": "serde", "kind": null},
        ]}]}))
    }

    #[test]
    fn arrows_go_downward_only() {
        assert!(arrow("store", "base", None).is_empty());
        assert!(arrow("althing", "kv-lmdb", None).is_empty());
        assert_eq!(arrow("base", "store", None), ["base → store: not a downward arrow"]);
        assert_eq!(arrow("rooms", "althing-http", None).len(), 1);
    }

    #[test]
    fn siblings_never_see_each_other_but_for_engines_and_their_contract() {
        assert_eq!(arrow("rooms", "accounts", None).len(), 1);
        assert_eq!(arrow("kv", "kv-lmdb", None).len(), 1);
        assert!(arrow("kv-lmdb", "kv", None).is_empty());
    }

    #[test]
    fn only_the_binary_and_tests_name_engines() {
        assert_eq!(arrow("store", "kv-lmdb", None).len(), 1);
        assert!(arrow("store", "kv-lmdb", Some("dev")).is_empty());
    }

    #[test]
    fn nothing_sees_the_tools_and_every_crate_has_a_layer() {
        assert_eq!(arrow("althing", "xtask", None).len(), 1);
        assert!(arrow("xtask", "store", None).is_empty());
        assert_eq!(arrow("newcomer", "base", None).len(), 1);
    }
}
