//! How far other servers have been told, and what waits for them.
