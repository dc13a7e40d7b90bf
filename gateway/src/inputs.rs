//! What the program reads from outside, each kind as one function of a file or a text: the same code that the commands
//! run, without their printing, sockets and threads. For `fuzz/`, which has no other way in. No secret comes out of it
//! but in what was a secret file before.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use zeroize::Zeroizing;

use crate::inspect::Inspector;
use crate::serve::{control, journal, recovery, store};
use crate::{Cli, registry, shown};

/// What a command line asks for, as text; nothing is done.
///
/// # Errors
/// What the program would print instead of running: help, the version, or what is wrong.
pub fn command_line(arguments: impl IntoIterator<Item = OsString>) -> Result<String, String> {
    let cli = Cli::try_parse_from(arguments);
    cli.map(|cli| format!("{:?}", cli.command)).map_err(|error| shown::without_keys(&error.to_string()))
}

/// What a line on the gateway's stdin or control socket asks for, as text; nothing is done.
///
/// # Errors
/// The reason of the refusal.
pub fn request(line: &str) -> Result<String, String> {
    control::parse(line).map(|request| format!("{request:?}"))
}

/// Reads a registry, and writes it anew.
///
/// # Errors
/// What is wrong with the file.
pub fn registry(path: &Path) -> Result<Zeroizing<String>, String> {
    Ok(registry::text(registry::read(path)?.iter()))
}

/// Reads a file of rotation keys, and writes it anew.
///
/// # Errors
/// What is wrong with the file.
pub fn rotation_keys(path: &Path) -> Result<Zeroizing<String>, String> {
    let keys = registry::read_rotation_keys(path)?;
    Ok(registry::rotation_keys_text(keys.iter().map(|(id, key)| (*id, key))))
}

/// What `moteseal inspect` says of these datagrams, with the keys of these files if there are any.
///
/// # Errors
/// What is wrong with the key files, or how many datagrams could not be read or opened.
pub fn inspect(
    datagrams: &[String],
    keys: Option<&Path>,
    rotation_keys: Option<&Path>,
    told: &mut String,
) -> Result<(), String> {
    let mut inspector = Inspector::new(keys, rotation_keys)?;
    for digits in datagrams {
        told.push_str(&inspector.describe(digits));
    }
    inspector.finish().map(|_: ExitCode| ())
}

/// What a journal says, in the fewest entries.
#[derive(Debug, PartialEq, Eq)]
pub struct JournalFacts {
    /// The number of its last frame.
    pub number: u64,
    /// The high-water mark.
    pub mark: u32,
    /// The entries, as a frame holds them: keys are among them.
    pub entries: Vec<u8>,
    /// All that it says, as text without keys.
    pub text: String,
}

/// Reads a journal. With `append`, what a crash left behind is cut off, and one more frame written.
///
/// # Errors
/// What is wrong with the file.
pub fn journal(path: &Path, append: bool) -> Result<JournalFacts, String> {
    let mut journal = journal::Journal::open(path)?;
    if append {
        journal.cut_tail()?;
        journal.append(&[]).map_err(|error| error.to_string())?;
    }
    let (number, mark) = (journal.number(), journal.state().mark);
    let text = format!("{:?}", journal.state());
    Ok(JournalFacts { number, mark, entries: journal.state().encode(), text })
}

/// Reads a store file, and changes nothing: how many records and commands it has.
///
/// # Errors
/// What is wrong with the file.
pub fn store(path: &Path) -> Result<(usize, usize), String> {
    let contents = store::Store::look_at(path)?;
    Ok((contents.records.len(), contents.commands.len()))
}

/// What a gateway starts with.
#[derive(Debug, PartialEq, Eq)]
pub struct Started {
    /// The high-water mark.
    pub mark: u32,
    /// The records, encoded: keys are among them.
    pub records: Vec<Vec<u8>>,
    /// How many commands wait.
    pub commands: usize,
    /// The name of the next command.
    pub next_command: u64,
}

/// Starts a gateway on this directory, up to where it would open its sockets.
///
/// # Errors
/// Why it refuses to start.
pub fn start(directory: &Path, confirm_raise: bool) -> Result<Started, String> {
    let paths = recovery::Paths::new(directory);
    recovery::make_directory(&paths)?;
    let _lock = recovery::lock(&paths)?;
    let opened = recovery::open(&paths, confirm_raise)?;
    let mut records: Vec<_> = opened.records.iter().map(|record| record.encode().expose().to_vec()).collect();
    records.sort();
    let (mark, commands) = (opened.journal.state().mark, opened.commands.len());
    Ok(Started { mark, records, commands, next_command: opened.next_command })
}
