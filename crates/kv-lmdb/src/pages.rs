//! Reads the data file without LMDB, page by page, and refuses what LMDB must not map.
//!
//! LMDB trusts its pages: a damaged one makes it follow wild pointers. So before it gets to see a file, the
//! tree structure is checked here with bounded reads: numbers, kinds, bounds and order of everything
//! reachable, the counts that LMDB keeps, the list of free pages, and a sum over the rows.
//!
//! The layout is that of LMDB's data version 1 on a 64-bit machine, in its byte order.

use std::{cmp::Ordering, fs::File, io, os::unix::fs::FileExt, path::Path};

use kv::{KvResult, Tree};

use crate::{
    fault::{self, corrupt},
    state::{Sums, row_sum},
};

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the embedded store's data file is that of 64-bit machines");

/// Bytes before the node offsets of a page.
const HEADER: usize = 16;
/// Bytes before the key of a node.
const NODE: usize = 8;
const META_MAGIC: u32 = 0xbeef_c0de;
const META_VERSION: u32 = 1;
/// Bytes of a tree's record, in a meta page and in the tree of names.
const RECORD: usize = 48;
const NO_PAGE: u64 = u64::MAX;
/// Deeper than LMDB's own cursors can go.
const DEPTH_MAX: u16 = 32;

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const OVERFLOW: u16 = 0x04;
const META: u16 = 0x08;
/// A node's value lies on overflow pages.
const BIG: u16 = 0x01;
/// A node's value is the record of a named tree.
const NAMED: u16 = 0x02;

/// How much of the file to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Both edges of every tree: a few dozen pages.
    Edges,
    /// Everything.
    Full,
}

/// What a check found, if it found nothing wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Bytes of the pages that hold something.
    pub used_bytes: u64,
    /// Bytes of the pages that wait to be reused; compacting gives them back.
    pub free_bytes: u64,
    /// Rows in all trees.
    pub rows: u64,
    /// The sum of each tree's rows, after a full check.
    pub(crate) sums: Option<Sums>,
}

/// Checks a data file. `None`: nothing was ever committed to it.
pub(crate) fn check(path: &Path, depth: Depth) -> KvResult<Option<Report>> {
    let file = File::open(path).map_err(|e| fault::file("opening", path, &e))?;
    let mut walk = Walk::start(file, path, depth)?;
    let Some(meta) = walk.newest_meta()? else { return Ok(None) };
    walk.all(&meta).map(Some)
}

/// What LMDB keeps about a tree.
#[derive(Clone, Copy, Debug)]
struct Record {
    flags: u16,
    depth: u16,
    counts: Counts,
    root: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    branches: u64,
    leaves: u64,
    overflows: u64,
    entries: u64,
}

#[derive(Debug)]
struct Meta {
    free: Record,
    main: Record,
    page_last: u64,
    transaction: u64,
    page_bytes: usize,
}

/// What the rows of a tree are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Lists of free pages by transaction; keys are numbers.
    Free,
    /// Records of named trees by name.
    Names,
    /// Rows of one of the contract's trees.
    Rows(usize),
    /// The state row.
    State,
}

impl Kind {
    fn of(name: &[u8]) -> Option<Kind> {
        if name == crate::STATE_TREE.as_bytes() {
            return Some(Kind::State);
        }
        let place = (0..Tree::COUNT).find(|t| crate::tree_name(Tree(*t)).as_bytes() == name)?;
        Some(Kind::Rows(usize::from(place)))
    }

    fn compare(self, a: &[u8], b: &[u8]) -> Ordering {
        match (self, u64_at(a, 0), u64_at(b, 0)) {
            (Kind::Free, Some(a), Some(b)) => a.cmp(&b),
            _ => a.cmp(b),
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_ne_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_ne_bytes(*b))
}

impl Record {
    fn read(bytes: &[u8]) -> Option<Record> {
        let counts = Counts {
            branches: u64_at(bytes, 8)?,
            leaves: u64_at(bytes, 16)?,
            overflows: u64_at(bytes, 24)?,
            entries: u64_at(bytes, 32)?,
        };
        let (flags, depth) = (u16_at(bytes, 4)?, u16_at(bytes, 6)?);
        Some(Record { flags, depth, counts, root: u64_at(bytes, 40)? })
    }
}

impl Meta {
    /// Bytes of a meta page that mean something.
    const BYTES: usize = HEADER + 24 + 2 * RECORD + 16;

    fn read(bytes: &[u8]) -> Option<Meta> {
        let known = u16_at(bytes, 10)? == META
            && u32_at(bytes, HEADER)? == META_MAGIC
            && u32_at(bytes, HEADER + 4)? == META_VERSION;
        let records = HEADER + 24;
        let page_bytes = usize::try_from(u32_at(bytes, records)?).ok()?;
        let possible = page_bytes.is_power_of_two() && (512..=32_768).contains(&page_bytes);
        (known && possible).then_some(())?;
        Some(Meta {
            free: Record::read(bytes.get(records..)?)?,
            main: Record::read(bytes.get(records + RECORD..)?)?,
            page_last: u64_at(bytes, records + 2 * RECORD)?,
            transaction: u64_at(bytes, records + 2 * RECORD + 8)?,
            page_bytes,
        })
    }
}

/// One key with what it leads to.
struct Node<'a> {
    key: &'a [u8],
    /// The value's bytes in a leaf; the lower half of the child's number in a branch.
    low: u32,
    flags: u16,
    /// What lies behind the key, on this page.
    data: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Node<'a> {
    fn read(page: &'a [u8], index: usize, branch: bool) -> Option<Node<'a>> {
        let at = usize::from(u16_at(page, HEADER + 2 * index)?);
        let (low, flags) = (u32_at(page, at)?, u16_at(page, at + 4)?);
        let key_end = at + NODE + usize::from(u16_at(page, at + 6)?);
        let data_end = match (branch, flags & BIG) {
            (true, _) => key_end,
            (false, 0) => key_end.checked_add(usize::try_from(low).ok()?)?,
            (false, _) => key_end + 8,
        };
        let key = page.get(at + NODE..key_end)?;
        let data = page.get(key_end..data_end)?;
        Some(Node { key, low, flags, data, at, end: data_end.next_multiple_of(2) })
    }

    fn child(&self) -> u64 {
        u64::from(self.low) | u64::from(self.flags) << 32
    }
}

/// The bounds that a page's parent sets for its keys: from the first, up to the second.
type Bounds<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

struct Walk<'a> {
    file: File,
    path: &'a Path,
    depth: Depth,
    page_bytes: usize,
    /// Pages that the file has and the newest transaction knows.
    page_end: u64,
    page_last: u64,
    /// One bit for each page that is reachable or free.
    seen: Vec<u64>,
    free: u64,
    counts: Counts,
    named: Vec<(Kind, Record)>,
    sums: Sums,
    /// Page buffers to use again.
    spare: Vec<Vec<u8>>,
    /// Scratch: where the nodes of the page at hand begin and end.
    places: Vec<(usize, usize)>,
}

impl<'a> Walk<'a> {
    fn start(file: File, path: &'a Path, depth: Depth) -> KvResult<Walk<'a>> {
        Ok(Walk {
            file,
            path,
            depth,
            page_bytes: 0,
            page_end: 0,
            page_last: 0,
            seen: Vec::new(),
            free: 0,
            counts: Counts::default(),
            named: Vec::new(),
            sums: Sums::default(),
            spare: Vec::new(),
            places: Vec::new(),
        })
    }

    fn read(&self, at: u64, into: &mut [u8]) -> KvResult<()> {
        self.file.read_exact_at(into, at).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => corrupt("the data file is cut short"),
            _ => fault::file("reading", self.path, &e),
        })
    }

    fn meta_at(&self, at: u64) -> KvResult<Meta> {
        let mut bytes = [0; Meta::BYTES];
        self.read(at, &mut bytes)?;
        Meta::read(&bytes).ok_or_else(|| corrupt("a meta page of the data file is not one"))
    }

    /// The state to walk. The older one is only looked at to see that the newer really is the last:
    /// transactions write the two meta pages in turn.
    fn newest_meta(&mut self) -> KvResult<Option<Meta>> {
        let even = self.meta_at(0)?;
        let odd = self.meta_at(even.page_bytes as u64)?;
        let fresh = |m: &Meta| m.transaction == 0 && m.main.root == NO_PAGE;
        if fresh(&even) && fresh(&odd) {
            return Ok(None);
        }
        let in_turn = even.transaction.is_multiple_of(2)
            && odd.transaction % 2 == 1
            && even.transaction.abs_diff(odd.transaction) == 1
            && even.page_bytes == odd.page_bytes;
        if !in_turn {
            return Err(corrupt("the meta pages of the data file contradict each other"));
        }
        let newest = if even.transaction > odd.transaction { even } else { odd };
        let len = self.file.metadata().map_err(|e| fault::file("reading", self.path, &e))?.len();
        self.page_bytes = newest.page_bytes;
        self.page_last = newest.page_last;
        let page_end = newest.page_last.saturating_add(1);
        self.page_end = (len / newest.page_bytes as u64).min(page_end);
        // Pages that are missing at the end may be free ones that were never written, or not.
        if self.page_end < page_end {
            self.depth = Depth::Full;
        }
        Ok(Some(newest))
    }

    fn all(&mut self, meta: &Meta) -> KvResult<Report> {
        if self.depth == Depth::Full {
            self.seen = vec![0; usize::try_from(self.page_end / 64 + 1).unwrap_or(0)];
            self.mark(0, 2)?;
        }
        self.tree(Kind::Free, &meta.free)?;
        self.tree(Kind::Names, &meta.main)?;
        let named = std::mem::take(&mut self.named);
        let rows_before = self.counts.entries;
        for (kind, record) in &named {
            self.tree(*kind, record)?;
        }
        let wanted = usize::from(Tree::COUNT) + 1;
        if named.len() != wanted {
            return Err(corrupt(format!("the data file has {} of {wanted} trees", named.len())));
        }
        let page_bytes = self.page_bytes as u64;
        let used = self.counts.branches + self.counts.leaves + self.counts.overflows + 2;
        let full = self.depth == Depth::Full;
        Ok(Report {
            used_bytes: used * page_bytes,
            free_bytes: self.free * page_bytes,
            // Without the state row.
            rows: (self.counts.entries - rows_before).saturating_sub(1),
            sums: full.then_some(self.sums),
        })
    }

    fn tree(&mut self, kind: Kind, record: &Record) -> KvResult<()> {
        let wrong = |what: &str| corrupt(format!("the tree {kind:?} of the data file {what}"));
        // Free: numbers as keys; above, LMDB's own marks. Ours have none.
        if kind != Kind::Free && record.flags != 0 {
            return Err(wrong("is of a strange kind"));
        }
        let mut found = Counts::default();
        if record.root != NO_PAGE {
            if record.depth == 0 || record.depth > DEPTH_MAX {
                return Err(wrong("has an impossible depth"));
            }
            self.page(kind, record.root, record.depth, (None, None), &mut found)?;
        }
        if self.depth == Depth::Full && found != record.counts {
            return Err(wrong("does not hold what it should"));
        }
        self.counts.branches += found.branches;
        self.counts.leaves += found.leaves;
        self.counts.overflows += found.overflows;
        self.counts.entries += found.entries;
        Ok(())
    }

    /// Walks the page and what is below it; `level` 1 is a leaf.
    fn page(
        &mut self,
        kind: Kind,
        number: u64,
        level: u16,
        bounds: Bounds<'_>,
        found: &mut Counts,
    ) -> KvResult<()> {
        let wrong = |what: &str| corrupt(format!("page {number} of the data file {what}"));
        let mut page = self.spare.pop().unwrap_or_default();
        page.resize(self.page_bytes, 0);
        self.fetch(number, &mut page)?;
        self.mark(number, 1)?;
        let (branch, wanted) = if level > 1 { (true, BRANCH) } else { (false, LEAF) };
        if u16_at(&page, 10) != Some(wanted) {
            return Err(wrong("is of another kind than its parent says"));
        }
        let count = self.nodes(&page, branch).ok_or_else(|| wrong("has nodes out of place"))?;
        // LMDB asserts two in a branch, except in its own list of free pages.
        if count < if branch && kind != Kind::Free { 2 } else { 1 } {
            return Err(wrong("is empty"));
        }
        if !in_order(kind, &page, count, branch, bounds) {
            return Err(wrong("has keys out of order"));
        }
        if branch {
            found.branches += 1;
            self.children(kind, &page, count, level, bounds, found)?;
        } else {
            found.leaves += 1;
            for index in 0..count {
                let node = Node::read(&page, index, false).ok_or_else(|| wrong("is cut short"))?;
                self.row(kind, &node, found)?;
            }
        }
        self.spare.push(page);
        Ok(())
    }

    fn children(
        &mut self,
        kind: Kind,
        page: &[u8],
        count: usize,
        level: u16,
        (low, high): Bounds<'_>,
        found: &mut Counts,
    ) -> KvResult<()> {
        for index in 0..count {
            if self.depth == Depth::Edges && index != 0 && index + 1 != count {
                continue;
            }
            let Some(node) = Node::read(page, index, true) else { continue };
            let low = if index == 0 { low } else { Some(node.key) };
            let next = Node::read(page, index + 1, true).filter(|_| index + 1 < count);
            let high = next.map_or(high, |next| Some(next.key));
            self.page(kind, node.child(), level - 1, (low, high), found)?;
        }
        Ok(())
    }

    /// Counts the nodes of a page and sees that they fill its upper part without gap or overlap.
    fn nodes(&mut self, page: &[u8], branch: bool) -> Option<usize> {
        let (lower, upper) = (usize::from(u16_at(page, 12)?), usize::from(u16_at(page, 14)?));
        let offsets = lower.checked_sub(HEADER).filter(|n| n.is_multiple_of(2))?;
        (lower <= upper && upper <= page.len()).then_some(())?;
        self.places.clear();
        for index in 0..offsets / 2 {
            let node = Node::read(page, index, branch)?;
            self.places.push((node.at, node.end));
        }
        self.places.sort_unstable();
        let mut at = upper;
        for (start, end) in &self.places {
            (*start == at).then_some(())?;
            at = *end;
        }
        (at == page.len()).then_some(offsets / 2)
    }

    fn row(&mut self, kind: Kind, node: &Node<'_>, found: &mut Counts) -> KvResult<()> {
        found.entries += 1;
        let wrong = || corrupt(format!("a row of the tree {kind:?} of the data file is none"));
        let allowed = if kind == Kind::Names { NAMED } else { BIG };
        if node.flags & !allowed != 0 {
            return Err(wrong());
        }
        let mut value = self.spare.pop().unwrap_or_default();
        value.clear();
        if node.flags & BIG == 0 {
            value.extend_from_slice(node.data);
        } else {
            self.overflow(node, &mut value, found)?;
        }
        match kind {
            Kind::Free => self.free_pages(&value)?,
            Kind::Names => {
                let named = Kind::of(node.key).zip(Record::read(&value)).ok_or_else(wrong)?;
                self.named.push(named);
            }
            Kind::Rows(tree) => {
                if let Some(sum) = self.sums.get_mut(tree).filter(|_| self.depth == Depth::Full) {
                    *sum = sum.wrapping_add(row_sum(node.key, &value));
                }
            }
            Kind::State => {}
        }
        self.spare.push(value);
        Ok(())
    }

    /// Reads a value that lies on pages of its own.
    fn overflow(
        &mut self,
        node: &Node<'_>,
        value: &mut Vec<u8>,
        found: &mut Counts,
    ) -> KvResult<()> {
        let wrong = || corrupt("a large value in the data file is not where it should be");
        let number = u64_at(node.data, 0).ok_or_else(wrong)?;
        let mut header = [0; HEADER];
        self.fetch(number, &mut header)?;
        let pages = u64::from(u32_at(&header, 12).ok_or_else(wrong)?);
        let room = pages.saturating_mul(self.page_bytes as u64);
        let end = number.saturating_add(pages);
        // A value that was rewritten shorter may keep its pages.
        if u16_at(&header, 10) != Some(OVERFLOW)
            || u64::from(node.low) + HEADER as u64 > room
            || end > self.page_end
        {
            return Err(wrong());
        }
        self.mark(number, pages)?;
        found.overflows += pages;
        value.resize(usize::try_from(node.low).unwrap_or(0), 0);
        self.read(number * self.page_bytes as u64 + HEADER as u64, value)
    }

    /// A list of free pages: how many, and their numbers.
    fn free_pages(&mut self, list: &[u8]) -> KvResult<()> {
        let wrong = || corrupt("the list of free pages in the data file is broken");
        let count = usize::try_from(u64_at(list, 0).ok_or_else(wrong)?).map_err(|_| wrong())?;
        let bytes = count.checked_mul(8).and_then(|n| n.checked_add(8)).ok_or_else(wrong)?;
        let numbers = list.get(8..bytes).ok_or_else(wrong)?.as_chunks::<8>().0;
        for number in numbers.iter().map(|n| u64::from_ne_bytes(*n)) {
            if number < 2 || number > self.page_last {
                return Err(wrong());
            }
            // Free pages at the end need not have been written ever.
            if number < self.page_end {
                self.mark(number, 1)?;
            }
        }
        self.free += count as u64;
        Ok(())
    }

    /// Reads from the start of a page, which must say that it is this page.
    fn fetch(&self, number: u64, into: &mut [u8]) -> KvResult<()> {
        if number < 2 || number >= self.page_end {
            return Err(corrupt(format!("page {number} of the data file is outside of it")));
        }
        self.read(number * self.page_bytes as u64, into)?;
        match u64_at(into, 0) {
            Some(n) if n == number => Ok(()),
            _ => Err(corrupt(format!("page {number} of the data file is another"))),
        }
    }

    /// Notes that pages are in use or free; each can be only once.
    fn mark(&mut self, number: u64, pages: u64) -> KvResult<()> {
        if self.depth == Depth::Edges {
            return Ok(());
        }
        for n in number..number.saturating_add(pages) {
            let bit = 1 << (n % 64);
            match usize::try_from(n / 64).ok().and_then(|at| self.seen.get_mut(at)) {
                Some(word) if *word & bit == 0 => *word |= bit,
                _ => return Err(corrupt(format!("page {n} of the data file is in use twice"))),
            }
        }
        Ok(())
    }
}

/// Are the keys of the page ascending and within its bounds? The first key of a branch means nothing.
fn in_order(kind: Kind, page: &[u8], count: usize, branch: bool, (low, high): Bounds<'_>) -> bool {
    let mut last: Option<&[u8]> = None;
    for index in usize::from(branch)..count {
        let Some(node) = Node::read(page, index, branch) else { return false };
        if kind == Kind::Free && node.key.len() != 8 {
            return false;
        }
        let after = match (last, low) {
            (Some(last), _) => kind.compare(last, node.key).is_lt(),
            (None, Some(low)) => kind.compare(low, node.key).is_le(),
            (None, None) => true,
        };
        if !after || high.is_some_and(|high| kind.compare(node.key, high).is_ge()) {
            return false;
        }
        last = Some(node.key);
    }
    true
}

#[cfg(test)]
mod tests;
