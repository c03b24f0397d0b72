//! A room's state as a structurally shared map: (type, state key) → event. Each version of the map is named by its
//! [`Root`]; versions share all nodes that they have in common, so keeping the state at every event costs a few
//! nodes per state event, and the difference of two states costs the size of the difference.
//!
//! The map is a radix tree over 16-byte slots. Its shape depends only on what it holds, never on history (at most
//! [`LEAF_MAX`] entries: one leaf; more: a branch at the first half-byte in which they differ), and nodes are named by
//! the hash of their bytes: equal states have equal roots. A slot begins with a hash of the type, so that all slots of a
//! type lie together.

use base::{Event, Reply};
use serde::{Deserialize, Serialize};

use crate::{
    keys::KeyPart,
    schema::STATE_NODES,
    view::{CacheSpace, Tx, View},
};

/// Entries of a leaf: 32 × 24 bytes keep a node below 1 KiB, and most rooms in one node.
pub const LEAF_MAX: usize = 32;

/// Where a (type, state key) lies: 4 bytes of a hash of the type, 12 of a hash of both. To take another's place one
/// would have to find a second preimage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Slot([u8; 16]);

impl Slot {
    /// The slot of a state event.
    pub fn of(kind: &str, state_key: &str) -> Slot {
        let mut slot = [0; 16];
        let mut both = blake3::Hasher::new();
        both.update(kind.as_bytes()).update(&[0]).update(state_key.as_bytes());
        let (head, tail) = slot.split_at_mut(4);
        head.copy_from_slice(&Slot::prefix_of(kind));
        for (to, from) in tail.iter_mut().zip(both.finalize().as_bytes()) {
            *to = *from;
        }
        Slot(slot)
    }

    /// What all slots of a type begin with (another type may begin so too, once in four billion).
    pub fn prefix_of(kind: &str) -> [u8; 4] {
        let hash = blake3::hash(kind.as_bytes());
        hash.as_bytes().first_chunk::<4>().copied().unwrap_or_default()
    }

    /// The half-byte at a depth of 0..32.
    fn nibble(&self, depth: usize) -> u8 {
        let byte = self.0.get(depth / 2).copied().unwrap_or_default();
        if depth.is_multiple_of(2) { byte >> 4 } else { byte & 15 }
    }

    /// How many half-bytes two slots have in common at their beginning.
    fn common(&self, other: &Slot) -> usize {
        (0..32).find(|d| self.nibble(*d) != other.nibble(*d)).unwrap_or(32)
    }
}

/// The name of a node: a hash of its bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct NodeId([u8; 16]);

impl KeyPart for NodeId {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out)
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        KeyPart::take(from).map(NodeId)
    }
}

/// A version of the map. The default is the empty map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Root(Option<NodeId>);

impl Root {
    /// A number that names the map, for caches.
    pub fn number(self) -> u128 {
        self.0.map_or(0, |id| u128::from_be_bytes(id.0))
    }
}

/// A node, as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Node {
    /// Entries in slot order.
    Leaf(Vec<(Slot, Event)>),
    /// Children by the half-byte at `depth`; all slots below share what `sample` begins with.
    Branch {
        /// Where the slots first differ.
        depth: u8,
        /// Any slot below.
        sample: Slot,
        /// Half-byte, node, and how many entries lie below.
        children: Vec<(u8, NodeId, u32)>,
    },
}

impl Node {
    fn count(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Branch { children, .. } => children.iter().map(|(.., n)| *n as usize).sum(),
        }
    }
    fn sample(&self) -> Option<Slot> {
        match self {
            Node::Leaf(entries) => entries.first().map(|(slot, _)| *slot),
            Node::Branch { sample, .. } => Some(*sample),
        }
    }
}

impl crate::value::Value for Slot {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0)
    }
    fn take(_: u8, payload: &[u8]) -> Option<Self> {
        payload.try_into().ok().map(Slot)
    }
}

impl crate::value::Value for NodeId {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0)
    }
    fn take(_: u8, payload: &[u8]) -> Option<Self> {
        payload.try_into().ok().map(NodeId)
    }
}

static NODES: CacheSpace = CacheSpace { tag: 1, owned: None };

fn node(view: &View, id: NodeId) -> Reply<std::sync::Arc<Node>> {
    view.cached(&NODES, u128::from_be_bytes(id.0), |view| {
        let node = view
            .get(&STATE_NODES, (id,))?
            .ok_or_else(|| base::Error::fault(format!("state node {id:?} is missing")))?;
        let bytes = match &node {
            Node::Leaf(entries) => entries.len() * 24,
            Node::Branch { children, .. } => children.len() * 24,
        };
        Ok((node, bytes))
    })
}

/// The event with this type and state key.
pub fn get(view: &View, root: Root, kind: &str, state_key: &str) -> Reply<Option<Event>> {
    get_at(view, root, Slot::of(kind, state_key))
}

/// The event in a slot.
pub fn get_at(view: &View, root: Root, slot: Slot) -> Reply<Option<Event>> {
    let Root(Some(mut id)) = root else { return Ok(None) };
    loop {
        match &*node(view, id)? {
            Node::Leaf(entries) => {
                let found = entries.binary_search_by_key(&slot, |(s, _)| *s);
                return Ok(found.ok().and_then(|at| entries.get(at)).map(|(_, e)| *e));
            }
            Node::Branch { depth, sample, children } => {
                let depth = usize::from(*depth);
                if sample.common(&slot) < depth {
                    return Ok(None);
                }
                let Some((_, child, _)) = children.iter().find(|(n, ..)| *n == slot.nibble(depth))
                else {
                    return Ok(None);
                };
                id = *child;
            }
        }
    }
}

/// How many entries the map has.
pub fn len(view: &View, root: Root) -> Reply<usize> {
    root.0.map_or(Ok(0), |id| Ok(node(view, id)?.count()))
}

/// Which part of a map to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Everything.
    All,
    /// Slots of one type (and, once in four billion, of another).
    Only(&'a str),
    /// Slots of all types but one: for lazy members.
    Except(&'a str),
}

/// The events of a map, in slot order.
pub fn list(view: &View, root: Root, part: Part<'_>) -> Reply<Vec<Event>> {
    let prefix = match part {
        Part::All => None,
        Part::Only(kind) | Part::Except(kind) => Some(Slot::prefix_of(kind)),
    };
    let only = matches!(part, Part::Only(_));
    let wanted = |slot: &Slot| match prefix {
        Some(prefix) => slot.0.starts_with(&prefix) == only,
        None => true,
    };
    let mut found = Vec::new();
    let mut stack: Vec<NodeId> = root.0.into_iter().collect();
    while let Some(id) = stack.pop() {
        match &*node(view, id)? {
            Node::Leaf(entries) => {
                found.extend(entries.iter().filter(|(s, _)| wanted(s)).map(|(_, e)| *e));
            }
            Node::Branch { depth, sample, children } => {
                // Below a depth of 8 half-bytes all slots share the four bytes of one type.
                if *depth >= 8 && !wanted(sample) {
                    continue;
                }
                stack.extend(children.iter().rev().map(|(_, id, _)| *id));
            }
        }
    }
    Ok(found)
}

/// One slot in which two maps differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The slot.
    pub slot: Slot,
    /// The event in the first map.
    pub before: Option<Event>,
    /// The event in the second map.
    pub after: Option<Event>,
}

/// The slots in which two maps differ, at a cost of about their number.
pub fn diff(view: &View, a: Root, b: Root) -> Reply<Vec<Change>> {
    let mut changes = Vec::new();
    diff_nodes(view, a.0, b.0, &mut changes)?;
    Ok(changes)
}

fn diff_nodes(
    view: &View,
    a: Option<NodeId>,
    b: Option<NodeId>,
    out: &mut Vec<Change>,
) -> Reply<()> {
    if a == b {
        return Ok(());
    }
    let (Some(ia), Some(ib)) = (a, b) else {
        let mut only = Vec::new();
        if let Some(id) = a.or(b) {
            entries(view, &*node(view, id)?, &mut only)?;
        }
        out.extend(only.into_iter().map(|(slot, event)| Change {
            slot,
            before: a.is_some().then_some(event),
            after: b.is_some().then_some(event),
        }));
        return Ok(());
    };
    let (na, nb) = (node(view, ia)?, node(view, ib)?);
    if let (
        Node::Branch { depth: da, sample: sa, children: ca },
        Node::Branch { depth: db, sample: sb, children: cb },
    ) = (&*na, &*nb)
        && da == db
        && sa.common(sb) >= usize::from(*da)
    {
        let child = |of: &[(u8, NodeId, u32)], n: u8| of.iter().find(|c| c.0 == n).map(|c| c.1);
        for n in 0..16 {
            diff_nodes(view, child(ca, n), child(cb, n), out)?;
        }
        return Ok(());
    }
    let (mut ea, mut eb) = (Vec::new(), Vec::new());
    entries(view, &na, &mut ea)?;
    entries(view, &nb, &mut eb)?;
    let before: std::collections::BTreeMap<Slot, Event> = ea.into_iter().collect();
    let mut after: std::collections::BTreeMap<Slot, Event> = eb.into_iter().collect();
    for (slot, event) in before {
        let now = after.remove(&slot);
        if now != Some(event) {
            out.push(Change { slot, before: Some(event), after: now });
        }
    }
    let added = |(slot, event)| Change { slot, before: None, after: Some(event) };
    out.extend(after.into_iter().map(added));
    Ok(())
}

fn entries(view: &View, of: &Node, out: &mut Vec<(Slot, Event)>) -> Reply<()> {
    match of {
        Node::Leaf(entries) => out.extend(entries),
        Node::Branch { children, .. } => {
            for (_, id, _) in children {
                entries(view, &*node(view, *id)?, out)?;
            }
        }
    }
    Ok(())
}

/// The map with one slot set.
pub fn set(tx: &mut Tx, root: Root, kind: &str, state_key: &str, event: Event) -> Reply<Root> {
    apply(tx, root, vec![(Slot::of(kind, state_key), Some(event))])
}

/// The map with slots set (`Some`) or taken out (`None`). Writes each new node once, however many slots change. Of several
/// changes of one slot the last counts.
pub fn apply(tx: &mut Tx, root: Root, mut changes: Vec<Edit>) -> Reply<Root> {
    changes.reverse();
    changes.sort_by_key(|(slot, _)| *slot);
    changes.dedup_by_key(|(slot, _)| *slot);
    let part = edit(tx, root.0, &changes)?;
    Ok(Root(part.map(|part| part.write(tx))))
}

/// What becomes of a slot.
pub type Edit = (Slot, Option<Event>);

/// A part of a map that is being made.
enum Piece {
    /// A node that is there already, and how many entries it holds.
    Old(NodeId, u32),
    /// A node that is not yet written; those below it are.
    New(Node),
}

impl Piece {
    fn count(&self) -> usize {
        match self {
            Piece::Old(_, count) => *count as usize,
            Piece::New(node) => node.count(),
        }
    }

    fn write(self, tx: &mut Tx) -> NodeId {
        match self {
            Piece::Old(id, _) => id,
            Piece::New(node) => write(tx, &node),
        }
    }
}

fn write(tx: &mut Tx, made: &Node) -> NodeId {
    let mut bytes = Vec::new();
    crate::value::Value::put(made, &mut bytes);
    let hash = blake3::hash(&bytes);
    let id = NodeId(hash.as_bytes().first_chunk::<16>().copied().unwrap_or_default());
    tx.put_new(&STATE_NODES, (id,), made);
    id
}

/// The part that holds what node `id` holds, changed; `None` if that is nothing. `changes` are sorted.
fn edit(tx: &mut Tx, id: Option<NodeId>, changes: &[Edit]) -> Reply<Option<Piece>> {
    let Some(id) = id else {
        let added = changes.iter().filter_map(|(slot, event)| Some((*slot, (*event)?))).collect();
        return Ok(made_of(tx, added));
    };
    let old = node(tx, id)?;
    match &*old {
        _ if changes.is_empty() => Ok(Some(Piece::Old(id, old.count() as u32))),
        Node::Leaf(entries) => {
            let mut entries = entries.clone();
            for (slot, event) in changes {
                match (entries.binary_search_by_key(slot, |(s, _)| *s), event) {
                    (Ok(at), Some(event)) => {
                        if let Some(entry) = entries.get_mut(at) {
                            entry.1 = *event;
                        }
                    }
                    (Ok(at), None) => drop(entries.remove(at)),
                    (Err(at), Some(event)) => entries.insert(at, (*slot, *event)),
                    (Err(_), None) => {}
                }
            }
            Ok(made_of(tx, entries))
        }
        Node::Branch { depth, sample, children } => {
            // A new slot may part from all that are here earlier than they do: then there is a branch above.
            let added = changes.iter().filter(|(_, event)| event.is_some());
            let earliest = added.map(|(slot, _)| sample.common(slot)).min();
            let at = usize::from(*depth);
            let depth = earliest.unwrap_or(at).min(at);
            let above = [(sample.nibble(depth), id, old.count() as u32)];
            let children = if depth < at { &above[..] } else { children };
            edit_children(tx, depth, *sample, children, changes)
        }
    }
}

/// The part with these children at `depth`, changed. `sample` is the smallest slot below them.
fn edit_children(
    tx: &mut Tx,
    depth: usize,
    sample: Slot,
    children: &[(u8, NodeId, u32)],
    changes: &[Edit],
) -> Reply<Option<Piece>> {
    let mut parts: Vec<(u8, Piece)> = Vec::with_capacity(16);
    for nibble in 0..16 {
        // What is to be taken out may have nothing in common with what is here.
        let here =
            |(slot, _): &&Edit| slot.nibble(depth) == nibble && slot.common(&sample) >= depth;
        let changes: Vec<Edit> = changes.iter().filter(here).copied().collect();
        let child = children.iter().find(|child| child.0 == nibble);
        let part = match child {
            Some((_, id, count)) if changes.is_empty() => Some(Piece::Old(*id, *count)),
            child => edit(tx, child.map(|child| child.1), &changes)?,
        };
        parts.extend(part.map(|part| (nibble, part)));
    }
    if parts.iter().map(|(_, part)| part.count()).sum::<usize>() <= LEAF_MAX {
        let mut all = Vec::new();
        for (_, part) in parts {
            match part {
                Piece::New(node) => entries(tx, &node, &mut all)?,
                Piece::Old(id, _) => entries(tx, &*node(tx, id)?, &mut all)?,
            }
        }
        return Ok(made_of(tx, all));
    }
    if parts.len() == 1 {
        return Ok(parts.pop().map(|(_, part)| part));
    }
    let first = match parts.first() {
        Some((nibble, Piece::Old(..))) if *nibble == sample.nibble(depth) => Some(sample),
        Some((_, Piece::Old(id, _))) => node(tx, *id)?.sample(),
        Some((_, Piece::New(node))) => node.sample(),
        None => None,
    };
    let write = |(nibble, part): (u8, Piece)| {
        let count = part.count() as u32;
        (nibble, part.write(tx), count)
    };
    let children = parts.into_iter().map(write).collect();
    Ok(Some(Piece::New(branch(depth, children, first.unwrap_or(sample)))))
}

/// The part with these entries.
fn made_of(tx: &mut Tx, entries: Vec<(Slot, Event)>) -> Option<Piece> {
    (!entries.is_empty()).then(|| Piece::New(build(tx, entries)))
}

/// The smallest slot serves as the sample, so that a node's bytes depend only on what it holds.
fn branch(depth: usize, children: Vec<(u8, NodeId, u32)>, sample: Slot) -> Node {
    Node::Branch { depth: depth as u8, sample, children }
}

/// The node for sorted entries; writes descendants if they are too many for one leaf.
fn build(tx: &mut Tx, entries: Vec<(Slot, Event)>) -> Node {
    let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else {
        return Node::Leaf(entries);
    };
    if entries.len() <= LEAF_MAX {
        return Node::Leaf(entries);
    }
    let (sample, depth) = (*first, first.common(last));
    let mut children: Vec<(u8, NodeId, u32)> = Vec::new();
    for group in entries.chunk_by(|a, b| a.0.nibble(depth) == b.0.nibble(depth)) {
        let Some((slot, _)) = group.first() else { continue };
        let made = build(tx, group.to_vec());
        children.push((slot.nibble(depth), write(tx, &made), group.len() as u32));
    }
    branch(depth, children, sample)
}
