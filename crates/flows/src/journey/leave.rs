//! Leaving a room that this server is not in: rejecting an invite, taking back a knock (spec: Server-Server API, "Leaving
//! Rooms (Rejecting Invites)").

use base::Reply;
use rooms::{elsewhere, remote};
use ruma::{
    OwnedServerName,
    api::federation::membership::{create_leave_event, prepare_leave_event},
};
use store::{Lane, schema::Standing};

use super::{Aim, Journeys, Traveller, join::known_version, question, raw, setback::Setback};

impl Journeys {
    /// Takes a user out of a room that this server is not in. If no server there lets them, they are out of it all the same
    /// as far as this server is concerned: an invite that cannot be got rid of is a plague.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` for who is neither invited nor knocking.
    pub async fn leave(&self, who: Traveller, aim: Aim) -> Reply<()> {
        let journey = self.clone();
        let way = async move {
            let _turn = journey.0.rooms.take(aim.room.as_str()).await;
            let servers = journey.servers(who.user, &aim).await?;
            let left =
                journey.try_each(servers, |server| journey.leave_through(server, &who, &aim)).await;
            match left {
                Err(no) => {
                    tracing::info!(room = %aim.room, %no, "left without word to the room");
                    journey.renounce(&who, &aim).await
                }
                done => done,
            }
        };
        self.go(way).await
    }

    async fn leave_through(
        &self,
        server: OwnedServerName,
        who: &Traveller,
        aim: &Aim,
    ) -> Result<(), Setback> {
        let peers = &self.0.peers;
        let ask = prepare_leave_event::v1::Request::new(aim.room.clone(), who.id.clone());
        let template = peers.request(&server, ask, question()).await?;
        let version = known_version(template.room_version)?;
        let leave = self.sign(&version, &template.event, who, aim, Standing::Leave).await?;
        let (id, event, body) = (aim.room.clone(), leave.event_id.clone(), raw(&leave, &version)?);
        let send = create_leave_event::v2::Request::new(id.clone(), event, body);
        peers.request(&server, send, question()).await?;
        let lane = Some(Lane::of_room(id.as_str()));
        let told = self.0.store.write(lane, move |tx| {
            let room = remote::know(tx, &id, &version, None)?;
            remote::told(tx, room, &leave, None)
        });
        told.await?;
        Ok(())
    }

    async fn renounce(&self, who: &Traveller, aim: &Aim) -> Reply<()> {
        let (user, id, reason) = (who.user, aim.room.clone(), aim.reason.clone());
        let lane = Some(Lane::of_room(id.as_str()));
        let left = self.0.store.write(lane, move |tx| {
            let room = rooms::room_of(tx, &id)?;
            elsewhere::renounce(tx, user, room, reason.as_deref())
        });
        left.await.map(drop)
    }
}
