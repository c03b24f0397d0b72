//! Mail addresses: the form in which they are compared, and whose they are.

use base::{Error, Reply, User};
use store::{View, schema::THREEPID_OWNERS};

/// The medium of mail addresses.
pub const EMAIL: &str = "email";
/// An address has at most 254 bytes (RFC 5321, a path without its brackets).
const ADDRESS_BYTES_MAX: usize = 254;
/// The part before `@` has at most 64 (RFC 5321).
const LOCAL_BYTES_MAX: usize = 64;

/// An address in the form in which addresses are compared and kept: lower case throughout, because nobody who owns
/// `Alice@example.org` is another than `alice@example.org`, and a reset of a password must not go astray.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for what is no mail address.
pub fn canonical(address: &str) -> Reply<String> {
    let invalid = || Error::invalid_param("This is no mail address.");
    let (local, domain) = address.rsplit_once('@').ok_or_else(invalid)?;
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !"<>()[]\\,;:\"@".contains(c);
    let label = |part: &str| !part.is_empty() && !part.starts_with('-') && !part.ends_with('-');
    let good = !local.is_empty()
        && local.len() <= LOCAL_BYTES_MAX
        && address.len() <= ADDRESS_BYTES_MAX
        && local.chars().all(plain)
        && domain.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '.')
        && domain.split('.').all(label);
    match good {
        true => Ok(address.to_lowercase()),
        false => Err(invalid()),
    }
}

/// Whose address is this? It has to be [`canonical`].
///
/// # Errors
/// Faults only.
pub fn owner(view: &View, address: &str) -> Reply<Option<User>> {
    view.get(&THREEPID_OWNERS, (EMAIL.to_owned(), address.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_in_lower_case_and_rubbish_is_none() {
        assert_eq!(canonical("Alice.B+x@Example.ORG").unwrap(), "alice.b+x@example.org");
        for bad in [
            "alice",
            "@example.org",
            "alice@",
            "a b@example.org",
            "a@b@c.org,d@e.org",
            "a@-x.org",
            "a@x..org",
            "<a@x.org>",
            "a\r\nBcc: b@x.org@x.org",
            "a@x.org\n",
            "a,b@x.org",
        ] {
            assert!(canonical(bad).is_err(), "{bad}");
        }
        assert!(canonical(&format!("{}@x.org", "a".repeat(65))).is_err());
    }
}
