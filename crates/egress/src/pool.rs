//! Connections that wait for another request, and how many requests may run at once to one destination.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::Instant};

use crate::{Trust, line::Line};

/// Requests at once to one destination: more would only wait there.
const AT_ONCE_MAX: usize = 16;
/// Connections of HTTP/1.1 that are kept for one destination.
const KEPT_MAX: usize = 4;
/// Connections kept altogether.
const KEPT_ALL_MAX: usize = 256;
/// How long a connection is kept: shorter than servers keep theirs.
const KEPT_TIME: Duration = Duration::from_secs(50);
/// How often it is looked which have been kept for long enough.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// A destination. Who named it belongs to it: what the operator's requests may reach, others may not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Destination {
    pub(crate) trust: Trust,
    pub(crate) tls: bool,
    /// The name in the certificate.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Where to connect instead.
    pub(crate) at: Vec<(String, u16)>,
    /// By way of the proxy, if there is one.
    pub(crate) by_proxy: bool,
}

struct Place {
    kept: Vec<(Line, Instant)>,
    at_once: Arc<Semaphore>,
}

impl Default for Place {
    fn default() -> Place {
        Place { kept: Vec::new(), at_once: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }
}

#[derive(Default)]
pub(crate) struct Pool(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    places: HashMap<Destination, Place>,
    kept: usize,
    sweeping: bool,
}

impl Pool {
    /// The turns at a destination.
    pub(crate) fn turns(&self, to: &Destination) -> Arc<Semaphore> {
        let mut inner = self.0.lock();
        inner.places.entry(to.clone()).or_default().at_once.clone()
    }

    /// A connection that can take a request now. One of HTTP/2 stays for others as well.
    pub(crate) fn take(&self, to: &Destination) -> Option<Line> {
        let mut inner = self.0.lock();
        let Inner { places, kept, .. } = &mut *inner;
        let place = places.get_mut(to)?;
        while let Some((line, since)) = place.kept.pop() {
            *kept -= 1;
            if !line.is_ready() {
                continue;
            }
            if let Line::Many(many) = &line {
                place.kept.push((Line::Many(many.clone()), since));
                *kept += 1;
            }
            return Some(line);
        }
        None
    }

    /// Keeps a connection for later.
    pub(crate) fn keep(self: &Arc<Pool>, to: &Destination, line: Line) {
        let mut inner = self.0.lock();
        let Inner { places, kept, sweeping } = &mut *inner;
        let place = places.entry(to.clone()).or_default();
        if matches!(line, Line::Many(_)) {
            // One of them is enough for all; the newest lives longest.
            let before = place.kept.len();
            place.kept.retain(|(line, _)| matches!(line, Line::One(_)));
            *kept -= before - place.kept.len();
        }
        if place.kept.len() >= KEPT_MAX || *kept >= KEPT_ALL_MAX {
            return;
        }
        place.kept.push((line, Instant::now()));
        *kept += 1;
        if !std::mem::replace(sweeping, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    pub(crate) fn idle(&self) -> usize {
        self.0.lock().kept
    }

    /// Closes what was kept for long enough and forgets destinations without anything; says whether any is left.
    fn tidy(&self) -> bool {
        let mut inner = self.0.lock();
        let Inner { places, kept, sweeping } = &mut *inner;
        let now = Instant::now();
        places.retain(|_, place| {
            place.kept.retain(|(line, since)| line.is_ready() && now < *since + KEPT_TIME);
            !place.kept.is_empty() || Arc::strong_count(&place.at_once) > 1
        });
        *kept = places.values().map(|place| place.kept.len()).sum();
        *sweeping = !places.is_empty();
        *sweeping
    }
}

/// Tidies until there is nothing more to tidy, or no pool.
async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        match pool.upgrade() {
            Some(pool) if pool.tidy() => {}
            _ => return,
        }
    }
}
