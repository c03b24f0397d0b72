//! Reading rooms: /sync, messages, context, single events, relations, threads. One endpoint, or one tight family of them,
//! per file.

mod events;
mod messages;
mod relations;
mod search;

use base::{Error, Reply};
use store::Direction;

use crate::{asked::Asked, handler::Routes};

/// The routes of this area.
pub(crate) fn routes() -> Routes {
    Routes::default()
        .and(events::routes())
        .and(messages::routes())
        .and(relations::routes())
        .and(search::routes())
}

/// A number in the query.
fn number(asked: &Asked, name: &str) -> Reply<Option<u64>> {
    let Some(text) = asked.query(name) else { return Ok(None) };
    let number = text.parse().map_err(|_| Error::invalid_param(format!("{name} is no number")))?;
    Ok(Some(number))
}

/// How many events a page may have: ten unless the query says.
fn limit(asked: &Asked, default: usize) -> Reply<usize> {
    let limit = number(asked, "limit")?;
    Ok(limit.map_or(default, |n| usize::try_from(n).unwrap_or(usize::MAX)))
}

/// A token in the query.
fn token(asked: &Asked, name: &str) -> Reply<Option<::sync::Token>> {
    asked.query(name).filter(|t| !t.is_empty()).map(|t| ::sync::Token::parse(&t)).transpose()
}

/// `dir` in the query.
fn direction(asked: &Asked, default: Option<Direction>) -> Reply<Direction> {
    match asked.query("dir").as_deref() {
        Some("f") => Ok(Direction::Forward),
        Some("b") => Ok(Direction::Backward),
        Some(_) => Err(Error::invalid_param("dir is neither f nor b")),
        None => default.ok_or_else(|| Error::missing_param("dir is missing")),
    }
}

/// A flag in the query.
fn flag(asked: &Asked, name: &str) -> Reply<bool> {
    match asked.query(name).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Error::invalid_param(format!("{name} is neither true nor false"))),
    }
}

/// A room id in the path.
fn room_id(asked: &Asked) -> Reply<ruma::OwnedRoomId> {
    ruma::OwnedRoomId::try_from(asked.arg(0)).map_err(|_| Error::invalid_param("not a room id"))
}

/// An event id in the path.
fn event_id(asked: &Asked) -> Reply<ruma::OwnedEventId> {
    ruma::OwnedEventId::try_from(asked.arg(1)).map_err(|_| Error::invalid_param("not an event id"))
}
