//! `simulate`: runs the worlds that were asked for on a few threads, says how far they have come, and what was hit. A
//! broken promise is told with the command that runs into it again.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use moteseal_simulation::plan::Plan;
use moteseal_simulation::{Failure, Kind, Outcome, Spec, run};

/// Runs devices and gateways in worlds whose attacker owns the network, the power and the disks, and checks every
/// promise of SPEC section 2.2 at every step. The same seed gives the same world, bit by bit.
#[derive(Clone, Debug, Parser)]
#[command(name = "simulate", version)]
struct Arguments {
    /// The seed of the first world; the others follow it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many datagrams are to arrive, in all worlds together
    #[arg(long, default_value_t = 10_000_000)]
    datagrams: u64,
    /// How many devices a fleet has
    #[arg(long, default_value_t = 3_000)]
    devices: usize,
    /// How many gateways share the records of a fleet
    #[arg(long, default_value_t = 3)]
    gateways: usize,
    /// How many worlds run at once
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Run one world alone, of this kind: fleet, village, edge or long
    #[arg(long)]
    world: Option<Kind>,
}

/// What all threads know.
struct Run {
    specs: Box<dyn Fn(u64) -> Spec + Sync>,
    worlds: u64,
    next: AtomicU64,
    failed: AtomicBool,
    carried: AtomicU64,
    total: Mutex<Outcome>,
    failures: Mutex<Vec<Failure>>,
}

impl Run {
    fn new(arguments: &Arguments) -> Self {
        let Arguments { seed, datagrams, devices, gateways, .. } = *arguments;
        let plan = Plan { seed, datagrams, devices, gateways };
        let (worlds, specs): (u64, Box<dyn Fn(u64) -> Spec + Sync>) = match arguments.world {
            Some(kind) => (1, Box::new(move |_| Spec { kind, seed, datagrams, devices, gateways })),
            None => (plan.worlds(), Box::new(move |number| plan.world(number))),
        };
        Self {
            specs,
            worlds,
            next: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            carried: AtomicU64::new(0),
            total: Mutex::default(),
            failures: Mutex::default(),
        }
    }

    /// Runs one world after the other.
    fn work(&self) {
        while !self.failed.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.worlds {
                return;
            }
            let spec = (self.specs)(number);
            let mut before = 0;
            let progress = |carried| {
                self.carried.fetch_add(carried - before, Ordering::Relaxed);
                before = carried;
                !self.failed.load(Ordering::Relaxed)
            };
            match run(spec, progress) {
                Ok(outcome) => {
                    let mut total = self.total.lock().unwrap();
                    total.carried += outcome.carried;
                    total.opened += outcome.opened;
                    total.coverage.add(&outcome.coverage);
                }
                Err(failure) => {
                    self.failed.store(true, Ordering::Relaxed);
                    self.failures.lock().unwrap().push(*failure);
                }
            }
        }
    }

    /// A line now and then, until the threads are done.
    fn report(&self, start: Instant, is_done: impl Fn() -> bool) {
        let mut due = Duration::from_secs(10);
        while !is_done() {
            std::thread::sleep(Duration::from_millis(100));
            if start.elapsed() >= due {
                due += Duration::from_secs(10).max(due / 10);
                let carried = self.carried.load(Ordering::Relaxed);
                println!("{:>6} s  {carried} datagrams", start.elapsed().as_secs());
            }
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (run, start) = (Run::new(&arguments), Instant::now());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..arguments.threads.max(1)).map(|_| scope.spawn(|| run.work())).collect();
        run.report(start, || threads.iter().all(std::thread::ScopedJoinHandle::is_finished));
    });
    let failures = run.failures.into_inner().unwrap();
    for Failure { spec, what, carried, trace } in &failures {
        println!(
            "\n{trace}\nFAILED after {carried} datagrams, {} world of seed {}: {what}",
            spec.kind.name(),
            spec.seed
        );
        println!("repeat it: {}", spec.command());
    }
    let total = run.total.into_inner().unwrap();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{}\n{} datagrams arrived, {} were opened by the auditor, {seconds:.0} s",
        total.coverage.report(),
        total.carried,
        total.opened
    );
    let missing = total.coverage.missing();
    if arguments.world.is_none() && failures.is_empty() && !missing.is_empty() {
        println!("FAILED: never hit, so the run has a hole there: {missing:#?}");
        return ExitCode::FAILURE;
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
