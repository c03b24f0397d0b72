//! The files of the project.

use std::path::{Path, PathBuf};

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// All files that are, or would be, under version control, relative to the root.
pub(crate) fn files() -> Result<Vec<String>, String> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
    let list = super::output("git", &arguments)?;
    let there = |path: &&str| root().join(path).is_file();
    Ok(list.split_terminator('\0').filter(there).map(str::to_owned).collect())
}
