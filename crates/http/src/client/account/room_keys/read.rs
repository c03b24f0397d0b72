//! `GET` of `/room_keys/keys`, `/room_keys/keys/{roomId}`, `/room_keys/keys/{roomId}/{sessionId}`. A backup may have
//! hundreds of thousands of keys: what does not fit into one page is sent as it is read.

use std::io;

use ::devices::backup::{
    keys,
    page::{Key, Reader},
};
use base::Reply;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use protocol::json::quote;
use store::{Store, View};

use super::{super::required, ALL, ONE, ROOM, meant};
use crate::{
    answer::{Json, Raw, Response, json},
    asked::Asked,
    body::Body,
    handler::{Around, Auth, Caller, Routes},
    outside::Outside,
};

pub(super) fn routes() -> Routes {
    Routes::default()
        .raw_flow(Method::GET, &ALL, Auth::Required, all)
        .raw_flow(Method::GET, &ROOM, Auth::Required, of_room)
        .raw_read(Method::GET, &ONE, Auth::Required, one)
}

fn one(view: &View, _: Around<'_>, caller: Option<Caller>, asked: Asked) -> Reply<Json> {
    let caller = required(caller)?;
    let (room, session) = (asked.arg(0), asked.arg(1));
    Ok(keys::one(view, caller.user, &meant(&asked)?, room, session)?.into())
}

async fn all(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Raw> {
    let reader = Reader::new(required(caller)?.user, &meant(&asked)?, None);
    answer(outside.store, reader, Writer::of_all()).await
}

async fn of_room(outside: Outside, caller: Option<Caller>, asked: Asked) -> Reply<Raw> {
    let reader = Reader::new(required(caller)?.user, &meant(&asked)?, Some(asked.arg(0)));
    answer(outside.store, reader, Writer::of_room()).await
}

/// The JSON text of keys, page by page.
struct Writer {
    /// By room; otherwise all are of one.
    by_room: bool,
    /// The room whose sessions are being written.
    room: Option<String>,
    /// Something was written.
    begun: bool,
}

impl Writer {
    fn of_all() -> Writer {
        Writer { by_room: true, room: None, begun: false }
    }

    fn of_room() -> Writer {
        Writer { by_room: false, room: None, begun: false }
    }

    /// One page more; `last`: there are no others.
    fn write(&mut self, page: &[Key], last: bool) -> String {
        let mut text = String::with_capacity(page.iter().map(|(.., key)| key.len() + 64).sum());
        if !self.begun {
            text.push_str(if self.by_room { r#"{"rooms":{"# } else { r#"{"sessions":{"# });
            self.begun = true;
        }
        for (room, session, key) in page {
            if self.room.as_ref() == Some(room) {
                text.push(',');
            } else {
                if self.by_room {
                    text.push_str(if self.room.is_some() { "}}," } else { "" });
                    text.push_str(&quote(room));
                    text.push_str(r#":{"sessions":{"#);
                }
                self.room = Some(room.clone());
            }
            text.push_str(&quote(session));
            text.push(':');
            text.push_str(key);
        }
        if last {
            text.push_str(if self.by_room && self.room.is_some() { "}}" } else { "" });
            text.push_str("}}");
        }
        text
    }
}

async fn answer(store: Store, reader: Reader, mut writer: Writer) -> Reply<Raw> {
    let (reader, page) = next(&store, reader).await?;
    let last = Reader::is_last(&page);
    let first = Bytes::from(writer.write(&page, last));
    if last {
        return Ok(Raw(json(StatusCode::OK, first)));
    }
    let left = Some((store, reader, writer));
    let rest = futures_util::stream::try_unfold(left, |left| async move {
        let Some((store, reader, mut writer)) = left else { return Ok(None) };
        // The client sees that the answer breaks off, and asks again.
        let (reader, page) = next(&store, reader).await.map_err(io::Error::other)?;
        let last = Reader::is_last(&page);
        let text = Bytes::from(writer.write(&page, last));
        Ok(Some((text, (!last).then_some((store, reader, writer)))))
    });
    let first = futures_util::stream::once(std::future::ready(Ok(first)));
    let chunks = futures_util::StreamExt::chain(first, rest);
    let mut response = Response::new(Body::stream(chunks, None));
    let value = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, value);
    Ok(Raw(response))
}

async fn next(store: &Store, mut reader: Reader) -> Reply<(Reader, Vec<Key>)> {
    store.read(move |view| reader.next(view).map(|page| (reader, page))).await
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn key(room: &str, session: &str) -> Key {
        (room.to_owned(), session.to_owned(), r#"{"a":1}"#.to_owned())
    }

    /// The same keys however they fall into pages.
    fn written(new: fn() -> Writer, keys: &[Key]) -> Value {
        let whole: Value = serde_json::from_str(&new().write(keys, true)).unwrap();
        for cut in 0..=keys.len() {
            let (mut writer, (one, two)) = (new(), keys.split_at(cut));
            let text = writer.write(one, false) + &writer.write(two, true);
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), whole, "cut at {cut}");
        }
        whole
    }

    #[test]
    fn keys_are_written_by_room_and_session_whatever_the_pages() {
        let keys = [key("!a", "1"), key("!a", "2"), key("!b\"", "1"), key("!c", "1")];
        let one = || json!({"1": {"a": 1}});
        let two = json!({"1": {"a": 1}, "2": {"a": 1}});
        let all = json!({"rooms": {
            "!a": {"sessions": two}, "!b\"": {"sessions": one()}, "!c": {"sessions": one()},
        }});
        assert_eq!(written(Writer::of_all, &keys), all);
        assert_eq!(written(Writer::of_room, &keys[..2]), json!({"sessions": two}));
    }

    #[test]
    fn nothing_is_an_empty_object() {
        assert_eq!(written(Writer::of_all, &[]), json!({"rooms": {}}));
        assert_eq!(written(Writer::of_room, &[]), json!({"sessions": {}}));
    }
}
