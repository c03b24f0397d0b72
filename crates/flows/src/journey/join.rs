//! Coming into a room of other servers (spec: Server-Server API, "Joining Rooms"; `omit_members`: MSC3706).

use std::{collections::BTreeSet, time::Duration};

use base::{Error, Event, Reply, Room};
use protocol::Pdu;
use rooms::{elsewhere, remote, remote::Outcome};
use ruma::{
    OwnedServerName, RoomId, RoomVersionId, ServerName,
    api::federation::membership::{create_join_event, prepare_join_event},
};
use serde_json::value::RawValue;
use store::{
    Lane, Tx,
    schema::{Partial, Standing},
};

use super::{
    Aim, Journeys, Traveller,
    arrival::{self, Into, Told},
    question, raw,
    setback::Setback,
};
use crate::peers::{Patience, Said, Unanswered};

/// For the state of a room that has tens of thousands of members, from a server that leaves none out.
const STATE_TIME_MAX: Duration = Duration::from_secs(120);
/// Such a state is 50 to 100 MB.
const STATE_BYTES_MAX: usize = 128 << 20;
/// What is told of a room waits so long for a join that is under way; whoever tells it does not wait for ever.
const ARRIVAL_MAX: Duration = Duration::from_secs(30);
/// Servers of a room that are remembered while its members are not known.
const NAMED_SERVERS_MAX: usize = 20_000;

impl Journeys {
    /// Brings a user of this server into a room that this server is not in, or where nobody of this server may let them
    /// in. When this returns, the user is joined, or somebody else has come into the room meanwhile and a local join is possible:
    /// the caller then joins locally, which does nothing for who is joined.
    ///
    /// # Errors
    /// What the other servers refuse; 404 `M_NOT_FOUND` if there is none to ask; 502 `M_UNKNOWN` if none answers.
    pub async fn join(&self, who: Traveller, aim: Aim) -> Reply<()> {
        let journey = self.clone();
        self.go(async move { journey.come_in(&who, &aim).await }).await
    }

    async fn come_in(&self, who: &Traveller, aim: &Aim) -> Reply<()> {
        let resident = self.is_resident(aim).await?;
        let _turn = self.0.rooms.take(aim.room.as_str()).await;
        if !resident && self.is_resident(aim).await? {
            return Ok(());
        }
        let servers = self.servers(who.user, aim).await?;
        self.try_each(servers, |server| self.join_through(server, who, aim, resident)).await
    }

    /// Waits, if somebody of this server is on the way into a room (or out of it), until that is over: the other servers
    /// may tell of the room's events before their answer to the join has come. Says whether there was anything to wait for.
    pub(crate) async fn arrived(&self, room: &RoomId) -> bool {
        if !self.0.rooms.is_taken(room.as_str()) {
            return false;
        }
        tokio::time::timeout(ARRIVAL_MAX, self.0.rooms.take(room.as_str())).await.is_ok()
    }

    async fn is_resident(&self, aim: &Aim) -> Reply<bool> {
        let id = aim.room.clone();
        Ok(!self.0.store.read(move |view| elsewhere::is_id_elsewhere(view, &id)).await?)
    }

    async fn join_through(
        &self,
        server: OwnedServerName,
        who: &Traveller,
        aim: &Aim,
        resident: bool,
    ) -> Result<(), Setback> {
        let peers = &self.0.peers;
        let mut ask = prepare_join_event::v1::Request::new(aim.room.clone(), who.id.clone());
        ask.ver = protocol::version::SUPPORTED.to_vec();
        let template = peers.request(&server, ask, question()).await?;
        let version = known_version(template.room_version)?;
        let join = self.sign(&version, &template.event, who, aim, Standing::Join).await?;
        let (room, event, body) = (aim.room.clone(), join.event_id.clone(), raw(&join, &version)?);
        let mut send = create_join_event::v2::Request::new(room, event, body);
        // Who is in the room already sets what the others tell beside its own: that must be whole.
        send.omit_members = !resident;
        let patience =
            Patience { timeout: STATE_TIME_MAX, insist: true, body_max: STATE_BYTES_MAX };
        let answer = peers.request(&server, send, patience).await?.room_state;

        let join = self.cosigned(&version, join, answer.event).await?;
        let servers = answer.members_omitted.then(|| answer.servers_in_room.unwrap_or_default());
        let events = arrival::in_order(answer.state, answer.auth_chain);
        let into = self.know(&version, aim, &events).await?;
        let learned = into.learn(events).await?;
        // What cannot be checked just now is missing as members are that were left out.
        let servers = servers.or_else(|| (learned.awaited > 0).then(Vec::new));
        self.enter(&into, &server, join, learned.state, servers).await
    }

    /// The join with the signature of the server that vouches for it, where there must be one.
    async fn cosigned(
        &self,
        version: &RoomVersionId,
        ours: Pdu,
        theirs: Option<Box<RawValue>>,
    ) -> Result<Pdu, Setback> {
        let signers = ours.required_signers(version);
        if signers.iter().all(|server| server == self.0.store.server_name()) {
            return Ok(ours);
        }
        let Some(theirs) = theirs else {
            return Err(Setback::nonsense("the join came back without a signature"));
        };
        let theirs = arrival::checked(&self.0.peers, version, theirs).await;
        match theirs {
            Ok(pdu) if pdu.event_id == ours.event_id => Ok(pdu),
            Ok(_) => Err(Setback::nonsense("another event came back than was sent")),
            Err(no) => Err(Setback::nonsense(format!("the signature on the join: {no}"))),
        }
    }

    /// The room, of which there is only its create event so far.
    async fn know(
        &self,
        version: &RoomVersionId,
        aim: &Aim,
        events: &[Told],
    ) -> Result<Into, Setback> {
        let none = || Setback::nonsense("a state without the create event of the room");
        let create = arrival::create_of(events).ok_or_else(none)?.to_owned();
        let create = arrival::checked(&self.0.peers, version, create)
            .await
            .map_err(|no| Setback::nonsense(format!("the create event does not hold: {no}")))?;
        if !arrival::makes(&create, &aim.room, version) {
            return Err(none());
        }
        let (id, version) = (aim.room.clone(), version.clone());
        let (for_tx, of) = (id.clone(), version.clone());
        let lane = Some(Lane::of_room(id.as_str()));
        let known =
            self.0.store.write(lane, move |tx| remote::know(tx, &for_tx, &of, Some(&create)));
        let room = known.await?.value;
        let (store, peers) = (self.0.store.clone(), self.0.peers.clone());
        Ok(Into { store, peers, room, id, version })
    }

    /// `servers`: those in the room, if the state is not whole.
    async fn enter(
        &self,
        into: &Into,
        via: &ServerName,
        join: Pdu,
        state: Vec<Event>,
        servers: Option<Vec<String>>,
    ) -> Result<(), Setback> {
        let (room, via) = (into.room, via.to_string());
        let partial = servers.map(|servers| Partial {
            // Which it is shows when the join has its number.
            join: Event(0),
            servers: servers
                .into_iter()
                .filter(|name| OwnedServerName::try_from(&**name).is_ok())
                .take(NAMED_SERVERS_MAX)
                .chain([via.clone()])
                .collect::<BTreeSet<_>>(),
            via,
        });
        let is_partial = partial.is_some();
        let lane = Lane::of_room(into.id.as_str());
        let entered = self.0.store.write_first(lane, move |tx| {
            if store::room::is_resident(tx, room)? {
                return beside(tx, room, &join, &state, partial.is_none());
            }
            let event = remote::enter(tx, room, &join, &state, partial.clone())?;
            Ok(Outcome::Accepted(event))
        });
        match entered.await?.value {
            Outcome::Accepted(_) | Outcome::Known(_) => {}
            Outcome::SoftFailed(_, rule) | Outcome::Rejected(_, rule) => {
                return Err(Error::forbidden(rule).into());
            }
            Outcome::Missing(_) | Outcome::Unsigned => {
                return Err(Setback::nonsense(
                    "the state before the join cannot be checked for now",
                ));
            }
        }
        if is_partial {
            self.tell_partial();
        }
        Ok(())
    }
}

/// A join to a room that somebody of this server is in, who had nobody that could let this user in. Its state stays beside what
/// is here, so it has to be `whole`; otherwise the join comes from the others, and in when all of it can be checked.
fn beside(tx: &mut Tx, room: Room, join: &Pdu, state: &[Event], whole: bool) -> Reply<Outcome> {
    match remote::receive(tx, room, join)? {
        Outcome::Missing(_) if whole => remote::receive_at(tx, room, join, state),
        outcome => Ok(outcome),
    }
}

/// The version of a room, if this server takes part in such rooms.
pub(super) fn known_version(version: Option<RoomVersionId>) -> Result<RoomVersionId, Setback> {
    // A server that does not say is from before there were others.
    let version = version.unwrap_or(RoomVersionId::V1);
    if protocol::version::supported(&version) {
        return Ok(version);
    }
    let said = Said {
        status: 400,
        errcode: "M_INCOMPATIBLE_ROOM_VERSION".to_owned(),
        message: format!("the room is of version {version}, which this server does not know"),
    };
    Err(Unanswered::Refused(said).into())
}
