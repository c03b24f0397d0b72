//! PostgreSQL keeps every promise of the contract.
#![expect(clippy::unwrap_used, reason = "a test: failing loudly is its purpose")]

use kv::{Engine, conformance};
use kv_postgres::{Options, Postgres, testing};

struct Node {
    url: String,
    engine: Option<Postgres>,
}

impl Node {
    fn open() -> Node {
        let mut node = Node { url: testing::database().unwrap(), engine: None };
        conformance::Subject::reopen(&mut node);
        node
    }
}

impl conformance::Subject for Node {
    fn engine(&self) -> &dyn Engine {
        self.engine.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.engine = None;
        // A case holds up to so many snapshots at once.
        let options = Options { connections: 64, ..Options::default() };
        self.engine = Some(Postgres::open(&self.url, options).unwrap());
    }

    fn restored(&self) -> Option<Box<dyn Engine>> {
        None
    }
}

#[test]
fn the_conformance_suite_passes() {
    conformance::run(&mut || Box::new(Node::open()));
}
