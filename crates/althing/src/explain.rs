//! `althing explain`: an event, and what the rules say of it, for a person.

use std::fmt::Write as _;

use base::{Error, Reply};
use protocol::Verdict;
use rooms::explain::{Check, Explanation, Question, Witness};
use ruma::EventId;
use store::Store;

use crate::{chores, config::Config, control::Chore, failure::Failure};

/// Asks for an explanation and prints it.
pub(crate) fn explain(config: &Config, event: String) -> Result<(), Failure> {
    print!("{}", chores::carry_out(config, Chore::Explain { event })?);
    Ok(())
}

/// Explains an event of the store.
pub(crate) fn text(store: &Store, event: &str) -> Reply<String> {
    let id = EventId::parse(event)
        .map_err(|e| Error::invalid_param(format!("{event:?} is no event id: {e}")))?;
    store.read_here(|view| rooms::explain::explain(view, &id)).map(|found| page(&found))
}

fn page(of: &Explanation) -> String {
    let mut page = format!("event     {}\ntype      {}\n", of.id, shown(&of.kind));
    let mut line = |name: &str, value: String| {
        // Writing to a text cannot fail.
        let _ok = writeln!(page, "{name:<10}{value}");
    };
    if let Some(key) = &of.state_key {
        line("state key", format!("{key:?}"));
    }
    line("sender", of.sender.to_string());
    line("room", format!("{} (version {})", of.room, of.version));
    line("depth", of.depth.to_string());
    line("sent", format!("{} ms after 1970 began, says its server", of.sent_at));
    line("place", of.order.map_or("in no timeline".to_owned(), |order| order.to_string()));
    if let Some(by) = &of.redacted_by {
        line("redacted", format!("by {by}; what is left of it is judged"));
    }
    line("verdict", overall(of));
    for check in &of.checks {
        page.push_str(&section(check));
    }
    page
}

fn overall(of: &Explanation) -> String {
    match (of.verdict(), of.marked_rejected) {
        (verdict, false) => told(&verdict),
        (verdict, true) => format!("{}; marked as rejected when it came in", told(&verdict)),
    }
}

fn told(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => "accepted".to_owned(),
        Verdict::Reject(rule) => format!("rejected by rule {}: {}", rule.number, rule.text),
        Verdict::Missing(ids) => {
            let ids: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
            format!("cannot be told: {} missing", ids.join(", "))
        }
    }
}

fn section(check: &Check) -> String {
    let question = match check.question {
        Question::AuthEvents => "may its auth events authorise it?",
        Question::ByAuthEvents => "do its auth events allow it?",
        Question::StateBefore => "does the state before it allow it?",
        Question::StateNow => "would the room's state now allow it?",
    };
    let answer = match check.allowed_by {
        Some(rule) => format!("accepted by rule {}: {}", rule.number, rule.text),
        None => told(&check.verdict),
    };
    let mut section = format!("\n{question}\n  {answer}\n");
    for witness in &check.state {
        section.push_str(&format!("    {}\n", shown_witness(witness)));
    }
    if let Some(power) = &check.power {
        section.push_str(&format!("    the sender's power level is {power}\n"));
    }
    section
}

fn shown_witness(witness: &Witness) -> String {
    let key = match witness.state_key.as_str() {
        "" => String::new(),
        key => format!(" {}", shown(key)),
    };
    let says = witness.says.as_ref().map(|says| format!(" = {}", shown(says)));
    match &witness.event {
        Some((id, sender)) => {
            format!("{}{key}{}  {id} by {sender}", witness.kind, says.unwrap_or_default())
        }
        None => format!("{}{key}  (none)", witness.kind),
    }
}

/// What others wrote, without what could move the cursor of a terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
