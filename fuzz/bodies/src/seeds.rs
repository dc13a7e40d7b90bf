//! Inputs to begin with: the datagrams and tables of `test-vectors/`, and for what has a life, a plain one.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

/// A target and an input of its.
pub type Seed = (&'static str, Vec<u8>);

/// Every seed, the same at each call.
///
/// # Panics
/// If the test vectors are not there.
pub fn all() -> Vec<Seed> {
    let mut seeds = BTreeSet::new();
    for name in
        ["hello", "welcome", "floor", "data", "reset", "control", "negative", "ack", "numbers", "window"]
    {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../test-vectors")
            .join(name)
            .with_extension("json");
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        collect(&file, &mut seeds);
    }
    seeds.extend(lives());
    seeds.into_iter().collect()
}

/// Whatever a vector file has, by the names of its fields.
fn collect(value: &Value, seeds: &mut BTreeSet<Seed>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect(value, seeds)),
        Value::Object(fields) => {
            for (name, value) in fields {
                if let Some(bytes) = value.as_str().and_then(|digits| hex::decode(digits).ok()) {
                    field(name, &bytes, seeds);
                }
                collect(value, seeds);
            }
        }
        _ => {}
    }
}

fn field(name: &str, bytes: &[u8], seeds: &mut BTreeSet<Seed>) {
    let len = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    let behind = |head: &[u8]| [head, bytes].concat();
    match name {
        "datagram" | "hello" | "welcome" | "floor" | "data" | "reset" => {
            seeds.insert(("wire", bytes.to_vec()));
            seeds.insert(("gateway_inspect", behind(&[0x80, len])));
            seeds.insert(("session", behind(&[0, 6, len])));
            seeds.insert(("session", behind(&[1, 6, len])));
            // In clear, as `moteseal inspect` takes it.
            seeds.insert(("gateway_inspect", [&[0], hex::encode(bytes).as_bytes()].concat()));
        }
        "payload" | "plaintext" if bytes.len() <= 40 => {
            for (sender, confirm) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                seeds.insert(("codecs", behind(&[2, sender, confirm, len])));
            }
        }
        "ack_block" | "block" => {
            seeds.insert(("codecs", behind(&[1])));
        }
        _ => {}
    }
}

/// The key of the device of the test vectors.
const KEY: &str = "d4f046949e3844b933478dc6cd06bbc4823e6e9d70117bff8ac04839ff9ff580";

/// For what is no codec: lives in which everything goes well, for a while.
fn lives() -> Vec<Seed> {
    let mut lives: Vec<Seed> = Vec::new();
    // A device: boot, send, the Welcome, Data up and down.
    let device = [
        &[0, 0, 0][..],
        &[0, 5],
        &[80, 0, 1, 7],
        &[100, 30, 3, 70, 0, 0, 2, b'c', b'd'].repeat(3),
        &[0, 9],
        &[60, 0],
    ];
    lives.push(("device", device.concat()));
    lives.push(("device", [&device.concat()[..], &[245, 2], &[100, 2, 1], &[245, 2]].concat()));
    lives.extend(rules_of_the_device().map(|life| ("device", life)));
    lives.extend(rules_of_the_server().map(|life| ("server", life)));
    // A server: a Hello, its write and commit, Data.
    let server = [
        &[0, 0, 3, 50, 1, 0, 3, 1, 2, 3, 0, 0][..],
        &[170, 0],
        &[170, 0],
        &[50, 0, 1, 70, 4, 1, 2, 3, 4, 0, 0].repeat(3),
    ];
    lives.push(("server", server.concat()));
    // A C program: boot, send, the answer, and so on.
    lives.push(("c_api", [&[0][..], &[3, 9, 0, 0, 1, 0], &[19, 0, 0, 0].repeat(6), &[18, 5]].concat()));
    lives.push(("c_api", [&[0][..], &[19; 60], &[18, 5, 19, 0, 0, 0, 0, 0, 0, 0]].concat()));
    for geometry in 0..4 {
        lives.push(("counter", [&[geometry, 1, 0][..], &[15, 0, 0, 0, 0, 0].repeat(20)].concat()));
    }
    lives.push(("image", [&[1, 7][..], &image()].concat()));
    lives.push((
        "image",
        [0].into_iter().chain([9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 5].repeat(4)).collect(),
    ));
    for kind in 0..3 {
        lives.push(("windows", [&[kind][..], &[0, 0, 1, 1, 3, 100].repeat(20)].concat()));
    }
    // M-17: three Data, a block for the last of them, and then one for the second.
    let block = |back| [0, 0x12, 0, 3, back, 0, 0, 0, 0];
    lives.push(("session", [&[1][..], &[4, 0, 0, 0, 0].repeat(3), &block(1), &block(2)].concat()));
    lives.push(("session", [1].into_iter().chain([0, 1, 0, 4, 1, 2, 3, 4, 0, 0].repeat(8)).collect()));
    lives.push(("world", vec![0x10; 64]));
    // Worlds as chance makes them.
    let mut state = 1_u64;
    for _ in 0..12 {
        let mut bytes = Vec::new();
        for _ in 0..1_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bytes.push(state.to_be_bytes()[0]);
        }
        lives.push(("world", bytes));
    }
    lives.push(("codecs", (0..=255).collect()));
    lives.extend(files());
    lives
}

/// For what reads files and lines of the gateway: such as are good, and some that are not.
fn files() -> Vec<Seed> {
    let mut lives: Vec<Seed> = Vec::new();
    lives.push((
        "gateway_registry",
        format!("\0device_id,generation,device_key\n0242acfffe110001,1,{KEY}\n").into(),
    ));
    lives.push((
        "gateway_registry",
        format!("\u{1}device_id,rotation_key\n# one\n0242acfffe110001,{KEY}\n").into(),
    ));
    // Keys with a digit too many or too few, and a device twice.
    for (kind, row) in [(0, "0242acfffe110001,1,"), (1, "0242acfffe110001,")] {
        let head = ["device_id,generation,device_key", "device_id,rotation_key"][kind];
        let kind = char::from(u8::try_from(kind).expect("0 or 1"));
        for bad in
            [format!("{KEY}0"), KEY[1..].to_owned(), KEY.replace('f', "g"), format!("{KEY}\n{row}{KEY}")]
        {
            lives.push(("gateway_registry", format!("{kind}{head}\n{row}{bad}\n").into()));
        }
    }
    lives.push((
        "gateway_registry",
        format!("\0device_id,generation,device_key\n0242acfffe110001,200,{KEY}\n").into(),
    ));
    let lines = [
        "serve\0--store\0gateway\0--registry\0fleet/registry.csv\0--listen\0[::1]:0\0--answer-timeout\x000\0--confirm-raise",
        "provision\0--count\x003\0--out\0fleet\0--flash-base\x000x08000000\0--page-size\x00512",
        "provision\0--ids\0ids.csv\0--fleet\0secrets\0--out\0fleet",
        "device\0--image\0a.bin\0--state\0f\0--server\0localhost:1\0--connect\0--max-age\x0060\0--no-rng",
        "send\0--store\0s\x000242acfffe110001\x006f70656e\0--expires\x003600\0--idempotent",
        "rotate\0--store\0s\x000242acfffe110001\0--rotation-keys\0k.csv",
        "inspect\0--keys\0k.csv\0--rotation-keys\0r.csv\x0040",
        "demo\0--seconds\x005\0--devices\x004\0--seed\x001",
        "restore\0--store\0s\0--from\0b\0--confirm-raise",
        "backup\0--store\0s\0--to\0b",
        "send 0242acfffe110001 6f70656e --expires 60 --idempotent",
        "quarantine 0242acfffe110001",
        "backup /a b/c",
        "devices",
    ];
    lives.extend(lines.map(|line| ("gateway_line", line.into())));
    for verb in ["rotate 0242acfffe110001", "revoke", "readmit 0242acfffe110001", "what"] {
        lives.push(("gateway_line", format!("{verb} {KEY}").into()));
        lives.push(("gateway_line", format!("{verb} {KEY}0").into()));
    }
    for verb in ["revoke", "readmit", "rotate"] {
        lives.push(("gateway_line", format!("{verb} 0242acfffe110001").into()));
    }
    // A journal: a device is provisioned, rotated, noted, revoked; the mark rises.
    let journal = [
        &[1, 0, 5][..],
        &[3, 0, 0, 1, 7, 1, 0, 2],
        &[2, 2, 0, 2, 1, 2, 3, 5, 4, 0, 2],
        &[1, 4, 0, 2, 6, 6, 2],
    ]
    .concat();
    lives.push(("gateway_journal", journal.clone()));
    // A status, then others: revoked is final. Then a frame that is cut short, and one behind it.
    let revoked = [&[1, 0, 4][..], &[3, 0, 0, 1, 7, 1, 0, 1, 1, 0, 0], &[1, 1, 0, 2, 1, 1, 0, 0]].concat();
    lives.push(("gateway_journal", revoked.clone()));
    lives.push(("gateway_journal", [&revoked[..], &[0x31, 1, 0, 0, 9], &[1, 5, 4]].concat()));
    // A journal that knows of a raise and of a revocation, and a store from before: a device, its key, no mark.
    let before = [&[0x09][..], &[0x01, 0, 1, 7, 0, 0, 0, 0, 0, 0]].concat();
    let raised = [&[1, 0, 1][..], &[3, 0, 0, 1, 7, 5, 0, 3, 1, 0, 1]].concat();
    lives.push(("gateway_start", [&before[..], &raised[..]].concat()));
    for kind in [0x09, 0x0B, 0x2B, 0x01, 0x08] {
        let start = [&[kind][..], &[0x81, 0, 1, 7, 2, 1, 0, 0, 0, 0][..], &journal[..]].concat();
        lives.push(("gateway_start", start));
    }
    lives
}

/// Lives in which a server asks a device for what it must refuse.
fn rules_of_the_device() -> [Vec<u8>; 4] {
    let opened = [&[0, 0, 0][..], &[0, 5], &[80, 0, 1, 7]].concat();
    let acknowledges_0 = [100, 30, 0x62, 0, 0, 0, 1, b'x'];
    // The number that goes next, less so many.
    let reset = |back| [100, 0, 0, back];
    let unanswered = [60, 0].repeat(9);
    [
        // M-46: acknowledged; never sent; while a Hello is outstanding.
        [&opened[..], &acknowledges_0, &reset(1)].concat(),
        [&opened[..], &reset(0)].concat(),
        [&opened[..], &unanswered, &reset(1)].concat(),
        // M-115: a *rotate* that does not prove itself.
        [&opened[..], &[100, 30, 1, 0, 0x39, 9, 10]].concat(),
    ]
}

/// Lives in which a device asks a server for what it must refuse.
fn rules_of_the_server() -> [Vec<u8>; 2] {
    let hello = |how: &[u8], payload: &[u8]| {
        let len = u8::try_from(payload.len()).expect("short");
        [&[0, 0][..], how, &[1, 0, len], payload, &[0, 1, 190]].concat()
    };
    let (first, later, late, same) = (&[4][..], &[6, 45][..], &[6, 38][..], &[3][..]);
    [
        // M-57: a late Hello, and once more.
        [hello(first, b"abc"), hello(later, b"def"), hello(late, b"ghi"), vec![140, 30, 0, 0, 1]].concat(),
        // M-56: the Hello that waits for its first Data, and another of its epoch and salt.
        [hello(first, b"abc"), hello(same, b"xyz"), hello(same, b"abc")].concat(),
    ]
}

/// A factory image, without its check values.
fn image() -> Vec<u8> {
    let part = |magic: &[u8; 4]| {
        let mut part = [magic, &[1, 1][..]].concat();
        part.resize(64, 0);
        part
    };
    [part(b"MSid"), part(b"MSky"), vec![0xFF; 64]].concat()
}
