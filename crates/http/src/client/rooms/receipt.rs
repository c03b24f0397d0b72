//! `POST /rooms/{roomId}/receipt/{receiptType}/{eventId}`, `POST /rooms/{roomId}/read_markers`.

use base::{Error, Reply};
use rooms::receipt::Mark;
use ruma::{
    api::client::{
        read_marker::set_read_marker,
        receipt::create_receipt::{self, v3::ReceiptType},
    },
    events::receipt::ReceiptThread,
};
use store::Tx;

use crate::handler::{Caller, Routes};

fn set(
    tx: &mut Tx,
    caller: Caller,
    request: create_receipt::v3::Request,
) -> Reply<create_receipt::v3::Response> {
    let mark = match request.receipt_type {
        ReceiptType::Read => Mark::Read,
        ReceiptType::ReadPrivate => Mark::ReadPrivate,
        ReceiptType::FullyRead => Mark::FullyRead,
        _ => return Err(Error::invalid_param("there is no such type of receipt")),
    };
    let thread = match &request.thread {
        ReceiptThread::Unthreaded => None,
        ReceiptThread::Main => Some("main"),
        ReceiptThread::Thread(root) => Some(root.as_str()),
        _ => return Err(Error::invalid_param("thread_id is `main` or an event id")),
    };
    rooms::receipt::set(tx, caller.user, &request.room_id, mark, &request.event_id, thread)?;
    Ok(create_receipt::v3::Response::new())
}

fn set_all(
    tx: &mut Tx,
    caller: Caller,
    request: set_read_marker::v3::Request,
) -> Reply<set_read_marker::v3::Response> {
    let set_read_marker::v3::Request { fully_read, read_receipt, private_read_receipt, .. } =
        &request;
    let asked = [
        (Mark::FullyRead, fully_read),
        (Mark::Read, read_receipt),
        (Mark::ReadPrivate, private_read_receipt),
    ];
    let marks: Vec<_> =
        asked.into_iter().filter_map(|(mark, event)| Some((mark, event.as_deref()?))).collect();
    rooms::receipt::set_all(tx, caller.user, &request.room_id, &marks)?;
    Ok(set_read_marker::v3::Response::new())
}

pub(super) fn routes() -> Routes {
    Routes::default().write(set).write(set_all)
}
