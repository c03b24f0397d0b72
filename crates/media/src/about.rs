//! What is said about media: its type and its file name, and how both may be served.

use base::{Error, Reply};
use ruma::{
    api::client::media::is_safe_inline_content_type,
    http_headers::{ContentDisposition, ContentDispositionType},
};

/// What media is said to be by whoever uploads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// The name of the file.
    pub filename: Option<String>,
}

/// Real media types are shorter by far.
const CONTENT_TYPE_BYTES_MAX: usize = 255;
/// What file systems allow, for four-byte characters.
const FILENAME_BYTES_MAX: usize = 1_020;

impl About {
    /// Takes empty texts for none.
    ///
    /// # Errors
    /// 400 `M_INVALID_PARAM` if one is too long, or the type has characters that no header can carry.
    pub fn new(content_type: Option<&str>, filename: Option<&str>) -> Reply<About> {
        let content_type = content_type.map(str::trim).filter(|t| !t.is_empty());
        let filename = filename.filter(|name| !name.is_empty());
        let visible = |t: &str| t.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
        if content_type.is_some_and(|t| t.len() > CONTENT_TYPE_BYTES_MAX || !visible(t)) {
            return Err(Error::invalid_param("not a content type"));
        }
        if filename.is_some_and(|name| name.len() > FILENAME_BYTES_MAX) {
            let text = format!("the file name is longer than {FILENAME_BYTES_MAX} bytes");
            return Err(Error::invalid_param(text));
        }
        Ok(About {
            content_type: content_type.map(str::to_owned),
            filename: filename.map(str::to_owned),
        })
    }
}

/// The value of `Content-Disposition` (spec: "Serving inline content"; RFC 6266): shown in place only if it is of a
/// type that cannot run scripts, in a header that is ASCII whatever the name is.
#[must_use]
pub fn disposition(content_type: &str, filename: Option<&str>) -> String {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let kind = if is_safe_inline_content_type(&essence) {
        ContentDispositionType::Inline
    } else {
        ContentDispositionType::Attachment
    };
    ContentDisposition::new(kind).with_filename(filename.map(str::to_owned)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_types_are_shown_in_place() {
        for (content_type, expected) in [
            ("image/png", "inline"),
            ("image/jpeg", "inline"),
            ("IMAGE/PNG", "inline"),
            ("text/plain; charset=utf-8", "inline"),
            ("video/mp4", "inline"),
            ("audio/x-flac", "inline"),
            ("application/json", "inline"),
            ("text/html", "attachment"),
            ("text/html; image/png", "attachment"),
            ("image/png, text/html", "attachment"),
            ("image/svg+xml", "attachment"),
            ("application/xhtml+xml", "attachment"),
            ("application/pdf", "attachment"),
            ("application/javascript", "attachment"),
            ("application/octet-stream", "attachment"),
            ("", "attachment"),
        ] {
            assert_eq!(disposition(content_type, None), expected, "{content_type}");
        }
    }

    #[test]
    fn file_names_are_quoted_or_encoded_and_cannot_leave_their_header() {
        for (filename, expected) in [
            ("cat.png", "cat.png"),
            ("my cat.png", "\"my cat.png\""),
            ("a\"b\\c.png", "\"a\\\"b\\\\c.png\""),
            ("a;b.png", "\"a;b.png\""),
        ] {
            let value = disposition("image/png", Some(filename));
            assert_eq!(value, format!("inline; filename={expected}"));
        }
        let unicode = disposition("image/png", Some("☕ né.png"));
        assert_eq!(unicode, "inline; filename*=utf-8''%E2%98%95%20n%C3%A9.png");
        for nasty in ["a\r\nSet-Cookie: b", "a\0b", "☕\r\nx: y", "../../etc/passwd"] {
            let value = disposition("image/png", Some(nasty));
            assert!(value.bytes().all(|b| (b' '..=b'~').contains(&b)), "{value:?}");
        }
    }

    #[test]
    fn what_no_header_can_carry_is_refused() {
        let about = About::new(Some(" image/png "), Some("")).unwrap();
        assert_eq!(about.content_type.as_deref(), Some("image/png"));
        assert_eq!(about.filename, None);
        assert_eq!(About::new(Some(""), None).unwrap(), About::default());
        let long = "x".repeat(FILENAME_BYTES_MAX + 1);
        assert!(About::new(None, Some(&long)).is_err());
        assert!(About::new(None, long.get(1..)).is_ok());
        assert!(About::new(Some(&long), None).is_err());
        assert!(About::new(Some("a\r\nb"), None).is_err());
        assert!(About::new(Some("é"), None).is_err());
    }
}
