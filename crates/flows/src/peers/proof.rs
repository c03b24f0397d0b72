//! Who sent a request (spec: Server-Server API, "Request Authentication").

use std::{collections::BTreeMap, sync::Arc};

use base::{Error, Reply};
use bytes::Bytes;
use http::{HeaderMap, header};
use protocol::request::{Claim, signed_text};
use ruma::{OwnedServerName, ServerName};
use store::View;

use super::{
    ask::Asker,
    keys::{Keyring, Need, known, needed_now},
};

/// `Authorization` headers that are looked at: one for each key of a server.
const CLAIMS_MAX: usize = 4;

/// What is to be proven.
pub(super) struct Question {
    pub(super) method: String,
    /// Path and query, as they came.
    pub(super) target: String,
    pub(super) body: Bytes,
}

fn unauthorized(why: &str) -> Error {
    Error::refused(401, "M_UNAUTHORIZED", why)
}

/// The server that signed a request.
///
/// # Errors
/// 401 `M_UNAUTHORIZED` if none has, or for another server than this; 403 `M_FORBIDDEN` if this server does not talk to it.
pub(super) async fn prove(
    asker: &Asker,
    keyring: &Keyring,
    headers: &HeaderMap,
    question: Question,
) -> Reply<OwnedServerName> {
    if !asker.enabled {
        return Err(Error::forbidden("this server does not take part in federation"));
    }
    let question = Arc::new(question);
    let values = headers.get_all(header::AUTHORIZATION).iter();
    let claims = values.filter_map(|value| Claim::read(value.to_str().ok()?)).take(CLAIMS_MAX);
    let mut why = "the request has no X-Matrix signature";
    for claim in claims {
        if claim.destination.as_deref().is_some_and(|to| to != asker.store.server_name()) {
            return Err(unauthorized("the request is for another server"));
        }
        if claim.origin == asker.store.server_name() {
            return Err(unauthorized("the request claims to come from this server itself"));
        }
        if !asker.border.read().admits(&claim.origin) {
            return Err(Error::forbidden("this server does not talk to that one"));
        }
        let origin = claim.origin.clone();
        match holds(asker, keyring, claim, &question).await? {
            Verdict::Holds => {
                asker.heard_from(&origin);
                return Ok(origin);
            }
            Verdict::NoKey => why = "the key of the signature cannot be had, or no longer counts",
            Verdict::Broken => why = "the signature does not hold",
        }
    }
    Err(unauthorized(why))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Holds,
    Broken,
    NoKey,
}

/// Judged where the key is read, so that no task is held up by the arithmetic.
async fn holds(
    asker: &Asker,
    keyring: &Keyring,
    claim: Claim,
    question: &Arc<Question>,
) -> Reply<Verdict> {
    let now = asker.store.now().0;
    let needs = needed_now(&claim.origin, &claim.key_id, now);
    let (claim, wanted) = (Arc::new(claim), Arc::new(needs));
    for fetch in [true, false] {
        let (claim, question, needs) = (claim.clone(), question.clone(), wanted.clone());
        let judge = move |view: &View| judge(view, &claim, &question, &needs, now);
        let verdict = asker.store.read(judge).await?;
        if verdict != Verdict::NoKey || !fetch {
            return Ok(verdict);
        }
        keyring.obtain(BTreeMap::clone(&wanted)).await?;
    }
    Ok(Verdict::NoKey)
}

fn judge(
    view: &View,
    claim: &Claim,
    question: &Question,
    needs: &BTreeMap<OwnedServerName, Need>,
    now: u64,
) -> Reply<Verdict> {
    let found = known(view, needs)?;
    let key = found.get(&claim.origin).and_then(|keys| keys.get(&claim.key_id));
    let Some(key) = key.filter(|key| key.counts_now(now)) else { return Ok(Verdict::NoKey) };
    let Question { method, target, body } = question;
    let to: &ServerName = view.server_name();
    let text = signed_text(method, target, &claim.origin, to, body)?;
    Ok(if claim.holds(&text, &key.public) { Verdict::Holds } else { Verdict::Broken })
}
