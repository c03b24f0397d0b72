//! What our own configuration says of how others find us, before anybody is asked.

use flows::peers::discovery::{Step, Way};

use super::finding::{Finding, note, well, wrong};
use crate::config::{Config, Resource};

/// Is there a way in for other servers?
pub(super) fn listeners(config: &Config) -> Finding {
    let serving: Vec<_> =
        config.listeners.iter().filter(|l| l.resources.contains(&Resource::Federation)).collect();
    let tls = serving.iter().filter(|listener| listener.tls().is_some()).count();
    match serving.len() {
        0 => wrong(
            "no listener serves `federation`",
            "add \"federation\" to the resources of a listener that the world reaches",
        ),
        n if tls == 0 => note(
            format!("{n} listeners serve `federation`, none with TLS"),
            "right behind a reverse proxy that does TLS; without one, give tls.certificate and tls.private_key",
        ),
        n => well(format!("{n} listeners serve `federation`, {tls} with TLS")),
    }
}

/// Does what others read in `.well-known` lead to where the configuration says?
pub(super) fn delegation(config: &Config, way: &Way) -> Option<Finding> {
    let wanted = config.federation.well_known.as_ref()?;
    let told = way.steps.iter().find_map(|step| match step {
        Step::Delegated(to) => Some(to.as_str()),
        _ => None,
    });
    let name = &config.top.server_name;
    Some(match told {
        Some(told) if told == wanted.as_str() => well("that is what federation.well_known says"),
        Some(told) => wrong(
            format!("federation.well_known is {wanted}, but others read {told}"),
            format!(
                "what answers at https://{}/ serves a page of its own: let it pass on to Althing",
                name.host()
            ),
        ),
        None if way.steps.iter().any(|step| matches!(step, Step::Literal | Step::Port)) => note(
            format!(
                "federation.well_known is {wanted}, but nobody asks for it: {name} says itself where it is"
            ),
            "leave federation.well_known out",
        ),
        None => wrong(
            format!("federation.well_known is {wanted}, but others cannot read it"),
            format!(
                "the web server at https://{}/ has to pass /.well-known/matrix/server on to Althing, with a valid \
                 certificate",
                name.host()
            ),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Mark, *};
    use crate::config::Sources;

    fn config(assignments: &[&str]) -> Config {
        let given = assignments.iter().map(|text| (*text).to_owned()).collect();
        Config::load(Sources { assignments: given, ..Sources::default() }).unwrap()
    }

    fn by(step: Step) -> Way {
        Way { authority: "a.example".to_owned(), at: Vec::new(), steps: vec![step] }
    }

    #[test]
    fn a_delegation_that_others_do_not_read_is_wrong() {
        let with = config(&["server_name=a.example", "federation.well_known=m.a.example:443"]);
        let judged = |step| delegation(&with, &by(step)).unwrap().mark;
        assert_eq!(judged(Step::Delegated("m.a.example:443".to_owned())), Mark::Well);
        assert_eq!(judged(Step::Delegated("m.a.example".to_owned())), Mark::Wrong);
        assert_eq!(judged(Step::NotDelegated("404".to_owned())), Mark::Wrong);
        assert_eq!(judged(Step::Port), Mark::Note);
        assert_eq!(delegation(&config(&[]), &by(Step::Default)), None);
    }

    #[test]
    fn without_a_listener_for_them_no_server_gets_in() {
        assert_eq!(listeners(&config(&[])).mark, Mark::Note);
        let closed = ["listeners.0.bind=127.0.0.1:8008", "listeners.0.resources=client"];
        assert_eq!(listeners(&config(&closed)).mark, Mark::Wrong);
    }
}
