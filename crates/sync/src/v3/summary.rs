//! A room's summary: how many, and who stands for a room without a name.

use base::{Reply, Room};
use ruma::OwnedUserId;
use serde::Deserialize;
use store::{
    event, room,
    schema::Standing,
    state::{self, Part, Root},
};

use super::Context;
use crate::{gate::standing, json::Out};

/// Heroes of one room (spec: `m.heroes`).
const HEROES_MAX: usize = 5;
/// Members looked at for heroes: a room larger than this without a name is named by whom we meet first.
const MEMBERS_SCAN_MAX: usize = 100;

impl Context<'_> {
    pub(super) fn summary(&self, out: &mut Out, room: Room) -> Reply<()> {
        let head = room::head(self.view, room)?;
        out.key("summary").open();
        let heroes = self.heroes_of(head.state)?;
        if !heroes.is_empty() {
            out.key("m.heroes").open_array();
            for hero in heroes {
                out.text(hero.as_str());
            }
            out.close_array();
        }
        out.key("m.joined_member_count").number(head.joined);
        out.key("m.invited_member_count").number(head.invited).close();
        Ok(())
    }

    /// The first few members but the viewer, if the room has neither name nor canonical alias.
    pub(super) fn heroes_of(&self, root: Root) -> Reply<Vec<OwnedUserId>> {
        #[derive(Deserialize)]
        struct Names {
            name: Option<String>,
            alias: Option<String>,
        }
        for (kind, is_name) in [("m.room.name", true), ("m.room.canonical_alias", false)] {
            let names: Option<Names> =
                room::state(self.view, root, kind, "")?.and_then(|e| e.content_as());
            let text = names.and_then(|n| if is_name { n.name } else { n.alias });
            if text.is_some_and(|t| !t.is_empty()) {
                return Ok(Vec::new());
            }
        }
        let mut here = Vec::new();
        let mut gone = Vec::new();
        let members = state::list(self.view, root, Part::Only("m.room.member"))?;
        for member in members.into_iter().take(MEMBERS_SCAN_MAX) {
            let member = event::load(self.view, member)?;
            let Some(id) = member.row.state_key.clone() else { continue };
            if member.row.kind != "m.room.member" || id == self.viewer_id.as_str() {
                continue;
            }
            match standing(&member) {
                Some(Standing::Join | Standing::Invite) => here.push((member.event, id)),
                Some(_) => gone.push((member.event, id)),
                None => {}
            }
        }
        let mut who = if here.is_empty() { gone } else { here };
        who.sort();
        let ids = who.into_iter().filter_map(|(_, id)| OwnedUserId::try_from(id).ok());
        Ok(ids.take(HEROES_MAX).collect())
    }
}
