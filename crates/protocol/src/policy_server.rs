//! Policy servers: a server that a room asks about each event before anybody sees it (spec: Server-Server API, "Policy
//! Servers"; `m.room.policy`). What it signs may be in the room; it is not asked about the event that names it.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use ruma::{OwnedServerName, RoomVersionId};
use serde_json::Value;

use crate::Pdu;

/// The state event, with an empty state key, that names a room's policy server.
pub const POLICY: &str = "m.room.policy";
/// The key with which policy servers sign events, whatever else they have.
pub const KEY_ID: &str = "ed25519:policy_server";

/// Unpadded, as the spec has it, and padded, as it is often sent.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The policy server that a room names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyServer {
    /// Its name.
    pub name: OwnedServerName,
    /// The ed25519 key with which it signs for this room: not one that it publishes.
    pub key: [u8; 32],
}

impl PolicyServer {
    /// What the content of `m.room.policy` names; `None` if that is no policy server, and the room then has none.
    #[must_use]
    pub fn read(content: &Value) -> Option<PolicyServer> {
        let name = content.get("via")?.as_str()?;
        let key = content.get("public_keys")?.get("ed25519")?.as_str()?;
        // The spec's own example is in the alphabet for URLs.
        let key = BASE64.decode(key.replace('-', "+").replace('_', "/")).ok()?;
        Some(PolicyServer { name: name.try_into().ok()?, key: key.try_into().ok()? })
    }

    /// Has it signed this event, with the key of the room?
    #[must_use]
    pub fn has_signed(&self, version: &RoomVersionId, pdu: &Pdu) -> bool {
        pdu.signature_holds(version, &self.name, KEY_ID, &self.key)
    }
}

/// Are policy servers asked about such an event? All but the one that names them, so that a room can always be rid of one.
#[must_use]
pub fn concerns(pdu: &Pdu) -> bool {
    pdu.kind != POLICY || pdu.state_key.as_deref() != Some("")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_policy_server_needs_a_name_and_a_key() {
        let of = |via: Value, key: Value| {
            PolicyServer::read(&json!({ "via": via, "public_keys": { "ed25519": key } }))
        };
        let key = json!("6yhHGKhCiXTSEN2ksjV7kX_N6rBQZ3Xb-M7LlC6NS-s");
        let named = of(json!("policy.example.org"), key.clone()).unwrap();
        assert_eq!(named.name, "policy.example.org");
        let usual = json!("6yhHGKhCiXTSEN2ksjV7kX/N6rBQZ3Xb+M7LlC6NS+s");
        assert_eq!(of(json!("policy.example.org"), usual), Some(named));
        for (via, key) in [
            (json!(1), key.clone()),
            (json!("not a server"), key),
            (json!("a.org"), json!("AAAA")),
            (json!("a.org"), json!("?")),
            (json!("a.org"), json!(null)),
        ] {
            assert_eq!(of(via, key), None);
        }
        assert_eq!(PolicyServer::read(&json!({})), None);
        assert_eq!(PolicyServer::read(&json!({ "via": "a.org" })), None);
    }
}
