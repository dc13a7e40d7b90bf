//! The last things that happened, for whoever reads a failure.

use std::fmt::Write as _;

use moteseal::device::Millis;

/// How many are kept.
const KEPT: usize = 100_000;
/// How many of the device that failed, and of all others, are told.
const TOLD: (usize, usize) = (60, 12);

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
struct Happened {
    now: Millis,
    what: &'static str,
    device: usize,
    site: Option<usize>,
    number: u64,
}

/// A ring of them.
#[derive(Debug, Default)]
pub struct Trace {
    ring: Vec<Happened>,
    count: usize,
    /// The device that a failure is about, if it is not the one to which something happened last.
    pub about: Option<usize>,
}

impl Trace {
    /// Something happened to a device, or between it and a gateway; `number` tells more: an epoch, a number, a length.
    pub fn note(&mut self, now: Millis, what: &'static str, device: usize, site: Option<usize>, number: u64) {
        let happened = Happened { now, what, device, site, number };
        if self.ring.len() < KEPT {
            self.ring.push(happened);
        } else {
            self.ring[self.count % KEPT] = happened;
        }
        self.count += 1;
    }

    /// A line each, the latest last: of the device to which something happened last, and of the gateways, more than of
    /// the others.
    pub fn report(&self) -> String {
        let latest: Vec<_> =
            (self.count - self.ring.len()..self.count).map(|at| self.ring[at % KEPT]).collect();
        let Some(device) = self.about.or(latest.last().map(|last| last.device)) else { return String::new() };
        let (mut own, mut others) = (0, 0);
        let mut told: Vec<_> = latest.iter().rev().collect();
        told.retain(|happened| {
            let is_own = happened.device == device || happened.what.starts_with("gateway st");
            (own, others) = (own + usize::from(is_own), others + usize::from(!is_own));
            is_own && own <= TOLD.0 || !is_own && others <= TOLD.1
        });
        let mut text = String::new();
        for Happened { now, what, device, site, number } in told.into_iter().rev() {
            let site = site.map_or(String::new(), |site| format!(" gateway {site}"));
            let _ = writeln!(text, "{now:>12} ms  device {device}{site}  {what}  {number:#x}");
        }
        text
    }
}
