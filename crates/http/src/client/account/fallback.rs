//! Pages for clients that lack something: `GET /auth/{authType}/fallback/web` takes a stage of user-interactive
//! authentication (spec: "Fallback"), `/_matrix/static/client/login/` logs in (spec: "Login Fallback").

use accounts::{
    registration,
    uia::{self, DUMMY, REGISTRATION_TOKEN, TERMS},
};
use base::{Error, Reply};
use http::{Method, StatusCode};
use store::{Tx, View};

use crate::{
    answer::Raw,
    asked::{Asked, query_value},
    handler::{Around, Auth, Caller, Routes},
    page::{Page, escape},
};

pub(super) fn routes() -> Routes {
    const STAGE: [&str; 2] = [
        "/_matrix/client/v3/auth/{auth_type}/fallback/web",
        "/_matrix/client/r0/auth/{auth_type}/fallback/web",
    ];
    const LOGIN: [&str; 2] = ["/_matrix/static/client/login", "/_matrix/static/client/login/"];
    Routes::default()
        .raw_read(Method::GET, &STAGE, Auth::None, ask)
        .raw_write(Method::POST, &STAGE, Auth::None, take)
        .raw_read(Method::GET, &LOGIN, Auth::None, login)
}

/// Tells the client's window that the stage is done, as the spec has it.
const DONE: &str = "if(window.onAuthDone){window.onAuthDone()}\
    else if(window.opener&&window.opener.postMessage){window.opener.postMessage('authDone','*')}";

/// Asks what the person has to know or agree to.
fn ask(_: &View, _: Around<'_>, _: Option<Caller>, asked: Asked) -> Reply<Raw> {
    let Some(session) = asked.query("session") else {
        return Err(Error::missing_param("The session is missing."));
    };
    let field = match asked.arg(0) {
        DUMMY | TERMS => "",
        REGISTRATION_TOKEN => "<p><label>Registration token <input name=\"token\"></label></p>",
        _ => return Page::new("Go back to the app").body(&elsewhere()).render(),
    };
    let body = format!(
        "<form method=\"post\"><input type=\"hidden\" name=\"session\" value=\"{}\">{field}\
         <button type=\"submit\">Continue</button></form>",
        escape(&session)
    );
    Page::new("One more step").body(&body).render()
}

/// A password belongs to a user whom a page does not know, and an address is confirmed from a letter.
fn elsewhere() -> String {
    "<p>This step is taken in the app itself, or by the link in a letter.</p>".to_owned()
}

fn take(tx: &mut Tx, around: Around<'_>, _: Option<Caller>, asked: Asked) -> Reply<Raw> {
    let form = std::str::from_utf8(&asked.body).unwrap_or_default();
    let session = query_value(form, "session").unwrap_or_default();
    let token = match asked.arg(0) {
        DUMMY | TERMS => None,
        REGISTRATION_TOKEN => {
            let token = query_value(form, "token").unwrap_or_default();
            let configured = around.settings.registration.token.as_deref();
            if !registration::token_is_valid(tx, token.trim(), configured)? {
                return refused("This registration token is not valid.");
            }
            Some(token.trim().to_owned())
        }
        _ => return refused("This step is not taken here."),
    };
    if !uia::pass_by_page(tx, &session, asked.arg(0), token.as_deref())? {
        return refused("This session is unknown or over. Begin again in the app.");
    }
    Page::new("Done").body("<p>Go back to the app.</p>").script(DONE).render()
}

fn refused(why: &str) -> Reply<Raw> {
    let body = format!("<p>{}</p>", escape(why));
    Page::new("This did not work").body(&body).status(StatusCode::UNAUTHORIZED).render()
}

/// Logs in by password and hands the answer to the client that shows the page. What the query says of the device is passed
/// on.
const LOGIN: &str = "var form=document.getElementById('login');\
    form.addEventListener('submit',function(event){event.preventDefault();\
    var body={type:'m.login.password',identifier:{type:'m.id.user',user:form.user.value},password:form.password.value};\
    new URLSearchParams(location.search).forEach(function(value,name){\
    if(name==='device_id'||name==='initial_device_display_name'){body[name]=value}});\
    fetch('/_matrix/client/v3/login',{method:'POST',headers:{'Content-Type':'application/json'},body:JSON.stringify(body)})\
    .then(function(answer){return answer.json().then(function(json){\
    if(!answer.ok){throw new Error(json.error||answer.status)}\
    document.getElementById('said').textContent='You are logged in.';\
    if(window.matrixLogin&&window.matrixLogin.onLogin){window.matrixLogin.onLogin(json)}})})\
    .catch(function(error){document.getElementById('said').textContent=error.message})});";

fn login(_: &View, _: Around<'_>, _: Option<Caller>, _: Asked) -> Reply<Raw> {
    Page::new("Log in")
        .body(
            "<form id=\"login\"><p><label>User name <input name=\"user\" autocomplete=\"username\"></label></p>\
             <p><label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\"></label></p>\
             <button type=\"submit\">Log in</button></form><p id=\"said\" role=\"status\"></p>",
        )
        .script(LOGIN)
        .render()
}
