//! The text of JSON that canonical JSON has no form for: numbers of any size and kind.
//!
//! Events of room versions 1 to 5 may hold them, and their hashes and signatures were made over some
//! text. Nothing in the spec says which, so it is the text that the servers of those versions wrote:
//! an integer keeps its digits, a float takes the shortest digits that read back as the same
//! binary64, with an exponent below 1e-4 and from 1e16.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// How deep a value may nest: serde_json's own bound, which the strict form has too.
const DEPTH_MAX: usize = 127;

/// The text of a value with sorted keys and without spaces, or why there is none.
pub(super) fn canonical(text: &str) -> Result<String, String> {
    let value: &RawValue = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut out = String::with_capacity(text.len());
    Reader { rest: value.get() }.write(DEPTH_MAX, &mut out)?;
    Ok(out)
}

/// What is still to be read of a text that is known to be JSON.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// Writes the next value.
    fn write(&mut self, depth_left: usize, out: &mut String) -> Result<(), String> {
        let inner = || depth_left.checked_sub(1).ok_or_else(|| "nested too deep".to_owned());
        if self.take('{') {
            return self.write_object(inner()?, out);
        }
        if self.take('[') {
            return self.write_array(inner()?, out);
        }
        if self.rest.starts_with('"') {
            out.push_str(&super::quote(&self.string()?));
            return Ok(());
        }
        match self.until(|c| matches!(c, ',' | ']' | '}' | ' ' | '\t' | '\r' | '\n')) {
            word @ ("true" | "false" | "null") => out.push_str(word),
            digits => out.push_str(&number(digits).ok_or("a number is out of range")?),
        }
        Ok(())
    }

    fn write_object(&mut self, depth_left: usize, out: &mut String) -> Result<(), String> {
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        while !self.take('}') {
            self.take(',');
            self.skip_spaces();
            let key = self.string()?;
            self.take(':');
            let mut value = String::new();
            self.write(depth_left, &mut value)?;
            fields.insert(key, value);
        }
        out.push('{');
        for (position, (key, value)) in fields.into_iter().enumerate() {
            if position > 0 {
                out.push(',');
            }
            out.push_str(&super::quote(&key));
            out.push(':');
            out.push_str(&value);
        }
        out.push('}');
        Ok(())
    }

    fn write_array(&mut self, depth_left: usize, out: &mut String) -> Result<(), String> {
        out.push('[');
        while !self.take(']') {
            if self.take(',') {
                out.push(',');
            }
            self.write(depth_left, out)?;
        }
        out.push(']');
        Ok(())
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    /// Steps over this sign if it is the next, and over the spaces around it.
    fn take(&mut self, sign: char) -> bool {
        self.skip_spaces();
        let Some(rest) = self.rest.strip_prefix(sign) else { return false };
        self.rest = rest;
        self.skip_spaces();
        true
    }

    fn until(&mut self, end: impl FnMut(char) -> bool) -> &'a str {
        let (taken, rest) = self.rest.split_at(self.rest.find(end).unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// The next value, which is a string.
    fn string(&mut self) -> Result<String, String> {
        let (mut quotes, mut escaped) = (0, false);
        let text = self.until(|c| {
            let ended = quotes == 2;
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quotes += 1,
                _ => {}
            }
            ended
        });
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
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
    fn strings_end_where_json_ends_them() {
        for text in [
            r#""""#,
            r#""a\"b""#,
            r#""\\""#,
            r#"{"\\\"":"]},{["}"#,
            r#"["a,b","{\"}"]"#,
            "\"\u{7f}é\"",
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(text));
        }
        assert_eq!(canonical(r#"{"a":1,"b":2,"a":3}"#).unwrap(), r#"{"a":3,"b":2}"#);
        for text in ["{}", "[]", "[[],{}]", "true", "[null,false]"] {
            assert_eq!(canonical(text).as_deref(), Ok(text));
        }
        for text in [r#""a"#, "[1,", r#"{"a" 1}"#, "[1 2]", "{,}", "tru", r#""\ud800""#] {
            assert!(canonical(text).is_err(), "{text}");
        }
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
        let object = r#"{"a":"#.repeat(DEPTH_MAX) + "1" + &"}".repeat(DEPTH_MAX);
        assert_eq!(canonical(&object).unwrap(), object);
    }
}
