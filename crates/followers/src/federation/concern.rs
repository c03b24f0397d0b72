//! What of the log is told to other servers, and to which.

use std::{collections::BTreeSet, sync::Arc};

use base::{Event, Reply, Room, Seq, User};
use ruma::ServerName;
use store::{View, event, log::Entry, outbox, room, schema::Standing, user};

/// Rooms of one user that are looked at for the servers that share one with them.
const ROOMS_MAX: usize = 20_000;

/// Something that other servers are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// An event. Its room, the server of the user whose membership it changes, if that is another, and the server that has
    /// it already.
    Event { event: Event, room: Room, target: Option<String>, except: Option<String> },
    /// A receipt that others may know of.
    Receipt { room: Room, user: User },
    /// A device of a user changed.
    Device { user: User },
    /// A message for devices of this server.
    Message { server: String },
    /// An event that was told to nobody of this server: it came into the room with a join beside it.
    Beside { event: Event, room: Room, server: String },
}

/// News with its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) at: Seq,
    pub(super) news: Arc<News>,
    /// Memberships of its room have changed since: who is told of it now may not have been there.
    pub(super) late: bool,
}

/// What other servers are told of an entry of the log; `None`: nothing.
pub(super) fn news(view: &View, entry: &Entry) -> Reply<Option<News>> {
    Ok(match entry {
        Entry::Event { room, event, sender, target, .. } => {
            let (mut told, mut except) = (None, None);
            if !is_ours(view, *sender)? {
                if target.is_none() || !outbox::is_spoken_for(view, *event)? {
                    return Ok(None);
                }
                except = Some(user::id(view, *sender)?.server_name().as_str().to_owned());
            } else if let Some(target) = target {
                told = elsewhere(view, *target, *event)?;
            }
            Some(News::Event { event: *event, room: *room, target: told, except })
        }
        Entry::Receipt { room, user, private: false } if is_ours(view, *user)? => {
            Some(News::Receipt { room: *room, user: *user })
        }
        Entry::Devices { user } if is_ours(view, *user)? => Some(News::Device { user: *user }),
        Entry::Outbound { server } => Some(News::Message { server: server.clone() }),
        Entry::Beside { room, event, server } => {
            Some(News::Beside { event: *event, room: *room, server: server.clone() })
        }
        _ => None,
    })
}

/// Is this a user of this server?
pub(super) fn is_ours(view: &View, user: User) -> Reply<bool> {
    Ok(user::is_local(view, &user::id(view, user)?))
}

/// The server of one whose membership changes, if that is another one. Who is invited is told by the invite itself.
fn elsewhere(view: &View, target: User, event: Event) -> Reply<Option<String>> {
    let id = user::id(view, target)?;
    if user::is_local(view, &id) {
        return Ok(None);
    }
    let invited = room::standing(&*event::load(view, event)?) == Some(Standing::Invite);
    Ok((!invited).then(|| id.server_name().as_str().to_owned()))
}

/// The servers that news concern, this one perhaps among them.
pub(super) fn servers(view: &View, news: &News) -> Reply<Arc<BTreeSet<String>>> {
    match news {
        News::Event { room: at, target, except, .. } => {
            let mut servers = room::servers(view, *at)?;
            if let Some(except) = except.as_ref().filter(|except| servers.contains(*except)) {
                Arc::make_mut(&mut servers).remove(except);
            }
            if let Some(target) = target.as_ref().filter(|target| !servers.contains(*target)) {
                Arc::make_mut(&mut servers).insert(target.clone());
            }
            Ok(servers)
        }
        News::Receipt { room: at, .. } => room::servers(view, *at),
        News::Device { user } => sharing(view, *user).map(Arc::new),
        News::Message { server } | News::Beside { server, .. } => {
            Ok(Arc::new(BTreeSet::from([server.clone()])))
        }
    }
}

/// May a server be told what passes in a room (spec: "Server Access Control Lists (ACLs)")?
pub(super) fn may_hear(view: &View, room: Room, server: &str) -> Reply<bool> {
    match <&ServerName>::try_from(server) {
        Ok(server) => rooms::acl::admits(view, room, server),
        Err(_) => Ok(false),
    }
}

/// The servers that share a room with a user.
pub(super) fn sharing(view: &View, user: User) -> Reply<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for at in room::joined_rooms(view, user)?.iter().take(ROOMS_MAX) {
        let servers = room::servers(view, *at)?;
        all.extend(servers.iter().filter(|name| !all.contains(*name)).cloned().collect::<Vec<_>>());
    }
    Ok(all)
}

/// Do news concern a server?
pub(super) fn is_for(view: &View, news: &News, server: &str) -> Reply<bool> {
    match news {
        News::Event { target: Some(target), .. } if target == server => Ok(true),
        News::Event { except: Some(except), .. } if except == server => Ok(false),
        News::Event { room: at, .. } | News::Receipt { room: at, .. } => {
            Ok(room::servers(view, *at)?.contains(server))
        }
        News::Device { user } => {
            for at in room::joined_rooms(view, *user)?.iter().take(ROOMS_MAX) {
                if room::servers(view, *at)?.contains(server) {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        News::Message { server: to } | News::Beside { server: to, .. } => Ok(to == server),
    }
}
