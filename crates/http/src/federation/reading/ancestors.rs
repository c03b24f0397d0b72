//! `GET /backfill/{roomId}`, `POST /get_missing_events/{roomId}`.

use ::sync::ancestors::{self, Gap};
use base::Reply;
use ruma::{
    UInt,
    api::federation::{backfill::get_backfill, event::get_missing_events},
};
use store::View;

use super::event::transaction;
use crate::{
    answer::Json,
    federation::admission,
    handler::{Origin, Routes},
};

pub(super) fn routes() -> Routes {
    Routes::default().read(backfill).read(missing)
}

fn backfill(view: &View, origin: Origin, request: get_backfill::v1::Request) -> Reply<Json> {
    let gate = admission::gate(view, &request.room_id, &origin.server)?;
    let pdus = ancestors::backfill(view, &gate, &request.v, count(request.limit))?;
    Ok(transaction(view, &pdus))
}

fn missing(view: &View, origin: Origin, request: get_missing_events::v1::Request) -> Reply<Json> {
    let gate = admission::gate(view, &request.room_id, &origin.server)?;
    let gap = Gap {
        earliest: &request.earliest_events,
        latest: &request.latest_events,
        limit: count(request.limit),
        min_depth: u64::from(request.min_depth),
    };
    let events = ancestors::missing(view, &gate, &gap)?.join(",");
    Ok(format!(r#"{{"events":[{events}]}}"#).into())
}

fn count(number: UInt) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
