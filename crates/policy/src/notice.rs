//! Notices of the server to its users, as an administrator gives them up. A follower delivers them.

use base::{Error, Reply, User};
use ruma::UserId;
use store::{
    Tx,
    log::Entry,
    schema::{ACCOUNTS, Account, NOTICES, Notice},
    user,
};

/// Bytes of a notice: it has to fit an event.
const TEXT_BYTES_MAX: usize = 16_384;
/// Accounts that are looked through in one transaction for those whom a notice is for.
const LOOKED_THROUGH: usize = 1_000;

/// Takes a notice to one user, or to everyone who has an account.
///
/// # Errors
/// 404 `M_NOT_FOUND` for who has no account here; 413 `M_TOO_LARGE`; 400 `M_INVALID_PARAM` for an empty one.
pub fn give_up(tx: &mut Tx, to: Option<&UserId>, text: &str) -> Reply<()> {
    match text.len() {
        0 => return Err(Error::invalid_param("A notice says something.")),
        1..=TEXT_BYTES_MAX => {}
        _ => {
            let why = format!("A notice may have at most {TEXT_BYTES_MAX} bytes.");
            return Err(Error::too_large(why));
        }
    }
    let to = match to {
        Some(id) => Some(recipient(tx, id)?),
        None => None,
    };
    let number = tx.fresh()?;
    tx.put(&NOTICES, (number,), &Notice { to, reached: None, text: text.to_owned() });
    tx.announce(Entry::Notice { notice: number });
    Ok(())
}

fn recipient(tx: &Tx, id: &UserId) -> Reply<User> {
    let unknown = || Error::not_found(format!("There is no user {id}."));
    let user = user::find(tx, id)?.ok_or_else(unknown)?;
    let account = tx.get(&ACCOUNTS, (user,))?;
    account.filter(is_reached).map(|_| user).ok_or_else(unknown)
}

/// Guests come and go.
fn is_reached(account: &Account) -> bool {
    !account.deactivated && !account.guest
}

/// What is to be delivered now.
#[derive(Clone, Debug, PartialEq)]
pub struct Due {
    /// To these.
    pub to: Vec<User>,
    /// What it says.
    pub text: String,
}

/// The next at most `most` recipients of a notice. After the last of them the notice is gone, before that it is announced
/// again. `None`: it was delivered before.
///
/// # Errors
/// Faults of the store.
pub fn take(tx: &mut Tx, number: u64, most: usize) -> Reply<Option<Due>> {
    let Some(mut notice) = tx.get(&NOTICES, (number,))? else { return Ok(None) };
    if let Some(to) = notice.to {
        tx.delete(&NOTICES, (number,));
        return Ok(Some(Due { to: vec![to], text: notice.text }));
    }
    let after = notice.reached.map(|user| (user,));
    let accounts: Vec<((User,), Account)> = tx.everything(&ACCOUNTS, after, LOOKED_THROUGH)?;
    let all = accounts.len() < LOOKED_THROUGH;
    let last = accounts.last().map(|((user,), _)| *user);
    let mut to: Vec<User> = Vec::new();
    let mut reached = last;
    for ((user,), _) in accounts.into_iter().filter(|(_, account)| is_reached(account)) {
        if to.len() == most {
            break;
        }
        to.push(user);
        reached = if to.len() == most { Some(user) } else { last };
    }
    if all && reached == last {
        tx.delete(&NOTICES, (number,));
    } else {
        notice.reached = reached;
        tx.put(&NOTICES, (number,), &notice);
        tx.announce(Entry::Notice { notice: number });
    }
    Ok(Some(Due { to, text: notice.text }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, refusal};

    #[test]
    fn a_notice_to_all_reaches_everyone_once() {
        let world = World::new();
        let users: Vec<User> = (0..5).map(|n| world.user(&format!("u{n}"))).collect();
        world.guest("guest");
        world.store.write_here(|tx| give_up(tx, None, "hello")).unwrap();
        let numbers: Vec<u64> = world
            .store
            .read_here(|view| {
                let rows = view.everything(&NOTICES, None, 10)?;
                Ok(rows.into_iter().map(|((number,), _)| number).collect())
            })
            .unwrap();
        let [number] = numbers[..] else { panic!("{numbers:?}") };
        let mut reached = Vec::new();
        let mut steps = 0;
        while let Some(due) = world.store.write_here(move |tx| take(tx, number, 2)).unwrap().value {
            assert!(due.to.len() <= 2 && due.text == "hello");
            reached.extend(due.to);
            steps += 1;
        }
        assert_eq!(reached, users);
        assert!(steps <= 4, "{steps}");
    }

    #[test]
    fn a_notice_goes_to_who_is_there() {
        let world = World::new();
        world.user("bob");
        let give = |id: &'static str, text: String| {
            let id = <&UserId>::try_from(id).unwrap();
            refusal(world.store.write_here(move |tx| give_up(tx, Some(id), &text)))
        };
        assert_eq!(give("@bob:x.org", "hello".into()), None);
        assert_eq!(give("@nobody:x.org", "hello".into()), Some((404, "M_NOT_FOUND")));
        assert_eq!(give("@bob:x.org", String::new()), Some((400, "M_INVALID_PARAM")));
        assert_eq!(give("@bob:x.org", "x".repeat(20_000)), Some((413, "M_TOO_LARGE")));
    }
}
