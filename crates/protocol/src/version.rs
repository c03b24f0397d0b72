//! Which room versions are known, and their rule flags (spec: Room Versions).

use ruma::RoomVersionId;
use ruma::room_version_rules::{EventIdFormatVersion, RoomVersionRules};

/// The room versions that rooms may have, oldest first: all that the spec calls stable.
pub const SUPPORTED: [RoomVersionId; 12] = [
    RoomVersionId::V1,
    RoomVersionId::V2,
    RoomVersionId::V3,
    RoomVersionId::V4,
    RoomVersionId::V5,
    RoomVersionId::V6,
    RoomVersionId::V7,
    RoomVersionId::V8,
    RoomVersionId::V9,
    RoomVersionId::V10,
    RoomVersionId::V11,
    RoomVersionId::V12,
];

static V1: RoomVersionRules = RoomVersionRules::V1;
static V2: RoomVersionRules = RoomVersionRules::V2;
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

/// The rule flags of a room version; `None` for unknown versions.
#[must_use]
pub fn rules(version: &RoomVersionId) -> Option<&'static RoomVersionRules> {
    Some(match version {
        RoomVersionId::V1 => &V1,
        RoomVersionId::V2 => &V2,
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

/// Whether the server that makes an event also chooses its id, `$opaque:domain`, instead of the id
/// following from the event (versions 1 and 2). Such events name others with their reference hashes.
#[must_use]
pub fn event_ids_are_chosen(version: &RoomVersionId) -> bool {
    rules(version).is_some_and(|r| r.event_id_format == EventIdFormatVersion::V1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twelve_versions_of_the_spec_are_supported_and_no_other() {
        for (position, version) in SUPPORTED.iter().enumerate() {
            assert_eq!(version.as_str(), (position + 1).to_string());
            let theirs = version.rules().unwrap();
            let ours = rules(version).unwrap();
            assert_eq!(format!("{ours:?}"), format!("{theirs:?}"), "{version}");
            assert!(supported(version));
        }
        for odd in ["13", "org.example.odd", "0"] {
            let odd = RoomVersionId::try_from(odd).unwrap();
            assert!(rules(&odd).is_none() && !supported(&odd));
        }
    }

    #[test]
    fn only_version_12_names_rooms_by_their_create_event() {
        for version in &SUPPORTED {
            assert_eq!(room_id_is_create_id(version), *version == RoomVersionId::V12);
        }
    }

    #[test]
    fn only_versions_1_and_2_have_chosen_event_ids() {
        for (position, version) in SUPPORTED.iter().enumerate() {
            assert_eq!(event_ids_are_chosen(version), position < 2);
        }
    }
}
