//! Files that are damaged, missing, foreign or in use: a clear error, and nothing is written.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::gateway::{Site, count};
use crate::mote::{Heard, Mote};
use crate::site::copy_directory;

/// What the files of a store hold, without the socket and the lock.
fn contents(store: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(store).unwrap().flatten().filter(|entry| entry.file_type().unwrap().is_file());
    files
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .filter(|(name, _)| name != "lock")
        .collect()
}

/// A store that has been used, with its gateway stopped.
fn used() -> Site {
    let site = Site::new(2);
    let gateway = site.start();
    Mote::new(1).connect(gateway.addr);
    gateway.stop();
    site
}

fn refuses(site: &Site, names: &str, what: &str) {
    let before = contents(&site.store());
    let error = site.fail_to_start();
    assert!(error.contains(names) && error.contains(what) && !error.contains("panicked"), "{error}");
    let after = contents(&site.store());
    assert!(before.keys().eq(after.keys()), "{:?}", after.keys());
    let written: Vec<_> = before.iter().filter(|(name, bytes)| after[*name] != **bytes).collect();
    let names_of: Vec<_> = written.iter().map(|(name, _)| name).collect();
    assert!(written.is_empty(), "{names_of:?} after {error}");
}

#[test]
fn the_second_gateway_on_a_store_is_refused() {
    let site = Site::new(1);
    let gateway = site.start();
    let error = site.fail_to_start();
    assert!(error.contains("another gateway"), "{error}");
    let backup = site.root.path().join("b");
    let restored = site.run("restore", &["--from", backup.to_str().unwrap()]);
    assert!(String::from_utf8(restored.stderr).unwrap().contains("another gateway"));
    Mote::new(1).connect(gateway.addr);
}

#[test]
fn everything_is_for_the_gateway_alone() {
    let site = used();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&site.store()), 0o700);
    for name in ["store.redb", "journal", "lock", "control.sock"] {
        assert_eq!(mode(&site.file(name)), 0o600, "{name}");
    }
}

#[test]
fn a_damaged_store_is_refused() {
    let site = used();
    let path = site.file("store.redb");
    let good = fs::read(&path).unwrap();
    let clean = contents(&site.store());
    let epochs = started(&site).unwrap();
    assert_eq!(epochs, ["\"1.0\"", "\"0.0\""]);
    fs::write(&path, &good).unwrap();
    for bytes in [vec![], b"no store".to_vec(), good[..good.len() / 2].to_vec(), good[..100].to_vec()] {
        fs::write(&path, bytes).unwrap();
        refuses(&site, "store.redb", "");
    }
    // A bit anywhere: refused, or of no consequence. Pages that are free hold old copies of records.
    let is_record = |at: &usize| good[*at..].starts_with(Mote::new(1).id.as_bytes());
    let records: Vec<usize> =
        (0..good.len()).filter(is_record).flat_map(|at| [at, at + 14, at + 30]).collect();
    let used: Vec<usize> = (0..good.len()).filter(|at| !matches!(good[*at], 0 | 0xFF)).collect();
    let spread = (0..30).map(|step| used[step * used.len() / 30]);
    let mut refused = 0;
    for at in records.into_iter().chain(spread).chain([0, 9, 64, 192]) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        match started(&site) {
            Ok(devices) => assert_eq!(devices, epochs, "byte {at}"),
            Err(error) => {
                assert!(error.contains("store.redb") && !error.contains("panicked"), "{error}");
                assert!(fs::read(&path).unwrap() == bytes, "byte {at}: written after {error}");
                refused += 1;
            }
        }
    }
    assert!(refused >= 3, "{refused}");
    fs::write(&path, good).unwrap();
    assert!(contents(&site.store()) == clean);
    site.start();
}

/// What is told of the devices if the gateway starts; otherwise what it says.
fn started(site: &Site) -> Result<Vec<String>, String> {
    let mut command = site.serve_command();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = [0];
    if child.stdout.take().unwrap().read(&mut first).unwrap() == 1 {
        let devices = site.ask("devices", &[]);
        child.kill().unwrap();
        child.wait().unwrap();
        return Ok(devices.iter().map(|device| device["epoch"].to_string()).collect());
    }
    let mut error = String::new();
    child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert!(!child.wait().unwrap().success());
    Err(error)
}

#[test]
fn a_damaged_journal_is_refused() {
    let site = used();
    let path = site.file("journal");
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        // The last frame says that a record was written: 4 + 8 + 1 + 16 bytes.
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        if at % 16 == 0 || at > good.len() - 29 {
            refuses(&site, "journal", "");
        }
    }
    fs::write(&path, b"").unwrap();
    refuses(&site, "journal", "is not a journal");
    fs::remove_file(&path).unwrap();
    refuses(&site, "journal", "is missing beside the store");
    fs::write(&path, good).unwrap();
    site.start();
}

#[test]
fn an_older_journal_is_refused() {
    let site = Site::new(1);
    site.start().stop();
    let older = fs::read(site.file("journal")).unwrap();
    let gateway = site.start();
    let id = Mote::new(1).id.to_string();
    site.ask("revoke", &[&id]);
    gateway.stop();
    fs::write(site.file("journal"), older).unwrap();
    refuses(&site, "journal", "is older than the store");
}

#[test]
fn a_torn_end_of_the_journal_is_cut_off() {
    let site = used();
    let path = site.file("journal");
    let good = fs::read(&path).unwrap();
    // A frame that was begun and never synced: part of one, part of one and zeros, zeros alone.
    let mut frame = vec![0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 3, 2, 0xD0];
    for tail in [frame.clone(), vec![0; 700], {
        frame.resize(38, 0);
        frame
    }] {
        fs::write(&path, [good.as_slice(), &tail].concat()).unwrap();
        let gateway = site.start();
        gateway.stop();
        assert_eq!(fs::read(&path).unwrap(), good);
    }
}

#[test]
fn a_registry_that_is_wrong_changes_nothing() {
    let site = Site::new(1);
    let good = fs::read_to_string(site.registry()).unwrap();
    fs::write(site.registry(), format!("{good}d000000000000002,1,abc\n")).unwrap();
    assert!(site.fail_to_start().contains("registry.csv, line 3"));
    assert!(!site.store().exists());

    fs::write(site.registry(), &good).unwrap();
    site.start().stop();
    // A device that is known, with another key, behind one that is new.
    site.register([2]);
    let new = fs::read_to_string(site.registry()).unwrap();
    let line = good.lines().nth(1).unwrap();
    let (head, _) = line.rsplit_once(',').unwrap();
    fs::write(site.registry(), format!("{new}{head},{}\n", "0".repeat(64))).unwrap();
    let journal = fs::read(site.file("journal")).unwrap();
    let error = site.fail_to_start();
    assert!(error.contains("registry.csv") && error.contains("d000000000000001"), "{error}");
    assert_eq!(fs::read(site.file("journal")).unwrap(), journal);
    // What is known already is skipped, what is new is taken in.
    fs::write(site.registry(), format!("{new}{line}\n")).unwrap();
    let gateway = site.start();
    assert_eq!(gateway.told[0]["devices"], 2);
    Mote::new(2).connect(gateway.addr);
}

#[test]
fn a_start_cut_short_is_finished_by_the_next() {
    // The journal knows the devices, and the store was not made or holds none of them.
    let site = Site::new(1);
    site.start().stop();
    fs::remove_file(site.file("store.redb")).unwrap();
    fs::write(site.file("store.new"), b"a draft").unwrap();
    let mut gateway = site.start();
    let mut mote = Mote::new(1);
    let hello = mote.hello(b"first of all");
    mote.send(&hello, gateway.addr);
    assert!(matches!(mote.hear(Duration::from_secs(5)), Some(Heard::Welcome { early_taken: true })));
    gateway.expect("early");
    gateway.stop();
}

#[test]
fn a_store_copied_elsewhere_with_its_journal_goes_on() {
    let site = used();
    let other = Site::new(2);
    copy_directory(&site.store(), &other.store());
    let gateway = other.start();
    let mut mote = Mote::new(1);
    mote.boot = 2;
    mote.connect(gateway.addr);
    assert_eq!(count(&gateway.stop(), "floor"), 0);
}
