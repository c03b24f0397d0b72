//! Writing JSON by splicing: stored event text goes into an answer as it is. Only what is ours is escaped.

use std::fmt::Write as _;

/// A JSON text under construction. Commas come by themselves.
#[derive(Default)]
pub struct Out {
    text: String,
}

impl Out {
    /// With room for an answer of about this size.
    pub fn with_capacity(bytes: usize) -> Out {
        Out { text: String::with_capacity(bytes) }
    }

    fn comma(&mut self) {
        if !matches!(self.text.as_bytes().last(), None | Some(b'{' | b'[' | b':' | b',')) {
            self.text.push(',');
        }
    }

    /// Opens an object, as an element or the value of the last key.
    pub fn open(&mut self) -> &mut Out {
        self.comma();
        self.text.push('{');
        self
    }
    /// Closes an object.
    pub fn close(&mut self) -> &mut Out {
        self.text.push('}');
        self
    }
    /// Opens an array.
    pub fn open_array(&mut self) -> &mut Out {
        self.comma();
        self.text.push('[');
        self
    }
    /// Closes an array.
    pub fn close_array(&mut self) -> &mut Out {
        self.text.push(']');
        self
    }
    /// A key.
    pub fn key(&mut self, key: &str) -> &mut Out {
        self.comma();
        self.quote(key);
        self.text.push(':');
        self
    }
    /// Text.
    pub fn text(&mut self, value: &str) -> &mut Out {
        self.comma();
        self.quote(value);
        self
    }
    /// JSON text that is already such.
    pub fn raw(&mut self, value: &str) -> &mut Out {
        self.comma();
        self.text.push_str(value);
        self
    }
    /// A number.
    pub fn number(&mut self, value: u64) -> &mut Out {
        self.comma();
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{value}");
        self
    }
    /// true or false.
    pub fn flag(&mut self, value: bool) -> &mut Out {
        self.raw(if value { "true" } else { "false" })
    }

    fn quote(&mut self, value: &str) {
        self.text.push('"');
        for c in value.chars() {
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                c if (c as u32) < 0x20 => {
                    let _ = write!(self.text, "\\u{:04x}", c as u32);
                }
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }

    /// The length so far, to come back to with [`Out::take_back`].
    pub fn mark(&self) -> usize {
        self.text.len()
    }
    /// Takes back what was written since a mark: for sections that turn out empty.
    pub fn take_back(&mut self, mark: usize) {
        self.text.truncate(mark);
    }
    /// How long it is.
    pub fn len(&self) -> usize {
        self.text.len()
    }
    /// Is there nothing?
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
    /// The finished text.
    pub fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_json_and_says_the_same() {
        let mut out = Out::default();
        out.open().key("a\"\\\n\u{1}é").text("\t\u{7f}\u{2028}");
        out.key("b")
            .open_array()
            .number(1)
            .raw("{\"x\":2}")
            .open()
            .close()
            .flag(true)
            .close_array();
        out.key("c").open().close().close();
        let value: serde_json::Value = serde_json::from_str(&out.finish()).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"a\"\\\n\u{1}é": "\t\u{7f}\u{2028}", "b": [1, {"x": 2}, {}, true], "c": {}})
        );
    }
}
