//! The index of messages: opened, brought up to the log, asked.
//!
//! How far it has come is committed together with what it holds, so that a crash loses neither more nor less than the
//! uncommitted tail, which is read again. It is brought forward in large steps, because a step costs much and an event
//! little: in the background some seconds after something happened, and at once before a search.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use base::{Error, Event, Reply, Room, Seq};
use parking_lot::Mutex;
use store::Store;
use tantivy::{
    DocId, Index, IndexReader, IndexWriter, ReloadPolicy, SegmentReader, TantivyDocument, Term,
    collector::{Count, TopDocs},
    index::IndexBuilder,
    indexer::IndexWriterOptions,
    query::{BooleanQuery, FuzzyTermQuery, Occur, TermQuery, TermSetQuery},
    schema::{FAST, Field, INDEXED, IndexRecordOption, Schema, TextFieldIndexing, TextOptions},
    store::Compressor,
};

use crate::{
    indexed::{self, Change},
    words::{Words, words},
};

/// What is searched in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// `content.body`
    Body,
    /// `content.name`
    Name,
    /// `content.topic`
    Topic,
}

impl Key {
    /// From the spec's word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Key> {
        Some(match text {
            "content.body" => Key::Body,
            "content.name" => Key::Name,
            "content.topic" => Key::Topic,
            _ => return None,
        })
    }
    fn number(self) -> u64 {
        self as u64
    }
}

/// In which order the best come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By how well the words fit.
    #[default]
    Rank,
    /// The newest first.
    Recent,
}

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Query {
    /// As typed. All words must be there; the last one may go on.
    pub term: String,
    /// Where to look.
    pub rooms: Vec<Room>,
    /// In what.
    pub keys: BTreeSet<Key>,
    /// In which order.
    pub order: Order,
}

/// Something found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// The event.
    pub event: Event,
    /// How well it fits; larger is better. 1 when sorted by time.
    pub rank: f32,
}

/// Words of one search: more narrow nothing down.
pub const TERMS_MAX: usize = 32;
/// Log entries taken in before a search answers; what is further behind is found a little later.
const CATCH_UP_ENTRIES: usize = 20_000;
/// Log entries read in one view, which is to be short.
const BATCH: usize = 512;
/// What tantivy asks for at least.
const WRITER_BYTES: usize = 15_000_000;

/// The index of messages of one process.
pub struct Messages {
    index: Index,
    reader: IndexReader,
    fields: Fields,
    /// Made when there is something to write; one writer at a time.
    writer: Mutex<Option<IndexWriter>>,
    /// Everything up to here can be found.
    at: AtomicU64,
}

#[derive(Clone, Copy)]
struct Fields {
    event: Field,
    room: Field,
    key: Field,
    order: Field,
    text: Field,
}

fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let indexing = TextFieldIndexing::default()
        .set_tokenizer("words")
        .set_index_option(IndexRecordOption::WithFreqs);
    let fields = Fields {
        event: schema.add_u64_field("event", INDEXED | FAST),
        room: schema.add_u64_field("room", INDEXED),
        key: schema.add_u64_field("key", INDEXED),
        order: schema.add_u64_field("order", FAST),
        text: schema.add_text_field("text", TextOptions::default().set_indexing_options(indexing)),
    };
    (schema.build(), fields)
}

fn fault(error: tantivy::TantivyError) -> Error {
    Error::fault(format!("the search index: {error}"))
}

impl Messages {
    /// Opens the index in a folder, or begins a new one. One that cannot be read, or that has come further than the
    /// store (which was restored from a backup), is thrown away: it only repeats the store.
    ///
    /// # Errors
    /// Faults of the folder.
    pub fn open(folder: &Path, head: Seq) -> Reply<Messages> {
        if let Ok(opened) = Messages::open_as_is(folder)
            && opened.position() <= head
        {
            return Ok(opened);
        }
        if folder.exists() {
            std::fs::remove_dir_all(folder)
                .map_err(|e| Error::fault(format!("{}: {e}", folder.display())))?;
        }
        Messages::open_as_is(folder)
    }

    fn open_as_is(folder: &Path) -> Reply<Messages> {
        std::fs::create_dir_all(folder)
            .map_err(|e| Error::fault(format!("{}: {e}", folder.display())))?;
        let directory = tantivy::directory::MmapDirectory::open(folder)
            .map_err(|e| Error::fault(format!("{}: {e}", folder.display())))?;
        let (schema, fields) = schema();
        let settings = tantivy::IndexSettings {
            docstore_compression: Compressor::None,
            ..tantivy::IndexSettings::default()
        };
        let index = IndexBuilder::new()
            .schema(schema)
            .settings(settings)
            .open_or_create(directory)
            .map_err(fault)?;
        index.tokenizers().register("words", Words);
        let reader =
            index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().map_err(fault)?;
        let payload = index.load_metas().map_err(fault)?.payload;
        let at = payload.and_then(|text| text.parse().ok()).unwrap_or_default();
        Ok(Messages { index, reader, fields, writer: Mutex::default(), at: AtomicU64::new(at) })
    }

    /// Everything up to here can be found.
    #[must_use]
    pub fn position(&self) -> Seq {
        Seq(self.at.load(Ordering::Acquire))
    }

    /// Takes in what has happened since, up to 20,000 log entries; says whether there is more. Blocks: reading, writing
    /// and a durable commit.
    ///
    /// # Errors
    /// Faults of the store and of the folder.
    pub fn catch_up(&self, store: &Store) -> Reply<bool> {
        // What a view sees, not what the log's readers were told of already: an acknowledged event may be between.
        let head = store.read_here(|view| Ok(view.head()))?;
        if head <= self.position() {
            return Ok(false);
        }
        let mut slot = self.writer.lock();
        let from = self.position().max(store.read_here(|view| Ok(store::follow::begin(view)))?);
        if head <= from {
            return Ok(false);
        }
        let mut position = from;
        for _ in 0..CATCH_UP_ENTRIES / BATCH {
            if position >= head {
                break;
            }
            let read = store.read_here(|view| indexed::read(view, position, head, BATCH));
            let (reached, changes) = read?;
            if !changes.is_empty() {
                self.write(self.writer_in(&mut slot)?, changes)?;
            }
            position = reached.max(position.next());
        }
        self.commit(&mut slot, position)?;
        Ok(head > position)
    }

    /// Gives the writer's memory back, if nobody is writing.
    pub fn rest(&self) {
        if let Some(mut slot) = self.writer.try_lock() {
            *slot = None;
        }
    }

    fn writer_in<'a>(&self, slot: &'a mut Option<IndexWriter>) -> Reply<&'a mut IndexWriter> {
        if slot.is_none() {
            let options = IndexWriterOptions::builder()
                .num_worker_threads(1)
                .num_merge_threads(1)
                .memory_budget_per_thread(WRITER_BYTES)
                .build();
            *slot = Some(self.index.writer_with_options(options).map_err(fault)?);
        }
        slot.as_mut().ok_or_else(|| Error::fault("no writer"))
    }

    fn write(&self, writer: &mut IndexWriter, changes: Vec<Change>) -> Reply<()> {
        let fields = &self.fields;
        for change in changes {
            if change.replaces {
                writer.delete_term(Term::from_field_u64(fields.event, change.event.0));
            }
            let Some(text) = change.text else { continue };
            let mut document = TantivyDocument::default();
            document.add_u64(fields.event, change.event.0);
            document.add_u64(fields.room, change.room.0);
            document.add_u64(fields.key, change.key.number());
            document.add_u64(fields.order, change.order.0);
            document.add_text(fields.text, text);
            writer.add_document(document).map_err(fault)?;
        }
        Ok(())
    }

    /// Makes what was written durable and visible. Without a writer nothing was written, and entries that concern
    /// nobody are read again after a restart.
    fn commit(&self, slot: &mut Option<IndexWriter>, position: Seq) -> Reply<()> {
        if let Some(writer) = slot {
            let mut prepared = writer.prepare_commit().map_err(fault)?;
            prepared.set_payload(&position.0.to_string());
            prepared.commit().map_err(fault)?;
            self.reader.reload().map_err(fault)?;
        }
        self.at.store(position.0, Ordering::Release);
        Ok(())
    }

    /// The best hits from `skip` on, at most `limit`, and how many there are in all. Blocks.
    ///
    /// # Errors
    /// Faults of the index.
    pub fn find(&self, query: &Query, skip: usize, limit: usize) -> Reply<(Vec<Hit>, usize)> {
        let terms = words(&query.term);
        if terms.is_empty() || query.rooms.is_empty() || query.keys.is_empty() || limit == 0 {
            return Ok((Vec::new(), 0));
        }
        let (searcher, compiled) = (self.reader.searcher(), self.compile(query, &terms));
        let top = TopDocs::with_limit(limit).and_offset(skip);
        let (found, count): (Vec<(f32, tantivy::DocAddress)>, usize) = match query.order {
            Order::Rank => searcher.search(&compiled, &(top.order_by_score(), Count)),
            Order::Recent => {
                let top = top.order_by_fast_field::<u64>("order", tantivy::Order::Desc);
                let found = searcher.search(&compiled, &(top, Count));
                found.map(|(rows, n)| (rows.into_iter().map(|(_, at)| (1.0, at)).collect(), n))
            }
        }
        .map_err(fault)?;
        let hit = |(rank, at): (f32, tantivy::DocAddress)| {
            let event = event_at(searcher.segment_reader(at.segment_ord), at.doc_id)?;
            Ok(Hit { event, rank })
        };
        Ok((found.into_iter().map(hit).collect::<Reply<_>>()?, count))
    }

    fn compile(&self, query: &Query, terms: &[String]) -> BooleanQuery {
        let fields = &self.fields;
        let rooms = query.rooms.iter().map(|room| Term::from_field_u64(fields.room, room.0));
        let keys = query.keys.iter().map(|key| Term::from_field_u64(fields.key, key.number()));
        let mut all: Vec<(Occur, Box<dyn tantivy::query::Query>)> = vec![
            (Occur::Must, Box::new(TermSetQuery::new(rooms))),
            (Occur::Must, Box::new(TermSetQuery::new(keys))),
        ];
        let terms = terms.get(..terms.len().min(TERMS_MAX)).unwrap_or_default();
        for (place, word) in terms.iter().enumerate() {
            let term = Term::from_field_text(fields.text, word);
            let exact: Box<dyn tantivy::query::Query> =
                Box::new(TermQuery::new(term.clone(), IndexRecordOption::WithFreqs));
            if place + 1 < terms.len() {
                all.push((Occur::Must, exact));
                continue;
            }
            let begins: Box<dyn tantivy::query::Query> =
                Box::new(FuzzyTermQuery::new_prefix(term, 0, false));
            let last = vec![(Occur::Should, exact), (Occur::Should, begins)];
            all.push((Occur::Must, Box::new(BooleanQuery::new(last))));
        }
        BooleanQuery::new(all)
    }
}

fn event_at(segment: &SegmentReader, doc: DocId) -> Reply<Event> {
    let column = segment.fast_fields().u64("event").map_err(fault)?;
    column.first(doc).map(Event).ok_or_else(|| Error::fault("a document without an event"))
}
