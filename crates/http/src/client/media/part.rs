//! Parts of a file (RFC 9110, "Range Requests"): what a player asks for that jumps in a video.

use std::ops::Range;

/// What a `Range` header comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// There is none, or none that we serve: several parts at once, other units.
    Whole,
    /// These bytes; never none.
    Some(Range<u64>),
    /// Beyond the end.
    Unsatisfiable,
}

pub(super) fn wanted(header: Option<&str>, size: u64) -> Part {
    let Some((first, last)) = header.and_then(parse) else { return Part::Whole };
    // Of nothing there are no parts.
    if size == 0 {
        return Part::Whole;
    }
    let range = match (first, last) {
        (Some(first), Some(last)) if last < first => return Part::Whole,
        (Some(first), Some(last)) => first..last.saturating_add(1).min(size),
        (Some(first), None) => first..size,
        (None, Some(tail)) => size.saturating_sub(tail)..size,
        (None, None) => return Part::Whole,
    };
    if range.is_empty() { Part::Unsatisfiable } else { Part::Some(range) }
}

/// `bytes=1-2`, `bytes=1-`, `bytes=-2`.
fn parse(header: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (first, last) = header.strip_prefix("bytes=")?.trim().split_once('-')?;
    let number = |text: &str| match text {
        "" => Some(None),
        _ if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok().map(Some),
        _ => None,
    };
    Some((number(first)?, number(last)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_understood_as_the_rfc_has_them() {
        for (header, size, expected) in [
            ("bytes=0-0", 10, Part::Some(0..1)),
            ("bytes=2-4", 10, Part::Some(2..5)),
            ("bytes=2-", 10, Part::Some(2..10)),
            ("bytes=2-99", 10, Part::Some(2..10)),
            ("bytes=-3", 10, Part::Some(7..10)),
            ("bytes=-99", 10, Part::Some(0..10)),
            ("bytes=9-18446744073709551615", 10, Part::Some(9..10)),
            ("bytes=10-", 10, Part::Unsatisfiable),
            ("bytes=-0", 10, Part::Unsatisfiable),
            ("bytes=4-2", 10, Part::Whole),
            ("bytes=0-1,3-4", 10, Part::Whole),
            ("bytes=-", 10, Part::Whole),
            ("bytes=a-b", 10, Part::Whole),
            ("bytes=+1-2", 10, Part::Whole),
            ("bytes=99999999999999999999-", 10, Part::Whole),
            ("lines=1-2", 10, Part::Whole),
            ("bytes=0-", 0, Part::Whole),
        ] {
            assert_eq!(wanted(Some(header), size), expected, "{header} of {size}");
        }
        assert_eq!(wanted(None, 10), Part::Whole);
    }
}
