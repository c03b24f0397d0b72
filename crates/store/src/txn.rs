//! Transaction ids (spec: Client-Server API, "Transaction identifiers"): by what a repeated request is known.

/// A request that may be repeated.
#[derive(Clone, Copy, Debug)]
pub struct Txn<'a> {
    /// The device that sent it: other devices have transaction ids of their own.
    pub device: &'a str,
    /// The path without the transaction id, in any fixed form: ids are per endpoint and room.
    pub path: &'a str,
    /// The transaction id that the client chose.
    pub id: &'a str,
}

impl Txn<'_> {
    /// The second part of its key in [`crate::schema::TXNS`].
    #[must_use]
    pub fn key(&self) -> [u8; 16] {
        let mut hash = blake3::Hasher::new();
        for part in [self.device, self.path, self.id] {
            hash.update(&(part.len() as u64).to_be_bytes()).update(part.as_bytes());
        }
        hash.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
    }
}
