//! What a server does to an event that is another's: adding its signature, and proposing the event to begin with.

use base::{Error, Reply};
use ruma::{RoomVersionId, ServerName};
use serde_json::{Map, Value, json};

use super::draft::check_size;
use super::{Pdu, protected_text, put, redact, rules_of};
use crate::json;
use crate::key::SigningKey;
use crate::policy_server::KEY_ID;

impl Pdu {
    /// Signs the event as `server` too, beside the signatures that it has (spec: Server-Server API, "Signing Events").
    /// Id, content and hashes stay as they are.
    ///
    /// # Errors
    /// 400 `M_BAD_JSON` if its `signatures` are not objects in an object; 413 `M_TOO_LARGE` if one more is too much; 400
    /// `M_UNSUPPORTED_ROOM_VERSION`.
    pub fn sign_also(
        &mut self,
        version: &RoomVersionId,
        server: &ServerName,
        key: &SigningKey,
    ) -> Reply<()> {
        let rules = rules_of(version)?;
        let content = redact::redact_content(&rules.redaction, &self.kind, self.content.get())?;
        let text = protected_text(rules, &self.fields(version), &content);
        self.add_signature(version, server, key.key_id(), key.sign(text.as_bytes()))
    }

    /// Adds the signature of a policy server, beside those that it made as a server.
    ///
    /// # Errors
    /// As [`sign_also`](Pdu::sign_also).
    pub fn take_policy_signature(
        &mut self,
        version: &RoomVersionId,
        server: &ServerName,
        signature: &str,
    ) -> Reply<()> {
        self.add_signature(version, server, KEY_ID, signature.to_owned())
    }

    fn add_signature(
        &mut self,
        version: &RoomVersionId,
        server: &ServerName,
        key_id: &str,
        signature: String,
    ) -> Reply<()> {
        let odd = || Error::bad_json("`signatures` is not an object of objects");
        let mut all: Map<String, Value> =
            serde_json::from_str(&self.signatures).map_err(|_| odd())?;
        let mut fields = self.fields(version);
        let own = all.entry(server.as_str()).or_insert_with(|| Value::Object(Map::new()));
        let own = own.as_object_mut().ok_or_else(odd)?;
        own.insert(key_id.to_owned(), Value::String(signature));
        let signatures = json::canonical(&Value::Object(all).to_string(), false)?;
        put(&mut fields, "signatures", signatures.clone());
        check_size(&fields)?;
        drop(fields);
        self.signatures = signatures;
        Ok(())
    }

    /// Takes over what another server signed of this event, from the copy that it gave back. False: it did not sign it.
    /// What is here already of its signatures stays: it may have signed as the room's policy server, too.
    pub fn take_signatures(&mut self, copy: &Pdu, server: &ServerName) -> bool {
        type Signatures = Map<String, Value>;
        let theirs: Option<Signatures> = serde_json::from_str(&copy.signatures).ok();
        let theirs = theirs.and_then(|mut all| all.remove(server.as_str()));
        let theirs = theirs.filter(|keys| keys.as_object().is_some_and(|keys| !keys.is_empty()));
        let own: Option<Signatures> = serde_json::from_str(&self.signatures).ok();
        let (Some(theirs), Some(mut all)) = (theirs, own) else { return false };
        let Some(own) = all.entry(server.as_str()).or_insert_with(|| json!({})).as_object_mut()
        else {
            return false;
        };
        for (key, signature) in theirs.as_object().into_iter().flatten() {
            own.entry(key.as_str()).or_insert_with(|| signature.clone());
        }
        let Ok(text) = json::canonical(&Value::Object(all).to_string(), false) else {
            return false;
        };
        self.signatures = text;
        true
    }

    /// The event as it is proposed to the server that is to hash, name and sign it (spec: Server-Server API,
    /// `GET /make_join`): without `hashes`, `signatures` and `event_id`.
    #[must_use]
    pub fn to_template(&self, version: &RoomVersionId) -> String {
        let mut fields = self.fields(version);
        for key in ["hashes", "signatures", "event_id"] {
            fields.remove(key);
        }
        json::object_text(&fields)
    }
}

#[cfg(test)]
mod tests {
    use ruma::{owned_room_id, owned_user_id, server_name};
    use serde_json::value::to_raw_value;

    use super::*;
    use crate::pdu::{Draft, parse};

    fn key(seed: u8) -> SigningKey {
        SigningKey::generate([seed; 32], "k").unwrap()
    }

    fn join(version: &RoomVersionId) -> Pdu {
        let user = owned_user_id!("@a:there");
        let draft = Draft {
            room_id: Some(owned_room_id!("!r:here")),
            sender: user.clone(),
            kind: "m.room.member".to_owned(),
            state_key: Some(user.to_string()),
            content: to_raw_value(&json!({"membership": "join", "displayname": "A"})).unwrap(),
            redacts: None,
            prev_events: Vec::new(),
            auth_events: Vec::new(),
            depth: 3,
            origin_server_ts: 7,
        };
        draft.sign(version, server_name!("there"), &key(1)).unwrap()
    }

    #[test]
    fn a_second_signature_holds_beside_the_first_and_changes_nothing_else() {
        let version = RoomVersionId::V11;
        let before = join(&version);
        let mut pdu = before.clone();
        pdu.sign_also(&version, server_name!("here"), &key(2)).unwrap();
        let read = parse(&version, &pdu.to_federation(&version)).unwrap();
        assert_eq!(read.event_id, before.event_id);
        assert!(read.content_hash_holds(&version));
        for (server, seed) in [("there", 1), ("here", 2)] {
            let server = <&ServerName>::try_from(server).unwrap();
            let public = crate::key::tests::public(&key(seed));
            assert!(read.signature_holds(&version, server, "ed25519:k", &public), "{server}");
        }
        let mut taken = before.clone();
        assert!(taken.take_signatures(&pdu, server_name!("here")));
        assert_eq!(taken.signatures, pdu.signatures);
        assert!(!taken.take_signatures(&before, server_name!("here")));
        let mut broken = before;
        broken.signatures = r#"{"here":1}"#.to_owned();
        assert!(broken.sign_also(&version, server_name!("here"), &key(2)).is_err());
    }

    #[test]
    fn a_template_has_no_name_no_hash_and_no_signature() {
        let version = RoomVersionId::V11;
        let text = join(&version).to_template(&version);
        let value: Value = serde_json::from_str(&text).unwrap();
        let mut keys: Vec<&String> = value.as_object().unwrap().keys().collect();
        keys.sort();
        let expected = [
            "auth_events",
            "content",
            "depth",
            "origin_server_ts",
            "prev_events",
            "room_id",
            "sender",
            "state_key",
            "type",
        ];
        assert_eq!(keys, expected);
    }
}
