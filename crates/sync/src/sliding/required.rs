//! `required_state`: which of a room's state a client wants (MSC4186, "RequiredStateRequest").
//!
//! What several rules want is kept side by side and never merged, so that wildcards and exclusions need no algebra: a
//! state event is wanted if any part wants it.

use std::{collections::BTreeSet, sync::Arc};

use base::{Error, Event, Reply};
use store::{
    View,
    event::{self, Stored},
    state::{self, Part as Slots, Root},
};

/// Elements of one `required_state`.
const ELEMENTS_MAX: usize = 1_000;

const MEMBER: &str = "m.room.member";

/// What state is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Required {
    parts: Vec<Part>,
}

/// What one rule wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Part {
    /// Wanted,
    pub include: Vec<Element>,
    /// but for these.
    pub exclude: Vec<Element>,
    /// Members as the timeline needs them. What matches everything then does not match members.
    pub lazy: bool,
}

/// State of a type, with a key; what is not set matches anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Element {
    /// Type.
    pub kind: Option<String>,
    /// State key.
    pub key: Option<String>,
}

impl Element {
    fn matches(&self, kind: &str, key: &str) -> bool {
        self.kind.as_deref().is_none_or(|k| k == kind)
            && self.key.as_deref().is_none_or(|k| k == key)
    }

    fn is_everything(&self) -> bool {
        self.kind.is_none() && self.key.is_none()
    }
}

impl Part {
    fn wants(&self, kind: &str, key: &str) -> bool {
        let included = self.include.iter().any(|element| {
            let lazily = self.lazy && kind == MEMBER && element.is_everything();
            !lazily && element.matches(kind, key)
        });
        included && !self.exclude.iter().any(|element| element.matches(kind, key))
    }
}

impl Required {
    /// What one rule wants.
    pub fn new(part: Part) -> Required {
        Required { parts: vec![part] }
    }

    pub(super) fn union<'a>(all: impl Iterator<Item = &'a Required>) -> Required {
        let mut parts: Vec<Part> = Vec::new();
        for part in all.flat_map(|required| &required.parts) {
            if !parts.contains(part) {
                parts.push(part.clone());
            }
        }
        Required { parts }
    }

    pub(super) fn check(&self) -> Reply<()> {
        let elements: usize = self.parts.iter().map(|p| p.include.len() + p.exclude.len()).sum();
        if elements > ELEMENTS_MAX {
            let why = format!("at most {ELEMENTS_MAX} elements of required_state");
            return Err(Error::invalid_param(why));
        }
        Ok(())
    }

    /// Are members told as the timeline needs them?
    pub(super) fn lazy(&self) -> bool {
        self.parts.iter().any(|part| part.lazy)
    }

    /// Is this state wanted, whatever the timeline?
    pub(super) fn wants(&self, kind: &str, key: &str) -> bool {
        self.parts.iter().any(|part| part.wants(kind, key))
    }

    /// Is this event wanted?
    pub(super) fn wants_event(&self, stored: &Stored) -> bool {
        stored.row.state_key.as_deref().is_some_and(|key| self.wants(&stored.row.kind, key))
    }

    /// All that is wanted of a state.
    pub(super) fn read(&self, view: &View, root: Root) -> Reply<Vec<Arc<Stored>>> {
        let mut found: BTreeSet<Event> = BTreeSet::new();
        let wild = self.parts.iter().flat_map(|part| {
            part.include.iter().filter(|e| e.kind.is_none()).map(|e| part.lazy && e.is_everything())
        });
        match wild.reduce(|all, lazily| all && lazily) {
            Some(true) => found.extend(state::list(view, root, Slots::Except(MEMBER))?),
            Some(false) => found.extend(state::list(view, root, Slots::All)?),
            None => {}
        }
        for element in self.parts.iter().flat_map(|part| &part.include) {
            match (&element.kind, &element.key) {
                (Some(kind), Some(key)) => found.extend(state::get(view, root, kind, key)?),
                (Some(kind), None) => found.extend(state::list(view, root, Slots::Only(kind))?),
                (None, _) => {}
            }
        }
        let mut wanted = Vec::with_capacity(found.len());
        for event in found {
            let stored = event::load(view, event)?;
            if self.wants_event(&stored) {
                wanted.push(stored);
            }
        }
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(kind: &str, key: &str) -> Element {
        let set = |text: &str| (text != "*").then(|| text.to_owned());
        Element { kind: set(kind), key: set(key) }
    }

    fn part(include: &[(&str, &str)], exclude: &[(&str, &str)], lazy: bool) -> Part {
        let all = |of: &[(&str, &str)]| of.iter().map(|(a, b)| element(a, b)).collect();
        Part { include: all(include), exclude: all(exclude), lazy }
    }

    #[test]
    fn an_exclusion_counts_for_its_own_rule_only() {
        let all = part(&[("*", "*")], &[("m.room.create", "")], false);
        let one = Required::new(all.clone());
        assert!(one.wants("m.room.name", "") && !one.wants("m.room.create", ""));
        let create = Required::new(part(&[("m.room.create", "*")], &[], false));
        let both = Required::union([&one, &create].into_iter());
        assert!(both.wants("m.room.create", ""));
    }

    #[test]
    fn everything_with_lazy_members_is_everything_but_members() {
        let lazy = Required::new(part(&[("*", "*")], &[], true));
        assert!(lazy.wants("m.room.topic", "") && !lazy.wants(MEMBER, "@a:x"));
        let named = Required::new(part(&[("*", "*"), (MEMBER, "@a:x")], &[], true));
        assert!(named.wants(MEMBER, "@a:x") && !named.wants(MEMBER, "@b:x"));
        let key = Required::new(part(&[("*", "@a:x")], &[], true));
        assert!(key.wants(MEMBER, "@a:x") && key.wants("x", "@a:x") && !key.wants("x", ""));
    }
}
