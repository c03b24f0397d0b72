//! A room's summary: how many, and who stands for a room without a name.

use base::{Reply, Room};
use store::room;

use super::Context;
use crate::{heroes, json::Out};

impl Context<'_> {
    pub(super) fn summary(&self, out: &mut Out, room: Room) -> Reply<()> {
        let head = room::head(self.view, room)?;
        out.key("summary").open();
        let heroes = heroes::current(self.view, room, self.ask.user)?;
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
}
