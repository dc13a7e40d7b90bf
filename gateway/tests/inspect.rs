//! `moteseal inspect` on every datagram of the test vectors, without keys and with them, and on bytes that are
//! no datagram.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use moteseal::aead::{Backend as _, Nonce, Ring};
use moteseal::keys::{DeviceKey, SessionKeys};
use moteseal::number::{DeviceId, Epoch, Generation, Salt, ServerSalt};
use moteseal::wire::{Header, Hello, Unverified, Welcome};
use serde_json::Value;
use tempfile::TempDir;

fn inspect(args: &[&str], stdin: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moteseal"));
    command.arg("inspect").args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&stdin));
    let output = child.wait_with_output().unwrap();
    // A program that has its datagrams from its arguments does not read.
    let _ = writer.join().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
    output
}

/// What is said of each datagram; without the first line's number, each a text.
fn blocks(output: &Output) -> Vec<String> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let mut blocks: Vec<String> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix(&format!("{}: ", blocks.len() + 1)) {
            Some(title) => blocks.push(title.to_owned()),
            None => blocks.last_mut().unwrap().extend(["\n", line.trim_start()]),
        }
    }
    blocks
}

fn good(args: &[&str], datagrams: &[&str]) -> Vec<String> {
    let output = inspect(&[args, datagrams].concat(), &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let blocks = blocks(&output);
    assert_eq!(blocks.len(), datagrams.len());
    blocks
}

fn vectors(file: &str) -> Value {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../test-vectors").join(file).with_extension("json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn cases(file: &str) -> Vec<Value> {
    vectors(file)["cases"].as_array().unwrap().clone()
}

fn text<'v>(case: &'v Value, field: &str) -> &'v str {
    case[field].as_str().unwrap_or_else(|| panic!("{field} of {case}"))
}

fn array<const LEN: usize>(case: &Value, field: &str) -> [u8; LEN] {
    hex::decode(text(case, field)).unwrap().try_into().unwrap()
}

/// The field of this name has this value.
fn says(block: &str, field: &str, value: &str) {
    let wanted = format!("{field:<15}{value}");
    assert!(block.lines().any(|line| line == wanted), "no line {wanted:?} in:\n{block}");
}

/// A registry of the device of a case.
struct Keys {
    _directory: TempDir,
    registry: PathBuf,
    rotation: PathBuf,
}

impl Keys {
    fn of(case: &Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let registry = directory.path().join("registry.csv");
        let (id, generation) = (text(case, "device_id"), &case["generation"]);
        let row =
            format!("device_id,generation,device_key\n{id},{generation},{}\n", text(case, "device_key"));
        fs::write(&registry, row).unwrap();
        let rotation = directory.path().join("rotation-keys.csv");
        let key = case["rotation_key"].as_str().map_or("00".repeat(32), str::to_owned);
        fs::write(&rotation, format!("device_id,rotation_key\n{id},{key}\n")).unwrap();
        Self { _directory: directory, registry, rotation }
    }

    fn args(&self) -> [&str; 2] {
        ["--keys", self.registry.to_str().unwrap()]
    }

    fn args_to_rotate(&self) -> [&str; 4] {
        let [keys, registry] = self.args();
        [keys, registry, "--rotation-keys", self.rotation.to_str().unwrap()]
    }
}

fn epoch(case: &Value) -> Epoch {
    Epoch::from_bytes(array(case, "epoch"))
}

fn hello(case: &Value, device_key: &DeviceKey, generation: Generation, epoch: Epoch) -> String {
    let (device_id, salt) = (DeviceId::new(array(case, "device_id")), Salt(array(case, "salt")));
    let header = Header::Hello(Hello { generation_bits: generation.low_bits(), device_id, epoch, salt });
    let header = header.encode().as_bytes().to_vec();
    let key = device_key.hello_key(device_id);
    let tag = Ring::seal(&key, Nonce::hello(epoch, salt), &header[..9], &mut []);
    hex::encode([header.as_slice(), &tag].concat())
}

/// The Hello and the Welcome that opened the session of a case.
fn opening(case: &Value) -> [String; 2] {
    let device_key = DeviceKey::new(array(case, "device_key"));
    let generation = case["generation"].as_u64().and_then(|number| Generation::new(number.try_into().ok()?));
    let hello = hello(case, &device_key, generation.unwrap(), epoch(case));
    let (salt, server_salt) = (Salt(array(case, "salt")), ServerSalt(array(case, "server_salt")));
    let SessionKeys { down, .. } =
        device_key.session_keys(DeviceId::new(array(case, "device_id")), epoch(case), salt, server_salt);
    let header = Header::Welcome(Welcome { early_taken: false, echo: salt.echo(), server_salt });
    let header = header.encode().as_bytes().to_vec();
    let mut cid = hex::decode(text(case, "cid")).unwrap();
    let tag = Ring::seal(&down, Nonce::welcome(), &header, &mut cid);
    [hello, hex::encode([header.as_slice(), &cid, &tag].concat())]
}

#[test]
fn hellos() {
    for case in cases("hello") {
        let datagram = text(&case, "datagram");
        let keys = Keys::of(&case);
        let [clear] = &good(&[], &[datagram])[..] else { panic!() };
        let [opened] = &good(&keys.args(), &[datagram])[..] else { panic!() };
        for block in [clear, opened] {
            assert!(block.starts_with(&format!("Hello, device to server, {} bytes\n", datagram.len() / 2)));
            says(block, "device id", text(&case, "device_id"));
            says(block, "salt", text(&case, "salt"));
            says(block, "tag", text(&case, "tag"));
            let [boot, count] = [&case["boot_count"], &case["hello_count"]];
            says(block, "epoch", &format!("{boot}.{count} (boot {boot}, Hello {count})"));
            says(block, "generation", &format!("{} modulo 4", case["generation"].as_u64().unwrap() % 4));
        }
        assert!(!clear.contains("opened"), "{clear}");
        payload(opened, text(&case, "payload"));
    }
}

/// The payload is shown: as digits, and perhaps as text behind them.
fn payload(block: &str, expected: &str) {
    let line = block
        .lines()
        .find_map(|line| line.strip_prefix("payload        "))
        .unwrap_or_else(|| panic!("{block}"));
    let digits = line.split(' ').next().unwrap();
    assert_eq!(digits, if expected.is_empty() { "none" } else { expected });
    if let Some(shown) = line.split_once(' ').map(|(_, shown)| shown) {
        let bytes = hex::decode(expected).unwrap();
        assert_eq!(shown.as_bytes(), [b"\"", bytes.as_slice(), b"\""].concat());
    }
}

#[test]
fn welcomes_open_by_their_hello() {
    for case in cases("welcome") {
        let (hello, datagram) = (text(&case, "hello"), text(&case, "datagram"));
        let keys = Keys::of(&case);
        let clear = good(&[], &[datagram]);
        let opened = good(&keys.args(), &[hello, datagram]);
        for block in [&clear[0], &opened[1]] {
            assert!(block.starts_with("Welcome, server to device, "), "{block}");
            says(block, "echo", text(&case, "echo"));
            says(block, "server salt", text(&case, "server_salt"));
            let taken = case["early_data_taken"].as_bool().unwrap();
            says(block, "early data", if taken { "E: taken" } else { "none" });
            says(block, "tag", text(&case, "tag"));
        }
        says(&opened[1], "session", text(&case, "cid"));
        let name = format!("device {} epoch {}", text(&case, "device_id"), epoch(&case));
        says(&opened[1], "opened", &format!("authentic, answers the Hello of {name}"));
    }
}

#[test]
fn floors_open_by_their_hello() {
    for case in cases("floor") {
        let (hello, datagram) = (text(&case, "hello"), text(&case, "datagram"));
        let keys = Keys::of(&case);
        let clear = good(&[], &[datagram]);
        let opened = good(&keys.args(), &[hello, datagram]);
        let floor = Epoch::from_bytes(array(&case, "floor"));
        for block in [&clear[0], &opened[1]] {
            assert!(block.starts_with("Floor, server to device, 25 bytes\n"), "{block}");
            says(block, "echo", text(&case, "echo"));
            says(block, "floor", &format!("{floor} (boot {}, Hello {})", floor.boot(), floor.count()));
            says(block, "tag", text(&case, "tag"));
        }
        assert!(opened[1].contains("authentic, answers the Hello"));
    }
}

#[test]
fn data_open_by_the_welcome_before() {
    for case in cases("data").into_iter().chain(cases("control")) {
        let datagram = text(&case, "datagram");
        let [hello, welcome] = opening(&case);
        let clear = good(&[], &[datagram]);
        let opened = good(&Keys::of(&case).args(), &[&hello, &welcome, datagram]);
        for block in [&clear[0], &opened[2]] {
            assert!(block.starts_with("Data, "), "{block}");
            says(block, "connection id", text(&case, "cid"));
            says(block, "tag", text(&case, "tag"));
            let flags = [("confirm", "C:", "c"), ("control", "K:", "k")];
            for (name, set, field) in flags {
                let set = if case[field].as_bool().unwrap() { set } else { "no" };
                assert!(block.contains(&format!("\n{name:<15}{set}")), "{block}");
            }
        }
        let opened = &opened[2];
        let sender = if text(&case, "direction") == "up" { "device to server" } else { "server to device" };
        says(opened, "opened", &format!("authentic, {sender}, number {}", case["number"]));
        let acknowledged = case["ack_block"].as_str().map(|block| {
            let block = u32::from_str_radix(block, 16).unwrap();
            let (number, before) = (block >> 8, block & 0xFF);
            let before = (0..8).filter(|bit| before >> bit & 1 == 1).map(|bit| number - 1 - bit);
            std::iter::once(number).chain(before).map(|n| n.to_string()).collect::<Vec<_>>().join(" ")
        });
        match acknowledged {
            Some(numbers) => says(opened, "acknowledged", &numbers),
            None => assert!(!opened.contains("acknowledged  "), "{opened}"),
        }
        match case["kind"].as_str() {
            None if case["k"] == false => payload(opened, text(&case, "payload")),
            // A rotation to generation 0 is one to a generation that never comes.
            Some("rotate") if text(&case, "payload").starts_with("0100") => {
                says(opened, "message", "kind 01, which does nothing");
            }
            None | Some("unknown") => {
                let kind = &text(&case, "payload")[..2];
                says(opened, "message", &format!("kind {kind}, which does nothing"));
            }
            Some(kind) => assert!(opened.contains(&format!("\nmessage        {kind}")), "{opened}"),
        }
    }
}

#[test]
fn the_secret_of_a_rotation_is_not_shown() {
    let rotations = cases("control").into_iter().filter(|case| case["kind"] == "rotate");
    let mut followed = 0;
    for case in rotations {
        let [hello_before, welcome] = opening(&case);
        let keys = Keys::of(&case);
        let exchange = [hello_before.as_str(), &welcome, text(&case, "datagram")];
        let opened = good(&keys.args_to_rotate(), &exchange);
        let secret = &text(&case, "payload")[4..];
        assert!(!opened[2].contains(secret) && !opened[2].contains(&secret[32..]), "{}", opened[2]);

        let (Some(new), true) = (case["new_device_key"].as_str(), case["outcome"] == "accepted") else {
            continue;
        };
        let new_key = DeviceKey::new(hex::decode(new).unwrap().try_into().unwrap());
        let generation = u8::from_str_radix(&text(&case, "payload")[2..4], 16).unwrap();
        let later = Epoch::new(epoch(&case).boot() + 1, 0);
        let hello_after = hello(&case, &new_key, Generation::new(generation).unwrap(), later);
        let exchange = [exchange.as_slice(), &[&hello_after]].concat();
        assert!(good(&keys.args_to_rotate(), &exchange)[3].contains("authentic"));
        let without = inspect(&[&keys.args(), &exchange[..]].concat(), &[]);
        assert_eq!(without.status.code(), Some(1), "{without:?}");
        let reason = "the key file holds another generation of this device's key";
        says(&blocks(&without)[3], "not opened", reason);
        followed += 1;
    }
    assert!(followed > 0);
}

#[test]
fn resets_open_by_the_welcome_before() {
    for case in cases("reset") {
        let datagram = text(&case, "datagram");
        let [hello, welcome] = opening(&case);
        let clear = good(&[], &[datagram]);
        let opened = good(&Keys::of(&case).args(), &[&hello, &welcome, datagram]);
        for block in [&clear[0], &opened[2]] {
            assert!(block.starts_with("Reset, server to device, "), "{block}");
            says(block, "connection id", text(&case, "cid"));
            says(block, "tag", text(&case, "tag"));
        }
        says(&opened[2], "opened", &format!("authentic, answers number {}", case["number"]));
    }
}

#[test]
fn what_cannot_be_parsed_is_told_with_the_reason() {
    let cases = cases("negative");
    let (bad, parsed): (Vec<_>, Vec<_>) = cases.iter().partition(|case| case["stage"] == "parse");
    assert!(bad.len() > 50 && parsed.len() > 50);
    for case in &bad {
        let output = inspect(&[text(case, "datagram")], &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let reason = match text(case, "reason") {
            "length" => "shorter or longer than a datagram of its type can be",
            "version" => "not version 1",
            "undefined_bit" => "a bit is set that version 1 does not define",
            "c_without_s" => "it asks for an acknowledgement with a shortened number",
            other => panic!("{other}"),
        };
        let expected =
            format!("not a datagram of Moteseal/1, {} bytes: {reason}", text(case, "datagram").len() / 2);
        assert_eq!(blocks(&output), [expected], "{case}");
        assert_eq!(output.stderr, b"moteseal: 1 of 1 could not be read or opened\n");
    }
    let lines: Vec<_> = parsed.iter().map(|case| text(case, "datagram")).collect();
    let output = inspect(&[], lines.join("\n").as_bytes());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(blocks(&output).len(), lines.len());
}

#[test]
fn any_bytes_are_taken() {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_be_bytes()[0]
    };
    let session = &cases("data")[0];
    let [hello, welcome] = opening(session);
    let mut lines = vec![hello, welcome];
    for len in (0..80).cycle().take(4000) {
        // Half of them with a first byte of version 1, some with the connection id of the session.
        let mut bytes: Vec<u8> = (0..len).map(|_| next()).collect();
        if let [first, second, ..] = &mut bytes[..]
            && next() & 1 == 1
        {
            *first = *first & 0x3F | 0x40;
            *second = 5;
        }
        lines.push(if len == 0 { "0x".into() } else { hex::encode(bytes) });
    }
    let count = lines.len();
    let mut parsed = 0;
    for line in &lines {
        parsed +=
            usize::from(Unverified::parse(&mut hex::decode(line.trim_start_matches("0x")).unwrap()).is_ok());
    }
    assert!(parsed > 400, "{parsed}");
    let keys = Keys::of(session);
    for (args, failed) in [(&[][..], count - parsed), (&keys.args(), count - 2)] {
        let output = inspect(args, lines.join("\n").as_bytes());
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(blocks(&output).len(), count);
        let said = format!("moteseal: {failed} of {count} could not be read or opened\n");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), said);
    }
}

#[test]
fn every_changed_bit_stops_the_opening() {
    let case = &cases("data")[0];
    let keys = Keys::of(case);
    let [hello, welcome] = opening(case);
    let datagram = hex::decode(text(case, "datagram")).unwrap();
    let mut lines = vec![hello, welcome];
    for bit in 0..datagram.len() * 8 {
        let mut changed = datagram.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        lines.push(hex::encode(changed));
    }
    lines.push(hex::encode(&datagram));
    let output = inspect(&keys.args(), lines.join("\n").as_bytes());
    let blocks = blocks(&output);
    let (last, changed) = blocks[2..].split_last().unwrap();
    assert!(last.contains("opened         authentic"));
    for block in changed {
        assert!(block.contains("not opened") || block.starts_with("not a datagram"), "{block}");
    }
}

#[test]
fn a_datagram_is_opened_only_by_what_came_before() {
    let case = &cases("data")[0];
    let keys = Keys::of(case);
    let [hello, welcome] = opening(case);
    let not_opened = |args: &[&str], datagrams: &[&str], reason: &str| {
        let output = inspect(&[args, datagrams].concat(), &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        says(blocks(&output).last().unwrap(), "not opened", reason);
    };
    let data = text(case, "datagram");
    not_opened(&keys.args(), &[data], "no Welcome with this connection id was opened before it");
    not_opened(&keys.args(), &[&hello, data], "no Welcome with this connection id was opened before it");
    not_opened(&keys.args(), &[&welcome], "no Hello with this echo was opened before it");
    let other = cases("hello").into_iter().find(|other| other["device_id"] != case["device_id"]).unwrap();
    not_opened(&Keys::of(&other).args(), &[&hello], "the key file does not hold this device");
    let mut wrong_key = case.clone();
    wrong_key["device_key"] = "11".repeat(32).into();
    not_opened(&Keys::of(&wrong_key).args(), &[&hello], "the tag does not verify");
}

#[test]
fn stdin_and_arguments_are_read_alike() {
    let case = &cases("hello")[1];
    let datagram = text(case, "datagram");
    let expected = inspect(&[datagram], &[]).stdout;
    let pairs: Vec<_> =
        datagram.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect();
    let forms = [
        format!("{datagram}\n"),
        format!("\r\n  {}\r\n", datagram.to_uppercase()),
        format!("# captured\n\n0x{datagram} # the first\n"),
        pairs.join(":"),
        pairs.join(" "),
    ];
    for form in forms {
        let output = inspect(&[], form.as_bytes());
        assert_eq!((output.status.code(), &output.stdout), (Some(0), &expected), "{form}");
    }
    assert_eq!(inspect(&[&pairs.join(" ")], &[]).stdout, expected);
}

#[test]
fn what_is_no_input_is_told() {
    let said = |args: &[&str], stdin: &[u8]| {
        let output = inspect(args, stdin);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    assert!(said(&[], b"").contains("no datagram was given"));
    assert!(said(&[], b"# nothing\n").contains("no datagram was given"));
    assert!(said(&[], b"\xff\xfe\n").contains("stdin: "));
    for digits in ["4", "xyz", "44 0", "4\u{0660}"] {
        assert!(said(&[digits], &[]).contains("1: not hexadecimal digits, two a byte"), "{digits}");
    }
    assert!(
        said(&["--keys", "/nowhere/registry.csv", "44"], &[])
            .contains("/nowhere/registry.csv: cannot be read")
    );
    let keys = Keys::of(&cases("hello")[0]);
    let other_file = said(&["--keys", keys.rotation.to_str().unwrap(), "44"], &[]);
    assert!(other_file.contains("rotation-keys.csv: does not begin with the line device_id,generation"));
}

#[test]
fn payloads_cannot_drive_the_terminal() {
    let mut case = cases("data")[0].clone();
    case["device_key"] = "22".repeat(32).into();
    let device_key = DeviceKey::new([0x22; 32]);
    let (device_id, salt) = (DeviceId::new(array(&case, "device_id")), Salt(array(&case, "salt")));
    let generation_bits = Generation::FIRST.low_bits();
    let header = Header::Hello(Hello { generation_bits, device_id, epoch: epoch(&case), salt });
    let header = header.encode().as_bytes().to_vec();
    let mut payload = b"\x1b]0;pwned\x07\xc2\x9b2J".to_vec();
    let key = device_key.hello_key(device_id);
    let tag = Ring::seal(&key, Nonce::hello(epoch(&case), salt), &header[..9], &mut payload);
    let datagram = hex::encode([header.as_slice(), &payload, &tag].concat());
    let [block] = &good(&Keys::of(&case).args(), &[&datagram])[..] else { panic!() };
    assert!(block.chars().all(|c| c == '\n' || c == ' ' || c.is_ascii_graphic()), "{block:?}");
    says(block, "payload", &hex::encode(b"\x1b]0;pwned\x07\xc2\x9b2J"));
}

#[test]
fn help_tells_what_is_opened() {
    let output = inspect(&["--help"], &[]);
    let help = String::from_utf8(output.stdout).unwrap();
    for word in ["--keys", "--rotation-keys", "oldest first", "Exit status", "never shown", "stdin"] {
        assert!(help.contains(word), "{word}");
    }
}
