//! Runs inputs through one target: `replay TARGET FILE...`, a directory standing for the files in it. What a fuzzer found
//! is seen again by it, with a debugger or without, on stable Rust. `replay --all TARGET FILE...` goes on after a failure.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return vec![path.to_owned()] };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    let all = arguments.next_if_eq("--all").is_some();
    let Some(target) = arguments.next() else {
        eprintln!("replay TARGET FILE...");
        return ExitCode::FAILURE;
    };
    let (mut count, mut failed) = (0, 0);
    for file in arguments.flat_map(|path| files(Path::new(&path))) {
        match std::fs::read(&file) {
            Ok(input) if all => {
                failed += usize::from(catch_unwind(|| moteseal_fuzz_bodies::run(&target, &input)).is_err());
            }
            Ok(input) => moteseal_fuzz_bodies::run(&target, &input),
            Err(error) => {
                eprintln!("{}: {error}", file.display());
                return ExitCode::FAILURE;
            }
        }
        count += 1;
    }
    println!("{target}: {count} inputs");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
