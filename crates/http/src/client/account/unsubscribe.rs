//! The link by which a reader ends letters about unread messages (RFC 8058: a POST there does it at once).

use accounts::pusher;
use base::Reply;
use http::{Method, StatusCode};
use notify::unsubscribe;
use ruma::UserId;
use store::{Tx, View, schema::PUSHERS, user};

use crate::{
    answer::Raw,
    asked::Asked,
    handler::{Around, Auth, Caller, Routes},
    page::{Page, escape},
};

pub(super) fn routes() -> Routes {
    const PATH: [&str; 1] = [unsubscribe::PATH];
    Routes::default().raw_read(Method::GET, &PATH, Auth::None, ask).raw_write(
        Method::POST,
        &PATH,
        Auth::None,
        end,
    )
}

/// Programs that check mail follow links, so that looking changes nothing.
fn ask(_: &View, _: Around<'_>, _: Option<Caller>, asked: Asked) -> Reply<Raw> {
    let query = escape(asked.uri.query().unwrap_or_default());
    let action = unsubscribe::PATH;
    let body = format!(
        "<p>Do you want no more letters about unread messages?</p>\
         <form method=\"post\" action=\"{action}?{query}\"><button type=\"submit\">No more letters</button></form>"
    );
    Page::new("Letters about unread messages").body(&body).render()
}

fn end(tx: &mut Tx, _: Around<'_>, _: Option<Caller>, asked: Asked) -> Reply<Raw> {
    let part = |name: &str| asked.query(name).unwrap_or_default().into_owned();
    let Some((user_id, id)) = unsubscribe::read(tx, &part("u"), &part("p"), &part("s"))? else {
        return Page::new("This link is not valid").status(StatusCode::FORBIDDEN).render();
    };
    if let Ok(user_id) = UserId::parse(user_id)
        && let Some(user) = user::find(tx, &user_id)?
        && let Some(row) = tx.get(&PUSHERS, (user, id))?
    {
        pusher::reject(tx, user, id, row.set)?;
    }
    Page::new("Done").body("<p>There will be no more letters.</p>").render()
}
