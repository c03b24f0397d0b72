//! Integer ids. String ids (`@alice:example.org`) live at the rim and in the stored rows; inside,
//! everything is named by a small number that is cheap to hash, compare and store.
//!
//! Ids are handed out by the store, never reused, and mean something in one tenant only.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(pub u64);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{}", self.0) }
        }
    )* }
}

id! {
    /// A user that this server knows of, local or remote.
    User
    /// A room that this server knows of.
    Room
    /// An event that this server holds.
    Event
    /// A position on the log: in commit order, never reused, dense but where the log leaps. A new log begins at 2^40;
    /// 0 is "before everything".
    Seq
    /// Milliseconds since the Unix epoch.
    UnixMs
    /// A position among the things that live in memory only (typing); starts anew with the process.
    Epoch
}

impl Seq {
    /// Before everything.
    pub const ZERO: Seq = Seq(0);
    /// After everything.
    pub const MAX: Seq = Seq(u64::MAX);

    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0.saturating_add(1))
    }
}
