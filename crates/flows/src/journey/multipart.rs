//! Media as other servers send it: `multipart/mixed`, two parts, of which the first is JSON that says nothing yet (spec:
//! Server-Server API, `GET /media/download/{mediaId}`; RFC 2046, section 5.1).

use bytes::Bytes;
use http::{HeaderMap, header};
use media::About;
use ruma::http_headers::ContentDisposition;

/// Bytes in which the second part has to begin: what comes before is an empty object.
const PREFACE_BYTES_MAX: usize = 64 << 10;
/// Bytes of the headers of a part.
const HEADERS_BYTES_MAX: usize = 16 << 10;
/// Bytes of a boundary (RFC 2046: 70).
const BOUNDARY_BYTES_MAX: usize = 200;

/// The second part.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// The bytes, and what they are said to be.
    Here(About, Bytes),
    /// An address where they are.
    At(String),
}

/// The media of an answer, if it is one.
pub(super) fn read(headers: &HeaderMap, body: &Bytes) -> Option<Media> {
    let boundary = boundary(headers.get(header::CONTENT_TYPE)?.to_str().ok()?)?;
    let line = format!("\r\n--{boundary}");
    let line = line.as_bytes();
    let preface = body.get(..body.len().min(PREFACE_BYTES_MAX))?;
    let opening = line.get(2..)?;
    let first = if preface.starts_with(opening) {
        opening.len()
    } else {
        find(preface, line, 0)? + line.len()
    };
    let second = find(preface, line, first)? + line.len();
    let begin = end_of_line(preface, second)?;
    // There are exactly two parts, so the last boundary ends the second.
    let end = body.windows(line.len()).rposition(|window| window == line)?;
    let part = body.get(begin..end)?;
    let head = part.get(..part.len().min(HEADERS_BYTES_MAX))?;
    let (lines, start) = match head.starts_with(b"\r\n") {
        true => (&b""[..], 2),
        false => {
            let blank = find(head, b"\r\n\r\n", 0)?;
            (head.get(..blank)?, blank + 4)
        }
    };
    let fields = Fields::read(std::str::from_utf8(lines).ok()?);
    if let Some(location) = fields.location {
        return Some(Media::At(location));
    }
    let file = body.slice(begin + start..end);
    Some(Media::Here(about(fields.content_type.as_deref(), fields.disposition.as_deref()), file))
}

/// What media is said to be by its headers, as far as that makes sense.
pub(super) fn about(content_type: Option<&str>, disposition: Option<&str>) -> About {
    let disposition = disposition.and_then(|d| ContentDisposition::try_from(d.as_bytes()).ok());
    let filename = disposition.and_then(|d| d.filename);
    About::new(content_type, filename.as_deref())
        .or_else(|_| About::new(content_type, None))
        .unwrap_or_default()
}

#[derive(Default)]
struct Fields {
    content_type: Option<String>,
    disposition: Option<String>,
    location: Option<String>,
}

impl Fields {
    fn read(lines: &str) -> Fields {
        let mut fields = Fields::default();
        for line in lines.split("\r\n") {
            let Some((name, value)) = line.split_once(':') else { continue };
            let place = match name.trim().to_ascii_lowercase().as_str() {
                "content-type" => &mut fields.content_type,
                "content-disposition" => &mut fields.disposition,
                "location" => &mut fields.location,
                _ => continue,
            };
            *place = Some(value.trim().to_owned());
        }
        fields
    }
}

fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/mixed") {
        return None;
    }
    let named = |parameter: &&str| {
        let name = parameter.split('=').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("boundary")
    };
    let (_, value) = parameters.split(';').find(named)?.split_once('=')?;
    let value = value.trim().trim_matches('"');
    (1..=BOUNDARY_BYTES_MAX).contains(&value.len()).then_some(value)
}

fn find(text: &[u8], what: &[u8], from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    rest.windows(what.len()).position(|window| window == what).map(|at| from + at)
}

/// Where the next line begins; spaces may stand behind a boundary, and nothing else.
fn end_of_line(text: &[u8], from: usize) -> Option<usize> {
    let end = find(text, b"\r\n", from)?;
    let blank = text.get(from..end)?.iter().all(|b| matches!(b, b' ' | b'\t'));
    blank.then_some(end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(content_type: &str, body: &str) -> Option<Media> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        read(&headers, &Bytes::from(body.to_owned()))
    }

    #[test]
    fn the_second_part_is_the_media() {
        let body = "--b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\n\
            Content-Type: text/plain\r\nContent-Disposition: inline; filename=a.txt\r\n\r\n\
            two\r\nlines\r\n--b--\r\n";
        let about = About::new(Some("text/plain"), Some("a.txt")).unwrap();
        let expected = Media::Here(about, Bytes::from_static(b"two\r\nlines"));
        for kind in ["multipart/mixed; boundary=b", "Multipart/Mixed;charset=x; Boundary=\"b\""] {
            assert_eq!(answer(kind, body).unwrap(), expected);
        }
        let preamble = format!("ignored\r\n{body}");
        assert_eq!(answer("multipart/mixed; boundary=b", &preamble).unwrap(), expected);
        // Servers leave out the line break behind the first boundary's preamble, and the last hyphens.
        let short = body.replace("--b--\r\n", "--b");
        assert_eq!(answer("multipart/mixed; boundary=b", &short).unwrap(), expected);
    }

    #[test]
    fn media_may_lie_elsewhere_or_have_no_headers() {
        let body = "\r\n--b\r\n\r\n{}\r\n--b\r\nLocation: https://cdn/x\r\n\r\n\r\n--b--";
        let there = Media::At("https://cdn/x".to_owned());
        assert_eq!(answer("multipart/mixed; boundary=b", body).unwrap(), there);
        let body = "--b\r\n\r\n{}\r\n--b\r\n\r\nbare\r\n--b--";
        let Media::Here(about, bytes) = answer("multipart/mixed; boundary=b", body).unwrap() else {
            panic!()
        };
        assert_eq!((about, &*bytes), (About::default(), &b"bare"[..]));
    }

    #[test]
    fn what_is_not_two_parts_is_no_media() {
        for (kind, body) in [
            ("application/json", "--b\r\n\r\n{}\r\n--b\r\n\r\nx\r\n--b--"),
            ("multipart/mixed", "--b\r\n\r\n{}\r\n--b\r\n\r\nx\r\n--b--"),
            ("multipart/mixed; boundary=b", ""),
            ("multipart/mixed; boundary=b", "--b\r\n\r\n{}\r\n--b--"),
            ("multipart/mixed; boundary=b", "--b\r\n\r\n{}\r\n--b\r\n\r\nx"),
            ("multipart/mixed; boundary=b", "--b\r\n\r\n{}\r\n--b\r\nno end of headers\r\n--b--"),
        ] {
            assert_eq!(answer(kind, body), None, "{kind} {body:?}");
        }
    }
}
