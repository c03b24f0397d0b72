//! What a server in a room proposes for a membership event (spec: Server-Server API, `make_join`, `make_leave`, `make_knock`),
//! and the event made of it.
//!
//! Nothing is taken over of a proposal but its place in the room (events before it, auth events, depth) and who authorises
//! a restricted join; all else must be what was asked for.

use std::collections::BTreeMap;

use base::{Error, Reply, UnixMs};
use protocol::{Draft, Pdu, SigningKey, pdu::Named, version::event_ids_are_chosen};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, RoomVersionId, ServerName, UserId};
use serde::Deserialize;
use serde_json::{
    Map, Value,
    value::{RawValue, to_raw_value},
};
use store::schema::Standing;

/// What was asked of the other server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) room: &'a RoomId,
    pub(super) user: &'a UserId,
    pub(super) standing: Standing,
}

/// A proposal that fits what was asked for.
#[derive(Debug)]
pub(super) struct Template {
    room: OwnedRoomId,
    user: OwnedUserId,
    authorised_via: Option<OwnedUserId>,
    prev_events: Vec<OwnedEventId>,
    auth_events: Vec<OwnedEventId>,
    /// Of the events named, in versions 1 and 2.
    hashes: BTreeMap<OwnedEventId, String>,
    depth: u64,
}

#[derive(Deserialize)]
struct Proposal {
    room_id: OwnedRoomId,
    sender: OwnedUserId,
    #[serde(rename = "type")]
    kind: String,
    state_key: String,
    content: Content,
    prev_events: Vec<Reference>,
    auth_events: Vec<Reference>,
    depth: u64,
}

#[derive(Deserialize)]
struct Content {
    membership: String,
    join_authorised_via_users_server: Option<OwnedUserId>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Reference {
    Id(OwnedEventId),
    Hashed(OwnedEventId, Hashes),
}

#[derive(Deserialize)]
struct Hashes {
    sha256: String,
}

impl Template {
    /// Reads a proposal.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub(super) fn read(raw: &RawValue, wanted: Wanted<'_>) -> Result<Template, String> {
        let read: Proposal =
            serde_json::from_str(raw.get()).map_err(|e| format!("no event to sign: {e}"))?;
        let fits = read.room_id == wanted.room
            && read.sender == wanted.user
            && read.kind == "m.room.member"
            && read.state_key == wanted.user.as_str()
            && read.content.membership == wanted.standing.as_str();
        if !fits {
            return Err("an event to sign that is not what was asked for".to_owned());
        }
        let too_many = read.prev_events.len() > protocol::pdu::PREV_EVENTS_MAX
            || read.auth_events.len() > protocol::pdu::AUTH_EVENTS_MAX;
        if too_many {
            return Err("an event to sign that names too many others".to_owned());
        }
        let mut hashes = BTreeMap::new();
        let mut ids = |references: Vec<Reference>| -> Vec<OwnedEventId> {
            let id = |reference| match reference {
                Reference::Id(id) => id,
                Reference::Hashed(id, Hashes { sha256 }) => {
                    hashes.insert(id.clone(), sha256);
                    id
                }
            };
            references.into_iter().map(id).collect()
        };
        let (prev_events, auth_events) = (ids(read.prev_events), ids(read.auth_events));
        let authorised_via = read.content.join_authorised_via_users_server;
        Ok(Template {
            room: read.room_id,
            user: read.sender,
            authorised_via: authorised_via.filter(|_| wanted.standing == Standing::Join),
            prev_events,
            auth_events,
            hashes,
            depth: read.depth,
        })
    }

    /// The event, made by this server. `content` is what this server says of its user; `opaque` names the event in
    /// versions 1 and 2.
    ///
    /// # Errors
    /// As [`Draft::sign`].
    pub(super) fn sign(
        self,
        version: &RoomVersionId,
        (server, key): (&ServerName, &SigningKey),
        mut content: Map<String, Value>,
        now: UnixMs,
        opaque: &str,
    ) -> Reply<Pdu> {
        if let Some(via) = &self.authorised_via {
            let via = Value::String(via.to_string());
            content.insert("join_authorised_via_users_server".to_owned(), via);
        }
        let named = if event_ids_are_chosen(version) {
            let event_id = OwnedEventId::try_from(format!("${opaque}:{server}"))
                .map_err(|e| Error::fault(format!("own event id: {e}")))?;
            Some(Named { event_id, hashes: self.hashes })
        } else {
            None
        };
        let content =
            to_raw_value(&content).map_err(|e| Error::fault(format!("own content: {e}")))?;
        let draft = Draft {
            room_id: Some(self.room),
            state_key: Some(self.user.to_string()),
            sender: self.user,
            kind: "m.room.member".to_owned(),
            content,
            redacts: None,
            prev_events: self.prev_events,
            auth_events: self.auth_events,
            depth: self.depth,
            origin_server_ts: now.0,
        };
        draft.sign_sticky(version, server, key, named, None)
    }
}

#[cfg(test)]
mod tests {
    use ruma::{room_id, server_name, user_id};
    use serde_json::json;

    use super::*;

    fn proposal() -> Value {
        json!({
            "room_id": "!r:there", "sender": "@a:here", "type": "m.room.member",
            "state_key": "@a:here", "depth": 7, "origin": "there", "origin_server_ts": 1,
            "content": {
                "membership": "join", "displayname": "not mine", "evil": true,
                "join_authorised_via_users_server": "@mod:there",
            },
            "prev_events": ["$before"], "auth_events": ["$create", "$rules"],
        })
    }

    fn read(proposal: &Value, standing: Standing) -> Result<Template, String> {
        let wanted = Wanted { room: room_id!("!r:there"), user: user_id!("@a:here"), standing };
        Template::read(&to_raw_value(proposal).unwrap(), wanted)
    }

    fn sign(template: Template, version: &RoomVersionId) -> Pdu {
        let key = SigningKey::generate([1; 32], "k").unwrap();
        let Value::Object(content) = json!({"membership": "join", "displayname": "A"}) else {
            panic!()
        };
        let by = (server_name!("here"), &key);
        template.sign(version, by, content, UnixMs(5), "opaque").unwrap()
    }

    #[test]
    fn an_event_takes_its_place_from_the_template_and_its_words_from_this_server() {
        let pdu = sign(read(&proposal(), Standing::Join).unwrap(), &RoomVersionId::V10);
        let content: Value = serde_json::from_str(pdu.content.get()).unwrap();
        let expected = json!({
            "membership": "join", "displayname": "A",
            "join_authorised_via_users_server": "@mod:there",
        });
        assert_eq!(content, expected);
        assert_eq!((pdu.depth, pdu.origin_server_ts), (7, 5));
        assert_eq!(pdu.prev_events, ["$before"]);
        assert_eq!(pdu.auth_events, ["$create", "$rules"]);
        assert!(pdu.is_signed_by("here") && pdu.content_hash_holds(&RoomVersionId::V10));
    }

    #[test]
    fn what_is_not_what_was_asked_for_is_not_signed() {
        for (field, value) in [
            ("room_id", json!("!other:there")),
            ("sender", json!("@b:here")),
            ("state_key", json!("@b:here")),
            ("type", json!("m.room.power_levels")),
            ("content", json!({"membership": "ban"})),
            ("prev_events", json!(vec!["$x"; 21])),
            ("auth_events", json!(vec!["$x"; 11])),
            ("depth", json!(-1)),
        ] {
            let mut wrong = proposal();
            wrong[field] = value;
            assert!(read(&wrong, Standing::Join).is_err(), "{field}");
        }
        assert!(read(&proposal(), Standing::Leave).is_err());
    }

    #[test]
    fn in_old_versions_events_are_named_with_their_hashes() {
        let mut old = proposal();
        old["prev_events"] = json!([["$b:there", {"sha256": "aGFzaA"}]]);
        old["auth_events"] = json!([["$c:there", {"sha256": "aGFzaDI"}]]);
        let pdu = sign(read(&old, Standing::Join).unwrap(), &RoomVersionId::V1);
        assert_eq!(pdu.event_id, "$opaque:here");
        let text: Value = serde_json::from_str(&pdu.to_federation(&RoomVersionId::V1)).unwrap();
        assert_eq!(text["prev_events"], old["prev_events"]);
        assert_eq!(text["auth_events"], old["auth_events"]);
    }
}
