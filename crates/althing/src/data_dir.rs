//! The data folder of a server: what lies in it, who may touch it, and what is made at the first start.
//!
//!     store/               the embedded store
//!     media/               uploaded files
//!     signing.key          who this server is, for other servers (mode 0600)
//!     registration.token   the token of the first start (mode 0600)
//!     control.sock         how commands reach the running server

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use protocol::SigningKey;
use rand::RngExt as _;

use crate::failure::Failure;

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

    /// The registration token; made at the first start. True: just now.
    pub(crate) fn registration_token(&self) -> Result<(String, bool), Failure> {
        let Kept { text, new } = kept(&self.token_file(), || random_name(20) + "\n")?;
        Ok((text.trim().to_owned(), new))
    }
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
    fn the_first_start_makes_the_token_and_later_ones_keep_it() {
        let (_folder, data) = fresh();
        let (token, new) = data.registration_token().unwrap();
        assert!(new && token.len() == 20);
        assert_eq!(data.registration_token().unwrap(), (token, false));
    }
}
