//! `althing user suspend` and the like, `althing token`, `althing reports`, `althing notice`: what they do, as chores.

use accounts::{account, registration};
use base::{Error, Reply, UnixMs};
use policy::{notice, report, restraint};
use ruma::OwnedUserId;
use store::{Store, Tx, View};

/// Registration tokens that are listed: more than anyone keeps track of.
const TOKENS_MAX: usize = 10_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

fn account_of(view: &View, name: &str) -> Reply<OwnedUserId> {
    let found = account::find(view, name)?;
    found.map(|found| found.id).ok_or_else(|| Error::not_found(format!("there is no user {name}")))
}

fn write<T: Send + 'static>(
    store: &Store,
    f: impl FnMut(&mut Tx) -> Reply<T> + Send + 'static,
) -> Reply<T> {
    Ok(store.write_here(f)?.value)
}

/// Changes what an account may do; `None`: as it is.
pub(crate) fn restrain(
    store: &Store,
    name: &str,
    suspended: Option<bool>,
    locked: Option<bool>,
) -> Reply<String> {
    let id = store.read_here(|view| account_of(view, name))?;
    let of = id.clone();
    let now = write(store, move |tx| {
        restraint::set_here(tx, &of, |restraint| {
            restraint.suspended = suspended.unwrap_or(restraint.suspended);
            restraint.locked = locked.unwrap_or(restraint.locked);
        })
    })?;
    Ok(match (now.suspended, now.locked) {
        (false, false) => format!("{id} is neither suspended nor locked"),
        (true, false) => format!("{id} is suspended"),
        (false, true) => format!("{id} is locked"),
        (true, true) => format!("{id} is suspended and locked"),
    })
}

/// Makes a registration token; gives it.
pub(crate) fn create_token(
    store: &Store,
    token: Option<String>,
    uses: Option<u64>,
    days: Option<u64>,
) -> Reply<String> {
    write(store, move |tx| {
        let end = |days: u64| UnixMs(tx.now().0.saturating_add(days.saturating_mul(DAY_MS)));
        let expires = days.map(end);
        registration::create_token(tx, token.as_deref(), uses, expires)
    })
}

/// A line for each registration token.
pub(crate) fn list_tokens(store: &Store) -> Reply<String> {
    let tokens = store.read_here(|view| registration::tokens(view, None, TOKENS_MAX))?;
    let lines = tokens.into_iter().map(|issued| {
        let row = issued.row;
        let of = row.uses_allowed.map_or_else(String::new, |uses| format!(" of {uses}"));
        let until = row.expires.map_or_else(String::new, |end| format!(", until {}", date(end)));
        format!("{}  used {}{of}{until}", issued.token, row.used)
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

pub(crate) fn revoke_token(store: &Store, token: String) -> Reply<String> {
    write(store, move |tx| registration::revoke_token(tx, &token))?;
    Ok("revoked".to_owned())
}

/// Some lines for each report. Text of users is shown with its control characters escaped.
pub(crate) fn list_reports(store: &Store, before: Option<&str>, limit: usize) -> Reply<String> {
    let place = before.map(place).transpose()?;
    let reports = store.read_here(|view| report::list(view, place, limit))?;
    let blocks = reports.into_iter().map(|report| {
        let (at, number) = report.place;
        let mut lines = vec![format!("{}-{number}  {}", at.0, date(at))];
        lines.push(format!("  by     {}", report.reporter));
        let parts = [
            ("user  ", report.user.map(|user| user.to_string())),
            ("room  ", report.room.map(|room| room.to_string())),
            ("event ", report.event),
        ];
        for (what, value) in parts {
            lines.extend(value.map(|value| format!("  {what} {value}")));
        }
        lines.push(format!("  reason {}", report.reason.escape_debug()));
        lines.join("\n")
    });
    Ok(blocks.collect::<Vec<_>>().join("\n"))
}

/// What stands at the beginning of a report, as its place in the list.
fn place(text: &str) -> Reply<(UnixMs, u64)> {
    let parts = text.split_once('-');
    let parsed =
        parts.and_then(|(at, number)| Some((UnixMs(at.parse().ok()?), number.parse().ok()?)));
    parsed.ok_or_else(|| Error::invalid_param(format!("{text} is not the number of a report")))
}

/// Gives a notice up for delivery.
pub(crate) fn notify(store: &Store, to: Option<String>, text: String) -> Reply<String> {
    let to = match to {
        Some(name) => Some(store.read_here(|view| account_of(view, &name))?),
        None => None,
    };
    let shown = to.as_ref().map_or_else(|| "everyone".to_owned(), ToString::to_string);
    write(store, move |tx| notice::give_up(tx, to.as_deref(), &text))?;
    Ok(format!("a notice goes to {shown}"))
}

/// A time as `2026-11-22 18:30` (UTC).
fn date(at: UnixMs) -> String {
    let minutes = at.0 / 60_000;
    let (days, minute) = (minutes / 1_440, minutes % 1_440);
    // The civil calendar from a count of days, by eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (ms, expected) in [
            (0, "1970-01-01 00:00"),
            (951_782_399_000, "2000-02-28 23:59"),
            (951_782_400_000, "2000-02-29 00:00"),
            (1_709_251_200_000, "2024-03-01 00:00"),
            (1_795_329_000_000, "2026-11-22 06:30"),
            (4_107_542_399_000, "2100-02-28 23:59"),
        ] {
            assert_eq!(date(UnixMs(ms)), expected);
        }
    }

    #[test]
    fn a_place_is_read_as_it_is_written() {
        assert_eq!(place("17-4").unwrap(), (UnixMs(17), 4));
        for bad in ["", "17", "-4", "a-4", "17-4-1"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
