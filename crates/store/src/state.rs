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

/// The event in a slot.
pub fn get(view: &View, root: Root, kind: &str, state_key: &str) -> Reply<Option<Event>> {
    let slot = Slot::of(kind, state_key);
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
        let (one, swap) = if a.is_some() { (a, false) } else { (b, true) };
        for event in list(view, Root(one), Part::All)? {
            let side = |is: bool| is.then_some(event);
            out.push(Change { before: side(!swap), after: side(swap) });
        }
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
            out.push(Change { before: Some(event), after: now });
        }
    }
    out.extend(after.into_values().map(|e| Change { before: None, after: Some(e) }));
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
    let slot = Slot::of(kind, state_key);
    let made = match root.0 {
        None => Node::Leaf(vec![(slot, event)]),
        Some(id) => with(tx, id, slot, event)?,
    };
    Ok(Root(Some(write(tx, &made))))
}

fn write(tx: &mut Tx, made: &Node) -> NodeId {
    let mut bytes = Vec::new();
    crate::value::Value::put(made, &mut bytes);
    let hash = blake3::hash(&bytes);
    let id = NodeId(hash.as_bytes().first_chunk::<16>().copied().unwrap_or_default());
    tx.put_new(&STATE_NODES, (id,), made);
    id
}

/// The node that holds what node `id` holds, and the entry. Writes its new descendants, not itself.
fn with(tx: &mut Tx, id: NodeId, slot: Slot, event: Event) -> Reply<Node> {
    let old = node(tx, id)?;
    match &*old {
        Node::Leaf(entries) => {
            let mut entries = entries.clone();
            match entries.binary_search_by_key(&slot, |(s, _)| *s) {
                Ok(at) => {
                    if let Some(entry) = entries.get_mut(at) {
                        entry.1 = event;
                    }
                }
                Err(at) => entries.insert(at, (slot, event)),
            }
            Ok(build(tx, entries))
        }
        Node::Branch { depth, sample, children } => {
            let shared = sample.common(&slot);
            if shared < usize::from(*depth) {
                // The slot parts from all of them earlier: a branch above.
                let leaf = write(tx, &Node::Leaf(vec![(slot, event)]));
                let mut pair = vec![
                    (sample.nibble(shared), id, old.count() as u32),
                    (slot.nibble(shared), leaf, 1),
                ];
                pair.sort_unstable_by_key(|c| c.0);
                return Ok(branch(shared, pair, old.sample().unwrap_or(slot).min(slot)));
            }
            let mut children = children.clone();
            let nibble = slot.nibble(usize::from(*depth));
            match children.binary_search_by_key(&nibble, |c| c.0) {
                Ok(at) => {
                    if let Some(child) = children.get_mut(at) {
                        let made = with(tx, child.1, slot, event)?;
                        child.2 = made.count() as u32;
                        child.1 = write(tx, &made);
                    }
                }
                Err(at) => {
                    let leaf = write(tx, &Node::Leaf(vec![(slot, event)]));
                    children.insert(at, (nibble, leaf, 1));
                }
            }
            Ok(branch(usize::from(*depth), children, (*sample).min(slot)))
        }
    }
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
