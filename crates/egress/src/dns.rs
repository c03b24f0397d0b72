//! SRV records, which the system's resolver does not look up. Addresses of hosts are left to the system
//! ([`crate::connect`]), so that `/etc/hosts` and its like hold.

use std::time::Duration;

use hickory_resolver::{
    TokioResolver,
    proto::rr::{RData, rdata::SRV},
};
use rand::RngExt as _;
use tokio::sync::OnceCell;

use crate::Failure;

/// For one try at one name server, and how many tries there are.
const TRY_TIME_MAX: Duration = Duration::from_secs(3);
const TRIES: usize = 2;
/// Records that are kept in memory, by their own time to live.
const KEPT_MAX: u64 = 4_096;
/// However long an answer says that it holds. It is asked again then.
const HELD_MAX: Duration = Duration::from_secs(24 * 3_600);
const HELD_NOTHING_MAX: Duration = Duration::from_secs(3_600);
/// Targets of one name that are used.
const TARGETS_MAX: usize = 8;

/// The resolver, begun when it is first needed.
#[derive(Default)]
pub(crate) struct Dns(OnceCell<Option<TokioResolver>>);

impl Dns {
    /// Hosts and ports in the order in which they are to be tried (RFC 2782); none: there is no such record.
    pub(crate) async fn srv(&self, name: &str) -> Result<Vec<(String, u16)>, Failure> {
        let resolver = self.0.get_or_init(|| async { begin() }).await;
        let Some(resolver) = resolver else {
            return Err(Failure::Dns("there is no /etc/resolv.conf that can be read".to_owned()));
        };
        // With a dot at the end, it is not looked for under the search domains.
        match resolver.srv_lookup(format!("{name}.")).await {
            Ok(found) => {
                let of = |data: &RData| match data {
                    RData::SRV(srv) => Some(srv.clone()),
                    _ => None,
                };
                Ok(order(found.answers().iter().filter_map(|record| of(&record.data)).collect()))
            }
            Err(error) if error.is_no_records_found() => Ok(Vec::new()),
            Err(error) => Err(Failure::Dns(format!("{name}: {error}"))),
        }
    }
}

fn begin() -> Option<TokioResolver> {
    let mut builder = match TokioResolver::builder_tokio() {
        Ok(builder) => builder,
        Err(error) => {
            tracing::warn!(%error, "no name servers are known: SRV records are not looked up");
            return None;
        }
    };
    let options = builder.options_mut();
    (options.timeout, options.attempts) = (TRY_TIME_MAX, TRIES);
    options.cache_size = KEPT_MAX;
    options.positive_max_ttl = Some(HELD_MAX);
    options.negative_max_ttl = Some(HELD_NOTHING_MAX);
    builder.build().ok()
}

/// By priority, and among equals at random by weight.
fn order(mut records: Vec<SRV>) -> Vec<(String, u16)> {
    let mut random = rand::rng();
    // The smallest of exponential draws with rate `weight` is each record with the probability that RFC 2782 asks for.
    let mut draw = |weight: u16| {
        let uniform: f64 = random.random_range(f64::EPSILON..1.0);
        -uniform.ln() / (f64::from(weight) + 0.001)
    };
    // A target of `.` says that the service is not there.
    records.retain(|record| !record.target.is_root());
    let mut drawn: Vec<(u16, f64, SRV)> =
        records.into_iter().map(|srv| (srv.priority, draw(srv.weight), srv)).collect();
    drawn.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let host = |srv: &SRV| srv.target.to_ascii().trim_end_matches('.').to_owned();
    drawn.iter().take(TARGETS_MAX).map(|(_, _, srv)| (host(srv), srv.port)).collect()
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::Name;

    use super::*;

    fn record(priority: u16, weight: u16, port: u16, target: &str) -> SRV {
        SRV::new(priority, weight, port, Name::from_ascii(target).unwrap())
    }

    #[test]
    fn lower_priorities_come_first_and_heavier_ones_more_often() {
        let mut first = [0_u32; 2];
        for _ in 0..1_000 {
            let records = vec![
                record(20, 1_000, 3, "c.example."),
                record(10, 1, 1, "a.example."),
                record(10, 9, 2, "b.example."),
                record(0, 0, 4, "."),
            ];
            let order = order(records);
            assert_eq!(order.len(), 3);
            assert_eq!(order[2], ("c.example".to_owned(), 3));
            first[usize::from(order[0].1 - 1)] += 1;
        }
        assert!(first[1] > 700 && first[0] > 20, "{first:?}");
    }
}
