//! Several servers that share rooms, where everything fails that can.

mod seeds;

use sim::Plan;

#[test]
fn two_servers_agree_when_everything_has_calmed_down() {
    seeds::hold("two servers", 100, 4, &Plan::together(2));
}

/// Each has found something once.
#[test]
fn what_broke_once_holds() {
    seeds::hold_each("two servers", &[765, 4666, 6451, 6673], &Plan::together(2));
    seeds::hold_each("three servers", &[4553], &Plan::together(3));
}

#[test]
fn three_servers_agree_when_everything_has_calmed_down() {
    seeds::hold("three servers", 40, 2, &Plan::together(3));
}
