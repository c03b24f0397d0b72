//! Rooms that ask a policy server about their events (spec: Server-Server API, "Policy Servers"): whether a room does, and
//! its word on an event.
//!
//! The word is a signature that becomes part of the event. Who waits for it is [`store::witness`]'s matter: what is written
//! here runs again when the word is there.

use base::{Error, Reply, Room};
use protocol::{
    Pdu,
    policy_server::{POLICY, PolicyServer, concerns},
};
use ruma::RoomVersionId;
use serde_json::Value;
use store::{
    CacheSpace, Tx, View, event, room,
    state::{self, Root},
    witness::{Answer, Question},
};

/// By state: the event in it that names a policy server, if any. A room without one pays a look into memory.
static NAMED: CacheSpace = CacheSpace { tag: 160, owned: None };
/// What an entry weighs.
const NAMED_BYTES: usize = 16;

/// The policy server of a room in this state, if it uses one: it is named, with a key, and has somebody in the room.
pub(crate) fn of(view: &View, room: Room, root: Root) -> Reply<Option<PolicyServer>> {
    let named = view.cached(&NAMED, root.number(), |view| {
        Ok((state::get(view, root, POLICY, "")?, NAMED_BYTES))
    })?;
    let Some(event) = *named else { return Ok(None) };
    // Not kept with the name of the event: it may be redacted, and names nobody then.
    let content = event::load(view, event)?.content_as::<Value>();
    let Some(server) = content.as_ref().and_then(PolicyServer::read) else { return Ok(None) };
    let here = room::servers(view, room)?.contains(server.name.as_str());
    Ok(here.then_some(server))
}

/// What a policy server says of an event.
pub(crate) enum Word {
    /// It recommends it: the event with its signature.
    Signed(Pdu),
    /// It does not; what a client is told.
    Refused(Error),
    /// It is being asked. What is returned now is seen by nobody.
    Awaited,
}

/// The word on an event of a user of this server, which is sent with it or not at all. When the word has come, it is of the
/// event as it was asked about: the room may have gone on since.
pub(crate) fn own(
    tx: &Tx,
    version: &RoomVersionId,
    server: &PolicyServer,
    pdu: &Pdu,
) -> Reply<Word> {
    word(tx, version, server, pdu, said(pdu), true)
}

/// The word on an event that came without it.
pub(crate) fn theirs(
    tx: &Tx,
    version: &RoomVersionId,
    server: &PolicyServer,
    pdu: &Pdu,
) -> Reply<Word> {
    let key = *blake3::hash(pdu.event_id.as_bytes()).as_bytes();
    word(tx, version, server, pdu, key, false)
}

fn word(
    tx: &Tx,
    version: &RoomVersionId,
    server: &PolicyServer,
    pdu: &Pdu,
    key: [u8; 32],
    insist: bool,
) -> Reply<Word> {
    for (question, answer) in tx.answers(&key) {
        // Somebody may say the same thing twice at once.
        if insist && event::find(tx, &question.pdu.event_id)?.is_some() {
            continue;
        }
        return Ok(match answer {
            Answer::Refused(refusal) => Word::Refused(refusal.into()),
            Answer::Signed(signature) => {
                let mut signed = question.pdu.clone();
                signed.take_policy_signature(version, &server.name, &signature)?;
                if server.has_signed(version, &signed) {
                    Word::Signed(signed)
                } else {
                    let text = "the signature of the room's policy server does not hold";
                    Word::Refused(Error::forbidden(text))
                }
            }
        });
    }
    let question = Question {
        key,
        whom: server.name.clone(),
        version: version.clone(),
        pdu: pdu.clone(),
        insist,
    };
    Ok(tx.ask(question).map_or(Word::Awaited, |refusal| Word::Refused(refusal.into())))
}

/// What an event says, apart from when and after what it says it: by that it is known when it is made again.
fn said(pdu: &Pdu) -> [u8; 32] {
    let mut hash = blake3::Hasher::new();
    let extra = pdu.extra.get(protocol::pdu::STICKY);
    for part in [
        Some(pdu.room_id.as_str()),
        Some(pdu.sender.as_str()),
        Some(pdu.kind.as_str()),
        pdu.state_key.as_deref(),
        Some(pdu.content.get()),
        pdu.redacts.as_ref().map(|id| id.as_str()),
        extra.map(String::as_str),
    ] {
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        hash.update(&length.to_be_bytes()).update(part.unwrap_or_default().as_bytes());
    }
    *hash.finalize().as_bytes()
}

/// The policy server that has to sign this event, and has not.
pub(crate) fn wanting(
    view: &View,
    room: Room,
    root: Root,
    version: &RoomVersionId,
    pdu: &Pdu,
) -> Reply<Option<PolicyServer>> {
    let server = of(view, room, root)?.filter(|_| concerns(pdu));
    Ok(server.filter(|server| !server.has_signed(version, pdu)))
}

#[cfg(test)]
mod tests;
