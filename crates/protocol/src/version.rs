//! Which room versions are known, and their rule flags (spec: Room Versions).

use ruma::RoomVersionId;
use ruma::room_version_rules::RoomVersionRules;

/// The room versions a new room may be created with and clients may be told of, oldest first.
pub const SUPPORTED: [RoomVersionId; 3] =
    [RoomVersionId::V10, RoomVersionId::V11, RoomVersionId::V12];

static V3: RoomVersionRules = RoomVersionRules::V3;
static V4: RoomVersionRules = RoomVersionRules::V4;
static V5: RoomVersionRules = RoomVersionRules::V5;
static V6: RoomVersionRules = RoomVersionRules::V6;
static V7: RoomVersionRules = RoomVersionRules::V7;
static V8: RoomVersionRules = RoomVersionRules::V8;
static V9: RoomVersionRules = RoomVersionRules::V9;
static V10: RoomVersionRules = RoomVersionRules::V10;
static V11: RoomVersionRules = RoomVersionRules::V11;
static V12: RoomVersionRules = RoomVersionRules::V12;

/// The rule flags of a room version whose event format this crate can read and write.
///
/// `None` for unknown versions, and for 1 and 2, whose events carry their id and refer to others in
/// another shape. Having rules does not make a version [`supported`].
#[must_use]
pub fn rules(version: &RoomVersionId) -> Option<&'static RoomVersionRules> {
    Some(match version {
        RoomVersionId::V3 => &V3,
        RoomVersionId::V4 => &V4,
        RoomVersionId::V5 => &V5,
        RoomVersionId::V6 => &V6,
        RoomVersionId::V7 => &V7,
        RoomVersionId::V8 => &V8,
        RoomVersionId::V9 => &V9,
        RoomVersionId::V10 => &V10,
        RoomVersionId::V11 => &V11,
        RoomVersionId::V12 => &V12,
        _ => return None,
    })
}

/// Whether this server takes part in rooms of this version.
#[must_use]
pub fn supported(version: &RoomVersionId) -> bool {
    SUPPORTED.contains(version)
}

/// Whether the room id is the id of the create event (version 12 and later).
#[must_use]
pub fn room_id_is_create_id(version: &RoomVersionId) -> bool {
    rules(version).is_some_and(|r| r.authorization.room_create_event_id_as_room_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supported_versions_have_rules_and_unknown_ones_have_none() {
        for version in &SUPPORTED {
            assert!(rules(version).is_some(), "{version}");
        }
        assert!(rules(&RoomVersionId::V1).is_none());
        assert!(rules(&RoomVersionId::try_from("org.example.odd").unwrap()).is_none());
        assert!(!supported(&RoomVersionId::V9));
    }

    #[test]
    fn only_version_12_names_rooms_by_their_create_event() {
        assert!(!room_id_is_create_id(&RoomVersionId::V11));
        assert!(room_id_is_create_id(&RoomVersionId::V12));
    }
}
