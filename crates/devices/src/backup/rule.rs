//! Which of two keys for one session is kept (spec: "Server-side key backups").

use std::cmp::Reverse;

use store::schema::BackedUpKey;

/// Is the new key kept in place of the old one? The rules, in their order: the verified one, the one that decrypts from an
/// earlier message on, the one that was forwarded less often. Of two that are alike the old one stays.
pub(super) fn is_better(new: &BackedUpKey, old: &BackedUpKey) -> bool {
    let worth = |key: &BackedUpKey| {
        (key.is_verified, Reverse(key.first_message_index), Reverse(key.forwarded_count))
    };
    worth(new) > worth(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(is_verified: bool, first_message_index: u64, forwarded_count: u64) -> BackedUpKey {
        BackedUpKey { is_verified, first_message_index, forwarded_count, json: String::new() }
    }

    #[test]
    fn a_verified_key_beats_whatever_is_not() {
        assert!(is_better(&key(true, 9, 9), &key(false, 0, 0)));
        assert!(!is_better(&key(false, 0, 0), &key(true, 9, 9)));
    }

    #[test]
    fn then_the_key_that_decrypts_more_is_kept_however_often_it_was_forwarded() {
        for is_verified in [true, false] {
            assert!(is_better(&key(is_verified, 1, 9), &key(is_verified, 2, 0)));
            assert!(!is_better(&key(is_verified, 2, 0), &key(is_verified, 1, 9)));
        }
    }

    #[test]
    fn then_the_key_that_was_forwarded_less_and_of_two_alike_the_old_one() {
        assert!(is_better(&key(true, 1, 1), &key(true, 1, 2)));
        assert!(!is_better(&key(true, 1, 2), &key(true, 1, 1)));
        assert!(!is_better(&key(true, 1, 1), &key(true, 1, 1)));
    }
}
