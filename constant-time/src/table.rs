//! The table of cases: each is run, and what memcheck flags in it is held to what it may. It knows nothing of the
//! protocol.

use std::cell::Cell;

use crate::memcheck::flagged;

/// All cases, and whether all of them are as they must be.
#[derive(Debug, Default)]
pub struct Table {
    cases: usize,
    faults: usize,
}

/// The verdicts on tags in the case that is running.
#[derive(Debug, Default)]
pub struct Counts {
    /// How often something was flagged in them.
    pub verdicts: Cell<u64>,
    /// How many tags were judged.
    pub tags: Cell<u64>,
}

thread_local! {
    /// Of the case that is running.
    pub static COUNTS: Counts = Counts::default();
}

impl Table {
    /// Begins a group of cases.
    pub fn group(name: &str) {
        println!("\n{name}\n  flagged  of at most  tags  case");
    }

    /// A case in which no branch and no address may depend on a secret.
    pub fn clean<T>(&mut self, name: &str, case: impl FnOnce() -> T) -> T {
        self.case(name, 0, "", case)
    }

    /// A case that ends in `verdicts` comparisons, each of which decides one branch, and no more: `why` says which. What
    /// leaves such a comparison early decides one branch for every byte that is equal.
    pub fn judging<T>(&mut self, name: &str, verdicts: u64, why: &str, case: impl FnOnce() -> T) -> T {
        self.case(name, verdicts, why, case)
    }

    fn case<T>(&mut self, name: &str, most: u64, why: &str, case: impl FnOnce() -> T) -> T {
        let (result, found, tags) = run(case);
        let fault = found > most;
        self.row(name, found, most, tags, why, fault);
        result
    }

    /// A control: code that leaks, which must be flagged more often than `verdicts`.
    pub fn leaking<T>(&mut self, name: &str, verdicts: u64, case: impl FnOnce() -> T) -> T {
        let (result, found, tags) = run(case);
        let fault = found <= verdicts;
        self.row(name, found, verdicts, tags, "must be more", fault);
        result
    }

    fn row(&mut self, name: &str, found: u64, most: u64, tags: u64, why: &str, fault: bool) {
        self.cases += 1;
        self.faults += usize::from(fault);
        let mark = if fault { "  FAULT" } else { "" };
        let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
        println!("  {found:>7}  {most:>10}  {tags:>4}  {name}{why}{mark}");
    }

    /// Says how it came out: whether all cases were as they must be.
    pub fn is_good(&self) -> bool {
        println!("\n{} cases, {} faults", self.cases, self.faults);
        self.faults == 0
    }
}

/// Runs a case: what was flagged in it outside of the verdicts on tags, and how many tags were judged. A tag whose verdict
/// decided more than one branch counts for what it has too many.
fn run<T>(case: impl FnOnce() -> T) -> (T, u64, u64) {
    COUNTS.with(|counts| {
        counts.verdicts.set(0);
        counts.tags.set(0);
    });
    let before = flagged();
    let result = case();
    let all = flagged() - before;
    let (verdicts, tags) = COUNTS.with(|counts| (counts.verdicts.get(), counts.tags.get()));
    (result, all - verdicts.min(tags), tags)
}
