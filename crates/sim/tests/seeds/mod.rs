//! Which seeds are run: a fixed set and some fresh ones; `SIM_SEEDS=n` runs so many, `SIM_SEED=n` one, with its trace.

use std::time::{SystemTime, UNIX_EPOCH};

use sim::{Plan, run};

/// Seeds that break a promise, until no more are looked for.
const BROKEN_MAX: usize = 50;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs the seeds; a seed that breaks a promise is printed, to be run again.
pub(crate) fn hold(what: &str, fixed: u64, fresh: u64, plan: &Plan) {
    if let Some(seed) = number("SIM_SEED") {
        let outcome = run(seed, &Plan { tell: true, ..*plan });
        outcome.lines.iter().for_each(|line| println!("{line}"));
        return check(what, seed, &outcome.broken);
    }
    let fixed = number("SIM_SEEDS").unwrap_or(fixed);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let first = since.as_micros() as u64 & 0xffff_ffff_ffff;
    let (mut acknowledged, mut told) = (0, 0);
    let mut broken = Vec::new();
    for seed in (0..fixed).chain(first..first + fresh) {
        let outcome = run(seed, plan);
        if !outcome.broken.is_empty() {
            println!("{what}: SIM_SEED={seed} breaks:\n{}", outcome.broken.join("\n"));
            broken.push(seed);
        }
        if broken.len() >= BROKEN_MAX {
            break;
        }
        (acknowledged, told) = (acknowledged + outcome.acknowledged, told + outcome.told);
    }
    assert!(broken.is_empty(), "{what}: seeds that break: {broken:?}");
    println!("{what}: {} seeds, {acknowledged} acknowledged, {told} told", fixed + fresh);
    assert!(acknowledged > 0 && told > acknowledged, "nothing happened: {acknowledged} {told}");
}

/// No promise is broken.
pub(crate) fn check(what: &str, seed: u64, broken: &[String]) {
    assert!(broken.is_empty(), "{what}: SIM_SEED={seed} breaks:\n{}", broken.join("\n"));
}
