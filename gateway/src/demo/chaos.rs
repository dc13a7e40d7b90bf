//! What goes wrong, when and to whom: the whole schedule, made from the seed before anything starts. It does
//! nothing itself, and knows neither datagrams nor processes.
//!
//! ```text
//! |--- backup ----- revocations, rotations, kills ----- restore ----- kill, restore ---|-- calm --|
//! |------- power cuts, erased counters, outages, new ports, commands --------------- --|          |
//! ```

use fastrand::Rng;

/// Milliseconds since the network turned hostile.
pub type Millis = u64;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A device loses its power, perhaps in the middle of a flash operation.
    CutPower(PowerCut),
    /// The datagrams of a device come from another port from now on, as behind a NAT.
    Rebind(usize),
    /// Nothing gets through to a device or from it for so many milliseconds.
    Outage(usize, Millis),
    /// A command is pushed.
    Command {
        /// Whom it is for.
        device: usize,
        /// Whether it may run twice.
        idempotent: bool,
    },
    /// A device is revoked.
    Revoke(usize),
    /// The key of a device is rotated.
    Rotate(usize),
    /// The gateway's store is copied, while it runs.
    Backup,
    /// The gateway's process is killed, and started again on the same store.
    Kill,
    /// The gateway is stopped, the copy put in place of its store, and it is started again.
    Restore,
}

/// A loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerCut {
    /// Which device.
    pub device: usize,
    /// For how long it is off.
    pub off_ms: Millis,
    /// Strikes first in a flash operation: how many are spared before it, and a seed of what becomes of its bits.
    pub torn: Option<(u64, u64)>,
    /// The counter's flash is erased while the power is off.
    pub erases_counter: bool,
}

/// How much of the rest a time between two restarts of the gateway must leave it, in milliseconds.
const BETWEEN_RESTARTS_MS: Millis = 1_500;
/// How often a device loses its power, in milliseconds.
const BETWEEN_POWER_CUTS_MS: Millis = 8_000;
/// How often a command is pushed to some device, in milliseconds.
const BETWEEN_COMMANDS_MS: Millis = 120;

/// One of so many devices has no random number generator.
const WITHOUT_RNG: usize = 8;

/// Whether a device has a random number generator. One without refuses to start after its counter is erased
/// (SPEC M-27), so that it never is.
pub const fn has_rng(device: usize) -> bool {
    device % WITHOUT_RNG != WITHOUT_RNG - 1
}

/// A stream of random numbers for one purpose and one device: the same at every run with the same seed, in
/// whatever order the streams are drawn from.
pub fn stream(seed: u64, purpose: &str, number: usize) -> Rng {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    let bytes = purpose.bytes().chain(seed.to_be_bytes()).chain((number as u64).to_be_bytes());
    Rng::with_seed(bytes.fold(0xCBF2_9CE4_8422_2325, fnv))
}

/// The schedule of `devices` devices for `hostile_ms` milliseconds, in the order of time.
pub fn schedule(seed: u64, devices: usize, hostile_ms: Millis) -> Vec<(Millis, Act)> {
    let mut rng = stream(seed, "schedule", 0);
    let mut acts = restarts(&mut rng, hostile_ms);
    acts.extend(administration(&mut rng, devices, hostile_ms));
    acts.extend(accidents(&mut rng, devices, hostile_ms));
    acts.extend(commands(&mut rng, devices, hostile_ms));
    acts.sort_by_key(|(at, _)| *at);
    acts
}

/// A percentage of a time.
const fn share(percent: u64, of: Millis) -> Millis {
    of * percent / 100
}

/// What stops the gateway, far enough apart that it serves in between.
fn restarts(rng: &mut Rng, hostile_ms: Millis) -> Vec<(Millis, Act)> {
    let mut acts = vec![(share(8, hostile_ms), Act::Backup), (share(62, hostile_ms), Act::Restore)];
    if hostile_ms > 15_000 {
        acts.push((share(85, hostile_ms), Act::Restore));
    }
    let gap = BETWEEN_RESTARTS_MS.min(share(12, hostile_ms));
    let kills = (hostile_ms / 6_000).max(1);
    for kill in 0..kills {
        // Each in its own part of the time, moved on where it would strike a gateway that is restarting.
        let (start, width) = (share(20, hostile_ms), share(75, hostile_ms) / kills);
        let mut at = start + kill * width + rng.u64(0..width.max(1));
        while let Some((busy, _)) = acts.iter().find(|(other, _)| at.abs_diff(*other) < gap) {
            at = busy + gap;
        }
        acts.push((at.min(hostile_ms), Act::Kill));
    }
    acts
}

/// Revocations and rotations, of devices of their own. Some come after the backup and before the restore, which
/// must not undo them.
fn administration(rng: &mut Rng, devices: usize, hostile_ms: Millis) -> Vec<(Millis, Act)> {
    let mut chosen: Vec<usize> = (0..devices).collect();
    rng.shuffle(&mut chosen);
    let (revoked, others) = chosen.split_at((devices / 16).max(1));
    let rotated = &others[..(devices / 4).max(1).min(others.len())];
    let spread = |rng: &mut Rng, from: u64, to: u64| rng.u64(share(from, hostile_ms)..share(to, hostile_ms));
    let revocations = revoked.iter().map(|device| (spread(rng, 25, 55), Act::Revoke(*device)));
    let mut acts: Vec<_> = revocations.collect();
    acts.extend(rotated.iter().map(|device| (spread(rng, 12, 80), Act::Rotate(*device))));
    acts
}

/// What happens to devices and to their way to the gateway.
fn accidents(rng: &mut Rng, devices: usize, hostile_ms: Millis) -> Vec<(Millis, Act)> {
    let mut acts = Vec::new();
    let count = |every: Millis| devices * usize::try_from(hostile_ms).unwrap_or(0) / every_usize(every);
    for cut in 0..count(BETWEEN_POWER_CUTS_MS).max(6) {
        let device = rng.usize(0..devices);
        let torn = (cut % 3 == 0).then(|| (rng.u64(0..3), rng.u64(..)));
        let erases_counter = cut % 8 == 1 && has_rng(device);
        let cut = PowerCut { device, off_ms: rng.u64(20..800), torn, erases_counter };
        acts.push((rng.u64(share(3, hostile_ms)..hostile_ms), Act::CutPower(cut)));
    }
    for _ in 0..count(25_000).max(2) {
        acts.push((rng.u64(0..hostile_ms), Act::Rebind(rng.usize(0..devices))));
        acts.push((rng.u64(0..hostile_ms), Act::Outage(rng.usize(0..devices), rng.u64(200..2_000))));
    }
    acts
}

fn every_usize(every: Millis) -> usize {
    usize::try_from(every).unwrap_or(usize::MAX)
}

fn commands(rng: &mut Rng, devices: usize, hostile_ms: Millis) -> Vec<(Millis, Act)> {
    let times = (0..hostile_ms / BETWEEN_COMMANDS_MS).map(|command| command * BETWEEN_COMMANDS_MS);
    times.map(|at| (at, Act::Command { device: rng.usize(0..devices), idempotent: rng.bool() })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(acts: &[(Millis, Act)], is: impl Fn(&Act) -> bool) -> usize {
        acts.iter().filter(|(_, act)| is(act)).count()
    }

    #[test]
    fn a_seed_makes_one_schedule() {
        assert_eq!(schedule(1, 50, 25_000), schedule(1, 50, 25_000));
        assert_ne!(schedule(1, 50, 25_000), schedule(2, 50, 25_000));
    }

    #[test]
    fn every_schedule_has_something_of_everything() {
        for (seed, devices, hostile_ms) in (0..50).flat_map(|seed| [(seed, 12, 6_000), (seed, 50, 25_000)]) {
            let acts = schedule(seed, devices, hostile_ms);
            assert!(acts.is_sorted_by_key(|(at, _)| *at));
            assert!(acts.iter().all(|(at, _)| *at <= hostile_ms));
            assert_eq!(count(&acts, |act| *act == Act::Backup), 1);
            assert!(count(&acts, |act| *act == Act::Restore) >= 1);
            assert!(count(&acts, |act| *act == Act::Kill) >= 1);
            assert!(count(&acts, |act| matches!(act, Act::Revoke(_))) >= 1);
            assert!(count(&acts, |act| matches!(act, Act::Rotate(_))) >= 1);
            assert!(count(&acts, |act| matches!(act, Act::Rebind(_))) >= 1);
            assert!(count(&acts, |act| matches!(act, Act::Outage(..))) >= 1);
            assert!(count(&acts, |act| matches!(act, Act::CutPower(cut) if cut.torn.is_some())) >= 1);
            assert!(count(&acts, |act| matches!(act, Act::Command { idempotent: true, .. })) >= 1);
            assert!(count(&acts, |act| matches!(act, Act::Command { idempotent: false, .. })) >= 1);
        }
    }

    #[test]
    fn a_device_without_an_rng_never_loses_its_counter() {
        for seed in 0..50 {
            for (_, act) in schedule(seed, 50, 25_000) {
                assert!(!matches!(act, Act::CutPower(cut) if cut.erases_counter && !has_rng(cut.device)));
            }
        }
    }

    #[test]
    fn the_gateway_serves_between_two_restarts() {
        for seed in 0..50 {
            let acts = schedule(seed, 50, 25_000);
            let restart = |act: &Act| matches!(act, Act::Kill | Act::Restore | Act::Backup);
            let times: Vec<_> = acts.iter().filter(|(_, act)| restart(act)).map(|(at, _)| *at).collect();
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 1_000), "{times:?}");
        }
    }

    #[test]
    fn streams_do_not_depend_on_each_other() {
        let draw = |purpose, number| stream(7, purpose, number).u64(..);
        assert_eq!(draw("up", 3), draw("up", 3));
        let distinct = [draw("up", 3), draw("up", 4), draw("down", 3), stream(8, "up", 3).u64(..)];
        assert!(distinct.iter().enumerate().all(|(i, a)| !distinct[..i].contains(a)));
    }
}
