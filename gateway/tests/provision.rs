//! `moteseal provision` as people run it: what stands in the directory, who may read it, and that nothing is
//! left behind where it fails.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use moteseal::boot_counter::{BootCounter as _, NorBootCounter, Stored};
use moteseal::identity::FactoryImage;
use moteseal::key_slots::{KeySlots as _, NorKeySlots, Slot};
use moteseal_sim::nor::Nor;
use serde_json::Value;
use tempfile::TempDir;

fn command(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moteseal"));
    command.arg("provision").args(args).current_dir(directory).stdin(Stdio::null());
    command
}

fn provision(directory: &Path, args: &[&str]) -> Output {
    command(directory, args).output().unwrap()
}

fn succeeds(directory: &Path, args: &[&str]) -> String {
    let output = provision(directory, args);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs it, and gives the error message.
fn fails(directory: &Path, args: &[&str]) -> String {
    let output = provision(directory, args);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn scratch() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Every file and directory below, by name.
fn tree(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        }
        found.insert(path);
    }
    found
}

fn rows(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

fn vectors() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../test-vectors/keys.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

const IDS: &str = "device_id\n0242acfffe110001\n# the second floor\n0242acfffe110002\n";
const FLEET: &str = "fleet_key=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n\
                     rotation_root=808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f\n";

#[test]
fn a_fleet_is_complete_and_readable_by_its_owner_alone() {
    let scratch = scratch();
    let args = ["--count", "3", "--out", "fleet", "--flash-base", "0x0807e000", "--page-size", "2048"];
    let said = succeeds(scratch.path(), &args);
    let fleet = scratch.path().join("fleet");
    let names = tree(&fleet);
    assert_eq!(names.len(), 4 + 2 * 3, "{names:?}");
    for path in &names {
        assert_eq!(mode(path), if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
    assert_eq!(mode(&fleet), 0o700);
    assert_eq!(tree(scratch.path()).len(), names.len() + 1, "something is left beside the directory");

    let (registry, rotation_keys) =
        (rows(&fleet.join("registry.csv")), rows(&fleet.join("rotation-keys.csv")));
    assert_eq!((registry.len(), rotation_keys.len()), (3, 3));
    for (device, rotation) in registry.iter().zip(&rotation_keys) {
        let [id, generation, device_key] = &device[..] else { panic!("{device:?}") };
        let [same_id, rotation_key] = &rotation[..] else { panic!("{rotation:?}") };
        assert_eq!((id, generation.as_str()), (same_id, "1"));
        let image = FactoryImage::parse(&fs::read(fleet.join(format!("images/{id}.bin"))).unwrap()).unwrap();
        let [Some(slot), None] = &image.slots else { panic!("not one key") };
        assert_eq!(image.identity.device_id.to_string(), *id);
        assert_eq!(hex::encode(image.identity.rotation_key.expose()), *rotation_key);
        assert_eq!(hex::encode(slot.device_key.expose()), *device_key);
        assert!(!said.contains(device_key) && !said.contains(rotation_key), "a secret on stdout");
    }
    let secrets: BTreeSet<_> =
        registry.iter().map(|row| &row[2]).chain(rotation_keys.iter().map(|row| &row[1])).collect();
    assert_eq!(secrets.len(), 6, "two keys are equal");
    for line in fs::read_to_string(fleet.join("fleet.secret")).unwrap().lines() {
        let secret = line.split_once('=').map_or("not a secret", |(_, secret)| secret);
        assert!(!said.contains(secret), "a secret on stdout");
    }
}

#[test]
fn keys_of_a_fleet_are_those_of_the_vectors() {
    let scratch = scratch();
    fs::write(scratch.path().join("fleet.secret"), FLEET).unwrap();
    fs::write(scratch.path().join("ids.csv"), IDS).unwrap();
    succeeds(scratch.path(), &["--ids", "ids.csv", "--fleet", "fleet.secret", "--out", "more"]);
    assert!(!scratch.path().join("more/fleet.secret").exists(), "the secret was copied");

    let (vectors, mut compared) = (vectors(), 0);
    let tables = [
        ("device_keys", "registry.csv", "device_key"),
        ("rotation_keys", "rotation-keys.csv", "rotation_key"),
    ];
    for (table, file, column) in tables {
        let rows = rows(&scratch.path().join("more").join(file));
        assert_eq!(rows.len(), 2);
        for case in vectors[table].as_array().unwrap() {
            let (id, key) = (case["device_id"].as_str(), case[column].as_str());
            if case["generation"].as_u64().unwrap_or(1) != 1 {
                continue;
            }
            if let Some(row) = rows.iter().find(|row| Some(row[0].as_str()) == id) {
                assert_eq!(row.last().map(String::as_str), key);
                compared += 1;
            }
        }
    }
    assert!(compared >= 3, "only {compared} keys were compared");
}

#[test]
fn a_fleet_can_be_added_to() {
    let scratch = scratch();
    fs::write(scratch.path().join("ids.csv"), IDS).unwrap();
    succeeds(scratch.path(), &["--ids", "ids.csv", "--out", "one"]);
    let add = ["--ids", "ids.csv", "--fleet", "one/fleet.secret", "--out", "two"];
    succeeds(scratch.path(), &add);
    for file in ["registry.csv", "rotation-keys.csv", "images/0242acfffe110001.bin"] {
        let [one, two] = ["one", "two"].map(|out| fs::read(scratch.path().join(out).join(file)).unwrap());
        assert_eq!(one, two, "{file}");
    }
}

#[test]
fn random_keys_have_no_fleet() {
    let scratch = scratch();
    fs::write(scratch.path().join("ids.csv"), IDS).unwrap();
    for out in ["one", "two"] {
        succeeds(scratch.path(), &["--ids", "ids.csv", "--random-keys", "--out", out]);
        assert!(!scratch.path().join(out).join("fleet.secret").exists());
    }
    let [one, two] = ["one", "two"].map(|out| rows(&scratch.path().join(out).join("registry.csv")));
    assert!(one.iter().zip(&two).all(|(one, two)| one[0] == two[0] && one[2] != two[2]));
}

/// What a programmer of flash would make of Intel HEX.
fn flash(path: &Path, base: u32, len: usize) -> Vec<u8> {
    let (mut memory, mut upper) = (vec![0xFF; len], 0);
    for record in ihex::Reader::new(&fs::read_to_string(path).unwrap()) {
        match record.unwrap() {
            ihex::Record::ExtendedLinearAddress(high) => upper = u32::from(high) << 16,
            ihex::Record::Data { offset, value } => {
                let start = (upper + u32::from(offset) - base) as usize;
                memory[start..start + value.len()].copy_from_slice(&value);
            }
            ihex::Record::EndOfFile => {}
            other => panic!("{other:?}"),
        }
    }
    memory
}

#[test]
fn intel_hex_is_a_device_that_boots() {
    let scratch = scratch();
    fs::write(scratch.path().join("ids.csv"), IDS).unwrap();
    // The region crosses a border of 64 KiB.
    let args = ["--ids", "ids.csv", "--out", "fleet", "--flash-base", "0x0800f000", "--page-size", "2048"];
    succeeds(scratch.path(), &args);
    let images = scratch.path().join("fleet/images");
    let memory = flash(&images.join("0242acfffe110002.hex"), 0x0800_F000, 5 * 2048);
    let image = FactoryImage::parse(&fs::read(images.join("0242acfffe110002.bin")).unwrap()).unwrap();

    let mut slots = NorKeySlots::new(Nor::<8, 2048>::from_bytes(memory.clone()), 0).unwrap();
    assert_eq!(slots.identity(), Ok(image.identity.clone()));
    assert_eq!(slots.read(Slot::A), Ok(image.slots[0].clone()));
    assert_eq!(slots.read(Slot::B), Ok(None));
    let mut counter = NorBootCounter::new(Nor::<8, 2048>::from_bytes(memory), 3 * 2048).unwrap();
    assert_eq!(counter.load(), Ok(Stored::Intact(0)));
    assert_eq!((counter.store(1), counter.load()), (Ok(()), Ok(Stored::Intact(1))));
}

#[test]
fn intel_hex_needs_an_address() {
    let scratch = scratch();
    succeeds(scratch.path(), &["--count", "1", "--out", "fleet"]);
    let names = tree(&scratch.path().join("fleet/images"));
    assert!(names.iter().all(|path| path.extension().unwrap() == "bin"), "{names:?}");
    for (base, page) in
        [("0x1", "64"), ("0", "0"), ("0", "100"), ("0xffffff00", "64"), ("0xFFFFF000", "4096")]
    {
        let said = fails(
            scratch.path(),
            &["--count", "1", "--out", "no", "--flash-base", base, "--page-size", page],
        );
        assert!(said.contains("--page-size") || said.contains("--flash-base"), "{said}");
    }
    assert!(!scratch.path().join("no").exists());
}

#[test]
fn nothing_is_overwritten() {
    let scratch = scratch();
    let there = scratch.path().join("there");
    fs::create_dir(&there).unwrap();
    fs::write(scratch.path().join("file"), "mine").unwrap();
    std::os::unix::fs::symlink("nowhere", scratch.path().join("link")).unwrap();
    fs::write(there.join("registry.csv"), "mine").unwrap();
    fs::create_dir(scratch.path().join("empty")).unwrap();
    let before = tree(scratch.path());
    for out in ["there", "file", "link", "empty", "."] {
        let said = fails(scratch.path(), &["--count", "1", "--out", out]);
        assert!(said.contains(out) && said.contains("nothing is overwritten"), "{said}");
    }
    assert_eq!(tree(scratch.path()), before);
    assert_eq!(fs::read(there.join("registry.csv")).unwrap(), b"mine");
    assert_eq!(fs::read(scratch.path().join("file")).unwrap(), b"mine");
}

#[test]
fn bad_ids_name_file_and_line() {
    let scratch = scratch();
    let good = "0242acfffe110001\n0242acfffe110002\n";
    let cases: [(&[u8], &str); 9] = [
        (b"0242acfffe11000", "line 3: the device id is not 16 hexadecimal digits"),
        (b"0242acfffe1100010", "line 3: the device id"),
        (b"0242acfffe11000z", "line 3: the device id"),
        (b"0242acfffe110003,", "line 3: the device id"),
        (b"device_id", "line 3: the device id"),
        (b"0242ACFFFE110001", "line 3: device 0242acfffe110001 stands in line 1 already"),
        (b"\xff\xfe", "is not a text file"),
        ("\u{1f980}".as_bytes(), "line 3: the device id"),
        (b"\x00", "line 3: the device id"),
    ];
    for (line, expected) in cases {
        fs::write(scratch.path().join("ids.csv"), [good.as_bytes(), line].concat()).unwrap();
        let said = fails(scratch.path(), &["--ids", "ids.csv", "--out", "fleet"]);
        assert!(said.contains("ids.csv") && said.contains(expected), "{said}");
    }
    for nothing in ["", "\n\n# none\n", "device_id\n"] {
        fs::write(scratch.path().join("ids.csv"), nothing).unwrap();
        assert!(
            fails(scratch.path(), &["--ids", "ids.csv", "--out", "fleet"]).contains("holds no device id")
        );
    }
    assert!(
        fails(scratch.path(), &["--ids", "none.csv", "--out", "fleet"]).contains("none.csv: cannot be read")
    );
    assert!(fails(scratch.path(), &["--ids", ".", "--out", "fleet"]).contains("cannot be read"));
    assert_eq!(tree(scratch.path()), BTreeSet::from([scratch.path().join("ids.csv")]));
}

#[test]
fn bad_fleet_secrets_name_file_and_line_and_stay_secret() {
    let scratch = scratch();
    let (fleet_key, rotation_root) = FLEET.trim_end().split_once('\n').unwrap();
    let cases = [
        (String::new(), "does not hold both"),
        (fleet_key.into(), "does not hold both"),
        (rotation_root.into(), "does not hold both"),
        (format!("{fleet_key}0\n{rotation_root}"), "line 1: the key is not 64 hexadecimal digits"),
        (format!("{fleet_key}\n{}", &rotation_root[..70]), "line 2: the key is not 64"),
        (format!("{FLEET}{fleet_key}"), "line 3: gives the same secret a second time"),
        (format!("{FLEET}{}", &fleet_key[10..]), "line 3: is neither fleet_key= nor rotation_root="),
        (format!("{fleet_key}\n{}", fleet_key.replace("fleet_key", "rotation_root")), "must differ"),
    ];
    for (contents, expected) in cases {
        fs::write(scratch.path().join("fleet.secret"), contents).unwrap();
        let said = fails(scratch.path(), &["--count", "1", "--fleet", "fleet.secret", "--out", "fleet"]);
        assert!(said.contains("fleet.secret") && said.contains(expected), "{said}");
        assert!(!said.contains("0001020304") && !said.contains("8081828384"), "a secret is shown: {said}");
    }
    assert!(!scratch.path().join("fleet").exists());
}

#[test]
fn where_nothing_can_be_made_nothing_is() {
    let scratch = scratch();
    fs::write(scratch.path().join("file"), "mine").unwrap();
    for out in ["missing/fleet", "file/fleet", "/proc/fleet"] {
        let said = fails(scratch.path(), &["--count", "2", "--out", out]);
        assert!(said.contains("create"), "{said}");
    }
    assert_eq!(tree(scratch.path()), BTreeSet::from([scratch.path().join("file")]));
}

#[test]
fn a_disk_that_fills_leaves_nothing() {
    let scratch = scratch();
    // The images fit; the registry of forty devices is the first file over the limit of one block.
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\" provision --count 40 --out fleet";
    let shell = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_moteseal")])
        .current_dir(scratch.path())
        .output()
        .unwrap();
    let said = String::from_utf8(shell.stderr).unwrap();
    assert_eq!(shell.status.code(), Some(1), "{said}");
    assert!(said.contains("fleet/registry.csv: cannot be created"), "{said}");
    assert_eq!(tree(scratch.path()), BTreeSet::new());
}

#[test]
fn an_interrupt_leaves_nothing() {
    let scratch = scratch();
    let args = ["--count", "100000", "--out", "fleet"];
    let child = command(scratch.path(), &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    // The first images are there.
    while tree(scratch.path()).len() < 4 {
        assert!(begun.elapsed() < Duration::from_secs(30), "no image in time");
        std::thread::sleep(Duration::from_millis(1));
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted; nothing was made"));
    assert_eq!(tree(scratch.path()), BTreeSet::new());
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let scratch = scratch();
    let cases: [&[&str]; 7] = [
        &["--out", "fleet"],
        &["--count", "1"],
        &["--count", "0", "--out", "fleet"],
        &["--count", "1", "--ids", "ids.csv", "--out", "fleet"],
        &["--count", "1", "--random-keys", "--fleet", "fleet.secret", "--out", "fleet"],
        &["--count", "1", "--page-size", "64", "--out", "fleet"],
        &["--count", "1", "--flash-base", "e000", "--out", "fleet"],
    ];
    for args in cases {
        let output = provision(scratch.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
    }
    assert_eq!(tree(scratch.path()), BTreeSet::new());
}

#[test]
fn help_tells_the_layout() {
    let scratch = scratch();
    let help = succeeds(scratch.path(), &["--help"]);
    for word in ["registry.csv", "rotation-keys.csv", "fleet.secret", "images/ID.bin", "0600", "--flash-base"]
    {
        assert!(help.contains(word), "{word}");
    }
}
