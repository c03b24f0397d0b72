//! Account data and receipts of the rooms in scope.

use base::{Reply, Room, Seq};
use store::{
    room,
    schema::{RECEIPTS, Standing},
};

use super::{
    super::{
        ask::Scoped,
        connection::{Base, Told},
        index::Row,
        pass::Pass,
        room::{Part, Scene},
    },
    Changed,
};
use crate::{
    json::Out,
    own_data,
    receipts::{self, RECEIPTS_MAX},
};

/// Receipts of a room looked at to find those on the events of a timeline: of larger rooms, some are left out.
const RECEIPTS_SCAN_MAX: usize = 5_000;

/// Which rules put rooms into the scope of which extension (none: it is off), and what is needed to tell of them.
pub(in super::super) struct Scopes<'a> {
    scene: &'a Scene<'a>,
    base: &'a Base,
    changes: &'a Changed,
    data: Option<Vec<bool>>,
    receipts: Option<Vec<bool>>,
    typing: Option<Vec<bool>>,
}

/// A room of the walk: how it is, what the client was told of it before, and what is told now.
pub(in super::super) struct InScope<'a> {
    pub(in super::super) row: &'a Row,
    pub(in super::super) told: Option<&'a Told>,
    pub(in super::super) part: Option<&'a Part>,
}

fn covers(scope: &Option<Vec<bool>>, matched: &[u16]) -> bool {
    let Some(scope) = scope else { return false };
    matched.iter().any(|rule| scope.get(usize::from(*rule)).copied().unwrap_or_default())
}

impl<'a> Scopes<'a> {
    pub(in super::super) fn new(
        scene: &'a Scene<'a>,
        base: &'a Base,
        changes: &'a Changed,
    ) -> Scopes<'a> {
        let rules = |scoped: &Option<Scoped>| scoped.as_ref().map(|scoped| scoped.rules(scene.ask));
        let on = &scene.ask.extensions;
        let (data, receipts) = (rules(&on.account_data), rules(&on.receipts));
        Scopes { scene, base, changes, data, receipts, typing: rules(&on.typing) }
    }

    pub(in super::super) fn typing(&self, matched: &[u16]) -> bool {
        covers(&self.typing, matched)
    }

    /// What is to be told of a room beside itself. `next`: what the client then knows of it, if that changes.
    pub(in super::super) fn tell(
        &self,
        matched: &[u16],
        room: &InScope<'_>,
        next: &mut Option<Told>,
        pass: &mut Pass,
    ) -> Reply<()> {
        let InScope { row, told, part } = *room;
        let scene = self.scene;
        let known = next.as_ref().or(told);
        let (data_since, receipts_since) =
            known.map_or((Seq::ZERO, Seq::ZERO), |told| (told.data, told.receipts));
        // Who had the room in sight all the time knows all but what the log says since.
        let in_sight = told.is_some() && self.base.rest.window.binary_search(&row.room).is_ok();
        if row.data > data_since && covers(&self.data, matched) {
            let kinds = self.changes.data(row.room).filter(|_| in_sight && data_since > Seq::ZERO);
            let json = account_data(scene, row.room, kinds)?;
            push(scene, row.room, json, &mut pass.data)?;
            if let Some(next) = to_change(next, told) {
                next.data = scene.head;
            }
        }
        let more = part.is_some_and(|p| p.initial || p.limited || p.expanded);
        let moved = row.receipts > receipts_since;
        if (moved || more) && row.standing == Standing::Join && covers(&self.receipts, matched) {
            let live = in_sight && receipts_since > Seq::ZERO && !more;
            let users = self.changes.receipts(row.room).filter(|_| live);
            let json = receipts(scene, row.room, users, (receipts_since, part))?;
            push(scene, row.room, json, &mut pass.receipts)?;
            if let Some(next) = to_change(next, told) {
                next.receipts = scene.head;
            }
        }
        Ok(())
    }
}

/// What the client will know, to be changed: as it was, if nothing else has changed.
fn to_change<'a>(next: &'a mut Option<Told>, told: Option<&Told>) -> Option<&'a mut Told> {
    if next.is_none() {
        *next = told.cloned();
    }
    next.as_mut()
}

fn push(
    scene: &Scene<'_>,
    room: Room,
    json: Option<String>,
    to: &mut Vec<(String, String)>,
) -> Reply<()> {
    if let Some(json) = json {
        to.push((room::info(scene.view, room)?.id.clone(), json));
    }
    Ok(())
}

fn account_data(
    scene: &Scene<'_>,
    room: Room,
    kinds: Option<Vec<String>>,
) -> Reply<Option<String>> {
    let rows = own_data::read(scene.view, scene.ask.user, room, kinds)?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut out = Out::default();
    out.open_array();
    for (kind, data) in rows {
        own_data::write(&mut out, &kind, &data);
    }
    out.close_array();
    Ok(Some(out.finish()))
}

/// The receipts of these users that moved since; if it is not known whose did, one's own, and those on the events of the
/// timeline (MSC3960).
fn receipts(
    scene: &Scene<'_>,
    room: Room,
    users: Option<Vec<base::User>>,
    (since, part): (Seq, Option<&Part>),
) -> Reply<Option<String>> {
    let (view, me) = (scene.view, scene.ask.user);
    let mut rows = match users {
        Some(users) => {
            let mut rows = receipts::of_users(view, room, users)?;
            rows.retain(|(_, receipt)| receipt.moved > since);
            rows
        }
        None => {
            let mut rows: Vec<receipts::Row> = view.under(&RECEIPTS, (room, me), RECEIPTS_MAX)?;
            let shown = part.map_or(&[][..], |part| &part.events);
            if !shown.is_empty() {
                let all: Vec<receipts::Row> = view.under(&RECEIPTS, (room,), RECEIPTS_SCAN_MAX)?;
                let others = all.into_iter().filter(|((_, user, ..), _)| *user != me);
                rows.extend(others.filter(|(_, receipt)| shown.contains(&receipt.event_id)));
            }
            rows
        }
    };
    // There is place for one receipt of each kind on an event: an unthreaded one says most.
    rows.sort_by_key(|((.., thread, _), _)| !thread.is_empty());
    let layers = receipts::layers(view, me, &scene.ignored, rows)?;
    Ok(layers.first().map(|layer| {
        let mut out = Out::default();
        receipts::write(&mut out, layer);
        out.finish()
    }))
}
