//! The text of JSON that canonical JSON has no form for: numbers of any size and kind.
//!
//! Events of room versions 1 to 5 may hold them, and their hashes and signatures were made over some
//! text. Nothing in the spec says which, so it is the text that the servers of those versions wrote:
//! an integer keeps its digits, a float takes the shortest digits that read back as the same
//! binary64, with an exponent below 1e-4 and from 1e16.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// How deep a value may nest: serde_json's own bound, which the strict form has too.
const DEPTH_MAX: usize = 127;

/// The text of a value with sorted keys and without spaces, or why there is none.
pub(super) fn canonical(text: &str) -> Result<String, String> {
    let value: &RawValue = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut out = String::with_capacity(text.len());
    write(value, DEPTH_MAX, &mut out)?;
    Ok(out)
}

fn write(value: &RawValue, depth_left: usize, out: &mut String) -> Result<(), String> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'{') => write_object(read(text)?, inner(depth_left)?, out),
        Some(b'[') => write_array(&read::<Vec<&RawValue>>(text)?, inner(depth_left)?, out),
        Some(b'"') => {
            out.push_str(&super::quote(&read::<String>(text)?));
            Ok(())
        }
        Some(b't' | b'f' | b'n') => {
            out.push_str(text);
            Ok(())
        }
        _ => {
            out.push_str(&number(text).ok_or("a number is out of range")?);
            Ok(())
        }
    }
}

fn inner(depth_left: usize) -> Result<usize, String> {
    depth_left.checked_sub(1).ok_or_else(|| "nested too deep".to_owned())
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn write_object(
    fields: BTreeMap<String, &RawValue>,
    depth_left: usize,
    out: &mut String,
) -> Result<(), String> {
    out.push('{');
    for (position, (key, value)) in fields.into_iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        out.push_str(&super::quote(&key));
        out.push(':');
        write(value, depth_left, out)?;
    }
    out.push('}');
    Ok(())
}

fn write_array(items: &[&RawValue], depth_left: usize, out: &mut String) -> Result<(), String> {
    out.push('[');
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        write(item, depth_left, out)?;
    }
    out.push(']');
    Ok(())
}

/// A JSON number; `None` if it is no finite binary64.
fn number(text: &str) -> Option<String> {
    if !text.contains(['.', 'e', 'E']) {
        return Some(if text == "-0" { "0" } else { text }.to_owned());
    }
    let value: f64 = text.parse().ok().filter(|value: &f64| value.is_finite())?;
    let text = format!("{value:?}");
    let Some((digits, exponent)) = text.split_once('e') else { return Some(text) };
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    Some(format!("{digits}e{sign}{exponent:0>2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_spaces_dropped_at_every_level() {
        let text = r#" {"b" : [ {"z":1, "a" : [ ] } , true ], "a": "\u65e5\u0001" , "a\"":null} "#;
        assert_eq!(
            canonical(text).unwrap(),
            "{\"a\":\"日\\u0001\",\"a\\\"\":null,\"b\":[{\"a\":[],\"z\":1},true]}"
        );
    }

    #[test]
    fn numbers_have_the_text_that_servers_of_old_versions_wrote() {
        for (given, written) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.0", "-0.0"),
            ("9223372036854775808", "9223372036854775808"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("1.50", "1.5"),
            ("10.0", "10.0"),
            ("1E5", "100000.0"),
            ("5.114698E4", "51146.98"),
            ("9900000000000000.0", "9900000000000000.0"),
            ("1e16", "1e+16"),
            ("1.5e300", "1.5e+300"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1.25e-7", "1.25e-07"),
            ("5e-324", "5e-324"),
        ] {
            assert_eq!(canonical(given).as_deref(), Ok(written), "{given}");
        }
        for given in ["1e309", "-1e400", "NaN", "Infinity", "01", "1.", "+1", ""] {
            assert!(canonical(given).is_err(), "{given}");
        }
    }

    #[test]
    fn what_nests_too_deep_is_refused() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(canonical(&nested(DEPTH_MAX)).unwrap(), nested(DEPTH_MAX));
        assert!(canonical(&nested(DEPTH_MAX + 1)).is_err());
        assert!(canonical(&nested(100_000)).is_err());
    }
}
