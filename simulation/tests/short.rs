//! The short form: worlds of every kind, small enough for a debug build. The binary runs the long one.

use moteseal_simulation::plan::Plan;
use moteseal_simulation::{Kind, Spec, run};

#[test]
fn no_promise_is_broken() {
    let plan = Plan { seed: 1, datagrams: 60_000, devices: 60, gateways: 3 };
    for spec in (0..plan.worlds()).map(|number| plan.world(number)).filter(|spec| spec.kind != Kind::Long) {
        let outcome = run(spec, |_| true).unwrap_or_else(|failure| {
            panic!("{}{}\nrepeat it: {}", failure.trace, failure.what, failure.spec.command())
        });
        assert!(outcome.carried >= spec.datagrams && outcome.opened > 0);
    }
}

#[test]
fn a_world_runs_again_exactly() {
    let spec = Spec { kind: Kind::Village, seed: 7, datagrams: 20_000, devices: 20, gateways: 2 };
    let [one, two] = [(); 2].map(|()| run(spec, |_| true).unwrap());
    assert_eq!((one.carried, one.opened), (two.carried, two.opened));
    assert_eq!(one.coverage.report(), two.coverage.report());
    let other = run(Spec { seed: 8, ..spec }, |_| true).unwrap();
    assert_ne!(one.coverage.report(), other.coverage.report());
}
