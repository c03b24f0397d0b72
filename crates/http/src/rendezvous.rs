//! Places where two devices meet before one of them has an account to speak from: each has one message, which either may
//! replace (MSC4108, MSC4388). What they say is encrypted by themselves; whoever knows a place's name may read and write.
//!
//! In memory only, and bounded: a place lives for [`LIFE_MS`], holds one message, and there are [`PLACES_MAX`] of them, few
//! of which are of one address. Who comes when all are taken is sent away; nobody can drive others out.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use base::{Error, Reply, UnixMs};
use bytes::Bytes;
use parking_lot::Mutex;

use crate::limits::network;

/// How long a place lives, whatever is said there: signing in takes a person two minutes (MSC4388: 120 s to 300 s).
pub(crate) const LIFE_MS: u64 = 120_000;
/// Places at once. With messages of the largest size 16 MiB to 64 MiB.
const PLACES_MAX: usize = 4_096;
/// Places at once that were made from one address: many people may share it.
const OF_ADDRESS_MAX: usize = 64;

/// Which of the two proposals a place was made by: they do not see each other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// MSC4108, of 2024.
    ETag,
    /// MSC4388.
    Token,
}

/// A place with the message that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The message.
    pub(crate) data: Bytes,
    /// Names the message; every one has another name.
    pub(crate) revision: String,
    /// When the message was put there.
    pub(crate) modified: UnixMs,
    /// When the place ends.
    pub(crate) expires: UnixMs,
    /// The name of the message before.
    before: Option<String>,
    /// From where it was made.
    address: u128,
}

/// What came of replacing a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// The message is there now.
    Done(Place),
    /// Another message is there than the writer knew.
    Conflict(Place),
}

/// All places. Cheap to clone.
#[derive(Clone, Default)]
pub struct Rendezvous(Arc<Mutex<HashMap<(Form, String), Place>>>);

fn missing() -> Error {
    Error::not_found("There is no such session, or it has expired.")
}

impl Rendezvous {
    /// Makes a place of that name.
    ///
    /// # Errors
    /// 429 `M_LIMIT_EXCEEDED` if all are taken, or all that one address may have.
    pub(crate) fn make(
        &self,
        (form, name): (Form, String),
        from: IpAddr,
        (data, revision): (Bytes, String),
        now: UnixMs,
    ) -> Reply<Place> {
        let address = network(from);
        let mut places = self.0.lock();
        places.retain(|_, place| place.expires > now);
        let of_address = places.values().filter(|place| place.address == address).count();
        if places.len() >= PLACES_MAX || of_address >= OF_ADDRESS_MAX {
            let mut no = Error::refusal(429, "M_LIMIT_EXCEEDED", "There are too many sessions.");
            let first = places.values().map(|place| place.expires.0).min();
            no.retry_after_ms = Some(first.unwrap_or(0).saturating_sub(now.0));
            return Err(no.into());
        }
        let expires = UnixMs(now.0.saturating_add(LIFE_MS));
        let place = Place { data, revision, modified: now, expires, before: None, address };
        places.insert((form, name), place.clone());
        Ok(place)
    }

    /// The place of that name.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND`.
    pub(crate) fn look(&self, form: Form, name: &str, now: UnixMs) -> Reply<Place> {
        let places = self.0.lock();
        let place = places.get(&(form, name.to_owned())).filter(|place| place.expires > now);
        place.cloned().ok_or_else(missing)
    }

    /// Replaces the message that has the name `known`. A request that is repeated because its answer was lost succeeds again,
    /// as long as nobody has answered.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND`.
    pub(crate) fn put(
        &self,
        (form, name): (Form, &str),
        known: &str,
        (data, revision): (Bytes, String),
        now: UnixMs,
    ) -> Reply<Put> {
        let mut places = self.0.lock();
        let place = places.get_mut(&(form, name.to_owned())).filter(|place| place.expires > now);
        let place = place.ok_or_else(missing)?;
        if place.before.as_deref() == Some(known) && place.data == data {
            return Ok(Put::Done(place.clone()));
        }
        if place.revision != known {
            return Ok(Put::Conflict(place.clone()));
        }
        place.before = Some(std::mem::replace(&mut place.revision, revision));
        (place.data, place.modified) = (data, now);
        Ok(Put::Done(place.clone()))
    }

    /// Ends a place.
    ///
    /// # Errors
    /// 404 `M_NOT_FOUND`.
    pub(crate) fn end(&self, form: Form, name: &str, now: UnixMs) -> Reply<()> {
        let place = self.0.lock().remove(&(form, name.to_owned()));
        place.filter(|place| place.expires > now).map(drop).ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_000_000);

    fn said(text: &'static str, revision: &str) -> (Bytes, String) {
        (Bytes::from_static(text.as_bytes()), revision.to_owned())
    }

    fn make(all: &Rendezvous, name: &str, from: [u8; 4], now: UnixMs) -> Reply<Place> {
        all.make((Form::ETag, name.to_owned()), from.into(), said("one", "1"), now)
    }

    fn status<T>(reply: Reply<T>) -> u16 {
        match reply {
            Ok(_) => 200,
            Err(Error::Refused(no)) => no.status,
            Err(Error::Fault(fault)) => panic!("{fault}"),
        }
    }

    #[test]
    fn only_who_knows_the_message_replaces_it() {
        let all = Rendezvous::default();
        make(&all, "a", [127, 0, 0, 1], NOW).unwrap();
        let put = |known, (data, revision)| {
            all.put((Form::ETag, "a"), known, (data, revision), NOW).unwrap()
        };
        let Put::Done(second) = put("1", said("two", "2")) else { panic!() };
        assert_eq!((&*second.data, second.revision.as_str()), (&b"two"[..], "2"));
        assert_eq!(put("1", said("other", "3")), Put::Conflict(second.clone()));
        assert_eq!(put("1", said("two", "4")), Put::Done(second.clone()), "asked again");
        assert_eq!(all.look(Form::ETag, "a", NOW).unwrap(), second);
    }

    #[test]
    fn a_place_ends_after_its_time_however_often_it_is_written_to() {
        let all = Rendezvous::default();
        let made = make(&all, "a", [127, 0, 0, 1], NOW).unwrap();
        let last = UnixMs(made.expires.0 - 1);
        all.put((Form::ETag, "a"), "1", said("two", "2"), last).unwrap();
        assert_eq!(status(all.look(Form::ETag, "a", last)), 200);
        assert_eq!(status(all.look(Form::ETag, "a", made.expires)), 404);
        assert_eq!(status(all.put((Form::ETag, "a"), "2", said("x", "3"), made.expires)), 404);
        assert_eq!(status(all.end(Form::ETag, "a", made.expires)), 404);
    }

    #[test]
    fn the_two_forms_do_not_see_each_other() {
        let all = Rendezvous::default();
        make(&all, "a", [127, 0, 0, 1], NOW).unwrap();
        assert_eq!(status(all.look(Form::Token, "a", NOW)), 404);
        assert_eq!(status(all.end(Form::Token, "a", NOW)), 404);
        assert_eq!(status(all.end(Form::ETag, "a", NOW)), 200);
        assert_eq!(status(all.end(Form::ETag, "a", NOW)), 404);
    }

    #[test]
    fn one_address_takes_a_few_and_nobody_drives_others_out() {
        let all = Rendezvous::default();
        for n in 0..OF_ADDRESS_MAX {
            make(&all, &n.to_string(), [192, 0, 2, 1], NOW).unwrap();
        }
        assert_eq!(status(make(&all, "more", [192, 0, 2, 1], NOW)), 429);
        make(&all, "other", [192, 0, 2, 2], NOW).unwrap();
        for n in 0..=255 {
            for m in 0..=255 {
                let _ = make(&all, &format!("{n}.{m}"), [198, 51, n, m], NOW);
            }
        }
        assert_eq!(all.0.lock().len(), PLACES_MAX);
        assert_eq!(status(all.look(Form::ETag, "other", NOW)), 200);
        let later = UnixMs(NOW.0 + LIFE_MS);
        assert_eq!(status(make(&all, "later", [192, 0, 2, 1], later)), 200);
        assert_eq!(all.0.lock().len(), 1, "what is over is forgotten");
    }
}
