//! Knocking on a room of other servers (spec: Server-Server API, "Knocking upon a room").

use base::Reply;
use rooms::{elsewhere, remote};
use ruma::{
    OwnedServerName, RoomVersionId,
    api::federation::membership::{create_knock_event, prepare_knock_event},
};
use serde_json::value::{RawValue, to_raw_value};
use store::{Lane, schema::Standing};

use super::{Aim, Journeys, Traveller, join::known_version, question, raw, setback::Setback};

impl Journeys {
    /// Knocks on a room that this server is not in.
    ///
    /// # Errors
    /// As [`Journeys::join`].
    pub async fn knock(&self, who: Traveller, aim: Aim) -> Reply<()> {
        let journey = self.clone();
        let way = async move {
            let _turn = journey.0.rooms.take(aim.room.as_str()).await;
            let servers = journey.servers(who.user, &aim).await?;
            journey.try_each(servers, |server| journey.knock_through(server, &who, &aim)).await
        };
        self.go(way).await
    }

    async fn knock_through(
        &self,
        server: OwnedServerName,
        who: &Traveller,
        aim: &Aim,
    ) -> Result<(), Setback> {
        let peers = &self.0.peers;
        let mut ask = prepare_knock_event::v1::Request::new(aim.room.clone(), who.id.clone());
        ask.ver = knockable();
        let template = peers.request(&server, ask, question()).await?;
        let version = known_version(Some(template.room_version))?;
        let knock = self.sign(&version, &template.event, who, aim, Standing::Knock).await?;
        let (id, event, body) = (aim.room.clone(), knock.event_id.clone(), raw(&knock, &version)?);
        let send = create_knock_event::v1::Request::new(id.clone(), event, body);
        let shown = peers.request(&server, send, question()).await?.knock_room_state;
        let shown: Vec<Box<RawValue>> =
            shown.iter().filter_map(|event| to_raw_value(event).ok()).collect();
        let stripped = elsewhere::stripped(&shown, &knock);
        let lane = Some(Lane::of_room(id.as_str()));
        let told = self.0.store.write(lane, move |tx| {
            let room = remote::know(tx, &id, &version, None)?;
            remote::told(tx, room, &knock, Some(stripped.clone()))
        });
        told.await?;
        Ok(())
    }
}

/// The versions that have knocking.
fn knockable() -> Vec<RoomVersionId> {
    let knocks = |v: &RoomVersionId| protocol::rules(v).is_some_and(|r| r.authorization.knocking);
    protocol::version::SUPPORTED.into_iter().filter(knocks).collect()
}
