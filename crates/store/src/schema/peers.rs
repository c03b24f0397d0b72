//! What is known of other servers: their keys.
