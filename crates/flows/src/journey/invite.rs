//! Inviting users of other servers (spec: Server-Server API, "Inviting to a room").

use base::{Error, Reply, User};
use protocol::Pdu;
use rooms::{
    invite::{Invitation, Prepared},
    remote,
    remote::Outcome,
};
use ruma::{
    OwnedRoomId, OwnedUserId, ServerName,
    api::federation::membership::{RawStrippedState, create_invite},
};
use serde_json::value::RawValue;
use store::Lane;

use super::{Journeys, question, raw};
use crate::peers::Unanswered;

/// Who is invited, and how.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Where.
    pub room: OwnedRoomId,
    /// Whom.
    pub id: OwnedUserId,
    /// Why.
    pub reason: Option<String>,
    /// The room is a direct chat.
    pub direct: bool,
}

impl Journeys {
    /// Invites a user of another server; does nothing if they are invited already.
    ///
    /// # Errors
    /// What the room's rules forbid; what the other server refuses (`M_INVITE_BLOCKED`, `M_FORBIDDEN`,
    /// `M_INCOMPATIBLE_ROOM_VERSION`); 502 `M_UNKNOWN` if it does not answer.
    pub async fn invite(&self, by: User, guest: Guest) -> Reply<()> {
        let journey = self.clone();
        self.go(async move { journey.invite_there(by, guest).await }).await
    }

    async fn invite_there(&self, by: User, guest: Guest) -> Reply<()> {
        let profile = self.name_and_avatar(&guest.id).await;
        let of = guest.clone();
        let prepared = self.0.store.write(None, move |tx| {
            let profile = profile.clone();
            let (target, reason) = (&*of.id, of.reason.as_deref());
            let invitation = Invitation { target, reason, direct: of.direct, profile };
            rooms::invite::prepare(tx, by, &of.room, &invitation)
        });
        let Some(prepared) = prepared.await?.value else { return Ok(()) };
        let pdu = self.seen_by(guest.id.server_name(), &guest, &prepared).await?;
        let (room, lane) = (prepared.room, Lane::of_room(guest.room.as_str()));
        let received = self.0.store.write(Some(lane), move |tx| remote::receive(tx, room, &pdu));
        match received.await?.value {
            Outcome::Accepted(_) | Outcome::Known(_) => Ok(()),
            Outcome::SoftFailed(_, rule) | Outcome::Rejected(_, rule) => {
                Err(Error::forbidden(rule))
            }
            Outcome::Missing(_) | Outcome::Unsigned => {
                Err(Error::fault("an invite of our own misses events"))
            }
        }
    }

    /// Shows the invite to the server of who is invited; gives it with that server's signature.
    async fn seen_by(&self, server: &ServerName, guest: &Guest, prepared: &Prepared) -> Reply<Pdu> {
        let Prepared { version, pdu, state, .. } = prepared;
        let text = |text: &String| {
            RawValue::from_string(text.clone())
                .map(RawStrippedState::Pdu)
                .map_err(|e| Error::fault(format!("own event: {e}")))
        };
        let state = state.iter().map(text).collect::<Reply<Vec<_>>>()?;
        let (id, event) = (pdu.event_id.clone(), raw(pdu, version)?);
        let ask =
            create_invite::v2::Request::new(guest.room.clone(), id, version.clone(), event, state);
        let answer = self.0.peers.request(server, ask, question()).await?.event;
        let theirs = protocol::pdu::parse(version, answer.get()).ok();
        let theirs =
            theirs.filter(|t| t.event_id == pdu.event_id && t.content.get() == pdu.content.get());
        let both = theirs.and_then(|theirs| {
            let mut both = pdu.clone();
            both.take_signatures(&theirs, server).then_some(both)
        });
        let no = |why: &str| Error::from(Unanswered::Silent(why.to_owned()));
        let both = both.ok_or_else(|| {
            no("it gave back another event than it was shown, or did not sign it")
        })?;
        // What others in the room would refuse must not go into it.
        let checked = self.0.peers.check_signed_by(server, version, raw(&both, version)?);
        checked.await.map_err(|error| match error {
            Error::Refused(refusal) => no(&refusal.message),
            fault => fault,
        })
    }
}
