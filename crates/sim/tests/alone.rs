//! One server, crashes and a failing disk.

mod seeds;

use sim::{Habits, Plan, run};

#[test]
fn one_server_keeps_its_promises_across_crashes() {
    seeds::hold("one server", 40, 5, &Plan::alone());
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..5 {
        let plan = Plan { tell: true, ..Plan::alone() };
        let (one, two) = (run(seed, &plan), run(seed, &plan));
        let differs = one.lines.iter().zip(&two.lines).find(|(one, two)| one != two);
        assert_eq!(one.hash, two.hash, "seed {seed}: {differs:#?}");
    }
}

#[test]
fn a_server_that_acknowledges_before_its_disk_has_synced_is_found_out() {
    let lying = Habits { failing_per_mille: 0, sync_every: 20 };
    let plan = Plan { disk: lying, ..Plan::alone() };
    let broken = |seed| run(seed, &plan).broken.into_iter().next().map(|what| (seed, what));
    let found = (0..20).find_map(broken);
    println!("noticed: {found:?}");
    assert!(found.is_some(), "no seed notices");
}
