//! Order-preserving keys: tuples of parts, compared as bytes in the order of the parts.

use base::{Event, Room, Seq, UnixMs, User};

/// One part of a key.
pub trait KeyPart: Sized {
    /// Appends the part.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads the part back and advances; `None` if the bytes are not such a part.
    fn take(from: &mut &[u8]) -> Option<Self>;
}

fn split<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = from.split_first_chunk::<N>()?;
    *from = tail;
    Some(*head)
}

macro_rules! number_parts {
    ($($t:ident)*) => { $(
        impl KeyPart for $t {
            fn put(&self, out: &mut Vec<u8>) { out.extend_from_slice(&self.0.to_be_bytes()) }
            fn take(from: &mut &[u8]) -> Option<Self> { split(from).map(|b| $t(u64::from_be_bytes(b))) }
        }
    )* }
}
number_parts!(User Room Event Seq UnixMs);

impl KeyPart for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes())
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        split(from).map(u64::from_be_bytes)
    }
}
impl KeyPart for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self)
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        split::<1>(from).map(|[b]| b)
    }
}
impl<const N: usize> KeyPart for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self)
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        split(from)
    }
}

/// Text sorts as its bytes: 0 becomes `00 FF`, the end is `00 01`, so that no text is the beginning of another.
impl KeyPart for String {
    fn put(&self, out: &mut Vec<u8>) {
        for &b in self.as_bytes() {
            out.push(b);
            if b == 0 {
                out.push(0xFF);
            }
        }
        out.extend_from_slice(&[0, 1]);
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        let mut text = Vec::new();
        loop {
            match split::<1>(from)? {
                [0] => match split::<1>(from)? {
                    [0xFF] => text.push(0),
                    [1] => return String::from_utf8(text).ok(),
                    _ => return None,
                },
                [b] => text.push(b),
            }
        }
    }
}

/// A whole key, or its beginning.
pub trait Key: Sized {
    /// The first part: what owns the row.
    type First: KeyPart;
    /// Appends all parts.
    fn put(&self, out: &mut Vec<u8>);
    /// Appends the first part only.
    fn put_first(&self, out: &mut Vec<u8>);
    /// Reads a whole key.
    fn take(from: &[u8]) -> Option<Self>;
}

macro_rules! tuples {
    ($( ($first:ident $(, $part:ident)*) )*) => { $(
        impl<$first: KeyPart, $($part: KeyPart),*> Key for ($first, $($part),*) {
            type First = $first;
            fn put(&self, out: &mut Vec<u8>) {
                #[expect(non_snake_case, reason = "type parameters double as bindings")]
                let ($first, $($part),*) = self;
                $first.put(out);
                $( $part.put(out); )*
            }
            fn put_first(&self, out: &mut Vec<u8>) { self.0.put(out) }
            fn take(mut from: &[u8]) -> Option<Self> {
                let key = ($first::take(&mut from)?, $( $part::take(&mut from)? ),*);
                from.is_empty().then_some(key)
            }
        }
    )* }
}
tuples! { (A) (A, B) (A, B, C) (A, B, C, D) }

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes<K: Key>(k: &K) -> Vec<u8> {
        let mut out = Vec::new();
        k.put(&mut out);
        out
    }

    proptest! {
        #[test]
        fn keys_sort_as_their_parts_do(a: (u64, String, u8), b: (u64, String, u8)) {
            prop_assert_eq!(a.cmp(&b), bytes(&a).cmp(&bytes(&b)));
        }
        #[test]
        fn keys_read_back(a: (u64, String, u8)) {
            let got = <(u64, String, u8)>::take(&bytes(&a));
            prop_assert_eq!(got, Some(a));
        }
    }
}
