//! Event filters (spec: Client-Server API, "Filtering"), compiled once and asked for every event.
//!
//! In every pair of lists the excluding one wins; an absent list excludes nothing; an empty
//! including list lets nothing through.

use base::{Error, Reply};
use ruma::api::client::filter::{Filter, RoomEventFilter, UrlFilter};
use ruma::{OwnedRoomId, OwnedUserId};
use serde::Deserialize;

/// A filter for events, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct EventMatcher {
    types: Choice<Pattern>,
    senders: Choice<String>,
    rooms: Choice<String>,
    contains_url: Option<bool>,
    related_by: Option<RelatedBy>,
    rel_types: Option<Choice<String>>,
}

/// A filter for events that others relate to (spec: Threading, `related_by_*`). Empty lists ask
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelatedBy {
    /// At least one event of these senders relates to it.
    pub senders: Vec<OwnedUserId>,
    /// At least one event relates to it in one of these ways.
    pub rel_types: Vec<String>,
}

impl EventMatcher {
    /// Compiles a room event filter. ruma does not read `related_by_senders`, `related_by_rel_types`
    /// and what MSC3874 adds; [`parse`](Self::parse) does.
    #[must_use]
    pub fn of_room_events(filter: &RoomEventFilter) -> EventMatcher {
        EventMatcher {
            types: Choice::patterns(filter.types.as_deref(), &filter.not_types),
            senders: Choice::ids(filter.senders.as_deref(), &filter.not_senders),
            rooms: Choice::ids(filter.rooms.as_deref(), &filter.not_rooms),
            contains_url: filter.url_filter.as_ref().map(|url| *url == UrlFilter::EventsWithUrl),
            ..EventMatcher::default()
        }
    }

    /// Compiles a filter for events that are in no room (account data, presence).
    #[must_use]
    pub fn of_events(filter: &Filter) -> EventMatcher {
        EventMatcher {
            types: Choice::patterns(filter.types.as_deref(), &filter.not_types),
            senders: Choice::ids(filter.senders.as_deref(), &filter.not_senders),
            ..EventMatcher::default()
        }
    }

    /// Compiles the JSON of a room event filter, with all its fields.
    ///
    /// # Errors
    /// 400 `M_BAD_JSON` if it is not a filter.
    pub fn parse(json: &str) -> Reply<EventMatcher> {
        #[derive(Deserialize)]
        struct Related {
            #[serde(default)]
            related_by_senders: Vec<OwnedUserId>,
            #[serde(default)]
            related_by_rel_types: Vec<String>,
            #[serde(rename = "org.matrix.msc3874.rel_types")]
            rel_types: Option<Vec<String>>,
            #[serde(rename = "org.matrix.msc3874.not_rel_types", default)]
            not_rel_types: Vec<String>,
        }
        let bad = |error: serde_json::Error| Error::bad_json(format!("filter: {error}"));
        let filter: RoomEventFilter = serde_json::from_str(json).map_err(bad)?;
        let Related { related_by_senders, related_by_rel_types, rel_types, not_rel_types } =
            serde_json::from_str(json).map_err(bad)?;
        let related = RelatedBy { senders: related_by_senders, rel_types: related_by_rel_types };
        let related_by = Some(related).filter(|related| *related != RelatedBy::default());
        let rel_types = Some(Choice { include: rel_types, exclude: not_rel_types });
        let rel_types = rel_types.filter(|choice| !choice.is_open());
        Ok(EventMatcher { related_by, rel_types, ..EventMatcher::of_room_events(&filter) })
    }

    /// Whether the filter lets an event through; [`related_by`](Self::related_by) is asked apart.
    ///
    /// `room_id` is `None` where the events are of one room that was already [asked](Self::room)
    /// for, and `contains_url` is called only if the filter wants to know.
    pub fn matches(
        &self,
        kind: &str,
        sender: &str,
        room_id: Option<&str>,
        contains_url: impl FnOnce() -> bool,
    ) -> bool {
        self.types.lets(|pattern| pattern.matches(kind))
            && self.senders.lets(|id| id == sender)
            && room_id.is_none_or(|id| self.room(id))
            && self.contains_url.is_none_or(|wanted| wanted == contains_url())
    }

    /// Whether the filter lets through events of this type, whoever sent them.
    #[must_use]
    pub fn kind(&self, kind: &str) -> bool {
        self.types.lets(|pattern| pattern.matches(kind))
    }

    /// Whether the filter lets through events of this room.
    #[must_use]
    pub fn room(&self, room_id: &str) -> bool {
        self.rooms.lets(|id| id == room_id)
    }

    /// Whether the filter lets everything through.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.types.is_open()
            && self.senders.is_open()
            && self.rooms.is_open()
            && self.contains_url.is_none()
            && self.related_by.is_none()
            && self.rel_types.is_none()
    }

    /// Whether the filter lets through an event that relates to another in this way (MSC3874), or to none. `rel_type` is
    /// called only if the filter wants to know.
    pub fn relates(&self, rel_type: impl FnOnce() -> Option<String>) -> bool {
        let Some(choice) = &self.rel_types else { return true };
        match rel_type() {
            Some(rel_type) => choice.lets(|wanted| *wanted == rel_type),
            None => choice.include.is_none(),
        }
    }

    /// What the filter asks of the events that relate to an event, if it does.
    #[must_use]
    pub fn related_by(&self) -> Option<&RelatedBy> {
        self.related_by.as_ref()
    }
}

/// The rooms a filter lets through, as the room part of a sync filter has it beside its event
/// filters.
#[derive(Clone, Debug, Default)]
pub struct RoomMatcher(Choice<String>);

impl RoomMatcher {
    /// Compiles the `rooms` and `not_rooms` of a filter.
    #[must_use]
    pub fn new(rooms: Option<&[OwnedRoomId]>, not_rooms: &[OwnedRoomId]) -> RoomMatcher {
        RoomMatcher(Choice::ids(rooms, not_rooms))
    }

    /// Whether the filter lets the room through.
    #[must_use]
    pub fn matches(&self, room_id: &str) -> bool {
        self.0.lets(|id| id == room_id)
    }
}

/// An including list, if there is one, and an excluding one.
#[derive(Clone, Debug)]
struct Choice<T> {
    include: Option<Vec<T>>,
    exclude: Vec<T>,
}

impl<T> Default for Choice<T> {
    fn default() -> Self {
        Choice { include: None, exclude: Vec::new() }
    }
}

impl<T> Choice<T> {
    fn lets(&self, is: impl Fn(&T) -> bool) -> bool {
        !self.exclude.iter().any(&is)
            && self.include.as_ref().is_none_or(|list| list.iter().any(&is))
    }

    fn is_open(&self) -> bool {
        self.include.is_none() && self.exclude.is_empty()
    }
}

impl Choice<String> {
    fn ids<I: AsRef<str>>(include: Option<&[I]>, exclude: &[I]) -> Choice<String> {
        let texts = |ids: &[I]| ids.iter().map(|id| id.as_ref().to_owned()).collect();
        Choice { include: include.map(texts), exclude: texts(exclude) }
    }
}

impl Choice<Pattern> {
    fn patterns(include: Option<&[String]>, exclude: &[String]) -> Choice<Pattern> {
        let compile = |list: &[String]| list.iter().map(|text| Pattern::new(text)).collect();
        Choice { include: include.map(compile), exclude: compile(exclude) }
    }
}

/// A type in which `*` stands for any characters: the parts between the stars.
#[derive(Clone, Debug)]
struct Pattern(Vec<String>);

impl Pattern {
    fn new(text: &str) -> Pattern {
        Pattern(text.split('*').map(str::to_owned).collect())
    }

    fn matches(&self, kind: &str) -> bool {
        let [first, middle @ .., last] = self.0.as_slice() else {
            return self.0.first().is_some_and(|whole| whole == kind);
        };
        let Some(mut left) = kind.strip_prefix(first.as_str()) else { return false };
        // The leftmost place of each part is as good as any: what is left is longest then.
        for part in middle {
            let Some((_, right)) = left.split_once(part.as_str()) else { return false };
            left = right;
        }
        left.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(json: &str) -> EventMatcher {
        EventMatcher::parse(json).unwrap()
    }

    fn kind(json: &str, kind: &str) -> bool {
        matcher(json).matches(kind, "@a:x", Some("!r:x"), || false)
    }

    #[test]
    fn without_lists_everything_passes() {
        assert!(kind("{}", "m.room.message"));
        assert!(matcher("{}").is_open());
        for json in [
            r#"{"types":["a"]}"#,
            r#"{"not_types":["a"]}"#,
            r#"{"senders":["@a:x"]}"#,
            r#"{"rooms":[]}"#,
            r#"{"contains_url":true}"#,
            r#"{"related_by_rel_types":["m.thread"]}"#,
        ] {
            assert!(!matcher(json).is_open(), "{json}");
        }
    }

    #[test]
    fn an_empty_including_list_lets_nothing_through() {
        assert!(!kind(r#"{"types":[]}"#, "m.room.message"));
        assert!(!kind(r#"{"senders":[]}"#, "m.room.message"));
        assert!(!kind(r#"{"rooms":[]}"#, "m.room.message"));
        assert!(kind(r#"{"not_types":[]}"#, "m.room.message"));
    }

    #[test]
    fn excluding_wins_over_including() {
        assert!(!kind(r#"{"types":["m.a"],"not_types":["m.a"]}"#, "m.a"));
        assert!(!kind(r#"{"senders":["@a:x"],"not_senders":["@a:x"]}"#, "m.a"));
        assert!(!kind(r#"{"rooms":["!r:x"],"not_rooms":["!r:x"]}"#, "m.a"));
        assert!(kind(r#"{"senders":["@a:x"],"not_senders":["@b:x"]}"#, "m.a"));
        assert!(!kind(r#"{"senders":["@b:x"]}"#, "m.a"));
        assert!(!kind(r#"{"rooms":["!s:x"]}"#, "m.a"));
    }

    #[test]
    fn stars_stand_for_any_characters() {
        for (pattern, text, answer) in [
            ("*", "", true),
            ("m.*", "m.room", true),
            ("m.*", "n.room", false),
            ("*.room", "m.room", true),
            ("*.room", "m.rooms", false),
            ("m.*.x.*", "m.a.x.b", true),
            ("m.*.x.*", "m.a.y.b", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "abbbc", true),
            ("a*bc", "abcbc", true),
            ("a**b", "ab", true),
            ("m.room", "m.room", true),
            ("m.room", "m.room.x", false),
            ("", "", true),
            ("a?c", "abc", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), answer, "{pattern} {text}");
        }
    }

    #[test]
    fn urls_are_asked_for_only_if_the_filter_wants_to_know() {
        let with = |json: &str, url: bool| matcher(json).matches("m.a", "@a:x", None, || url);
        assert!(with(r#"{"contains_url":true}"#, true) && !with(r#"{"contains_url":true}"#, false));
        assert!(
            with(r#"{"contains_url":false}"#, false) && !with(r#"{"contains_url":false}"#, true)
        );
        assert!(matcher("{}").matches("m.a", "@a:x", None, || panic!("asked")));
    }

    #[test]
    fn rooms_are_not_asked_for_again_inside_one() {
        let matcher = matcher(r#"{"rooms":["!r:x"]}"#);
        assert!(matcher.matches("m.a", "@a:x", None, || false));
        assert!(matcher.room("!r:x") && !matcher.room("!s:x"));
    }

    #[test]
    fn relations_to_an_event_can_be_asked_for() {
        let found =
            matcher(r#"{"related_by_senders":["@b:x"],"related_by_rel_types":["m.thread"]}"#);
        let related = found.related_by().unwrap();
        assert_eq!(
            (related.senders[0].as_str(), related.rel_types[0].as_str()),
            ("@b:x", "m.thread")
        );
        assert!(matcher("{}").related_by().is_none());
        assert!(EventMatcher::parse(r#"{"types":1}"#).is_err());
    }

    #[test]
    fn events_are_chosen_by_how_they_relate_and_excluding_wins() {
        let lets = |json: &str, how: Option<&str>| matcher(json).relates(|| how.map(str::to_owned));
        let only = r#"{"org.matrix.msc3874.rel_types":["m.thread","m.replace"],
            "org.matrix.msc3874.not_rel_types":["m.replace"]}"#;
        assert!(lets(only, Some("m.thread")));
        assert!(!lets(only, Some("m.replace")) && !lets(only, Some("x")) && !lets(only, None));
        let not = r#"{"org.matrix.msc3874.not_rel_types":["m.thread"]}"#;
        assert!(lets(not, None) && lets(not, Some("x")) && !lets(not, Some("m.thread")));
        assert!(matcher("{}").relates(|| panic!("asked")) && !matcher(not).is_open());
    }

    #[test]
    fn room_lists_work_alone() {
        let rooms = [OwnedRoomId::try_from("!r:x").unwrap()];
        assert!(RoomMatcher::default().matches("!r:x"));
        assert!(RoomMatcher::new(Some(&rooms), &[]).matches("!r:x"));
        assert!(!RoomMatcher::new(Some(&rooms), &[]).matches("!s:x"));
        assert!(!RoomMatcher::new(None, &rooms).matches("!r:x"));
    }

    #[test]
    fn filters_outside_rooms_look_at_type_and_sender() {
        let filter: Filter =
            serde_json::from_str(r#"{"types":["m.p*"],"not_senders":["@b:x"]}"#).unwrap();
        let matcher = EventMatcher::of_events(&filter);
        assert!(matcher.matches("m.presence", "@a:x", None, || false));
        assert!(!matcher.matches("m.presence", "@b:x", None, || false));
        assert!(matcher.kind("m.push") && !matcher.kind("m.tag"));
    }
}
