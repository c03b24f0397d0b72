//! User-interactive authentication around an action: what is proven and what is done commit together.

use accounts::{
    account,
    threepid::{self, Proven, Purpose},
    uia::{
        self, Ask, Auth, DUMMY, EMAIL_IDENTITY, PASSWORD, Progress, REGISTRATION_TOKEN, Shown,
        TERMS,
    },
};
use base::{Error, Reply};
use serde_json::json;
use store::{Tx, View};

use crate::{handler::Caller, outside::Outside};

/// The one way to prove that the owner of an account is there.
pub(super) const BY_PASSWORD: &[&[&str]] = &[&[PASSWORD]];

/// What a caller has to prove for a request that is named by `parts`.
pub(super) fn ask_password<S: AsRef<str>>(parts: impl IntoIterator<Item = S>) -> Ask {
    Ask {
        request: uia::bind(parts),
        flows: BY_PASSWORD,
        registration_token: None,
        params: json!({}),
        address_for: Purpose::Add,
    }
}

/// Does `action` if the request proves what is asked, otherwise answers 401 with what is missing. An application
/// service has proven all there is (MSC4190).
pub(super) async fn guarded<T: Send + 'static>(
    outside: &Outside,
    caller: &Caller,
    ask: Ask,
    auth: Option<Auth>,
    mut action: impl FnMut(&mut Tx) -> Reply<T> + Send + 'static,
) -> Reply<T> {
    if caller.service.is_some() {
        return Ok(outside.store.write(None, action).await?.value);
    }
    let auth = auth.unwrap_or_default();
    let session = auth.session.clone();
    let shown = judge(outside, Some(caller), &ask, auth).await?;
    step(outside, ask, session, shown, move |tx, _| action(tx)).await
}

/// What a request shows, as far as that needs no transaction: a hash is computed on its own threads.
pub(super) async fn judge(
    outside: &Outside,
    caller: Option<&Caller>,
    ask: &Ask,
    auth: Auth,
) -> Reply<Shown> {
    let Some(stage) = auth.stage.clone() else { return Ok(Shown::Nothing) };
    if !ask.flows.iter().any(|stages| stages.contains(&stage.as_str())) {
        return Ok(Shown::Wrong("This stage is not asked for."));
    }
    match (stage.as_str(), caller) {
        (DUMMY | TERMS, _) => Ok(Shown::Stage(stage)),
        (EMAIL_IDENTITY, None) => has_address(outside, ask, auth).await,
        (REGISTRATION_TOKEN, _) => Ok(match auth.token {
            Some(token) => Shown::Token(token),
            None => Shown::Wrong("The registration token is missing."),
        }),
        (PASSWORD, Some(caller)) => match knows_password(outside, caller, auth).await? {
            true => Ok(Shown::Stage(stage)),
            false => Ok(Shown::Wrong("Invalid password.")),
        },
        _ => Ok(Shown::Wrong("This stage is not asked for.")),
    }
}

/// Has the link in the letter been followed? (spec: "Email-based (identity / homeserver)")
async fn has_address(outside: &Outside, ask: &Ask, auth: Auth) -> Reply<Shown> {
    let Some(creds) = auth.threepid_creds else {
        return Ok(Shown::Wrong("The credentials of the validation are missing."));
    };
    let purpose = ask.address_for;
    let proven = outside
        .store
        .read(move |view| threepid::proven(view, &creds.sid, &creds.client_secret, purpose));
    match proven.await {
        Ok(proven) => Ok(Shown::Address(proven)),
        Err(Error::Refused(_)) => Ok(Shown::Wrong("The address is not validated.")),
        Err(fault) => Err(fault),
    }
}

async fn knows_password(outside: &Outside, caller: &Caller, auth: Auth) -> Reply<bool> {
    let user = caller.user;
    let claimed = auth.claimed().map(str::to_owned);
    let mail = auth.identifier.as_ref().and_then(|i| i.mail()).map(str::to_owned);
    let find = move |view: &View| match (claimed, mail) {
        (Some(typed), _) => account::find(view, &typed),
        (None, Some(address)) => account::find_by_address(view, &address),
        (None, None) => Ok(None),
    };
    let found = outside.store.read(find).await?;
    // Another user's password proves nothing about this one.
    let phc = found.filter(|found| found.user == user).and_then(|found| found.password);
    outside.accounts.verify(auth.password.unwrap_or_default(), phc).await
}

/// Takes the step, and if that was the last one does `action` in the same transaction.
pub(super) async fn step<T: Send + 'static>(
    outside: &Outside,
    ask: Ask,
    session: Option<String>,
    shown: Shown,
    mut action: impl FnMut(&mut Tx, Option<Proven>) -> Reply<T> + Send + 'static,
) -> Reply<T> {
    let written = outside
        .store
        .write(None, move |tx| match uia::step(tx, &ask, session.as_deref(), &shown)? {
            Progress::Passed(proven) => action(tx, proven).map(Ok),
            Progress::Asked(question) => Ok(Err(question)),
        })
        .await?;
    written.value.map_err(base::Error::Refused)
}
