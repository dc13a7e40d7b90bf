//! Explores what an attacker who owns the network can do to both halves of Moteseal: the real code, every order of
//! events within bounds, every property in every state. See `README.md`.

mod board;
mod bounds;
mod catalog;
mod device;
mod disk;
mod emit;
mod halves;
mod intern;
mod judge;
mod recovery;
mod scenario;
mod search;
mod server;
mod thief;
mod toy;
mod world;

use std::process::ExitCode;
use std::sync::Mutex;

use bounds::Bounds;
use scenario::{SCENARIOS, Scenario};
use search::{Report, explore};

const USAGE: &str = "usage: moteseal-exhaustive [--deep] [--limit=STATES] [SCENARIO ...] [ITEM=COUNT ...]
    --deep         larger bounds, up to a limit of states for each scenario
    --limit=STATES another limit
    ITEM=COUNT     other bounds, such as crash=2; how many states lie within them is not checked then";

/// A limit that ten minutes suffice for.
const DEEP_LIMIT: usize = 5_000_000;

/// What the command line asks for.
struct Options {
    deep: bool,
    limit: Option<usize>,
    scenarios: Vec<&'static Scenario>,
    settings: Vec<String>,
}

impl Options {
    fn read(arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self { deep: false, limit: None, scenarios: Vec::new(), settings: Vec::new() };
        for argument in arguments {
            if argument == "--deep" {
                options.deep = true;
            } else if let Some(limit) = argument.strip_prefix("--limit=") {
                options.limit = Some(limit.parse().ok()?);
            } else if let Some(scenario) = SCENARIOS.iter().find(|scenario| scenario.name == argument) {
                options.scenarios.push(scenario);
            } else if Bounds::default().with(&argument).is_some() {
                options.settings.push(argument);
            } else {
                return None;
            }
        }
        if options.scenarios.is_empty() {
            options.scenarios = SCENARIOS.iter().collect();
        }
        Some(options)
    }

    fn bounds(&self, scenario: &Scenario) -> Bounds {
        let apply = |bounds: Bounds, setting: &String| bounds.with(setting).unwrap_or(bounds);
        self.settings.iter().fold(scenario.bounds(self.deep), apply)
    }

    /// How many states there are at least, where that is known.
    fn minimum(&self, scenario: &Scenario) -> usize {
        let as_committed = self.settings.is_empty() && self.limit.is_none() && !self.deep;
        if as_committed { scenario.short.1 } else { 0 }
    }

    fn limit(&self) -> usize {
        self.limit.unwrap_or(if self.deep { DEEP_LIMIT } else { usize::MAX })
    }
}

fn main() -> ExitCode {
    let Some(options) = Options::read(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let failed = run_all(&options);
    println!("{} passed, {failed} failed", options.scenarios.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Two scenarios at a time; gives how many failed.
fn run_all(options: &Options) -> usize {
    let queue = Mutex::new(options.scenarios.iter());
    let failed = Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(scenario) = queue.lock().expect("no thread panics").next() else { return };
                    let report = explore(scenario, options.bounds(scenario), options.limit());
                    let mut failed = failed.lock().expect("no thread panics");
                    *failed += usize::from(!tell(&report, options.minimum(scenario)));
                }
            });
        }
    });
    failed.into_inner().expect("no thread panics")
}

/// Prints a report; says whether all is well.
fn tell(report: &Report, minimum: usize) -> bool {
    let Report { scenario, states, transitions, depth, recoveries, worst, .. } = report;
    println!("{}: {}", scenario.name, scenario.about);
    println!("  bounds: {}", report.bounds);
    println!(
        "  {states} states, {transitions} transitions ({} beyond the bounds), depth {depth}, {:.1} s",
        report.beyond,
        report.time.as_secs_f32()
    );
    if report.stopped {
        println!("  STOPPED at the limit: of what lies deeper than {} only a part was seen", depth - 1);
    }
    println!("  {}", report.sizes);
    println!(
        "  {recoveries} recoveries, of all pairs of halves: at most {} round trips, {} datagrams unanswered",
        worst.round_trips, worst.unanswered
    );
    if let Some(broken) = &report.broken {
        println!("{broken}");
        return false;
    }
    if *states < minimum {
        println!("  FEWER STATES than the {minimum} of before: something cannot happen any more");
        return false;
    }
    true
}
