//! Asking a room's policy server to sign an event (spec: Server-Server API, "Asking for a Policy Server signature on an
//! event"). The rules of when are those of `rooms`; here is how.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use base::{Error, Refusal};
use metrics::counter;
use ruma::api::federation::policy::sign_event;
use store::witness::{Answer, Question, Witness};
use tokio::time::sleep;

use crate::{
    journey::raw,
    peers::{Patience, Peers, Unanswered},
};

/// For one answer: a person waits.
const TIME_MAX: Duration = Duration::from_secs(10);
/// A signature is a line of text.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Tries for an event, if the server is not there or has too much to do.
const TRIES_MAX: u32 = 2;
/// Between them.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks policy servers.
pub struct PolicyServers {
    peers: Peers,
}

impl PolicyServers {
    /// Asks nobody yet.
    #[must_use]
    pub fn new(peers: Peers) -> PolicyServers {
        PolicyServers { peers }
    }
}

impl Witness for PolicyServers {
    fn ask(&self, question: Arc<Question>) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        let peers = self.peers.clone();
        Box::pin(async move {
            let answer = ask(&peers, &question).await;
            let outcome = match &answer {
                Answer::Signed(_) => "signed",
                Answer::Refused(refusal) if refusal.status >= 500 => "silent",
                Answer::Refused(_) => "refused",
            };
            counter!("althing_policy_server_requests_total", "outcome" => outcome).increment(1);
            answer
        })
    }
}

async fn ask(peers: &Peers, question: &Question) -> Answer {
    let Ok(pdu) = raw(&question.pdu, &question.version) else {
        return Answer::Refused(Error::refusal(500, "M_UNKNOWN", "own event"));
    };
    let patience =
        Patience { timeout: TIME_MAX, insist: question.insist, body_max: ANSWER_BYTES_MAX };
    let mut tried = 0;
    loop {
        let request = sign_event::v1::Request::new(pdu.clone());
        tried += 1;
        let why = match peers.request(&question.whom, request, patience).await {
            Ok(response) => return signature(question, &response),
            Err(why) => why,
        };
        let odd = matches!(why, Unanswered::Silent(_) | Unanswered::Useless(_));
        let again = odd || is_too_much(&why);
        if tried >= TRIES_MAX || !again {
            tracing::debug!(server = %question.whom, event = %question.pdu.event_id, %why, "not signed");
            return Answer::Refused(told(why));
        }
        sleep(PAUSE).await;
    }
}

fn is_too_much(why: &Unanswered) -> bool {
    matches!(why, Unanswered::Refused(said) if said.status == 429)
}

/// A server that refuses may do so without a reason.
fn signature(question: &Question, response: &sign_event::v1::Response) -> Answer {
    match response.ed25519_signature(&question.whom) {
        Some(signature) => Answer::Signed(signature.to_owned()),
        None => {
            let text = "the room's policy server does not let this event into the room";
            Answer::Refused(Error::refusal(403, "M_FORBIDDEN", text))
        }
    }
}

/// What it says, the client is told.
fn told(why: Unanswered) -> Refusal {
    match Error::from(why) {
        Error::Refused(refusal) => *refusal,
        Error::Fault(fault) => Error::refusal(502, "M_UNKNOWN", fault.to_string()),
    }
}
