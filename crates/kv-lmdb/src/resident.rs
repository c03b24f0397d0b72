//! Keeps the part of the data file that is mapped into this process small.
//!
//! Every page that was ever read stays mapped and counts as this process' memory, although the system could take it
//! back at any time. On a server that many share this looks like a leak, and counts against a container's limit.
//! Unmapping costs nothing but a short fault at the next read: the bytes stay in the page cache.

use std::{fs, path::Path};

/// Where a file is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping {
    start: usize,
    bytes: usize,
}

/// Unmaps the pages of the file if this process has more than `bytes_max` of files mapped.
pub(crate) fn trim(file: &Path, bytes_max: u64) {
    // Anything that cannot be read here only means that nothing is trimmed.
    let Ok(statm) = fs::read_to_string("/proc/self/statm") else { return };
    if file_pages(&statm).saturating_mul(PAGE) <= bytes_max {
        return;
    }
    // The kernel names it by its whole path.
    let Ok(file) = file.canonicalize() else { return };
    let (Ok(maps), Some(file)) = (fs::read_to_string("/proc/self/maps"), file.to_str()) else {
        return;
    };
    for mapping in mappings(&maps, file) {
        #[expect(unsafe_code, reason = "there is no safe way to advise on a mapping")]
        // SAFETY: the range is a mapping of the data file, just read from the kernel. It is shared and file-backed, so
        // that MADV_DONTNEED changes no byte of it: what is dropped is read from the file again. Only LMDB
        // maps this file, and never moves the map while it is open.
        unsafe {
            libc::madvise(mapping.start as *mut libc::c_void, mapping.bytes, libc::MADV_DONTNEED);
        }
    }
}

/// Pages are counted in this unit in `statm` on every system that we build for.
const PAGE: u64 = 4096;

/// The third number of `statm`: resident pages that belong to files.
fn file_pages(statm: &str) -> u64 {
    statm.split_ascii_whitespace().nth(2).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Shared mappings of a file.
fn mappings(maps: &str, file: &str) -> Vec<Mapping> {
    maps.lines().filter_map(|line| mapping(line, file)).collect()
}

fn mapping(line: &str, file: &str) -> Option<Mapping> {
    let rest = line.strip_suffix(file)?;
    let mut words = rest.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    // A private mapping could hold changes that dropping would undo.
    if !words.next()?.ends_with('s') {
        return None;
    }
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    Some(Mapping { start, bytes: end.checked_sub(start)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shared_mappings_of_the_file_are_found() {
        let maps = "\
7f0000000000-7f0000010000 r--s 00000000 fe:00 42                         /data/store/data.mdb
7f1000000000-7f1000010000 rw-p 00000000 fe:00 42                         /data/store/data.mdb
7f2000000000-7f2000010000 r--s 00000000 fe:00 43                         /data/other/data.mdb
7f3000000000-7f3000010000 rw-p 00000000 00:00 0";
        let want = Mapping { start: 0x7f00_0000_0000, bytes: 0x10000 };
        assert_eq!(mappings(maps, "/data/store/data.mdb"), [want]);
    }

    #[test]
    fn the_pages_of_files_are_read() {
        assert_eq!(file_pages("268765015 75215 43872 190 0 41000 0"), 43_872);
        assert_eq!(file_pages("nonsense"), 0);
    }
}
