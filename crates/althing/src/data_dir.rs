//! The data folder of a server: what lies in it, who may touch it, and what is made at the first start.
//!
//!     store/               the embedded store
//!     media/               uploaded files
//!     signing.key          who this server is, for other servers (mode 0600)
//!     retired_keys         the public halves of the keys that it has used before
//!     registration.token   the token of the first start (mode 0600)
//!     control.sock         how commands reach the running server

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use protocol::{SigningKey, server_keys::Retired, signed::decode_key};
use rand::RngExt as _;
use ruma::serde::{Base64, base64::Standard};

use crate::failure::Failure;

/// Keys that are published as used before; more would not fit into what others read.
const RETIRED_MAX: usize = 100;
/// The first lines of the file of retired keys.
const RETIRED_HEAD: &str = "\
# Keys that this server has used before, one a line: id, public key, and since when it is not used, milliseconds
# since 1970. Other servers check old events with them: do not remove any.
";

/// The folder, which exists.
#[derive(Clone, Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
}

impl DataDir {
    /// Makes the folder if it is missing, for nobody else to read.
    pub(crate) fn open(path: &Path) -> Result<DataDir, Failure> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|e| Failure::at(path, e))?;
        Ok(DataDir { path: path.to_owned() })
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path.join("store")
    }
    pub(crate) fn media(&self) -> PathBuf {
        self.path.join("media")
    }
    pub(crate) fn search(&self) -> PathBuf {
        self.path.join("search")
    }
    pub(crate) fn signing_key_file(&self) -> PathBuf {
        self.path.join("signing.key")
    }
    pub(crate) fn retired_keys_file(&self) -> PathBuf {
        self.path.join("retired_keys")
    }
    pub(crate) fn token_file(&self) -> PathBuf {
        self.path.join("registration.token")
    }
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// The key by which other servers know this one (server-server API, "Signing Details"); made at the first start.
    pub(crate) fn signing_key(&self) -> Result<SigningKey, Failure> {
        let path = self.signing_key_file();
        let version = format!("a_{}", random_name(4));
        let fresh = SigningKey::generate(rand::rng().random(), &version)?;
        let text = kept(&path, || fresh.to_text() + "\n")?.text;
        SigningKey::parse(&text).map_err(|e| Failure::at(&path, e))
    }

    /// The keys that this server has used before, but for the one it uses (which is in both files if a rotation was cut
    /// short); none if there is no such file.
    pub(crate) fn retired_keys(&self) -> Result<Vec<Retired>, Failure> {
        let path = self.retired_keys_file();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Failure::at(&path, e)),
        };
        let used = self.signing_key()?;
        let lines = text.lines().enumerate().map(|(n, line)| (n + 1, line.trim()));
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let mut keys = Vec::new();
        for (n, line) in lines {
            let wrong = "expected a key's id, its public half and when it ended";
            let key =
                retired(line).ok_or_else(|| Failure::at(&path, format!("line {n}: {wrong}")))?;
            keys.push(key);
        }
        if keys.len() > RETIRED_MAX {
            return Err(Failure::at(&path, format!("expected at most {RETIRED_MAX} keys")));
        }
        keys.retain(|key| key.key_id != used.key_id());
        Ok(keys)
    }

    /// Makes a new signing key; the one used so far is retired now. Gives the ids of the old and the new one. No server
    /// may run on this folder: it would go on signing with the old key.
    pub(crate) fn rotate_signing_key(&self, now_ms: u64) -> Result<(String, String), Failure> {
        let old = self.signing_key()?;
        let mut keys = self.retired_keys()?;
        let public = decode_key(&old.public_key());
        let public = public.ok_or_else(|| Failure::Runtime("the key has no public half".into()))?;
        keys.push(Retired { key_id: old.key_id().to_owned(), public, expired: now_ms });
        let path = self.retired_keys_file();
        if keys.len() > RETIRED_MAX {
            return Err(Failure::at(
                &path,
                format!("there are {RETIRED_MAX} retired keys already"),
            ));
        }
        let fresh = loop {
            let version = format!("a_{}", random_name(4));
            let fresh = SigningKey::generate(rand::rng().random(), &version)?;
            // An id names one key for ever.
            if keys.iter().all(|key| key.key_id != fresh.key_id()) {
                break fresh;
            }
        };
        // In this order no crash loses the old key: one that is used counts as used.
        let lines: String = keys.iter().map(|key| line_of(key) + "\n").collect();
        let text = format!("{RETIRED_HEAD}{lines}");
        write_secret(&path, &text).map_err(|e| Failure::at(&path, e))?;
        let path = self.signing_key_file();
        write_secret(&path, &(fresh.to_text() + "\n")).map_err(|e| Failure::at(&path, e))?;
        Ok((old.key_id().to_owned(), fresh.key_id().to_owned()))
    }

    /// The registration token; made at the first start. True: just now.
    pub(crate) fn registration_token(&self) -> Result<(String, bool), Failure> {
        let Kept { text, new } = kept(&self.token_file(), || random_name(20) + "\n")?;
        Ok((text.trim().to_owned(), new))
    }
}

/// A line of the file of retired keys.
fn retired(line: &str) -> Option<Retired> {
    let mut words = line.split_whitespace();
    let (id, public, expired) = (words.next()?, words.next()?, words.next()?);
    let version = id.strip_prefix("ed25519:").filter(|version| !version.is_empty())?;
    let plain = version.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let (public, expired) = (decode_key(public)?, expired.parse().ok()?);
    let whole = plain && words.next().is_none();
    whole.then(|| Retired { key_id: id.to_owned(), public, expired })
}

fn line_of(key: &Retired) -> String {
    let public = Base64::<Standard, _>::new(key.public);
    format!("{} {} {}", key.key_id, public.encode(), key.expired)
}

/// A small file that is made once.
struct Kept {
    text: String,
    new: bool,
}

/// Reads the file; if it is missing, writes it whole or not at all, durably, for nobody else to read.
fn kept(path: &Path, make: impl FnOnce() -> String) -> Result<Kept, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Kept { text, new: false }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let text = make();
            write_secret(path, &text).map_err(|e| Failure::at(path, e))?;
            Ok(Kept { text, new: true })
        }
        Err(e) => Err(Failure::at(path, e)),
    }
}

fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    // The name is durable only when its folder is.
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Random letters and digits: ~5 bits each, without those that look like others.
pub(crate) fn random_name(length: usize) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = rand::rng();
    let letter = |byte: u8| LETTERS.get(usize::from(byte & 31)).copied().map_or('a', char::from);
    (0..length).map(|_| letter(random.random())).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn fresh() -> (tempfile::TempDir, DataDir) {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&folder.path().join("a/b")).unwrap();
        (folder, data)
    }

    #[test]
    fn the_signing_key_is_made_once_and_is_nobody_elses_to_read() {
        let (_folder, data) = fresh();
        let first = data.signing_key().unwrap();
        assert_eq!(data.signing_key().unwrap().to_text(), first.to_text());
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&data.signing_key_file()), 0o600);
        assert_eq!(mode(&data.path), 0o700);
        assert!(first.key_id().starts_with("ed25519:a_"), "{}", first.key_id());
    }

    #[test]
    fn a_broken_signing_key_is_never_replaced() {
        let (_folder, data) = fresh();
        for broken in ["", "ed25519 a_b", "ed25519 a:b AQID", "rsa a_b AQID", "ed25519 a_b AQID"] {
            std::fs::write(data.signing_key_file(), broken).unwrap();
            assert!(data.signing_key().is_err(), "{broken}");
            assert_eq!(std::fs::read_to_string(data.signing_key_file()).unwrap(), broken);
        }
    }

    #[test]
    fn a_rotated_key_is_another_and_the_old_one_is_retired_then() {
        let (_folder, data) = fresh();
        let first = data.signing_key().unwrap();
        assert_eq!(data.retired_keys().unwrap(), []);
        let (old, new) = data.rotate_signing_key(77).unwrap();
        let second = data.signing_key().unwrap();
        assert_eq!((old.as_str(), new.as_str()), (first.key_id(), second.key_id()));
        assert_ne!(first.public_key(), second.public_key());
        data.rotate_signing_key(99).unwrap();
        let kept = |key: &SigningKey, expired| Retired {
            key_id: key.key_id().to_owned(),
            public: decode_key(&key.public_key()).unwrap(),
            expired,
        };
        assert_eq!(data.retired_keys().unwrap(), [kept(&first, 77), kept(&second, 99)]);
        let text = std::fs::read_to_string(data.retired_keys_file()).unwrap();
        let seed = first.to_text().rsplit(' ').next().unwrap().to_owned();
        assert!(!text.contains(&seed), "the secret half is gone");
    }

    #[test]
    fn a_rotation_that_was_cut_short_changes_nothing_and_can_be_done_again() {
        let (_folder, data) = fresh();
        let before = std::fs::read_to_string(data.signing_key_file());
        assert!(before.is_err());
        let first = data.signing_key().unwrap();
        data.rotate_signing_key(77).unwrap();
        // As if the second file had not been written.
        std::fs::write(data.signing_key_file(), first.to_text()).unwrap();
        assert_eq!(data.retired_keys().unwrap(), []);
        data.rotate_signing_key(88).unwrap();
        let ends: Vec<u64> = data.retired_keys().unwrap().iter().map(|key| key.expired).collect();
        assert_eq!(ends, [88]);
    }

    #[test]
    fn a_broken_line_among_the_retired_keys_is_an_error_that_names_it() {
        let (_folder, data) = fresh();
        data.rotate_signing_key(77).unwrap();
        let good = std::fs::read_to_string(data.retired_keys_file()).unwrap();
        for broken in ["ed25519:a AAAA 5", "rsa:a", "ed25519:a_b", "x"] {
            std::fs::write(data.retired_keys_file(), format!("{good}\n{broken}\n")).unwrap();
            let Err(Failure::Runtime(why)) = data.retired_keys() else { panic!("{broken}") };
            assert!(why.contains("line 5"), "{why}");
        }
    }

    #[test]
    fn the_first_start_makes_the_token_and_later_ones_keep_it() {
        let (_folder, data) = fresh();
        let (token, new) = data.registration_token().unwrap();
        assert!(new && token.len() == 20);
        assert_eq!(data.registration_token().unwrap(), (token, false));
    }
}
