//! What is kept only for a while is swept by whoever adds to it: no timer, and no growth without bound.

use base::{Reply, UnixMs};
use store::{
    Direction, Tx,
    schema::{EXPIRIES, LOGIN_TOKENS, NONCES, UIA, UIA_THREEPIDS},
};

use crate::{text::from_hex, validation::drop_validation};

/// Rows swept for each row added: more than one, so that sweeping catches up.
const SWEEP: usize = 8;

/// What a row is. Fixed on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kept {
    /// A row of [`UIA`].
    Uia = 1,
    /// A row of [`NONCES`].
    Nonce = 2,
    /// A row of [`store::schema::VALIDATIONS`].
    Validation = 80,
    /// A row of [`store::schema::LOGIN_TOKENS`].
    LoginToken = 81,
}

/// Says that a row ends, and removes a few whose time is over.
pub(crate) fn until(tx: &mut Tx, end: UnixMs, what: Kept, key: &str) -> Reply<()> {
    let (first, now) = ((UnixMs(0), 0, String::new()), (tx.now(), 0, String::new()));
    let over: Vec<((UnixMs, u8, String), ())> =
        tx.range(&EXPIRIES, first, now, Direction::Forward, SWEEP)?;
    for (row, ()) in over {
        if row.1 == Kept::Uia as u8 {
            tx.delete(&UIA, (row.2.clone(),));
            tx.delete(&UIA_THREEPIDS, (row.2.clone(),));
        } else if row.1 == Kept::Nonce as u8 {
            tx.delete(&NONCES, (row.2.clone(),));
        } else if row.1 == Kept::Validation as u8 {
            drop_validation(tx, &row.2)?;
        } else if row.1 == Kept::LoginToken as u8
            && let Some(Ok(hash)) = from_hex(&row.2).map(<[u8; 32]>::try_from)
        {
            tx.delete(&LOGIN_TOKENS, (hash,));
        }
        tx.delete(&EXPIRIES, row);
    }
    tx.put(&EXPIRIES, (end, what as u8, key.to_owned()), &());
    Ok(())
}
