//! The rules for `m.room.member` (rule 5 of version 12, whose numbers are used here).

use std::collections::BTreeMap;

use ruma::serde::{Base64, base64::Standard};
use ruma::{CanonicalJsonObject, CanonicalJsonValue, SigningKeyAlgorithm, UserId};
use serde_json::Value;

use super::rule::{self, Check, Decision, refuse};
use super::{Room, StateEvent, string_field};

/// A membership event with what all its rules ask for.
struct Member<'a> {
    room: &'a Room<'a>,
    target: &'a UserId,
    content: BTreeMap<String, Value>,
    /// The target's membership before the event.
    current: String,
}

pub(super) fn check(room: &Room<'_>) -> Decision {
    let content: BTreeMap<String, Value> = room.pdu.content_as().unwrap_or_default();
    let membership = content.get("membership").and_then(Value::as_str).map(str::to_owned);
    let target = room.pdu.state_key.as_deref().and_then(|key| <&UserId>::try_from(key).ok());
    let (Some(target), Some(membership)) = (target, membership) else {
        return Err(&rule::MEMBER_FORM);
    };
    if room.rules.restricted_join_rule {
        authorising_server_signed(room, &content)?;
    }
    let current = room.membership(target.as_str());
    let member = Member { room, target, content, current };
    match membership.as_str() {
        "join" => member.join(),
        "invite" => member.invite(),
        "leave" => member.leave(),
        "ban" => member.ban(),
        "knock" if room.rules.knocking => member.knock(),
        _ => Err(&rule::MEMBERSHIP_UNKNOWN),
    }
}

/// Rule 5.2. That the signature holds was verified on receipt; here it must be there.
fn authorising_server_signed(room: &Room<'_>, content: &BTreeMap<String, Value>) -> Check {
    let Some(inviter) = content.get("join_authorised_via_users_server") else { return Ok(()) };
    let inviter = inviter.as_str().and_then(|id| <&UserId>::try_from(id).ok());
    let signed = inviter.is_some_and(|id| room.pdu.is_signed_by(id.server_name().as_str()));
    refuse(!signed, &rule::MEMBER_UNSIGNED)
}

impl Member<'_> {
    fn by_target(&self) -> bool {
        self.room.pdu.sender == *self.target
    }

    fn sender_is_joined(&self) -> bool {
        self.room.membership(self.room.pdu.sender.as_str()) == "join"
    }

    /// The room's join rule; `invite` if it has none.
    fn join_rule(&self) -> String {
        let event = self.room.lookup.get("m.room.join_rules", "");
        let rule = event.and_then(|event| string_field(&event.content, "join_rule"));
        rule.unwrap_or_else(|| "invite".to_owned())
    }

    fn join(&self) -> Decision {
        let Room { rules, create, pdu, .. } = self.room;
        let first = pdu.prev_events.as_slice() == std::slice::from_ref(&create.event_id);
        let creator = match rules.use_room_create_sender {
            true => Some(create.sender.to_string()),
            false => string_field(&create.content, "creator"),
        };
        if first && creator.as_deref() == Some(self.target.as_str()) {
            return Ok(&rule::JOIN_CREATOR);
        }
        refuse(!self.by_target(), &rule::JOIN_OTHERS)?;
        refuse(self.current == "ban", &rule::JOIN_BANNED)?;
        let welcome = matches!(self.current.as_str(), "invite" | "join");
        match self.join_rule().as_str() {
            "public" => Ok(&rule::JOIN_PUBLIC),
            "invite" if welcome => Ok(&rule::JOIN_INVITED),
            "knock" if rules.knocking && welcome => Ok(&rule::JOIN_INVITED),
            "restricted" if rules.restricted_join_rule => self.join_restricted(welcome),
            "knock_restricted" if rules.knock_restricted_join_rule => self.join_restricted(welcome),
            _ => Err(&rule::JOIN_RULE),
        }
    }

    /// Rule 5.3.5. Only a joined user has any permission to invite.
    fn join_restricted(&self, welcome: bool) -> Decision {
        if welcome {
            return Ok(&rule::JOIN_RESTRICTED);
        }
        let inviter = self.content.get("join_authorised_via_users_server").and_then(Value::as_str);
        let may_invite = inviter.and_then(|id| <&UserId>::try_from(id).ok()).is_some_and(|id| {
            let power = self.room.power();
            self.room.membership(id.as_str()) == "join" && power.user(id) >= power.invite()
        });
        refuse(!may_invite, &rule::JOIN_NO_INVITER)?;
        Ok(&rule::JOIN_AUTHORISED)
    }

    fn invite(&self) -> Decision {
        if let Some(invite) = self.content.get("third_party_invite") {
            return self.invite_third_party(invite);
        }
        refuse(!self.sender_is_joined(), &rule::INVITE_NOT_JOINED)?;
        refuse(matches!(self.current.as_str(), "join" | "ban"), &rule::INVITE_PRESENT)?;
        let power = self.room.power();
        refuse(power.user(&self.room.pdu.sender) < power.invite(), &rule::INVITE_POWER)?;
        Ok(&rule::INVITE)
    }

    /// Rule 5.4.1.
    fn invite_third_party(&self, invite: &Value) -> Decision {
        refuse(self.current == "ban", &rule::INVITE_3PID_BANNED)?;
        let Some(signed) = invite.get("signed") else { return Err(&rule::INVITE_3PID_UNSIGNED) };
        let text = |key: &str| signed.get(key).and_then(Value::as_str);
        let (Some(mxid), Some(token)) = (text("mxid"), text("token")) else {
            return Err(&rule::INVITE_3PID_FORM);
        };
        refuse(mxid != self.target.as_str(), &rule::INVITE_3PID_USER)?;
        let Some(event) = self.room.lookup.get("m.room.third_party_invite", token) else {
            return Err(&rule::INVITE_3PID_TOKEN);
        };
        refuse(event.sender != self.room.pdu.sender, &rule::INVITE_3PID_SENDER)?;
        let signed = CanonicalJsonValue::try_from(signed.clone()).ok();
        let signed = signed.as_ref().and_then(CanonicalJsonValue::as_object);
        let holds = signed.is_some_and(|signed| signed_by_key_of(&event, signed));
        refuse(!holds, &rule::INVITE_3PID_KEY)?;
        Ok(&rule::INVITE_3PID)
    }

    fn leave(&self) -> Decision {
        let knocked = self.room.rules.knocking && self.current == "knock";
        if self.by_target() {
            let present = knocked || matches!(self.current.as_str(), "invite" | "join");
            refuse(!present, &rule::LEAVE)?;
            return Ok(&rule::LEAVE);
        }
        refuse(!self.sender_is_joined(), &rule::KICK_NOT_JOINED)?;
        let power = self.room.power();
        let sender = power.user(&self.room.pdu.sender);
        refuse(self.current == "ban" && sender < power.ban(), &rule::UNBAN_POWER)?;
        let allowed = sender >= power.kick() && power.user(self.target) < sender;
        refuse(!allowed, &rule::KICK_POWER)?;
        Ok(&rule::KICK)
    }

    fn ban(&self) -> Decision {
        refuse(!self.sender_is_joined(), &rule::BAN_NOT_JOINED)?;
        let power = self.room.power();
        let sender = power.user(&self.room.pdu.sender);
        let allowed = sender >= power.ban() && power.user(self.target) < sender;
        refuse(!allowed, &rule::BAN_POWER)?;
        Ok(&rule::BAN)
    }

    fn knock(&self) -> Decision {
        let restricted = self.room.rules.knock_restricted_join_rule;
        let open = match self.join_rule().as_str() {
            "knock" => true,
            "knock_restricted" => restricted,
            _ => false,
        };
        refuse(!open, &rule::KNOCK_RULE)?;
        refuse(!self.by_target(), &rule::KNOCK_OTHERS)?;
        refuse(matches!(self.current.as_str(), "ban" | "invite" | "join"), &rule::KNOCK_PRESENT)?;
        Ok(&rule::KNOCK)
    }
}

/// Rule 5.4.1.7: whether any signature in `signed` is by any key of the third-party invite event.
fn signed_by_key_of(event: &StateEvent, signed: &CanonicalJsonObject) -> bool {
    let content: Value = event.content_as().unwrap_or_default();
    let listed = content.get("public_keys").and_then(Value::as_array).into_iter().flatten();
    let listed = listed.filter_map(|entry| entry.get("public_key"));
    let keys: Vec<Base64<Standard>> = content
        .get("public_key")
        .into_iter()
        .chain(listed)
        .filter_map(|key| Base64::parse(key.as_str()?).ok())
        .collect();
    let Ok(text) = ruma::signatures::to_canonical_json_string_for_signing(signed) else {
        return false;
    };
    let signatures = signed.get("signatures").and_then(CanonicalJsonValue::as_object);
    let mut by_key_id = signatures.into_iter().flat_map(|servers| servers.values());
    by_key_id.any(|entries| {
        let mut entries = entries.as_object().into_iter().flatten();
        entries.any(|(key_id, signature)| {
            let signature = signature.as_str().and_then(|s| Base64::<Standard>::parse(s).ok());
            let ed25519 = key_id.starts_with("ed25519:");
            signature.filter(|_| ed25519).is_some_and(|signature| {
                keys.iter().any(|key| verifies(key.as_bytes(), signature.as_bytes(), &text))
            })
        })
    })
}

fn verifies(key: &[u8], signature: &[u8], text: &str) -> bool {
    let algorithm = SigningKeyAlgorithm::Ed25519;
    let found =
        ruma::signatures::verify_canonical_json_bytes(&algorithm, key, signature, text.as_bytes());
    found.is_ok()
}
