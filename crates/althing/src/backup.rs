//! Writing a backup: a copy of all that the data folder keeps, itself a data folder.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use store::Store;

use crate::{data_dir::DataDir, failure::Failure, open};

/// Folders within folders of media; a bound for links that lead in circles.
const DEPTH_MAX: usize = 16;

/// Writes a consistent copy of the store, and what else is in the data folder. The result has the form of a data
/// folder, so that restoring is putting it in its place.
///
/// The store comes first: media that its rows name were there before it, and are never changed. Until all is
/// written the folder has another name: half a backup must not look like one.
pub(crate) fn write(store: &Store, data: &DataDir, to: &Path) -> Result<(), Failure> {
    if to.exists() {
        return Err(Failure::at(to, "expected a folder that does not exist"));
    }
    let draft = draft_of(to);
    let result = write_draft(store, data, &draft)
        .and_then(|()| fs::rename(&draft, to).map_err(|e| Failure::at(to, e)));
    if result.is_err() {
        // What is left of it is worth nothing, and its name is free for the next try.
        let _gone = fs::remove_dir_all(&draft);
    }
    result
}

fn draft_of(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    to.with_file_name(name)
}

fn write_draft(store: &Store, data: &DataDir, draft: &Path) -> Result<(), Failure> {
    make_folder(draft).map_err(|e| Failure::at(draft, e))?;
    let copy = DataDir::open(draft)?;
    store.backup(&copy.store())?;
    open::mark_copy(store.server_name(), &copy)?;
    for (from, to) in [
        (data.signing_key_file(), copy.signing_key_file()),
        (data.retired_keys_file(), copy.retired_keys_file()),
        (data.token_file(), copy.token_file()),
        (data.media(), copy.media()),
    ] {
        if from.exists() {
            copy_all(&from, &to, DEPTH_MAX).map_err(|e| Failure::at(&from, e))?;
        }
    }
    File::open(draft).and_then(|folder| folder.sync_all()).map_err(|e| Failure::at(draft, e))
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Copies a file or folder. Files are never changed in place, so a link is as good as a copy, and costs nothing.
fn copy_all(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    if from.is_file() {
        return fs::hard_link(from, to).or_else(|_| {
            fs::copy(from, to)?;
            File::open(to)?.sync_all()
        });
    }
    if depth == 0 {
        return Err(io::Error::other("the folders are too deep"));
    }
    make_folder(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        match copy_all(&entry.path(), &to.join(entry.file_name()), depth - 1) {
            // A temporary file of an upload that has just ended.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    File::open(to)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A data folder with something of everything, and a store on a real engine.
    fn server(folder: &Path) -> (DataDir, Store) {
        let data = DataDir::open(&folder.join("data")).unwrap();
        let engine = kv_lmdb::Lmdb::open(&data.store(), kv_lmdb::Options::default()).unwrap();
        let key = Arc::new(data.signing_key().unwrap());
        let options = store::Options::new("example.org".try_into().unwrap(), key);
        let store = Store::open(Arc::new(engine), options).unwrap();
        data.rotate_signing_key(77).unwrap();
        data.registration_token().unwrap();
        fs::create_dir_all(data.media().join("ab")).unwrap();
        fs::write(data.media().join("ab/cd"), "picture").unwrap();
        (data, store)
    }

    #[test]
    fn a_backup_is_a_data_folder_that_can_be_opened() {
        let folder = tempfile::tempdir().unwrap();
        let (data, store) = server(folder.path());
        let alice = ruma::user_id!("@alice:example.org");
        let number = store.write_here(move |tx| store::user::intern(tx, alice)).unwrap().value;
        let to = folder.path().join("backup");
        write(&store, &data, &to).unwrap();

        let copy = DataDir::open(&to).unwrap();
        let engine = kv_lmdb::Lmdb::open(&copy.store(), kv_lmdb::Options::default()).unwrap();
        let key = Arc::new(copy.signing_key().unwrap());
        let options = store::Options::new("example.org".try_into().unwrap(), key);
        let again = Store::open(Arc::new(engine), options).unwrap();
        assert!(store::copied::is_marked(&again).unwrap());
        assert!(!store::copied::is_marked(&store).unwrap());
        let found = again.read_here(|view| store::user::find(view, alice)).unwrap();
        assert_eq!(found, Some(number));
        let key = |data: &DataDir| data.signing_key().unwrap().to_text();
        assert_eq!(key(&copy), key(&data));
        assert_eq!(copy.retired_keys().unwrap(), data.retired_keys().unwrap());
        assert_eq!(copy.retired_keys().unwrap().len(), 1);
        assert_eq!(copy.registration_token().unwrap().0, data.registration_token().unwrap().0);
        assert_eq!(fs::read_to_string(copy.media().join("ab/cd")).unwrap(), "picture");
        assert!(!draft_of(&to).exists());
    }

    #[test]
    fn a_backup_never_overwrites_anything() {
        let folder = tempfile::tempdir().unwrap();
        let (data, store) = server(folder.path());
        let to = folder.path().join("backup");
        fs::create_dir(&to).unwrap();
        assert!(write(&store, &data, &to).is_err());
        assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
    }

    #[test]
    fn a_backup_that_fails_leaves_nothing_that_looks_like_one() {
        let folder = tempfile::tempdir().unwrap();
        let (data, store) = server(folder.path());
        // Deeper than anything that is ours.
        let deep: PathBuf = std::iter::repeat_n("d", DEPTH_MAX + 1).collect();
        fs::create_dir_all(data.media().join(deep)).unwrap();
        let to = folder.path().join("backup");
        assert!(write(&store, &data, &to).is_err());
        assert!(!to.exists() && !draft_of(&to).exists());
    }
}
