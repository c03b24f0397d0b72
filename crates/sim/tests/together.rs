//! Several servers that share rooms, where everything fails that can.

mod seeds;

use sim::{Plan, run};

#[test]
fn two_servers_agree_when_everything_has_calmed_down() {
    seeds::hold("two servers", 100, 4, &Plan::together(2));
}

/// Each has found something.
#[test]
fn what_broke_once_holds() {
    let once: [(usize, &[u64]); 2] =
        [(2, &[112, 765, 4666, 6177, 6451, 6673]), (3, &[589, 4553, 5607, 5824, 6071, 7212, 7291])];
    for (servers, seeds) in once {
        for seed in seeds {
            let broken = run(*seed, &Plan::together(servers)).broken;
            seeds::check(&format!("{servers} servers"), *seed, &broken);
        }
    }
}

#[test]
fn three_servers_agree_when_everything_has_calmed_down() {
    seeds::hold("three servers", 40, 2, &Plan::together(3));
}
