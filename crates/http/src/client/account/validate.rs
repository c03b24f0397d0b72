//! The link in a letter, and what it leads to. Looking at the page changes nothing, because programs that check mail
//! follow links; the button on it validates the address.

use accounts::threepid::{self, Purpose, Submitted};
use base::{Error, Reply};
use http::{Method, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use store::View;

use crate::{
    answer::{Json, Raw},
    asked::{Asked, query_value},
    handler::{Around, Auth, Caller, Routes},
    outside::{Outside, Settings},
    page::{Page, escape},
};

/// Where letters lead, and where tokens are submitted (spec: Identity Service API, `submitToken`).
const PATH: &str = "/_matrix/client/unstable/org.althing/validate/email/submitToken";

pub(super) fn routes() -> Routes {
    Routes::default().raw_read(Method::GET, &[PATH], Auth::None, ask).raw_flow(
        Method::POST,
        &[PATH],
        Auth::None,
        submit,
    )
}

/// The link in a letter. What it is made of needs no escaping.
pub(super) fn link(settings: &Settings, sid: &str, client_secret: &str, token: &str) -> String {
    let base = settings.base_url.as_deref().unwrap_or_default();
    format!("{base}{PATH}?sid={sid}&client_secret={client_secret}&token={token}")
}

fn ask(_: &View, _: Around<'_>, _: Option<Caller>, asked: Asked) -> Reply<Raw> {
    let field = |name: &str| {
        let value = asked.query(name).unwrap_or_default();
        format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(&value))
    };
    let body = format!(
        "<p>Confirm that this is your mail address.</p><form method=\"post\" action=\"{PATH}\">{}{}{}\
         <button type=\"submit\">Confirm</button></form>",
        field("sid"),
        field("client_secret"),
        field("token")
    );
    Page::new("Your mail address").body(&body).render()
}

#[derive(Default, Deserialize)]
struct Body {
    sid: Option<String>,
    client_secret: Option<String>,
    token: Option<String>,
}

async fn submit(outside: Outside, _: Option<Caller>, asked: Asked) -> Reply<Raw> {
    let form = asked
        .header(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let body = if form { from_form(&asked.body) } else { asked.json::<Body>()? };
    let missing = || Error::missing_param("sid, client_secret or token is missing.");
    let sid = body.sid.ok_or_else(missing)?;
    let secret = body.client_secret.ok_or_else(missing)?;
    let token = body.token.ok_or_else(missing)?;
    let written = outside.store.write(None, move |tx| threepid::submit(tx, &sid, &secret, &token));
    let outcome = written.await.map(|written| written.value);
    match (form, outcome) {
        (false, Ok(Submitted::Good { .. })) => json_answer(true),
        (false, Ok(Submitted::Wrong)) => json_answer(false),
        (true, Ok(Submitted::Good { purpose, next_link })) => {
            good(&outside.settings, purpose, next_link)
        }
        (true, Ok(Submitted::Wrong) | Err(Error::Refused(_))) => Page::new("This did not work")
            .body("<p>The link is too old, or not the last one that was sent. Begin again.</p>")
            .status(StatusCode::BAD_REQUEST)
            .render(),
        (_, Err(error)) => Err(error),
    }
}

fn json_answer(success: bool) -> Reply<Raw> {
    let Json(text) = json!({ "success": success }).to_string().into();
    Ok(Raw(crate::answer::json(StatusCode::OK, text)))
}

fn from_form(body: &[u8]) -> Body {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let field = |name: &str| query_value(text, name).map(std::borrow::Cow::into_owned);
    Body { sid: field("sid"), client_secret: field("client_secret"), token: field("token") }
}

/// Leads on to pages of this server by itself; to others only whoever reads where the link leads.
fn good(settings: &Settings, purpose: Purpose, next: Option<String>) -> Reply<Raw> {
    let then = match purpose {
        Purpose::Register => "Go back to the app to finish your registration.",
        Purpose::Password => "Go back to the app to set your new password.",
        Purpose::Add => "Go back to the app to finish.",
    };
    let page = Page::new("Thank you").body(&format!("<p>Your address is confirmed. {then}</p>"));
    let Some(next) = next else { return page.render() };
    let own = settings.base_url.as_ref().and_then(|base| next.strip_prefix(base.as_str()));
    if own.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#'])) {
        return page.redirect(&next);
    }
    let link = escape(&next);
    page.body(&format!("<p>Or go on to <a rel=\"noreferrer\" href=\"{link}\">{link}</a></p>"))
        .render()
}
