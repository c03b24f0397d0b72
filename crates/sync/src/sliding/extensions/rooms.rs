//! Account data and receipts of the rooms in scope.

use base::{Reply, Room, Seq};
use store::{
    room,
    schema::{RECEIPTS, Standing},
};

use super::{
    super::{
        ask::{Ask, Scoped},
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

/// Which rules put rooms into the scope of which extension. None: the extension is off.
pub(in super::super) struct Scopes {
    data: Option<Vec<bool>>,
    receipts: Option<Vec<bool>>,
    typing: Option<Vec<bool>>,
}

fn covers(scope: &Option<Vec<bool>>, matched: &[u16]) -> bool {
    let Some(scope) = scope else { return false };
    matched.iter().any(|rule| scope.get(usize::from(*rule)).copied().unwrap_or_default())
}

impl Scopes {
    pub(in super::super) fn new(ask: &Ask) -> Scopes {
        let rules = |scoped: &Option<Scoped>| scoped.as_ref().map(|scoped| scoped.rules(ask));
        let on = &ask.extensions;
        Scopes {
            data: rules(&on.account_data),
            receipts: rules(&on.receipts),
            typing: rules(&on.typing),
        }
    }

    pub(in super::super) fn typing(&self, matched: &[u16]) -> bool {
        covers(&self.typing, matched)
    }

    /// What is to be told of a room beside itself. `next`: what the client then knows of it, if that changes.
    #[expect(
        clippy::too_many_arguments,
        reason = "one step of the walk, with all that the walk knows"
    )]
    pub(in super::super) fn tell(
        &self,
        scene: &Scene<'_>,
        base: &Base,
        changes: &Changed,
        matched: &[u16],
        (row, told, part): (&Row, Option<&Told>, Option<&Part>),
        next: &mut Option<Told>,
        pass: &mut Pass,
    ) -> Reply<()> {
        let known = next.as_ref().or(told);
        let (data_since, receipts_since) =
            known.map_or((Seq::ZERO, Seq::ZERO), |told| (told.data, told.receipts));
        // Who had the room in sight all the time knows all but what the log says since.
        let in_sight = told.is_some() && base.rest.window.binary_search(&row.room).is_ok();
        if row.data > data_since && covers(&self.data, matched) {
            let kinds = changes.data(row.room).filter(|_| in_sight && data_since > Seq::ZERO);
            let json = account_data(scene, row.room, kinds)?;
            push(scene, row.room, json, &mut pass.data)?;
            if let Some(next) = next.get_or_insert_with_told(told) {
                next.data = scene.head;
            }
        }
        let more = part.is_some_and(|p| p.initial || p.limited || p.expanded);
        let moved = row.receipts > receipts_since;
        if (moved || more) && row.standing == Standing::Join && covers(&self.receipts, matched) {
            let live = in_sight && receipts_since > Seq::ZERO && !more;
            let users = changes.receipts(row.room).filter(|_| live);
            let json = receipts(scene, row.room, users, (receipts_since, part))?;
            push(scene, row.room, json, &mut pass.receipts)?;
            if let Some(next) = next.get_or_insert_with_told(told) {
                next.receipts = scene.head;
            }
        }
        Ok(())
    }
}

/// What the client will know, to be changed: as it was, if nothing else has changed.
trait Next {
    fn get_or_insert_with_told(&mut self, told: Option<&Told>) -> Option<&mut Told>;
}
impl Next for Option<Told> {
    fn get_or_insert_with_told(&mut self, told: Option<&Told>) -> Option<&mut Told> {
        if self.is_none() {
            *self = told.cloned();
        }
        self.as_mut()
    }
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
