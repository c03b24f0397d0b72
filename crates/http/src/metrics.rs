//! Figures for Prometheus: requests by endpoint and status, and what the store tells.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Method;
use metrics::{Counter, Histogram, counter, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::outside::Outside;

/// Upper bounds of the latency buckets, in seconds: from a cached read to a long-poll.
const SECONDS: [f64; 12] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 30.0];

/// The process' recorder, installed at the first call.
pub(crate) fn recorder() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        // Refused only if there are no bounds.
        let recorder = builder
            .set_buckets(&SECONDS)
            .unwrap_or_else(|_| PrometheusBuilder::new())
            .build_recorder();
        let handle = recorder.handle();
        // Another recorder, installed before, keeps what it has; ours then stays empty.
        let _ = metrics::set_global_recorder(recorder);
        handle
    })
}

/// Samples are folded into buckets this often, so that they do not pile up when nobody asks for them.
pub(crate) const UPKEEP: Duration = Duration::from_secs(5);

/// The page.
pub(crate) fn page(outside: &Outside, running: &Running) -> String {
    let peers = outside.peers.gauges();
    for (name, value) in
        outside.store.gauges().into_iter().chain(outside.egress.gauges()).chain(peers)
    {
        gauge!(name).set(value);
    }
    gauge!("althing_http_requests_in_flight").set(running.requests.load(Ordering::Relaxed) as f64);
    gauge!("althing_http_connections").set(running.connections.load(Ordering::Relaxed) as f64);
    recorder().render()
}

/// What runs now.
#[derive(Default)]
pub(crate) struct Running {
    pub(crate) requests: AtomicUsize,
    pub(crate) connections: AtomicUsize,
}

/// One more, as long as this lives.
pub(crate) struct OneMore<'a>(&'a AtomicUsize);

impl<'a> OneMore<'a> {
    /// How many there are with it.
    pub(crate) fn of(count: &'a AtomicUsize) -> (OneMore<'a>, usize) {
        let before = count.fetch_add(1, Ordering::Relaxed);
        (OneMore(count), before + 1)
    }
}

impl Drop for OneMore<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The counters of one endpoint, made when first needed: an endpoint that nobody calls is not on the page.
pub(crate) struct Meter {
    pub(crate) method: Method,
    pub(crate) template: &'static str,
    seconds: OnceLock<Histogram>,
    usual: [OnceLock<Counter>; USUAL.len()],
}

/// Statuses that are counted without a look-up.
const USUAL: [u16; 7] = [200, 400, 401, 403, 404, 429, 500];

impl Meter {
    pub(crate) fn new(method: Method, template: &'static str) -> Meter {
        Meter { method, template, seconds: OnceLock::new(), usual: Default::default() }
    }

    /// Counts a request that was answered.
    pub(crate) fn count(&self, status: u16, took: Duration) {
        let usual = USUAL.iter().position(|s| *s == status).and_then(|at| self.usual.get(at));
        match usual {
            Some(counter) => counter.get_or_init(|| self.counter(status)).increment(1),
            None => self.counter(status).increment(1),
        }
        let seconds = self.seconds.get_or_init(|| {
            histogram!("althing_http_request_seconds", "method" => self.method.to_string(), "route" => self.template)
        });
        seconds.record(took.as_secs_f64());
    }

    fn counter(&self, status: u16) -> Counter {
        counter!(
            "althing_http_requests_total",
            "method" => self.method.to_string(),
            "route" => self.template,
            "status" => status.to_string()
        )
    }
}
