//! Local accounts (spec: Client-Server API, "Account registration and management").

use base::{Error, Reply, User};
use ruma::{OwnedUserId, UserId};
use store::{
    Store, Tx, View, device_keys, key_backup,
    log::Entry,
    schema::{ACCOUNT_DATA, ACCOUNTS, Account, FILTERS, PROFILES},
    user,
};

use crate::{
    device, openid,
    password::Hasher,
    profile,
    session::{self, TokenHash},
    text::{LOWER, random_name},
    threepid,
};

/// A user id is at most this long, with `@`, colon and server name (spec: Appendices, "User Identifiers").
const USER_ID_BYTES_MAX: usize = 255;
/// Rows of one kind that an erasure takes at once.
const ERASE_BATCH: usize = 1_000;

/// An account to be made.
#[derive(Clone, Debug)]
pub struct New {
    /// The name asked for; none: the server makes one up.
    pub name: Option<String>,
    /// argon2id in PHC text, from [`Hasher::hash`]; none: no login by password.
    pub password: Option<String>,
    /// May it administer the server?
    pub admin: bool,
    /// Is it a guest?
    pub guest: bool,
    /// Shown to people; none: the name.
    pub display_name: Option<String>,
}

/// The user id that a name would get.
///
/// Capital letters are lowered, as the spec lets servers map names (POST /register).
///
/// # Errors
/// 400 `M_INVALID_USERNAME` if it has other characters than the spec allows, or is too long; 400 `M_USER_IN_USE` if
/// it belongs, or ever belonged, to someone.
pub fn available(view: &View, name: &str) -> Reply<OwnedUserId> {
    let id = id_for(view, name)?;
    match user::find(view, &id)? {
        Some(user) if view.has(&ACCOUNTS, (user,))? => {
            Err(Error::refused(400, "M_USER_IN_USE", "This user name is taken."))
        }
        _ => Ok(id),
    }
}

/// The user id that a name stands for, whether anyone has it or not.
///
/// # Errors
/// 400 `M_INVALID_USERNAME`.
pub fn id_of(view: &View, name: &str) -> Reply<OwnedUserId> {
    id_for(view, name)
}

fn id_for(view: &View, name: &str) -> Reply<OwnedUserId> {
    let invalid = |why: &str| Error::refused(400, "M_INVALID_USERNAME", why);
    if name.is_empty() {
        return Err(invalid("A user name must not be empty."));
    }
    let name = name.to_ascii_lowercase();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._=-/+".contains(c);
    if !name.chars().all(allowed) {
        return Err(invalid("A user name may only have the characters a-z, 0-9 and ._=-/+"));
    }
    match view.local_user_id(&name) {
        Some(id) if id.as_str().len() <= USER_ID_BYTES_MAX => Ok(id),
        _ => Err(invalid("This user name is too long.")),
    }
}

/// Makes an account and announces it.
///
/// # Errors
/// As [`available`].
pub fn register(tx: &mut Tx, new: &New) -> Reply<(User, OwnedUserId)> {
    let name = match &new.name {
        Some(name) => name.clone(),
        None if new.guest => format!("guest-{}", random_name::<12>(tx, LOWER)),
        None => random_name::<12>(tx, LOWER),
    };
    let id = available(tx, &name)?;
    let user = user::intern(tx, &id)?;
    let account = Account {
        password: new.password.clone(),
        created: tx.now(),
        admin: new.admin,
        guest: new.guest,
        deactivated: false,
        erased: false,
    };
    tx.put(&ACCOUNTS, (user,), &account);
    let shown = new.display_name.as_deref().unwrap_or_else(|| id.localpart());
    profile::set_first_name(tx, user, shown)?;
    tx.announce(Entry::Account { user });
    Ok((user, id))
}

/// Makes an account on this thread, for commands.
///
/// # Errors
/// As [`register`] and [`Hasher::hash`].
pub fn create(
    store: &Store,
    hasher: &Hasher,
    name: &str,
    password: &str,
    admin: bool,
) -> Reply<OwnedUserId> {
    let wanted = name.to_owned();
    store.read_here(|view| available(view, &wanted))?;
    let password = Some(hasher.hash_here(password)?);
    let new =
        New { name: Some(name.to_owned()), password, admin, guest: false, display_name: None };
    Ok(store.write_here(move |tx| register(tx, &new))?.value.1)
}

/// A local account that could be meant by what someone typed: a user id or its localpart.
#[derive(Clone, Debug)]
pub struct Found {
    /// Who.
    pub user: User,
    /// Who, in text.
    pub id: OwnedUserId,
    /// Their password in PHC text.
    pub password: Option<String>,
    /// Deactivated for good.
    pub deactivated: bool,
}

/// Finds the account behind what someone typed. `None`: there is none here.
///
/// # Errors
/// Faults only.
pub fn find(view: &View, typed: &str) -> Reply<Option<Found>> {
    let id = match typed.strip_prefix('@') {
        Some(rest) => rest.split_once(':').and_then(|(name, server)| {
            UserId::parse(format!("@{}:{server}", name.to_ascii_lowercase())).ok()
        }),
        None => id_for(view, typed).ok(),
    };
    let Some(id) = id.filter(|id| user::is_local(view, id)) else { return Ok(None) };
    let Some(user) = user::find(view, &id)? else { return Ok(None) };
    let account = view.get(&ACCOUNTS, (user,))?;
    Ok(account.map(|a| Found { user, id, password: a.password, deactivated: a.deactivated }))
}

/// Finds the account of a mail address, in whatever form it was typed. `None`: there is none here.
///
/// # Errors
/// Faults only.
pub fn find_by_address(view: &View, typed: &str) -> Reply<Option<Found>> {
    let Ok(address) = threepid::canonical(typed) else { return Ok(None) };
    match threepid::owner(view, &address)? {
        Some(user) => find(view, user::id(view, user)?.as_str()),
        None => Ok(None),
    }
}

/// The password of a user in PHC text.
///
/// # Errors
/// Faults only.
pub fn password(view: &View, user: User) -> Reply<Option<String>> {
    Ok(view.get(&ACCOUNTS, (user,))?.and_then(|account| account.password))
}

fn own(view: &View, user: User) -> Reply<Account> {
    view.get(&ACCOUNTS, (user,))?.ok_or_else(|| Error::not_found("There is no such account."))
}

/// Sets a password. With `logout_devices`, every device that somebody is logged in on but `keep` is deleted, and every token
/// but the one of `keep` (spec: POST /account/password).
///
/// # Errors
/// Faults only.
pub fn set_password(
    tx: &mut Tx,
    user: User,
    password: String,
    keep: Option<(&str, TokenHash)>,
    logout_devices: bool,
) -> Reply<()> {
    let mut account = own(tx, user)?;
    account.password = Some(password);
    tx.put(&ACCOUNTS, (user,), &account);
    if logout_devices {
        device::log_out(tx, user, keep.map(|(device, _)| device))?;
        if let Some((device, token)) = keep {
            session::end_tokens(tx, user, device, Some(token))?;
        }
    }
    Ok(())
}

/// Ends an account for good: no password, no devices, no tokens; with `erase` also nothing of what the user kept
/// here. The name stays taken. Leaving the rooms is up to whoever follows [`Entry::Account`].
///
/// # Errors
/// Faults only.
pub fn deactivate(tx: &mut Tx, user: User, erase: bool) -> Reply<()> {
    let mut account = own(tx, user)?;
    account.password = None;
    account.deactivated = true;
    account.erased |= erase;
    tx.put(&ACCOUNTS, (user,), &account);
    device::delete_all(tx, user)?;
    device_keys::end_of_account(tx, user)?;
    key_backup::end_of_account(tx, user)?;
    openid::end_all(tx, user)?;
    threepid::remove_all(tx, user)?;
    if erase {
        forget(tx, user)?;
    }
    tx.announce(Entry::Account { user });
    Ok(())
}

fn forget(tx: &mut Tx, user: User) -> Reply<()> {
    loop {
        let profile: Vec<((User, String), String)> = tx.under(&PROFILES, (user,), ERASE_BATCH)?;
        let data: Vec<(_, _)> = tx.under(&ACCOUNT_DATA, (user,), ERASE_BATCH)?;
        let filters: Vec<(_, _)> = tx.under(&FILTERS, (user,), ERASE_BATCH)?;
        if profile.is_empty() && data.is_empty() && filters.is_empty() {
            return Ok(());
        }
        profile.into_iter().for_each(|(key, _)| tx.delete(&PROFILES, key));
        data.into_iter().for_each(|(key, _)| tx.delete(&ACCOUNT_DATA, key));
        filters.into_iter().for_each(|(key, _)| tx.delete(&FILTERS, key));
    }
}
