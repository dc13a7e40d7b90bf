//! Every input that is kept, through its body, as an ordinary test: what fuzzing once found stays found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use moteseal_fuzz_bodies::{TARGETS, run, seeds};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries =
        std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Every input below `corpus` or `regressions`, named as it runs: the last name before a panic is the culprit.
fn replay(kind: &str) {
    let targets: Vec<_> = TARGETS.iter().map(|(target, _)| *target).collect();
    replay_of(kind, &targets);
}

fn replay_of(kind: &str, targets: &[&str]) {
    for target in targets {
        let directory = root().join(kind).join(target);
        if !directory.exists() {
            continue;
        }
        for name in names(&directory) {
            println!("{kind}/{target}/{name}");
            run(target, &std::fs::read(directory.join(&name)).unwrap());
        }
    }
}

#[test]
fn every_regression_holds() {
    replay("regressions");
}

#[test]
fn every_kept_input_holds() {
    replay("corpus");
}

#[test]
fn every_seed_holds() {
    for (target, input) in seeds::all() {
        println!("{target} {}", input.len());
        run(target, &input);
    }
}

/// The program in C keeps its state in one place, and a directory is the whole process's: still, threads do not meet.
#[test]
fn inputs_run_on_several_threads() {
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| replay_of("corpus", &["c_api", "gateway_line"]));
        }
    });
}

#[test]
fn targets_and_directories_are_the_same() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let files: BTreeSet<String> = targets.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&root().join("fuzz_targets")), files);
    assert_eq!(names(&root().join("corpus")), targets, "fuzz/run minimise makes what is missing");
    let regressions = root().join("regressions");
    // Without a crash to remember there is no such directory.
    let regressions = if regressions.exists() { names(&regressions) } else { BTreeSet::new() };
    assert!(regressions.is_subset(&targets), "{regressions:?}");
}
