//! Breadth first through all states of a scenario, so that a counterexample is a shortest one. The set of visited states
//! holds the states themselves and no hashes of them.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hash};
use std::time::{Duration, Instant};

use crate::bounds::{Bounds, Item};
use crate::intern::{QuickBuild, number};
use crate::recovery::{Recovery, recover};
use crate::scenario::Scenario;
use crate::world::{Action, Outcome, State, World};

/// What an exploration found.
#[derive(Debug)]
pub struct Report {
    /// The scenario.
    pub scenario: &'static Scenario,
    /// Its bounds, for people.
    pub bounds: String,
    /// Different states.
    pub states: usize,
    /// Steps between them, those that change nothing left out.
    pub transitions: usize,
    /// Steps that would have been beyond the bounds on Hellos and on changes under way.
    pub beyond: usize,
    /// Steps on the longest of the shortest ways to a state.
    pub depth: usize,
    /// There are more states than the limit.
    pub stopped: bool,
    /// Different pairs of halves from which the honest network was run.
    pub recoveries: usize,
    /// The slowest of them.
    pub worst: Recovery,
    /// How large the halves are.
    pub sizes: String,
    /// How long it took.
    pub time: Duration,
    /// How a property is broken, step by step.
    pub broken: Option<String>,
}

/// States in the order in which they were found, and the table that finds them again.
struct Visited {
    states: Vec<State>,
    from: Vec<(u32, Action, Option<Item>)>,
    /// Places in `states`, one more than that; 0 is free.
    table: Vec<u32>,
}

impl Visited {
    fn new(first: State) -> Self {
        let mut visited = Self { states: Vec::new(), from: Vec::new(), table: vec![0; 1 << 12] };
        let nothing = (0, Action::Server(crate::server::Input::Crash), None);
        visited.insert(first, nothing);
        visited
    }

    /// Whether the state is new.
    fn insert(&mut self, state: State, from: (u32, Action, Option<Item>)) -> bool {
        if self.states.len() * 2 > self.table.len() {
            self.grow();
        }
        let Err(free) = self.find(state) else { return false };
        self.states.push(state);
        self.from.push(from);
        self.table[free] = number(self.states.len());
        true
    }

    fn find(&self, state: State) -> Result<usize, usize> {
        let mask = self.table.len() - 1;
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
        let mut at = hash(&state) as usize & mask;
        loop {
            match self.table[at] {
                0 => return Err(at),
                place if self.states[place as usize - 1] == state => return Ok(at),
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn grow(&mut self) {
        self.table = vec![0; self.table.len() * 2];
        for (state, place) in self.states.iter().zip(1..) {
            if let Err(free) = self.find(*state) {
                self.table[free] = place;
            }
        }
    }
}

fn hash(state: &impl Hash) -> u64 {
    QuickBuild::default().hash_one(state)
}

/// Explores a scenario to its end, or to the first broken property.
pub fn explore(scenario: &'static Scenario, bounds: Bounds, limit: usize) -> Report {
    let start = Instant::now();
    let (mut world, first) = World::new(scenario, bounds);
    let mut report = Report {
        scenario,
        bounds: bounds.describe(),
        states: 0,
        transitions: 0,
        beyond: 0,
        depth: 0,
        stopped: false,
        recoveries: 0,
        worst: Recovery::default(),
        sizes: String::new(),
        time: Duration::ZERO,
        broken: None,
    };
    let mut visited = Visited::new(first);
    report.broken = run(&mut world, &mut visited, &mut report, limit);
    report.states = visited.states.len();
    report.sizes = world.sizes();
    report.time = start.elapsed();
    report
}

fn run(world: &mut World, visited: &mut Visited, report: &mut Report, limit: usize) -> Option<String> {
    let mut recovered: HashSet<(u32, u32), QuickBuild> = HashSet::default();
    let mut actions = Vec::new();
    let (mut at, mut layer_end) = (0, 1);
    while at < visited.states.len() {
        if at == layer_end {
            report.depth += 1;
            layer_end = visited.states.len();
        }
        if visited.states.len() >= limit {
            report.stopped = true;
            return None;
        }
        let state = visited.states[at];
        // Nothing is promised while somebody else has the key.
        if !world.scenario.thief && recovered.insert((state.device, state.server)) {
            report.recoveries += 1;
            let (device, server) = (world.devices.state(state.device), world.servers.state(state.server));
            match recover(device, server, &world.catalog.genuine_keys) {
                Ok(recovery) => {
                    let Recovery { round_trips, unanswered } = recovery.unwrap_or_default();
                    report.worst.round_trips = report.worst.round_trips.max(round_trips);
                    report.worst.unanswered = report.worst.unanswered.max(unanswered);
                }
                Err(broken) => return Some(trace(world, visited, at, None, &broken)),
            }
        }
        world.actions(state, &mut actions);
        for (action, item) in actions.drain(..) {
            match world.apply(state, action, item) {
                Outcome::Nothing => {}
                Outcome::Beyond => report.beyond += 1,
                Outcome::Next(next) => {
                    report.transitions += usize::from(next != state);
                    visited.insert(next, (number(at), action, item));
                }
                Outcome::Broken(broken) => {
                    return Some(trace(world, visited, at, Some(action), &broken));
                }
            }
        }
        at += 1;
    }
    None
}

/// The way to a state, and the step after it that breaks something.
fn trace(world: &mut World, visited: &Visited, at: usize, last: Option<Action>, broken: &str) -> String {
    let mut steps: Vec<(State, Action)> =
        last.map(|action| (visited.states[at], action)).into_iter().collect();
    let mut place = at;
    while place != 0 {
        let (from, action, _) = visited.from[place];
        place = from as usize;
        steps.push((visited.states[place], action));
    }
    let mut text = format!("BROKEN after {} states: {broken}\n", visited.states.len());
    for (index, (state, action)) in steps.iter().rev().enumerate() {
        let _ = writeln!(text, "{:3}. {}", index + 1, world.describe(*action));
        for effect in world.effects(*state, *action) {
            let _ = writeln!(text, "       {effect}");
        }
    }
    if last.is_none() {
        text += "       then the attacker stops, and an honest network takes over\n";
    }
    text
}
