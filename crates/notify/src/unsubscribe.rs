//! Links in letters that end them: whoever holds the letter may, without logging in. What the link says is signed, so
//! that nobody can end another's letters by guessing.

use base::Reply;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use store::{
    Tx, View,
    schema::{FACTS, PusherId},
};

/// The path of the endpoint.
pub const PATH: &str = "/_matrix/client/unstable/org.althing/unsubscribe";
/// Under which the key is kept.
const KEY: &str = "unsubscribe key";
/// The longest user id and more.
const USER_BYTES_MAX: usize = 512;

/// The key that signs the links, made when it is first wanted.
///
/// # Errors
/// Faults only.
pub fn key(tx: &mut Tx) -> Reply<String> {
    if let Some(key) = tx.get(&FACTS, (KEY.to_owned(),))? {
        return Ok(key);
    }
    let key = URL_SAFE_NO_PAD.encode(tx.random::<32>());
    tx.put(&FACTS, (KEY.to_owned(),), &key);
    Ok(key)
}

fn mac(key: &str, user: &str, pusher: PusherId) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
    mac.update(&pusher);
    mac.update(user.as_bytes());
    Some(mac)
}

/// The path and query of the link that ends a pusher.
#[must_use]
pub fn link(key: &str, user: &str, pusher: PusherId) -> String {
    let sign = |mac: Hmac<Sha256>| URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    let signature = mac(key, user, pusher).map(sign).unwrap_or_default();
    let (user, pusher) = (URL_SAFE_NO_PAD.encode(user), URL_SAFE_NO_PAD.encode(pusher));
    format!("{PATH}?u={user}&p={pusher}&s={signature}")
}

/// Whose which pusher a link ends; `None`: it is not one of ours.
///
/// # Errors
/// Faults only.
pub fn read(view: &View, u: &str, p: &str, s: &str) -> Reply<Option<(String, PusherId)>> {
    if u.len() > USER_BYTES_MAX {
        return Ok(None);
    }
    let Some(key) = view.get(&FACTS, (KEY.to_owned(),))? else { return Ok(None) };
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
    let parts = || {
        let user = String::from_utf8(decode(u)?).ok()?;
        let pusher = PusherId::try_from(decode(p)?).ok()?;
        // Compares in constant time.
        mac(&key, &user, pusher)?.verify_slice(&decode(s)?).ok()?;
        Some((user, pusher))
    };
    Ok(parts())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_bound_to_user_and_pusher() {
        let one = link("k", "@a:x", [1; 16]);
        assert!(one.starts_with(PATH));
        let signature = |link: &str| link.split_once("&s=").unwrap().1.to_owned();
        for other in
            [link("k", "@b:x", [1; 16]), link("k", "@a:x", [2; 16]), link("l", "@a:x", [1; 16])]
        {
            assert_ne!(signature(&one), signature(&other));
        }
    }
}
