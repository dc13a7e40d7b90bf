//! What the gateway program reads from outside: arguments, requests, key files, captures, the journal, the store. Any
//! bytes give a result or a text that says what is wrong; nothing else on the disk changes, and no secret is told.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use moteseal_gateway::inputs;
use tempfile::TempDir;

use crate::facts::{self, HEAD};
use crate::tape::Tape;

thread_local! {
    static DIRECTORY: RefCell<TempDir> = RefCell::new(directory());
}

/// In memory, where there is such a place: a fuzzer writes thousands of files.
fn directory() -> TempDir {
    let builder = || tempfile::Builder::new();
    let made = builder().prefix("moteseal-fuzz-").tempdir_in("/dev/shm");
    made.or_else(|_| builder().tempdir()).expect("a directory")
}

/// An empty directory of this thread.
pub fn with_directory<T>(work: impl FnOnce(&Path) -> T) -> T {
    DIRECTORY.with_borrow_mut(|directory| {
        // After a failure too: what is replayed next begins anew.
        let result = catch_unwind(AssertUnwindSafe(|| work(directory.path())));
        if fs::read_dir(directory.path()).is_ok_and(|mut entries| entries.next().is_some()) {
            *directory = self::directory();
        }
        result.unwrap_or_else(|failure| resume_unwind(failure))
    })
}

fn write(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, bytes).expect("a file");
    path
}

/// Works in a directory, which is the whole process's: one thread at a time.
fn within<T>(directory: &Path, work: impl FnOnce() -> T) -> T {
    static CURRENT: Mutex<()> = Mutex::new(());
    let _alone = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    let home = std::env::current_dir().expect("a directory");
    std::env::set_current_dir(directory).expect("a directory");
    let result = work();
    std::env::set_current_dir(home).expect("a directory");
    result
}

/// Arguments, separated by zero bytes; and the same bytes as a line on the control socket.
pub fn command_line(bytes: &[u8]) {
    let words = bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()));
    let arguments: Vec<_> = [OsString::from("moteseal")].into_iter().chain(words).collect();
    with_directory(|directory| {
        let (first, second) =
            within(directory, || (inputs::command_line(arguments.clone()), inputs::command_line(arguments)));
        assert_eq!(first, second, "one command line, two meanings");
        assert!(first.is_ok() || first.is_err_and(|text| !text.is_empty()));
        let mut left = fs::read_dir(directory).expect("a directory");
        assert!(left.next().is_none(), "reading arguments wrote a file");
    });
    let Ok(line) = std::str::from_utf8(bytes) else { return };
    let request = inputs::request(line);
    assert_eq!(request, inputs::request(&format!(" {line} \n")), "one line, two meanings");
    let verb = line.split_whitespace().next().unwrap_or_default();
    if let Ok(told) = &request {
        assert_eq!(told.split(['(', ' ']).next(), meaning(verb).first().copied(), "{verb}");
        assert!(told.contains(meaning(verb)[1]), "{verb} means {told}");
    }
    let told = request.unwrap_or_else(|reason| reason);
    // M-23: a key that stands on a line is in no answer. A payload and a path are no keys.
    for key in facts::long_words(line).filter(|_| verb != "send" && verb != "backup") {
        assert!(!told.contains(key), "a key is told");
    }
}

/// What a request is called inside, and a word of its own.
fn meaning(verb: &str) -> [&'static str; 2] {
    match verb {
        "send" => ["Send", "payload"],
        "revoke" => ["SetStatus", "Revoked"],
        "quarantine" => ["SetStatus", "Quarantined"],
        "readmit" => ["SetStatus", "Active"],
        "rotate" => ["Rotate", ""],
        "devices" => ["Devices", ""],
        "backup" => ["Backup", ""],
        _ => panic!("taken for a request: {verb}"),
    }
}

/// A registry or a file of rotation keys.
pub fn registry(bytes: &[u8]) {
    let (kind, text) = bytes.split_first().unwrap_or((&0, &[]));
    let read = if kind & 1 == 0 { inputs::registry } else { inputs::rotation_keys };
    let expected = facts::rows(text, if kind & 1 == 0 { 3 } else { 2 });
    with_directory(|directory| {
        let path = write(directory, "keys.csv", text);
        match read(&path) {
            Ok(written) => {
                let rows = written.lines().skip(1).map(str::to_owned).collect();
                assert_eq!(expected, Some(rows), "taken, and not as it stands there");
                fs::write(&path, written.as_bytes()).expect("a file");
                assert!(read(&path).is_ok_and(|again| *again == *written), "written, and read otherwise");
            }
            Err(error) => {
                assert_eq!(expected, None, "refused, and it is good: {error}");
                assert!(error.contains("keys.csv"), "{error}");
                let text = String::from_utf8_lossy(text);
                facts::long_words(&text).for_each(|key| assert!(!error.contains(key), "a key is told"));
            }
        }
        assert_eq!(fs::read_dir(directory).expect("a directory").count(), 1);
        fs::remove_file(path).expect("it is there");
    });
}

/// Lines of a capture, with the keys of the test vectors and without.
pub fn inspect(bytes: &[u8]) {
    let (kind, text) = bytes.split_first().unwrap_or((&0, &[]));
    // As digits, or as datagrams, each behind its length.
    let lines: Vec<String> = if *kind < 128 {
        String::from_utf8_lossy(text).lines().map(str::to_owned).collect()
    } else {
        let mut tape = Tape::new(text);
        let mut lines = Vec::new();
        while !tape.is_empty() {
            lines.push(hex::encode(tape.bytes(255)));
        }
        lines
    };
    with_directory(|directory| {
        let keys = write(directory, "registry.csv", REGISTRY.as_bytes());
        let rotation = write(directory, "rotation-keys.csv", ROTATION_KEYS.as_bytes());
        let (mut without, mut told) = (String::new(), String::new());
        let plain = inputs::inspect(&lines, None, None, &mut without);
        let opened = inputs::inspect(&lines, Some(&keys), Some(&rotation), &mut told);
        assert!(plain.is_ok() || opened.is_err(), "opened, and none without keys");
        let failures = told.lines().filter(|line| is_failure(line)).count();
        assert_eq!(failures_in(&opened, lines.len()), failures, "failures that do not count");
        let bad = lines.iter().map(|line| facts::is_datagram(line));
        if let Some(bad) = bad.map(|good| good.map(|good| usize::from(!good))).sum::<Option<usize>>() {
            assert_eq!(failures_in(&plain, lines.len()), bad, "SPEC 4.1");
        }
        for key in [KEY, ROTATION_KEY] {
            assert!(!told.contains(key) && !without.contains(key), "a key is told");
        }
        let titles = |text: &str| text.lines().filter(|line| !line.starts_with(' ')).count();
        assert_eq!(
            (titles(&told), titles(&without)),
            (lines.len(), lines.len()),
            "one title for each datagram"
        );
        fs::remove_file(keys).and(fs::remove_file(rotation)).expect("they are there");
    });
}

/// A line that says of a datagram that it is none, or was not opened.
fn is_failure(line: &str) -> bool {
    let title = line.split_once(": ").map_or("", |(_, title)| title);
    let is_none = title.starts_with("not hexadecimal digits") || title.starts_with("not a datagram");
    !line.starts_with(' ') && is_none || line.starts_with("   not opened")
}

/// How many of so many datagrams the exit status speaks of: all, where there was none.
fn failures_in(result: &Result<(), String>, lines: usize) -> usize {
    let Err(error) = result else { return 0 };
    if lines == 0 { 0 } else { error.split(' ').next().and_then(|n| n.parse().ok()).expect("a number") }
}

/// Keys of the device of the test vectors.
const KEY: &str = "d4f046949e3844b933478dc6cd06bbc4823e6e9d70117bff8ac04839ff9ff580";
const ROTATION_KEY: &str = "2713fbfa29482ad4ac6f04f1fc39615810af66e14e0adb8b9ff79c97ff7ff965";
const REGISTRY: &str = "device_id,generation,device_key\n0242acfffe110001,1,\
    d4f046949e3844b933478dc6cd06bbc4823e6e9d70117bff8ac04839ff9ff580\n";
const ROTATION_KEYS: &str = "device_id,rotation_key\n0242acfffe110001,\
    2713fbfa29482ad4ac6f04f1fc39615810af66e14e0adb8b9ff79c97ff7ff965\n";

/// A journal: raw bytes, or frames with good check values around any entries, torn and damaged at places.
pub fn journal_bytes(tape: &mut Tape<'_>) -> Vec<u8> {
    if tape.below(4) == 0 {
        return tape.rest().to_vec();
    }
    let mut journal = HEAD.to_vec();
    let mut number = u64::from(tape.u8());
    for _ in 0..tape.below(8) {
        let bits = tape.u8();
        number = if bits >= 240 { tape.u64() } else { number.wrapping_add(1) };
        let mut entries = Vec::new();
        for _ in 0..bits & 3 {
            entries.extend(entry(tape));
        }
        if bits & 0x0C == 0x0C {
            entries.extend(tape.bytes(40));
        }
        let mut frame = facts::frame(number, &entries);
        if bits & 0x30 == 0x30 {
            frame.truncate(tape.place(frame.len()));
        }
        journal.extend(frame);
    }
    if tape.below(8) == 0 {
        let at = tape.place(journal.len());
        journal[at] ^= tape.u8();
    }
    journal
}

/// One entry of any kind, of one of four devices.
fn entry(tape: &mut Tape<'_>) -> Vec<u8> {
    let (kind, device) = (tape.below(7) + 1, [tape.below(4); 8]);
    let mut entry = vec![kind];
    if kind <= 5 {
        entry.extend(device);
    }
    match kind {
        1 => entry.extend([[tape.below(4)].as_slice(), &[tape.u8(); 32]].concat()),
        2 => entry.push(tape.below(4)),
        3 => {
            entry.push(tape.below(5));
            for _ in 0..3 {
                entry.extend([tape.u8(); 32]);
            }
        }
        4 => entry.push(tape.below(5)),
        5 | 6 => entry.extend(tape.pick(&[0, 1, 1 << 19, 1 << 20, 0xFEFF_FFFE, u32::MAX]).to_be_bytes()),
        _ => {}
    }
    entry
}

/// What a journal says stays said: read twice, written anew, read again.
pub fn journal(bytes: &[u8]) {
    let contents = journal_bytes(&mut Tape::new(bytes));
    with_directory(|directory| {
        let path = write(directory, "journal", &contents);
        let read = inputs::journal(&path, false);
        assert_eq!(fs::read(&path).expect("it is there"), contents, "reading changed the journal");
        let expected = facts::journal(&contents);
        let facts = match (read, expected) {
            (Ok(facts), Some(expected)) => {
                assert_eq!((facts.number, facts.mark), (expected.number, expected.mark));
                for (word, status) in [("Active", 0), ("Revoked", 1), ("Quarantined", 2)] {
                    let told = facts.text.matches(&format!("status: {word}")).count();
                    let known = expected.statuses.values().filter(|known| **known == status).count();
                    assert_eq!(told, known, "M-5: {word}");
                }
                facts
            }
            (Err(error), None) => {
                assert!(error.contains("journal"), "{error}");
                return fs::remove_file(path).expect("it is there");
            }
            (Ok(_), None) => panic!("taken, and it must be refused"),
            (Err(error), Some(_)) => panic!("refused, and it is good: {error}"),
        };
        // As it is written anew when a rotation is finished (M-79): the same is said.
        let anew = [HEAD, &facts::frame(1, &facts.entries)].concat();
        let anew_path = write(directory, "journal.anew", &anew);
        let said = inputs::journal(&anew_path, false).map(|facts| facts.text);
        assert_eq!(said.as_ref(), Ok(&facts.text), "written anew, and something is left out");
        fs::remove_file(anew_path).expect("it is there");
        match inputs::journal(&path, true) {
            Ok(appended) => {
                assert_eq!((&appended.entries, &appended.text), (&facts.entries, &facts.text), "M-78");
                assert_eq!(appended.number, facts.number + 1);
                assert_eq!(inputs::journal(&path, false), Ok(appended), "written, and read otherwise");
            }
            Err(error) => panic!("it was good, and cannot be written to: {error}"),
        }
        fs::remove_file(path).expect("it is there");
    });
}
