//! The rows of a validation, which go together.

use base::Reply;
use sha2::{Digest as _, Sha256};
use store::{
    Tx,
    schema::{Purpose, VALIDATIONS, VALIDATIONS_OF},
};

/// Names what a client began.
pub(crate) fn key_of(secret: &[u8; 32], address: &str, purpose: Purpose) -> [u8; 16] {
    let mut all = Sha256::new();
    all.update([match purpose {
        Purpose::Register => 1,
        Purpose::Password => 2,
        Purpose::Add => 3,
    }]);
    all.update(secret);
    all.update(address.as_bytes());
    let whole: [u8; 32] = all.finalize().into();
    whole.first_chunk::<16>().copied().unwrap_or_default()
}

/// Removes a validation.
pub(crate) fn drop_validation(tx: &mut Tx, sid: &str) -> Reply<()> {
    if let Some(row) = tx.get(&VALIDATIONS, (sid.to_owned(),))? {
        let of = key_of(&row.client_secret, &row.address, row.purpose);
        if tx.get(&VALIDATIONS_OF, (of,))?.as_deref() == Some(sid) {
            tx.delete(&VALIDATIONS_OF, (of,));
        }
        tx.delete(&VALIDATIONS, (sid.to_owned(),));
    }
    Ok(())
}
