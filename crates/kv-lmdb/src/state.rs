//! The one row in which a commit says what it left behind, and the sums that make the rows checkable.

use base::Seq;
use kv::{KvError, KvResult, Tree, Version};

/// Layout of the data file: the trees, this row, the sums. Another number is another program's store.
const FORMAT: u32 = 1;
/// Sums of the rows of each tree, see [`row_sum`].
pub(crate) type Sums = [u64; Tree::COUNT as usize];

const BYTES: usize = 4 + 8 + 8 + 8 * Tree::COUNT as usize + 4;

/// What the last commit left behind. Written in the same transaction as its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) version: Version,
    pub(crate) head: Seq,
    pub(crate) sums: Sums,
}

impl State {
    pub(crate) fn encode(&self) -> [u8; BYTES] {
        let mut out = [0; BYTES];
        let numbers = [self.version.0, self.head.0].into_iter().chain(self.sums);
        let body = FORMAT.to_le_bytes().into_iter().chain(numbers.flat_map(u64::to_le_bytes));
        for (to, byte) in out.iter_mut().zip(body) {
            *to = byte;
        }
        if let Some((body, crc)) = out.split_last_chunk_mut::<4>() {
            *crc = crc32fast::hash(body).to_le_bytes();
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> KvResult<State> {
        let broken = |what: &str| KvError::Corrupt(format!("the store's state row {what}"));
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(|| broken("is too short"))?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(broken("does not match its checksum"));
        }
        let (format, body) = body.split_first_chunk::<4>().ok_or_else(|| broken("is too short"))?;
        match u32::from_le_bytes(*format) {
            FORMAT => {}
            other => {
                return Err(broken(&format!("is of format {other}; this program knows {FORMAT}")));
            }
        }
        let (numbers, rest) = body.as_chunks::<8>();
        let mut numbers = numbers.iter().map(|n| u64::from_le_bytes(*n));
        let mut next = || numbers.next().ok_or_else(|| broken("is too short"));
        let mut state = State { version: Version(next()?), head: Seq(next()?), ..State::default() };
        for sum in &mut state.sums {
            *sum = next()?;
        }
        if !rest.is_empty() || next().is_ok() {
            return Err(broken("is too long"));
        }
        Ok(state)
    }
}

/// A fingerprint of one row. The sum (wrapping) of those of all rows of a tree is kept by each commit and
/// recomputed by a full check: it finds rows that are missing, stale or strange, although the pages they
/// lie on look right. It must not be a CRC: values end with one, and a CRC over data and its CRC is a
/// constant. It guards against accidents, not against forgery.
pub(crate) fn row_sum(key: &[u8], value: &[u8]) -> u64 {
    let lengths = (key.len() as u64).rotate_left(32) ^ value.len() as u64;
    let sum = mix(mix(absorb(SEED, lengths), key), value);
    (sum ^ (sum >> 29)).wrapping_mul(ODD)
}

const SEED: u64 = 0x9ae1_6a3b_2f90_404f;
/// Odd, so that multiplying loses nothing; its bits are without pattern.
const ODD: u64 = 0xd6e8_feb8_6659_fd93;

/// One-to-one in each argument, so that a difference, once in, stays in.
fn absorb(sum: u64, word: u64) -> u64 {
    let product = (sum ^ word).wrapping_mul(ODD);
    product ^ (product >> 32)
}

fn mix(mut sum: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        sum = absorb(sum, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    for (to, byte) in last.iter_mut().zip(rest) {
        *to = *byte;
    }
    absorb(sum, u64::from_le_bytes(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_row_is_read_back_and_any_flipped_bit_is_found() {
        let sums = [1, 2, 3, 4, 5, 6, 7, u64::MAX];
        let state = State { version: Version(7), head: Seq(u64::MAX), sums };
        let bytes = state.encode();
        assert_eq!(State::decode(&bytes).unwrap(), state);
        for bit in 0..bytes.len() * 8 {
            let mut broken = bytes;
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(State::decode(&broken).is_err(), "bit {bit}");
        }
        assert!(State::decode(&bytes[..BYTES - 8]).is_err());
        assert!(State::decode(b"").is_err());
    }

    #[test]
    fn the_sum_on_disk_is_the_sum_of_this_program() {
        // Stored in every state row: a change here makes every existing store look damaged.
        let golden = [row_sum(b"key", b"value"), row_sum(b"k", b""), row_sum(&[7; 20], &[9; 100])];
        assert_eq!(golden, [0xa49e297621f33a8e, 0x9f74598cd98c4096, 0x5cf829d87d804c48]);
    }

    #[test]
    fn the_sum_sees_every_bit_also_behind_a_checksum() {
        let value = |byte: u8| {
            let mut value = [byte; 33].to_vec();
            value.extend(crc32fast::hash(&value).to_le_bytes());
            value
        };
        assert_ne!(row_sum(b"k", &value(1)), row_sum(b"k", &value(2)));
        assert_ne!(row_sum(b"ab", b"c"), row_sum(b"a", b"bc"));
        assert_ne!(row_sum(b"a", b""), row_sum(b"a", b"\0"));
        let base = row_sum(b"some key", &[0; 40]);
        for bit in 0..320 {
            let mut flipped = [0; 40];
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(row_sum(b"some key", &flipped), base);
        }
    }
}
