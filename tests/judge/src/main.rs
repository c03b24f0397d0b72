//! matrix-rust-sdk's `RoomListService`, unmodified, as a client that a test drives: `judge URL USER PASSWORD`.
//!
//! It loads the room list page by page and tells, as one JSON object a line, what it has. On a line `more` it shows a page
//! more; on a line `open ROOM` it subscribes to a room; it ends with its input.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, bail};
use eyeball_im::VectorDiff;
use futures_util::{StreamExt as _, pin_mut};
use imbl::Vector;
use matrix_sdk::{Client, ruma::RoomId};
use matrix_sdk_ui::{
    RoomListService,
    room_list_service::{RoomListItem, RoomListLoadingState, filters::new_filter_non_left},
};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, stdin},
    time::interval,
};

const PAGE: usize = 20;
/// As often as a screen would be drawn by someone in no hurry.
const SETTLE: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(user), Some(password)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        bail!("usage: judge URL USER PASSWORD");
    };
    let client = Client::builder().homeserver_url(url).build().await?;
    client.matrix_auth().login_username(&user, &password).send().await?;
    client.event_cache().subscribe()?;
    let service = RoomListService::new(client.clone()).await?;
    let list = service.all_rooms().await?;
    let (entries, controller) = list.entries_with_dynamic_adapters(PAGE);
    controller.set_filter(Box::new(new_filter_non_left()));
    let mut loading = list.loading_state();
    let sync = service.sync();
    let mut lines = BufReader::new(stdin()).lines();
    pin_mut!(entries, sync);

    let mut shown: Vector<RoomListItem> = Vector::new();
    // The SDK tells of each room alone; what is on the screen is told when it has settled.
    let (mut settle, mut changed) = (interval(SETTLE), false);
    loop {
        tokio::select! {
            _ = settle.tick(), if changed => {
                tell(&shown);
                changed = false;
            }
            step = sync.next() => step.context("the sync ended")??,
            state = loading.next() => {
                if let Some(RoomListLoadingState::Loaded { maximum_number_of_rooms }) = state {
                    println!("{}", json!({ "rooms": maximum_number_of_rooms }));
                }
            }
            diffs = entries.next() => {
                let diffs: Vec<VectorDiff<RoomListItem>> = diffs.context("the entries ended")?;
                for diff in diffs {
                    diff.apply(&mut shown);
                }
                changed = true;
            }
            line = lines.next_line() => match line?.as_deref() {
                Some("more") => controller.add_one_page(),
                Some(other) => {
                    let room = other.strip_prefix("open ").context("what is this?")?;
                    service.subscribe_to_rooms(&[&RoomId::parse(room)?]).await;
                }
                None => return Ok(()),
            }
        }
    }
}

/// What is on the screen: ids from the top, and names, last messages and counts of the first page.
fn tell(shown: &Vector<RoomListItem>) {
    let mut first = BTreeMap::new();
    for item in shown.iter().take(PAGE) {
        let room = item.clone().into_inner();
        let counts = room.unread_notification_counts();
        let name = room.cached_display_name().map(|name| name.to_string());
        let about = json!({
            "name": name,
            "notifications": counts.notification_count,
            "highlights": counts.highlight_count,
            "members": room.joined_members_count(),
        });
        first.insert(room.room_id().to_string(), about);
    }
    let ids: Vec<String> =
        shown.iter().map(|item| item.clone().into_inner().room_id().to_string()).collect();
    println!("{}", json!({ "shown": ids, "first": first }));
}
