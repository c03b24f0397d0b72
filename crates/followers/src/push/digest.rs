//! Letters about what is unread: nothing for what is read soon, and not one for each message.

use std::time::Duration;

use accounts::pusher::EMAIL;
use base::{Reply, UnixMs};
use egress::mail::{self, Undelivered};
use notify::{
    digest::{self, MESSAGES_MAX, ROOMS_MAX},
    unsubscribe,
};
use serde::Deserialize;
use store::{View, event, schema::PusherId, user};

use super::{
    pending::{Found, Me, pending, still},
    slot::Work,
    told::{self, about},
    worker::{Round, Worker, load},
};

/// A letter waits this many times as long after another as a message waits for its first.
const THROTTLE: u32 = 6;
/// Texts in a letter are about this long at most, before they are shortened for people.
const BODY_CHARS_MAX: usize = 2_000;

/// What a letter is to say.
struct Unread {
    /// The address.
    to: String,
    user_id: String,
    /// When the oldest of it was sent.
    oldest: UnixMs,
    /// When the last letter went out.
    mailed: Option<UnixMs>,
    rooms: Vec<digest::Room>,
    more: u64,
}

/// What there is to do.
enum Look {
    /// The pusher is gone or off.
    Over,
    /// Everything is read.
    Nothing,
    Write(Box<Unread>),
}

/// Writes a letter when it is time, as long as something is unread.
pub(super) async fn write_all(worker: &mut Worker, work: &Work) -> Reply<Round> {
    let Some(mail) = worker.shared.outlet.mail.clone() else { return Ok(Round::Over) };
    let mut work = work.clone();
    loop {
        if worker.is_stopping() {
            return Ok(Round::Over);
        }
        let unread = match look(worker, &work).await? {
            Look::Over => return Ok(Round::Over),
            Look::Nothing => {
                worker.at = worker.at.max(work.upto);
                return Ok(Round::Done);
            }
            Look::Write(unread) => unread,
        };
        let left = left(worker, &unread);
        if !left.is_zero() {
            worker.wait(left).await;
        } else {
            send(worker, &mail, &unread, &work).await?;
        }
        // What came meanwhile belongs into the same letter.
        if let Some(more) = worker.slot.more() {
            worker.slot.touch(&more.stale);
            work.merge(&more);
        }
    }
}

/// How long a letter has still to wait.
fn left(worker: &Worker, unread: &Unread) -> Duration {
    let delay = worker.shared.outlet.letters.delay;
    let now = worker.shared.outlet.store.now();
    let until = |since: UnixMs, wait: Duration| {
        // A clock that others set may be ahead of ours.
        let since = since.0.min(now.0);
        wait.saturating_sub(Duration::from_millis(now.0.saturating_sub(since)))
    };
    let after_last = unread.mailed.map(|at| until(at, delay.saturating_mul(THROTTLE)));
    until(unread.oldest, delay).max(after_last.unwrap_or_default())
}

async fn look(worker: &Worker, work: &Work) -> Reply<Look> {
    let (user, id, at) = (worker.user, worker.id, worker.at);
    let (rooms, upto) = (work.rooms.clone(), work.upto);
    let mut badge = worker.slot.badge();
    let read = worker.shared.outlet.store.read(move |view| {
        let Some((pusher, cursor)) = load(view, user, id)? else { return Ok((Look::Over, badge)) };
        let user_id = user::id(view, user)?;
        let me = Me { user, id: &user_id };
        let pending = pending(view, me, &rooms, at.max(cursor.upto), upto)?;
        let mut oldest: Option<UnixMs> = None;
        for found in &pending.found {
            let sent = event::load(view, found.event)?.row.sent_at;
            oldest = Some(oldest.map_or(sent, |known| known.min(sent)));
        }
        let Some(oldest) = oldest else { return Ok((Look::Nothing, badge)) };
        let (rooms, told) = quoted(view, me, &pending.found)?;
        let more = badge.total(view, user, &user_id)?.saturating_sub(told);
        let unread = Unread {
            to: pusher.pushkey,
            user_id: user_id.to_string(),
            oldest,
            mailed: cursor.mailed,
            rooms,
            more,
        };
        Ok((Look::Write(Box::new(unread)), badge))
    });
    let (look, badge) = read.await?;
    worker.slot.keep(badge);
    Ok(look)
}

/// The messages of a letter by room, and how many they are.
fn quoted(view: &View, me: Me<'_>, found: &[Found]) -> Reply<(Vec<digest::Room>, u64)> {
    let mut rooms: Vec<(base::Room, digest::Room)> = Vec::new();
    let mut told = 0;
    for found in found {
        let Some(verdict) = still(view, me, *found)? else { continue };
        let stored = event::load(view, found.event)?;
        let about = about(view, me.id, &stored, &verdict)?;
        let known = rooms.iter().position(|(room, _)| *room == found.room);
        let place = match known {
            Some(place) => place,
            None if rooms.len() >= ROOMS_MAX => continue,
            None => {
                let name = about.room_name.clone().or_else(|| about.room_alias.clone());
                let name = name.unwrap_or_else(|| format!("Talk with {}", told::who(&about)));
                rooms.push((found.room, digest::Room { name, messages: Vec::new() }));
                rooms.len() - 1
            }
        };
        if let Some((_, room)) = rooms.get_mut(place)
            && room.messages.len() < MESSAGES_MAX
        {
            room.messages.push((told::who(&about).to_owned(), what(&about)));
            told += 1;
        }
    }
    Ok((rooms.into_iter().map(|(_, room)| room).collect(), told))
}

/// An event in the words of a letter.
fn what(about: &notify::gateway::About) -> String {
    #[derive(Deserialize)]
    struct Content {
        body: Option<String>,
    }
    match about.kind.as_str() {
        "m.room.encrypted" => return "(an encrypted message)".to_owned(),
        "m.room.member" if about.user_is_target => return "(invited you)".to_owned(),
        _ => {}
    }
    let content: Option<Content> = serde_json::from_str(&about.content).ok();
    match content.and_then(|content| content.body) {
        Some(body) => body.chars().take(BODY_CHARS_MAX).collect(),
        None => format!("({})", about.kind),
    }
}

/// Sends the letter and writes down that it went out.
async fn send(worker: &mut Worker, mail: &mail::Mail, unread: &Unread, work: &Work) -> Reply<()> {
    let link = link(worker, &unread.user_id, worker.id).await?;
    let store = &worker.shared.outlet.store;
    let server = store.server_name().as_str();
    let letter = digest::letter(server, &unread.user_id, &unread.rooms, unread.more, &link);
    let letter = mail::Letter {
        to: unread.to.clone(),
        subject: letter.subject,
        text: letter.text,
        html: letter.html,
        unsubscribe: Some(link),
    };
    let outcome = mail.send(&letter).await;
    let name = match &outcome {
        Ok(()) => "told",
        Err(Undelivered::Never(_)) => "rejected",
        Err(Undelivered::NotNow(_)) => "failed",
    };
    metrics::counter!("althing_push_total", "kind" => EMAIL, "outcome" => name).increment(1);
    match outcome {
        Err(Undelivered::NotNow(why)) => {
            tracing::warn!(%why, "a letter cannot be sent");
            worker.fail().await
        }
        // An address that is no good today may be good tomorrow; this letter is not written again.
        _ => {
            worker.succeed();
            let upto = work.upto;
            worker
                .change(move |cursor, now| {
                    cursor.upto = cursor.upto.max(upto);
                    cursor.mailed = Some(now);
                    cursor.failing = None;
                })
                .await
        }
    }
}

async fn link(worker: &Worker, user_id: &str, id: PusherId) -> Reply<String> {
    let outlet = &worker.shared.outlet;
    let key = outlet.store.write(None, unsubscribe::key).await?.value;
    Ok(format!("{}{}", outlet.letters.base_url, unsubscribe::link(&key, user_id, id)))
}
