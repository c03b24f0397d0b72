//! Compression of event bodies. Each body is one small zstd frame against a dictionary of what events are made of;
//! the dictionary is part of the format and has a number, so that a later one can be added beside it.

use std::sync::LazyLock;

use base::{Error, Reply};
use parking_lot::Mutex;
use zstd::{
    bulk::{Compressor, Decompressor},
    dict::{DecoderDictionary, EncoderDictionary},
    zstd_safe::get_frame_content_size,
};

/// What events are made of, most frequent last (zstd reaches the end of a dictionary most cheaply).
/// Fixed for ever: rows on disk need it to be read.
const DICTIONARY_1: &[u8] = include_bytes!("dictionary-1.txt");
/// Level 1: an event is small enough that higher levels find little more and cost several times as much.
const LEVEL: i32 = 1;
/// A body larger than any event is a corrupt row.
const BODY_BYTES_MAX: usize = 4 * base::limits::EVENT_BYTES_MAX;
/// Contexts kept for reuse; one per pool thread is enough.
const CONTEXTS_MAX: usize = 64;

/// Stored form: as is.
const PLAIN: u8 = 0;
/// Stored form: zstd with dictionary 1.
const ZSTD_1: u8 = 1;

static ENCODER: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::copy(DICTIONARY_1, LEVEL));
static DECODER: LazyLock<DecoderDictionary<'static>> =
    LazyLock::new(|| DecoderDictionary::copy(DICTIONARY_1));

/// Compressors and decompressors, kept for reuse.
#[derive(Default)]
pub(crate) struct Codec {
    compressors: Mutex<Vec<Compressor<'static>>>,
    decompressors: Mutex<Vec<Decompressor<'static>>>,
}

impl Codec {
    pub(crate) fn compress(&self, body: &str) -> Vec<u8> {
        let packed = self.try_compress(body.as_bytes());
        match packed {
            Some(packed) if packed.len() < body.len() => prefixed(ZSTD_1, &packed),
            _ => prefixed(PLAIN, body.as_bytes()),
        }
    }

    fn try_compress(&self, body: &[u8]) -> Option<Vec<u8>> {
        let free = self.compressors.lock().pop();
        let mut compressor = match free {
            Some(c) => c,
            None => {
                let mut c = Compressor::with_prepared_dictionary(&ENCODER).ok()?;
                // The row has a checksum of its own, and the dictionary's number is our prefix byte.
                c.include_checksum(false).ok()?;
                c.include_dictid(false).ok()?;
                c
            }
        };
        let packed = compressor.compress(body).ok();
        let mut free = self.compressors.lock();
        if free.len() < CONTEXTS_MAX {
            free.push(compressor);
        }
        packed
    }

    pub(crate) fn decompress(&self, stored: &[u8]) -> Reply<String> {
        let corrupt = || Error::fault("corrupt event body");
        let (&form, packed) = stored.split_first().ok_or_else(corrupt)?;
        let body = match form {
            PLAIN => packed.to_vec(),
            ZSTD_1 => {
                let free = self.decompressors.lock().pop();
                let mut decompressor = match free {
                    Some(d) => d,
                    None => Decompressor::with_prepared_dictionary(&DECODER)
                        .map_err(|e| Error::fault(format!("zstd: {e}")))?,
                };
                // Every frame of ours says how much it holds; room for more would stay allocated in the cache.
                let size = get_frame_content_size(packed).ok().flatten().ok_or_else(corrupt)?;
                let size = usize::try_from(size).map_err(|_| corrupt())?;
                if size > BODY_BYTES_MAX {
                    return Err(corrupt());
                }
                let body = decompressor.decompress(packed, size).map_err(|_| corrupt())?;
                let mut free = self.decompressors.lock();
                if free.len() < CONTEXTS_MAX {
                    free.push(decompressor);
                }
                body
            }
            _ => return Err(corrupt()),
        };
        String::from_utf8(body).map_err(|_| corrupt())
    }
}

fn prefixed(form: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 1);
    out.push(form);
    out.extend_from_slice(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_come_back_and_get_smaller() {
        let codec = Codec::default();
        let body = r#"{"content":{"body":"we should meet tomorrow","msgtype":"m.text"},"event_id":"$abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrs","origin_server_ts":1732290000000,"sender":"@alice:example.org","type":"m.room.message"}"#;
        let stored = codec.compress(body);
        assert_eq!(codec.decompress(&stored).unwrap(), body);
        assert!(stored.len() * 10 < body.len() * 7, "{} of {}", stored.len(), body.len());
        for tiny in ["", "{}"] {
            assert_eq!(codec.decompress(&codec.compress(tiny)).unwrap(), tiny);
        }
    }

    #[test]
    fn garbage_is_refused() {
        let codec = Codec::default();
        for bad in [&b""[..], &[7, 1, 2], &[ZSTD_1, 0, 1, 2, 3]] {
            assert!(codec.decompress(bad).is_err());
        }
    }
}
