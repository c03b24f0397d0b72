//! User-interactive authentication (spec: Client-Server API, "User-Interactive Authentication API").
//!
//! A session is bound to the request that it was begun for ([`bind`]): what was proven to delete one device does not
//! delete another. It ends with the request that it let through, in the same transaction.

use base::{Error, Refusal, Reply, UnixMs};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use store::{
    Tx, View,
    schema::{UIA, UIA_THREEPIDS, UiaSession},
};

use crate::{
    expiry::{self, Kept},
    registration,
    session::fresh_token,
    threepid::{self, Proven, Purpose},
};

/// How long a session lives: someone has to fetch a registration token from a letter.
const SESSION_MS: u64 = 60 * 60 * 1_000;
/// Ours are shorter; longer ones need not be looked up.
const SESSION_ID_BYTES_MAX: usize = 64;

/// More stages than any flow has.
const STAGES_MAX: usize = 8;

/// The stage that always succeeds.
pub const DUMMY: &str = "m.login.dummy";
/// The user's password.
pub const PASSWORD: &str = "m.login.password";
/// A registration token.
pub const REGISTRATION_TOKEN: &str = "m.login.registration_token";

/// A mail address.
pub const EMAIL_IDENTITY: &str = "m.login.email.identity";
/// Agreeing to policies.
pub const TERMS: &str = "m.login.terms";

/// What has to be proven for a request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// From [`bind`].
    pub request: [u8; 16],
    /// The ways to prove it: stages in order.
    pub flows: &'static [&'static [&'static str]],
    /// The configured registration token, where that stage is offered.
    pub registration_token: Option<String>,
    /// What a client has to know for a stage, by stage (`params`).
    pub params: Value,
    /// What an address has to be validated for, where that stage is offered.
    pub address_for: Purpose,
}

/// Names a request: the endpoint, the caller, what it is about. Not what is secret in it: the name is stored.
#[must_use]
pub fn bind<S: AsRef<str>>(parts: impl IntoIterator<Item = S>) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        let part = part.as_ref();
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let whole: [u8; 32] = hash.finalize().into();
    whole.first_chunk::<16>().copied().unwrap_or_default()
}

/// The `auth` field of a request.
#[derive(Clone, Default, Deserialize)]
pub struct Auth {
    /// The stage; none: only to see how the session stands.
    #[serde(rename = "type")]
    pub stage: Option<String>,
    /// The session; none: a new one.
    pub session: Option<String>,
    /// For `m.login.registration_token`.
    pub token: Option<String>,
    /// For `m.login.password`.
    pub password: Option<String>,
    /// For `m.login.password`: whose.
    pub identifier: Option<Identifier>,
    /// For `m.login.password`: whose, as old clients say it.
    pub user: Option<String>,
    /// For `m.login.email.identity`.
    #[serde(alias = "threepidCreds")]
    pub threepid_creds: Option<Credentials>,
}

/// A validation that was carried through.
#[derive(Clone, Debug, Deserialize)]
pub struct Credentials {
    /// The session id.
    pub sid: String,
    /// The client's secret.
    pub client_secret: String,
}

/// Who someone claims to be (spec: "Identifier types"). `m.id.user` and mail addresses are known.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Identifier {
    /// `m.id.user`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// A user id or its localpart.
    pub user: Option<String>,
    /// Of `m.id.thirdparty`: `email`.
    pub medium: Option<String>,
    /// Of `m.id.thirdparty`.
    pub address: Option<String>,
}

impl Identifier {
    /// The user that is named, if users can be named so here.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref().filter(|_| self.kind.as_deref() == Some("m.id.user"))
    }
}

impl Identifier {
    /// The mail address that is named.
    #[must_use]
    pub fn mail(&self) -> Option<&str> {
        let mail = self.kind.as_deref() == Some("m.id.thirdparty")
            && self.medium.as_deref() == Some(threepid::EMAIL);
        self.address.as_deref().filter(|_| mail)
    }
}

impl Auth {
    /// Whose password it is said to be.
    #[must_use]
    pub fn claimed(&self) -> Option<&str> {
        match &self.identifier {
            Some(identifier) => identifier.user(),
            None => self.user.as_deref(),
        }
    }
}

/// What a request has shown, as far as it could be judged outside of a transaction.
#[derive(Clone, Debug)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// A stage was passed.
    Stage(String),
    /// A registration token, still to be judged.
    Token(String),
    /// A mail address.
    Address(Proven),
    /// A stage was not passed: what to tell the person.
    Wrong(&'static str),
}

/// How a request stands.
#[derive(Debug)]
pub enum Progress {
    /// Everything is proven; the session has ended. With the address, if that was a stage.
    Passed(Option<Proven>),
    /// More is needed: the 401 to answer. Not an error, because the session has to be written.
    Asked(Box<Refusal>),
}

/// Takes the next step of a session, or begins one.
///
/// # Errors
/// Faults only.
pub fn step(tx: &mut Tx, ask: &Ask, session: Option<&str>, shown: &Shown) -> Reply<Progress> {
    let found = match session {
        Some(id) => find(tx, ask, id)?,
        None => None,
    };
    let (id, mut row, new) = match found {
        Some((id, row)) => (id, row, false),
        None => (fresh_token(tx, "alu"), fresh(tx, ask), true),
    };
    let mut wrong = None;
    if new && session.is_some() {
        wrong = Some("Unknown session. Begin again.");
    } else {
        match shown {
            Shown::Nothing => {}
            Shown::Wrong(why) => wrong = Some(*why),
            Shown::Stage(stage) => wrong = pass(&mut row, ask, stage),
            Shown::Address(proven) => {
                wrong = pass(&mut row, ask, EMAIL_IDENTITY);
                if wrong.is_none() {
                    tx.put(&UIA_THREEPIDS, (id.clone(),), proven);
                }
            }
            Shown::Token(token) => {
                if registration::token_is_valid(tx, token, ask.registration_token.as_deref())? {
                    wrong = pass(&mut row, ask, REGISTRATION_TOKEN);
                    row.registration_token = Some(token.clone());
                } else {
                    wrong = Some("This registration token is not valid.");
                }
            }
        }
    }
    if wrong.is_none() && ask.flows.iter().any(|flow| row.completed == *flow) {
        let good = match row.registration_token.take() {
            // Someone else may have used it up since.
            Some(token) => registration::use_token(tx, &token, ask.registration_token.as_deref())?,
            None => true,
        };
        if good {
            return end(tx, id).map(Progress::Passed);
        }
        row.completed.clear();
        wrong = Some("This registration token is not valid.");
    }
    if new {
        let end = UnixMs(row.created.0.saturating_add(SESSION_MS));
        expiry::until(tx, end, Kept::Uia, &id)?;
    }
    tx.put(&UIA, (id.clone(),), &row);
    Ok(Progress::Asked(Box::new(question(ask, &id, &row, wrong))))
}

/// Ends a session, and uses up the address that it has proven.
fn end(tx: &mut Tx, id: String) -> Reply<Option<Proven>> {
    let proven = tx.get(&UIA_THREEPIDS, (id.clone(),))?;
    if let Some(proven) = &proven {
        threepid::spend(tx, proven)?;
        tx.delete(&UIA_THREEPIDS, (id.clone(),));
    }
    tx.delete(&UIA, (id,));
    Ok(proven)
}

/// Passes a stage of a session from a page in a browser (spec: "Fallback"), which knows nothing of the request. Whether
/// the stage was one that was asked for shows when the client goes on. `false`: there is no such session.
///
/// # Errors
/// Faults only.
pub fn pass_by_page(tx: &mut Tx, session: &str, stage: &str, token: Option<&str>) -> Reply<bool> {
    if session.len() > SESSION_ID_BYTES_MAX {
        return Ok(false);
    }
    let key = (session.to_owned(),);
    let row = tx.get(&UIA, key.clone())?;
    let live = |row: &UiaSession| tx.now().0 < row.created.0.saturating_add(SESSION_MS);
    let Some(mut row) = row.filter(live) else { return Ok(false) };
    if row.completed.len() < STAGES_MAX && !row.completed.iter().any(|done| done == stage) {
        row.completed.push(stage.to_owned());
        row.registration_token = token.map(str::to_owned).or(row.registration_token);
        tx.put(&UIA, key, &row);
    }
    Ok(true)
}

/// Would this step be the last one? For what is too expensive to be done before; [`step`] judges again.
///
/// # Errors
/// Faults only.
pub fn completes(view: &View, ask: &Ask, session: Option<&str>, shown: &Shown) -> Reply<bool> {
    let mut row = match session {
        None => fresh(view, ask),
        Some(id) => match find(view, ask, id)? {
            Some((_, row)) => row,
            None => return Ok(false),
        },
    };
    let stage = match shown {
        Shown::Stage(stage) => stage.as_str(),
        Shown::Token(token) => {
            if !registration::token_is_valid(view, token, ask.registration_token.as_deref())? {
                return Ok(false);
            }
            REGISTRATION_TOKEN
        }
        Shown::Address(_) => EMAIL_IDENTITY,
        // What was shown on a page counts when the client comes back.
        Shown::Nothing => return Ok(ask.flows.iter().any(|flow| row.completed == *flow)),
        Shown::Wrong(_) => return Ok(false),
    };
    let passed = pass(&mut row, ask, stage).is_none();
    Ok(passed && ask.flows.iter().any(|flow| row.completed == *flow))
}

fn find(view: &View, ask: &Ask, id: &str) -> Reply<Option<(String, UiaSession)>> {
    if id.len() > SESSION_ID_BYTES_MAX {
        return Ok(None);
    }
    let row = view.get(&UIA, (id.to_owned(),))?;
    let good = |row: &UiaSession| {
        row.request == ask.request && view.now().0 < row.created.0.saturating_add(SESSION_MS)
    };
    Ok(row.filter(good).map(|row| (id.to_owned(), row)))
}

fn fresh(view: &View, ask: &Ask) -> UiaSession {
    UiaSession {
        created: view.now(),
        request: ask.request,
        completed: Vec::new(),
        registration_token: None,
    }
}

/// Notes a passed stage. Stages come in the order of a flow; one that was passed before is not asked again.
fn pass(row: &mut UiaSession, ask: &Ask, stage: &str) -> Option<&'static str> {
    if row.completed.iter().any(|done| done == stage) {
        return None;
    }
    let next = |flow: &&[&str]| {
        let (done, rest) = flow.split_at_checked(row.completed.len()).unwrap_or((&[], &[]));
        row.completed == done && rest.first() == Some(&stage)
    };
    if !ask.flows.iter().any(next) {
        return Some("This stage is not asked for now.");
    }
    row.completed.push(stage.to_owned());
    None
}

fn question(ask: &Ask, id: &str, row: &UiaSession, wrong: Option<&str>) -> Refusal {
    let flows: Vec<Value> = ask.flows.iter().map(|stages| json!({ "stages": stages })).collect();
    // The spec's answer to a request without `auth` has no error in it.
    let errcode = if wrong.is_some() { "M_FORBIDDEN" } else { "" };
    let question = Error::refusal(401, errcode, wrong.unwrap_or_default())
        .with("flows", flows)
        .with("params", ask.params.clone())
        .with("session", id);
    if row.completed.is_empty() {
        return question;
    }
    question.with("completed", row.completed.clone())
}
