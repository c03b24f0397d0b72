//! The user directory (spec: Client-Server API, "User Directory"): people by the words of their names and ids.
//!
//! Rows of the store: each word of a person's name, folded, so that names are found by how they begin and without
//! accents. A follower keeps them. Who is found by whom is decided when somebody searches: those with whom they share a
//! room, and those in rooms that anyone may enter or read.

use std::collections::BTreeSet;

use base::{Reply, Room, User};
use ruma::OwnedUserId;
use serde::Deserialize;
use store::{
    Direction, Tx, View, room,
    schema::{ACCOUNTS, PEOPLE, PEOPLE_WORDS, PROFILES},
    user,
};

use crate::words::words;

/// Somebody found.
#[derive(Clone, Debug, PartialEq)]
pub struct Person {
    /// Their id.
    pub id: OwnedUserId,
    /// Their display name.
    pub display_name: Option<String>,
    /// Their picture.
    pub avatar_url: Option<String>,
}

/// Words of one person that are indexed.
const WORDS_MAX: usize = 32;
/// Rows looked at for one search; more share so short a beginning that nobody wants them all.
const CANDIDATES_MAX: usize = 2_000;
/// Rooms of somebody that are looked at for one that is open to anyone.
const OPEN_ROOMS_MAX: usize = 50;
/// The most people that one answer has.
pub const LIMIT_MAX: usize = 100;

/// Brings the rows of a user up to their name.
///
/// # Errors
/// Faults of the store.
pub fn index(tx: &mut Tx, user: User) -> Reply<()> {
    let account = tx.get(&ACCOUNTS, (user,))?;
    let mut now = BTreeSet::new();
    if account.is_none_or(|account| !account.deactivated) {
        let id = user::id(tx, user)?;
        now.extend(words(id.localpart()));
        if let Some(name) = field(tx, user, "displayname")? {
            now.extend(words(&name));
        }
    }
    let now: BTreeSet<String> = now.into_iter().take(WORDS_MAX).collect();
    let before = tx.get(&PEOPLE_WORDS, (user,))?.unwrap_or_default();
    let before: BTreeSet<String> = before.split_whitespace().map(str::to_owned).collect();
    if now == before {
        return Ok(());
    }
    for word in before.difference(&now) {
        tx.delete(&PEOPLE, (word.clone(), user));
    }
    for word in now.difference(&before) {
        tx.put(&PEOPLE, (word.clone(), user), &());
    }
    let joined: Vec<&str> = now.iter().map(String::as_str).collect();
    tx.put(&PEOPLE_WORDS, (user,), &joined.join(" "));
    Ok(())
}

/// Those whom a user may find by a term, the likeliest first, and whether there may be more.
///
/// # Errors
/// Faults of the store.
pub fn find(view: &View, searcher: User, term: &str, limit: usize) -> Reply<(Vec<Person>, bool)> {
    let terms = words(term);
    let limit = limit.min(LIMIT_MAX);
    let Some(longest) = terms.iter().max_by_key(|word| word.len()).cloned() else {
        return Ok((Vec::new(), false));
    };
    // Nothing sorts behind the last character.
    let (from, to) = ((longest.clone(), User(0)), (format!("{longest}\u{10ffff}"), User(0)));
    let rows: Vec<((String, User), ())> =
        view.range(&PEOPLE, from, to, Direction::Forward, CANDIDATES_MAX)?;
    let mut more = rows.len() == CANDIDATES_MAX;
    let mine = room::joined_rooms(view, searcher)?;
    let mut found: Vec<((bool, bool, String), Person)> = Vec::new();
    let mut seen = BTreeSet::new();
    for ((_, candidate), ()) in rows {
        if !seen.insert(candidate) {
            continue;
        }
        let Some(exact) = fits(view, candidate, &terms)? else { continue };
        let shared = candidate == searcher || share(&mine, &room::joined_rooms(view, candidate)?);
        if !shared && !is_public(view, candidate)? {
            continue;
        }
        let person = person(view, candidate)?;
        let name = person.display_name.clone().unwrap_or_else(|| person.id.to_string());
        found.push(((!exact, !shared, name), person));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    more |= found.len() > limit;
    found.truncate(limit);
    Ok((found.into_iter().map(|(_, person)| person).collect(), more))
}

/// Does every word begin one of theirs? `Some(true)`: each is one of theirs.
fn fits(view: &View, candidate: User, terms: &[String]) -> Reply<Option<bool>> {
    let theirs = view.get(&PEOPLE_WORDS, (candidate,))?.unwrap_or_default();
    let begins = |term: &String| theirs.split_whitespace().any(|word| word.starts_with(&**term));
    let is_one = |term: &String| theirs.split_whitespace().any(|word| word == term);
    Ok(terms.iter().all(begins).then(|| terms.iter().all(is_one)))
}

/// Have two sorted lists a room in common? At the cost of the shorter one.
fn share(a: &[Room], b: &[Room]) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    short.iter().any(|room| long.binary_search(room).is_ok())
}

fn is_public(view: &View, candidate: User) -> Reply<bool> {
    #[derive(Deserialize)]
    struct Content {
        join_rule: String,
    }
    for room in room::joined_rooms(view, candidate)?.iter().take(OPEN_ROOMS_MAX) {
        let state = room::head(view, *room)?.state;
        let rules = room::state(view, state, "m.room.join_rules", "")?;
        let rules = rules.and_then(|event| event.content_as::<Content>());
        if rules.is_some_and(|content| content.join_rule == "public")
            || room::world_readable(view, *room)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn person(view: &View, who: User) -> Reply<Person> {
    Ok(Person {
        id: user::id(view, who)?,
        display_name: field(view, who, "displayname")?,
        avatar_url: field(view, who, "avatar_url")?,
    })
}

fn field(view: &View, who: User, key: &str) -> Reply<Option<String>> {
    let value = view.get(&PROFILES, (who, key.to_owned()))?;
    Ok(value.and_then(|text| serde_json::from_str(&text).ok()))
}
