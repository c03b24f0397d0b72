//! Keys of devices and users, and the backup of room keys.
