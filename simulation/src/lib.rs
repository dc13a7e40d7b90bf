//! Whole worlds in one process: thousands of real device halves, several real gateways on shared records, and an
//! attacker who owns the network, the power and the disks. Everything in a world follows from its seed, so that it runs
//! again exactly. An auditor that shares no code with the halves opens whatever leaves them, and fails the run at the
//! first broken promise. SPEC section 2.2.
//!
//! ```text
//! plan    which worlds, of which size, on how many threads
//! world   agenda -> device halves, gateway halves -> auditor -> network -> agenda
//! storm   what strikes devices, gateways, disks         calm   everybody comes back (P5)
//! ```

mod admin;
mod agenda;
mod answers;
mod archive;
mod auditor;
mod bystanders;
mod calm;
mod clock;
mod commands;
mod coverage;
mod devices;
mod digest;
mod gateway;
mod hellos;
mod journal;
mod mote;
mod network;
pub mod plan;
mod power;
mod random;
mod sharing;
mod steps;
mod store;
mod storm;
mod table;
mod thief;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

pub use coverage::Coverage;
use world::World;

/// What sort of world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Thousands of devices and several gateways.
    Fleet,
    /// Some dozens of devices, and something happens to each of them all the time.
    Village,
    /// Marks and boot counts near their limits, and a thief who uses them up.
    Edge,
    /// Sessions that live to their last number.
    Long,
}

impl Kind {
    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::Village => "village",
            Self::Edge => "edge",
            Self::Long => "long",
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let kinds = [Self::Fleet, Self::Village, Self::Edge, Self::Long];
        kinds.into_iter().find(|kind| kind.name() == name).ok_or(format!("no kind of world: {name}"))
    }
}

/// A world: what is needed to run it again exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// What sort.
    pub kind: Kind,
    /// Where all chance comes from.
    pub seed: u64,
    /// How many datagrams are to arrive, at the least.
    pub datagrams: u64,
    /// How many devices there are.
    pub devices: usize,
    /// How many gateways share the records.
    pub gateways: usize,
}

impl Spec {
    /// The command that runs this world alone.
    pub fn command(&self) -> String {
        let Self { kind, seed, datagrams, devices, gateways } = self;
        format!(
            "cargo run --release -p moteseal-simulation -- --world {} --seed {seed} --datagrams {datagrams} \
             --devices {devices} --gateways {gateways}",
            kind.name()
        )
    }
}

/// What a world has seen.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Datagrams that arrived.
    pub carried: u64,
    /// Datagrams that left a half and that the auditor opened.
    pub opened: u64,
    /// How often each fault struck and each path was taken.
    pub coverage: Coverage,
}

/// A promise was broken.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The world.
    pub spec: Spec,
    /// Which promise.
    pub what: String,
    /// Datagrams that had arrived.
    pub carried: u64,
    /// The last events, a line each.
    pub trace: String,
}

/// Runs one world: a storm, then calm, until so many datagrams have arrived. `progress` is told how many have, now and
/// then, and says whether to go on.
///
/// # Errors
/// The [`Failure`], at the first promise that is broken.
pub fn run(spec: Spec, mut progress: impl FnMut(u64) -> bool) -> Result<Outcome, Box<Failure>> {
    let mut world = None;
    let run = catch_unwind(AssertUnwindSafe(|| {
        let world = world.insert(World::new(&spec));
        live(world, spec, &mut progress);
    }));
    let (carried, trace) =
        world.as_ref().map_or((0, String::new()), |world| (world.network.carried, world.trace.report()));
    match (run, world) {
        (Ok(()), Some(world)) => {
            Ok(Outcome { carried, opened: world.auditor.opened, coverage: world.coverage })
        }
        (Err(panic), _) => Err(Box::new(Failure { spec, what: text(&*panic), carried, trace })),
        (Ok(()), None) => unreachable!("a world that never was"),
    }
}

/// The life of a world.
fn live(world: &mut World, spec: Spec, progress: &mut impl FnMut(u64) -> bool) {
    world.calm();
    if spec.kind == Kind::Long {
        runs_to_the_last_number(world);
        // Into the storm with a session that is about to end (M-49).
        world.talk(0, 0xFF00 - 20, true);
    }
    let length = match spec.kind {
        Kind::Fleet => 100 * spec.devices as u64,
        _ => 5_000,
    };
    let started = world.network.carried;
    while world.network.carried < started + spec.datagrams {
        if world.stolen.is_none() && world.network.carried > started + spec.datagrams / 2 {
            world.steal();
        }
        world.storm(length.min(spec.datagrams));
        world.calm();
        if !progress(world.network.carried) {
            return;
        }
    }
}

/// M-49, M-50: at FF00 the device asks for a new session; the attacker lets no Hello through, and the old one serves to
/// its last number and not one further. Then the weather clears.
fn runs_to_the_last_number(world: &mut World) {
    let session = |world: &World| world.motes[0].half.as_ref().unwrap().session();
    world.network.no_hello = true;
    let before = session(world);
    world.talk(0, 0x1_0000, false);
    assert_eq!(session(world), before, "M-49: the session has ended early");
    assert_eq!(world.auditor.last_number_of(0), 0xFFFF, "M-50");
    world.coverage.hit("session: last number sent");
    world.network.no_hello = false;
    world.calm();
    assert_ne!(session(world), before, "M-49: no new session");
}

fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
