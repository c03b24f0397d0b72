//! Reading what requests that ruma has no fitting type for say in path and query.

use base::{Error, Reply};
use store::Direction;

use crate::{asked::Asked, handler::Caller};

/// Servers that a query may name: more are not asked.
const VIA_MAX: usize = 20;

/// The caller of an endpoint that requires one.
pub(super) fn known(caller: Option<Caller>) -> Reply<Caller> {
    caller.ok_or_else(|| Error::fault("an authenticated endpoint has no caller"))
}

/// A number in the query.
pub(super) fn number(asked: &Asked, name: &str) -> Reply<Option<u64>> {
    let Some(text) = asked.query(name) else { return Ok(None) };
    let number = text.parse().map_err(|_| Error::invalid_param(format!("{name} is no number")))?;
    Ok(Some(number))
}

/// How many events a page may have: ten unless the query says.
pub(super) fn limit(asked: &Asked, default: usize) -> Reply<usize> {
    let limit = number(asked, "limit")?;
    Ok(limit.map_or(default, |n| usize::try_from(n).unwrap_or(usize::MAX)))
}

/// A token in the query.
pub(super) fn token(asked: &Asked, name: &str) -> Reply<Option<::sync::Token>> {
    asked.query(name).filter(|t| !t.is_empty()).map(|t| ::sync::Token::parse(&t)).transpose()
}

/// `dir` in the query.
pub(super) fn direction(asked: &Asked, default: Option<Direction>) -> Reply<Direction> {
    match asked.query("dir").as_deref() {
        Some("f") => Ok(Direction::Forward),
        Some("b") => Ok(Direction::Backward),
        Some(_) => Err(Error::invalid_param("dir is neither f nor b")),
        None => default.ok_or_else(|| Error::missing_param("dir is missing")),
    }
}

/// A flag in the query.
pub(super) fn flag(asked: &Asked, name: &str) -> Reply<bool> {
    match asked.query(name).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Error::invalid_param(format!("{name} is neither true nor false"))),
    }
}

/// The servers that the query names (`via`), without what is no server name.
pub(super) fn via(asked: &Asked) -> Vec<ruma::OwnedServerName> {
    let named = asked.query_pairs().into_iter().filter(|(key, _)| key == "via");
    named.filter_map(|(_, name)| ruma::OwnedServerName::try_from(name).ok()).take(VIA_MAX).collect()
}

/// A room id, first in the path.
pub(crate) fn room_id(asked: &Asked) -> Reply<ruma::OwnedRoomId> {
    ruma::OwnedRoomId::try_from(asked.arg(0)).map_err(|_| Error::invalid_param("not a room id"))
}

/// An event id in the path.
pub(super) fn event_id(asked: &Asked, place: usize) -> Reply<ruma::OwnedEventId> {
    let id = ruma::OwnedEventId::try_from(asked.arg(place));
    id.map_err(|_| Error::invalid_param("not an event id"))
}
