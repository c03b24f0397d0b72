//! What the doctor found, and how it is told.

use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// As it should be.
    Well,
    /// Worth knowing; nothing fails because of it.
    Note,
    /// Does not work.
    Wrong,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) mark: Mark,
    /// In plain words.
    pub(super) what: String,
    /// What to do; empty: nothing.
    pub(super) fix: String,
}

pub(super) fn well(what: impl Into<String>) -> Finding {
    Finding { mark: Mark::Well, what: what.into(), fix: String::new() }
}
pub(super) fn note(what: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { mark: Mark::Note, what: what.into(), fix: fix.into() }
}
pub(super) fn wrong(what: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { mark: Mark::Wrong, what: what.into(), fix: fix.into() }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.mark {
            Mark::Well => "ok   ",
            Mark::Note => "note ",
            Mark::Wrong => "WRONG",
        };
        // Other servers' words are among these: none of them moves the cursor.
        write!(f, "{mark} {}", plain(&self.what))?;
        if !self.fix.is_empty() {
            write!(f, "\n      -> {}", plain(&self.fix))?;
        }
        Ok(())
    }
}

fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Tells what was found as it is found, and counts.
#[derive(Debug, Default)]
pub(super) struct Report {
    wrong: usize,
}

impl Report {
    pub(super) fn tell(&mut self, finding: &Finding) {
        println!("{finding}");
        self.wrong += usize::from(finding.mark == Mark::Wrong);
    }

    pub(super) fn tell_all(&mut self, findings: &[Finding]) {
        findings.iter().for_each(|finding| self.tell(finding));
    }

    /// How many things are wrong.
    pub(super) fn wrong(&self) -> usize {
        self.wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_server_says_cannot_move_the_cursor() {
        let told = wrong("it says: \u{1b}[2J\r\n", "wait").to_string();
        assert_eq!(told, "WRONG it says:  [2J  \n      -> wait");
    }
}
