//! JSON at the edges: canonical form, and two cheap checks that the rim makes before parsing.
//!
//! Canonical JSON (spec: Appendices, Canonical JSON) has sorted keys, no spaces, and no numbers but
//! integers from -(2^53)+1 to 2^53-1; room version 6 and later refuse everything else, and earlier ones
//! may not.

mod lenient;

use std::borrow::Cow;
use std::collections::BTreeMap;

use base::{Error, Reply};
use ruma::{CanonicalJsonObject, CanonicalJsonValue};

/// The largest integer canonical JSON can hold: 2^53 - 1.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// The top level of an object: key to the JSON text of its value, in canonical order.
pub(crate) type Fields<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

/// The canonical text of a JSON object, read as strictly as a room version wants it: version 6 and
/// later enforce canonical JSON, earlier ones must take any number (spec: Room Versions, "Canonical
/// JSON").
///
/// # Errors
/// 400 `M_BAD_JSON` if it is not an object, if it is strict and holds a float or an integer out of
/// range, or otherwise a number that is no finite binary64.
pub fn canonical(text: &str, strict: bool) -> Reply<String> {
    if strict {
        return Ok(canonical_text(&canonical_object(text)?));
    }
    if !is_object(text.as_bytes()) {
        return Err(Error::bad_json("expected a JSON object"));
    }
    lenient::canonical(text).map_err(|error| Error::bad_json(format!("not JSON: {error}")))
}

/// Parses a JSON object into canonical form.
///
/// # Errors
/// 400 `M_BAD_JSON` if it is not an object, or holds a float or an integer out of range.
pub fn canonical_object(text: &str) -> Reply<CanonicalJsonObject> {
    let value: CanonicalJsonValue = serde_json::from_str(text)
        .map_err(|error| Error::bad_json(format!("not canonical JSON: {error}")))?;
    match value {
        CanonicalJsonValue::Object(object) => Ok(object),
        _ => Err(Error::bad_json("expected a JSON object")),
    }
}

/// The canonical text of an object.
#[must_use]
pub fn canonical_text(object: &CanonicalJsonObject) -> String {
    // A map with string keys and plain values always has a text.
    serde_json::to_string(object).unwrap_or_default()
}

/// A string as a JSON string, with its quotes.
#[must_use]
pub fn quote(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// A list of strings as JSON text.
pub(crate) fn quote_all<S: AsRef<str>>(items: &[S]) -> String {
    let mut out = String::with_capacity(2 + items.len() * 48);
    out.push('[');
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        out.push_str(&quote(item.as_ref()));
    }
    out.push(']');
    out
}

/// The canonical text of an object given as its fields' texts.
pub(crate) fn object_text(fields: &Fields<'_>) -> String {
    let mut out = String::with_capacity(text_len(fields) + 16);
    out.push('{');
    for (position, (key, value)) in fields.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        out.push_str(&quote(key));
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
    out
}

/// Roughly the length of [`object_text`]; exact if no key needs escaping.
fn text_len(fields: &Fields<'_>) -> usize {
    let inner: usize = fields.iter().map(|(key, value)| key.len() + value.len() + 4).sum();
    inner.saturating_sub(1) + 2
}

/// Whether no object or array in this text is nested deeper than `depth_max` levels (1 = the
/// outermost).
///
/// Reads each byte once and allocates nothing; it does not check that the text is valid JSON, which
/// the parser does next. Its use is to refuse, before parsing, bodies that would make a recursive
/// consumer deep.
#[must_use]
pub fn check_depth(bytes: &[u8], depth_max: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > depth_max {
                    return false;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// Whether the first thing in this text is the start of an object.
///
/// serde reads a JSON array into a struct too; request bodies and event contents must be objects.
#[must_use]
pub fn is_object(bytes: &[u8]) -> bool {
    bytes.iter().find(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n')) == Some(&b'{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_form_sorts_keys_and_drops_spaces() {
        let object = canonical_object(r#" {"b": 1, "a": {"z": null, "y": "\u65e5"}} "#).unwrap();
        assert_eq!(canonical_text(&object), r#"{"a":{"y":"日","z":null},"b":1}"#);
    }

    #[test]
    fn floats_big_integers_and_non_objects_are_bad_json() {
        for text in [
            r#"{"a":1.5}"#,
            r#"{"a":1e3}"#,
            r#"{"a":9007199254740992}"#,
            r#"{"a":-9007199254740992}"#,
            r#"{"a":99999999999999999999}"#,
            "[]",
            "1",
            "{",
        ] {
            let Err(Error::Refused(refusal)) = canonical_object(text) else { panic!("{text}") };
            assert_eq!((refusal.status, refusal.errcode), (400, "M_BAD_JSON"), "{text}");
        }
        assert!(canonical_object(r#"{"a":9007199254740991,"b":-9007199254740991}"#).is_ok());
    }

    #[test]
    fn only_old_versions_take_numbers_that_are_not_canonical() {
        for text in [r#"{"a":1.5}"#, r#"{"a":9007199254740992}"#, r#"{"a":1e+20}"#] {
            assert!(canonical(text, true).is_err());
            assert_eq!(canonical(text, false).unwrap(), text);
        }
        let text = r#"{"b": [1, null], "a": {"d": "x", "c": true}}"#;
        assert_eq!(canonical(text, true).unwrap(), canonical(text, false).unwrap());
        for text in ["[]", "1", "{", r#"{"a":1e400}"#] {
            let Err(Error::Refused(refusal)) = canonical(text, false) else { panic!("{text}") };
            assert_eq!((refusal.status, refusal.errcode), (400, "M_BAD_JSON"), "{text}");
        }
    }

    #[test]
    fn depth_counts_containers_and_ignores_strings() {
        assert!(check_depth(br#"{"a":[1]}"#, 2));
        assert!(!check_depth(br#"{"a":[1]}"#, 1));
        assert!(check_depth(br#"{"a":"[[[[\"[["}"#, 1));
        assert!(check_depth(b"[][][]", 1));
        assert!(!check_depth(&[b'['; 100], 99));
        assert!(check_depth(&[b'['; 100], 100));
    }

    #[test]
    fn only_objects_are_objects() {
        assert!(is_object(b" \n\t\r{}"));
        for text in ["[]", "\"{\"", "", "null", "x{"] {
            assert!(!is_object(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_field_text_is_escaped_like_canonical_json() {
        let mut fields = Fields::new();
        fields.insert("b\"".into(), "1".into());
        fields.insert("a".into(), "[]".into());
        assert_eq!(object_text(&fields), r#"{"a":[],"b\"":1}"#);
    }
}
