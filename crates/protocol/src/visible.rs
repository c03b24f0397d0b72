//! Who may see an event (spec: Client-Server API, "Room history visibility", server behaviour).
//!
//! [`visible`] is the only place that decides this; every read path asks it. Its answer depends on
//! the room's state *at the event* and on whether the viewer joined afterwards, and on nothing
//! else: what the viewer's membership is now plays no part, so that who left goes on seeing what
//! they could see.

/// A value in the state before an event and after it.
///
/// They differ for at most one of the two questions, and only if the event itself changes the
/// answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Around<T> {
    /// In the state before the event.
    pub before: T,
    /// In the state after the event.
    pub after: T,
}

impl<T: Copy> Around<T> {
    /// The value around an event that does not change it.
    pub fn unchanged(value: T) -> Around<T> {
        Around { before: value, after: value }
    }
}

/// The `history_visibility` of a room at an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum History {
    /// Anyone may see it.
    WorldReadable,
    /// Members may, also those who joined later.
    Shared,
    /// Who was invited or joined may.
    Invited,
    /// Who was joined may.
    Joined,
}

impl History {
    /// Reads the value of `history_visibility`: absent or not understood, it is `shared`.
    #[must_use]
    pub fn read(value: Option<&str>) -> History {
        match value {
            Some("world_readable") => History::WorldReadable,
            Some("invited") => History::Invited,
            Some("joined") => History::Joined,
            _ => History::Shared,
        }
    }
}

/// The viewer's membership at an event, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// Joined.
    Joined,
    /// Invited.
    Invited,
    /// Anything else: left, banned, knocking, never there, or not logged in.
    Absent,
}

impl Presence {
    /// Reads the value of `membership`; `None` if the viewer has no membership event.
    #[must_use]
    pub fn read(membership: Option<&str>) -> Presence {
        match membership {
            Some("join") => Presence::Joined,
            Some("invite") => Presence::Invited,
            _ => Presence::Absent,
        }
    }
}

/// What [`visible`] asks about an event and a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visibility {
    /// The history visibility at the event: for an `m.room.history_visibility` event (with an empty
    /// state key) before and after it, for any other the same twice.
    pub history: Around<History>,
    /// The viewer's membership at the event: for the viewer's own `m.room.member` event before and
    /// after it, for any other the same twice.
    pub presence: Around<Presence>,
    /// Whether the viewer joined the room at any point after the event, even if they left again.
    pub joined_later: bool,
}

/// Whether a viewer may see an event.
#[must_use]
pub fn visible(at: &Visibility) -> bool {
    let Visibility { history, presence, joined_later } = *at;
    [history.before, history.after].into_iter().any(|history| {
        [presence.before, presence.after]
            .into_iter()
            .any(|presence| allowed(history, presence, joined_later))
    })
}

/// The five rules, with one value each.
fn allowed(history: History, presence: Presence, joined_later: bool) -> bool {
    match (history, presence) {
        (History::WorldReadable, _) | (_, Presence::Joined) => true,
        (History::Shared, _) => joined_later,
        (History::Invited, Presence::Invited) => true,
        (History::Invited | History::Joined, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::History::*;
    use super::*;

    fn at(history: History, presence: Presence, joined_later: bool) -> Visibility {
        Visibility {
            history: Around::unchanged(history),
            presence: Around::unchanged(presence),
            joined_later,
        }
    }

    /// Every combination: history, presence, joined later, answer.
    const TABLE: [(History, Presence, bool, bool); 24] = [
        (WorldReadable, Presence::Joined, false, true),
        (WorldReadable, Presence::Joined, true, true),
        (WorldReadable, Presence::Invited, false, true),
        (WorldReadable, Presence::Invited, true, true),
        (WorldReadable, Presence::Absent, false, true),
        (WorldReadable, Presence::Absent, true, true),
        (Shared, Presence::Joined, false, true),
        (Shared, Presence::Joined, true, true),
        (Shared, Presence::Invited, false, false),
        (Shared, Presence::Invited, true, true),
        (Shared, Presence::Absent, false, false),
        (Shared, Presence::Absent, true, true),
        (Invited, Presence::Joined, false, true),
        (Invited, Presence::Joined, true, true),
        (Invited, Presence::Invited, false, true),
        (Invited, Presence::Invited, true, true),
        (Invited, Presence::Absent, false, false),
        (Invited, Presence::Absent, true, false),
        (Joined, Presence::Joined, false, true),
        (Joined, Presence::Joined, true, true),
        (Joined, Presence::Invited, false, false),
        (Joined, Presence::Invited, true, false),
        (Joined, Presence::Absent, false, false),
        (Joined, Presence::Absent, true, false),
    ];

    #[test]
    fn every_combination_is_answered_as_the_spec_says() {
        for (history, presence, joined_later, answer) in TABLE {
            assert_eq!(
                visible(&at(history, presence, joined_later)),
                answer,
                "{history:?} {presence:?} {joined_later}"
            );
        }
    }

    #[test]
    fn a_visibility_event_is_seen_if_the_setting_before_or_after_it_allows() {
        for (a, presence, later, answer_a) in TABLE {
            for (b, _, _, answer_b) in
                TABLE.into_iter().filter(|(_, p, l, _)| (*p, *l) == (presence, later))
            {
                let mut asked = at(a, presence, later);
                asked.history = Around { before: a, after: b };
                assert_eq!(visible(&asked), answer_a || answer_b, "{asked:?}");
            }
        }
    }

    #[test]
    fn ones_own_membership_event_is_seen_if_the_membership_before_or_after_it_allows() {
        for (history, a, later, answer_a) in TABLE {
            for (_, b, _, answer_b) in
                TABLE.into_iter().filter(|(h, _, l, _)| (*h, *l) == (history, later))
            {
                let mut asked = at(history, a, later);
                asked.presence = Around { before: a, after: b };
                assert_eq!(visible(&asked), answer_a || answer_b, "{asked:?}");
            }
        }
    }

    #[test]
    fn unknown_values_are_shared_and_absent() {
        assert_eq!(History::read(None), Shared);
        assert_eq!(History::read(Some("odd")), Shared);
        assert_eq!(History::read(Some("shared")), Shared);
        assert_eq!(History::read(Some("world_readable")), WorldReadable);
        assert_eq!(History::read(Some("invited")), Invited);
        assert_eq!(History::read(Some("joined")), Joined);
        assert_eq!(Presence::read(Some("join")), Presence::Joined);
        assert_eq!(Presence::read(Some("invite")), Presence::Invited);
        for other in [None, Some("leave"), Some("ban"), Some("knock"), Some("")] {
            assert_eq!(Presence::read(other), Presence::Absent);
        }
    }
}
