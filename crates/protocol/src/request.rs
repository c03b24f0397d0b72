//! Requests between servers, signed (spec: Server-Server API, "Request Authentication"): the `X-Matrix` header, and the
//! text that its signature is of.
//!
//! The header is written as the oldest servers want it and read as leniently as the spec asks: names in any case,
//! values with or without quotes, backslashes within quotes, colons without quotes, unknown parameters, empty ones.

use std::borrow::Cow;
use std::fmt::Write as _;

use base::{Error, Reply};
use ruma::{OwnedServerName, ServerName};

use crate::SigningKey;
use crate::json::{self, Fields};

/// The longest header that is read, bytes: two server names, a key id and a signature are far below.
const HEADER_BYTES_MAX: usize = 4_096;
/// The authentication scheme.
const SCHEME: &str = "X-Matrix";

/// What a request's `Authorization` header claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The server that says it sends the request.
    pub origin: OwnedServerName,
    /// The server for which the request is; servers before v1.3 of the spec do not say.
    pub destination: Option<OwnedServerName>,
    /// The id of the key, with its algorithm.
    pub key_id: String,
    /// The signature, base64.
    pub signature: String,
}

impl Claim {
    /// Reads the value of an `Authorization` header; `None` if it is of another scheme or lacks something.
    #[must_use]
    pub fn read(header: &str) -> Option<Claim> {
        let header = header.trim();
        if header.len() > HEADER_BYTES_MAX {
            return None;
        }
        let (scheme, rest) = header.split_once([' ', '\t'])?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return None;
        }
        let (mut origin, mut destination, mut key_id, mut signature) = (None, None, None, None);
        for (name, value) in parameters(rest)? {
            let place = match name.to_ascii_lowercase().as_str() {
                "origin" => &mut origin,
                "destination" => &mut destination,
                "key" => &mut key_id,
                "sig" => &mut signature,
                _ => continue,
            };
            // Two of one name contradict each other.
            if place.replace(value).is_some() {
                return None;
            }
        }
        let destination = match destination {
            Some(name) => Some(OwnedServerName::try_from(name).ok()?),
            None => None,
        };
        Some(Claim {
            origin: OwnedServerName::try_from(origin?).ok()?,
            destination,
            key_id: key_id?,
            signature: signature?,
        })
    }

    /// The value of the header, for a claim with a destination.
    #[must_use]
    pub fn to_header(&self) -> String {
        let mut out = format!("{SCHEME} origin=\"{}\"", self.origin);
        if let Some(destination) = &self.destination {
            let _to_memory = write!(out, ",destination=\"{destination}\"");
        }
        let _to_memory = write!(out, ",key=\"{}\",sig=\"{}\"", self.key_id, self.signature);
        out
    }

    /// Does the signature hold over this text ([`signed_text`]), by this key of 32 bytes?
    #[must_use]
    pub fn holds(&self, text: &str, public_key: &[u8]) -> bool {
        crate::signed::verify(text, &self.signature, public_key)
    }
}

/// The parameters of a header in their order; `None` if it is none.
fn parameters(mut rest: &str) -> Option<Vec<(&str, String)>> {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Some(found);
        }
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start_matches([' ', '\t']);
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find(',').unwrap_or(after.len());
                let (value, after) = after.split_at(end);
                (value.trim().to_owned(), after)
            }
        };
        found.push((name.trim(), value));
        rest = after;
    }
}

/// A text up to its closing quote, without backslashes, and what is behind it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// The text that is signed. `target`: path and query as they are sent. `body`: empty if the request has none.
///
/// # Errors
/// 400 `M_BAD_JSON` if the body is not a JSON object.
pub fn signed_text(
    method: &str,
    target: &str,
    origin: &ServerName,
    destination: &ServerName,
    body: &[u8],
) -> Reply<String> {
    let mut fields = Fields::new();
    if !body.is_empty() {
        let body = std::str::from_utf8(body);
        let body = body.map_err(|_| Error::bad_json("the body is not UTF-8"))?;
        // Events of room versions before 6 may hold numbers that canonical JSON does not have.
        fields.insert("content".into(), Cow::Owned(json::canonical(body, false)?));
    }
    fields.insert("destination".into(), json::quote(destination.as_str()).into());
    fields.insert("method".into(), json::quote(method).into());
    fields.insert("origin".into(), json::quote(origin.as_str()).into());
    fields.insert("uri".into(), json::quote(target).into());
    Ok(json::object_text(&fields))
}

/// The `Authorization` header of a request of `origin`, signed with its key. Parameters as for [`signed_text`].
///
/// # Errors
/// As [`signed_text`].
pub fn authorization(
    key: &SigningKey,
    method: &str,
    target: &str,
    origin: &ServerName,
    destination: &ServerName,
    body: &[u8],
) -> Reply<String> {
    let text = signed_text(method, target, origin, destination, body)?;
    let claim = Claim {
        origin: origin.to_owned(),
        destination: Some(destination.to_owned()),
        key_id: key.key_id().to_owned(),
        signature: key.sign(text.as_bytes()),
    };
    Ok(claim.to_header())
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    fn claim(header: &str) -> Option<(String, Option<String>, String, String)> {
        let Claim { origin, destination, key_id, signature } = Claim::read(header)?;
        Some((origin.into(), destination.map(String::from), key_id, signature))
    }

    fn wanted(destination: Option<&str>) -> Option<(String, Option<String>, String, String)> {
        let destination = destination.map(str::to_owned);
        Some(("a.example:8448".into(), destination, "ed25519:k".into(), "c2ln+/".into()))
    }

    #[test]
    fn headers_are_read_as_leniently_as_the_spec_asks() {
        let all = Some("b.example");
        for (header, destination) in [
            (
                r#"X-Matrix origin="a.example:8448",destination="b.example",key="ed25519:k",sig="c2ln+/""#,
                all,
            ),
            ("X-Matrix origin=a.example:8448,destination=b.example,key=ed25519:k,sig=c2ln+/", all),
            (
                "x-matrix   SIG=c2ln+/ , Key=\"ed25519:k\",  ORIGIN = a.example:8448 ,x=y,Destination=b.example",
                all,
            ),
            (
                r#"X-MATRIX origin="a.example\:8448",key="ed2\5519:k",sig="c2ln+/",unknown="a,\"b=","#,
                None,
            ),
            ("X-Matrix ,,origin=a.example:8448,,key=ed25519:k,sig=c2ln+/,", None),
        ] {
            assert_eq!(claim(header), wanted(destination), "{header}");
        }
    }

    #[test]
    fn what_lacks_something_or_contradicts_itself_is_no_claim() {
        for header in [
            "",
            "X-Matrix",
            "Bearer abc",
            "X-Matrix origin=a.example,key=k",
            "X-Matrix origin=a.example,sig=s",
            "X-Matrix key=k,sig=s",
            "X-Matrix origin=a.example,origin=b.example,key=k,sig=s",
            "X-Matrix origin=\"a.example,key=k,sig=s",
            "X-Matrix origin=a/b,key=k,sig=s",
            "X-Matrix origin=a.example,key=k,sig=s,destination=",
            "X-Matrix origin,key=k,sig=s",
        ] {
            assert_eq!(claim(header), None, "{header}");
        }
        assert_eq!(claim(&format!("X-Matrix {}", "a=b,".repeat(2_000))), None);
    }

    #[test]
    fn a_signed_request_is_believed_as_it_was_sent_and_in_no_other_way() {
        let (a, b) = (server_name!("a.example"), server_name!("b.example"));
        let key = SigningKey::generate([7; 32], "k").unwrap();
        let public = crate::signed::decode_key(&key.public_key()).unwrap();
        let body = br#"{ "b": 1.5, "a": 9007199254740993 }"#;
        let header = authorization(&key, "PUT", "/x%20y?z=1", a, b, body).unwrap();
        let claim = Claim::read(&header).unwrap();
        assert_eq!(claim.destination.as_deref(), Some(b));
        let holds = |method, target, origin, destination, body: &[u8]| {
            let text = signed_text(method, target, origin, destination, body).unwrap();
            claim.holds(&text, &public)
        };
        assert!(holds("PUT", "/x%20y?z=1", a, b, br#"{"a":9007199254740993,"b":1.5}"#));
        assert!(!holds("POST", "/x%20y?z=1", a, b, body));
        assert!(!holds("PUT", "/x y?z=1", a, b, body));
        assert!(!holds("PUT", "/x%20y", a, b, body));
        assert!(!holds("PUT", "/x%20y?z=1", b, b, body));
        assert!(!holds("PUT", "/x%20y?z=1", a, a, body));
        assert!(!holds("PUT", "/x%20y?z=1", a, b, b"{}"));
        assert!(!holds("PUT", "/x%20y?z=1", a, b, b""));
    }

    #[test]
    fn a_body_that_is_no_object_cannot_be_signed() {
        let a = server_name!("a.example");
        for body in [&b"[]"[..], b"1", b"{", b"\xff"] {
            assert!(signed_text("PUT", "/", a, a, body).is_err());
        }
    }
}
