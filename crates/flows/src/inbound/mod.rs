//! What other servers send: from a transaction to events in their rooms (spec: Server-Server API, "Transactions",
//! "Checks performed on receipt of a PDU").

pub mod edu;
