//! A full disk, a flood, a stop.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::gateway::{Gateway, PATIENCE, Site, count, payloads, terminate};
use crate::mote::{Heard, Mote};

/// Lets files grow to this length and no further, as a full disk would.
fn limit_files(gateway: &Gateway, len: Option<u64>) {
    let limit = Rlimit { current: len, maximum: None };
    prlimit(Some(Pid::from_child(&gateway.child)), Resource::Fsize, limit).unwrap();
}

/// A gateway that gets an error for a file too long, and no signal.
fn start_limited(site: &Site) -> Gateway {
    let serve = site.serve_command();
    let mut command = Command::new("sh");
    // The log is a file on that disk too.
    command.args(["-c", "trap '' XFSZ; exec \"$@\" 2> \"$0\""]).arg(site.store().with_file_name("log"));
    command.arg(serve.get_program()).args(serve.get_args());
    Gateway::start(command)
}

#[test]
fn on_a_full_disk_hellos_wait_and_sessions_go_on() {
    let site = Site::new(3);
    let mut gateway = start_limited(&site);
    let (mut live, mut new) = (Mote::new(1), Mote::new(2));
    live.connect(gateway.addr);
    limit_files(&gateway, Some(1));
    let hello = new.hello(b"not yet");
    new.send(&hello, gateway.addr);
    assert!(gateway.expect("storage_error")["error"].is_string());
    new.send(&hello, gateway.addr);
    assert_eq!(gateway.expect("rejected")["reason"], "storage");
    assert_eq!(new.hear(Duration::from_millis(700)), None);
    let refused = site.run("send", &[&live.id.to_string(), "01"]);
    assert!(String::from_utf8(refused.stdout).unwrap().contains("store cannot be written"));
    let data = live.data(b"still here", true);
    live.send(&data, gateway.addr);
    assert_eq!(live.hear(PATIENCE), Some(Heard::Ack));
    // Silent at once, though not durable yet.
    let third = Mote::new(3).id.to_string();
    gateway.say(&format!("revoke {third}"));

    limit_files(&gateway, None);
    gateway.expect("storage_recovered");
    gateway.expect("revoked");
    while !matches!(new.hear(PATIENCE).expect("a Welcome"), Heard::Welcome { early_taken: true }) {}
    assert_eq!(count(&gateway.told, "storage_error"), 1);
    new.send(&hello, gateway.addr);
    let first = new.data(b"in", true);
    new.send(&first, gateway.addr);
    gateway.expect("session");
    let told = gateway.stop();
    assert_eq!(payloads(&told, "early"), [b"not yet"]);
    let gateway = site.start();
    assert_eq!(site.ask("devices", &[])[2]["status"], "revoked");
    live.boot = 2;
    live.connect(gateway.addr);
}

#[test]
fn a_stop_on_a_full_disk_says_that_something_is_lost() {
    let site = Site::new(1);
    let mut gateway = start_limited(&site);
    limit_files(&gateway, Some(1));
    let mut mote = Mote::new(1);
    let hello = mote.hello(b"lost");
    mote.send(&hello, gateway.addr);
    gateway.expect("storage_error");
    terminate(&gateway.child);
    assert!(!gateway.child.wait().unwrap().success());
    assert_eq!(count(&gateway.rest(), "early"), 0);
    // It was never there; the device repeats it.
    let mut gateway = site.start();
    mote.send(&hello, gateway.addr);
    assert_eq!(mote.hear(PATIENCE), Some(Heard::Welcome { early_taken: true }));
    gateway.expect("early");
}

#[test]
fn where_nobody_reads_what_it_tells_the_second_signal_ends_it() {
    let site = Site::new(1);
    let mut child = site
        .serve_command()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Each is answered by a line of over 100 bytes: the pipe is full, then the queue of inputs, then stdin itself.
    let writer = thread::spawn(move || while stdin.write_all(b"frobnicate\n").is_ok() {});
    thread::sleep(Duration::from_secs(2));
    terminate(&child);
    thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "it did not wait for its reader");
    terminate(&child);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    writer.join().unwrap();
    site.start().stop();
}

#[test]
fn what_is_under_way_at_a_stop_is_delivered_and_answered() {
    let site = Site::new(1);
    for boot in 1..10 {
        let gateway = site.start();
        let mut mote = Mote::new(1);
        mote.boot = boot;
        let hello = mote.hello(b"just in time");
        mote.send(&hello, gateway.addr);
        std::thread::sleep(Duration::from_millis(u64::from(boot) % 3));
        let told = gateway.stop();
        let welcomed = mote.hear(Duration::from_millis(50)).is_some();
        assert_eq!(count(&told, "early"), usize::from(welcomed));
    }
}

fn resident_kib(gateway: &Gateway) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_flood_costs_no_memory_and_few_lines() {
    let site = Site::new(1);
    let mut gateway = site.start();
    let mut mote = Mote::new(1);
    mote.connect(gateway.addr);
    let stale = mote.hellos[0].clone();
    let data = mote.data(b"once", false);
    mote.send(&data, gateway.addr);
    gateway.expect("data");
    gateway.expect("data");
    let flood = |rounds: u32| {
        for round in 0..rounds {
            let noise = round.to_be_bytes().repeat(50);
            mote.send(&noise, gateway.addr);
            mote.send(&[], gateway.addr);
            mote.send(&stale, gateway.addr);
            mote.send(&data, gateway.addr);
            let mut forged = stale.clone();
            forged[12] ^= 1;
            mote.send(&forged, gateway.addr);
            mote.send(&vec![0x60; 65_507], gateway.addr);
            if round % 32 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    };
    flood(500);
    let before = resident_kib(&gateway);
    flood(4_000);
    let grown = resident_kib(&gateway).saturating_sub(before);
    assert!(grown < 4_096, "{grown} KiB more");
    let told = gateway.listen(Duration::from_millis(1_500));
    let rejected: Vec<_> = told.iter().filter(|event| event["event"] == "rejected").collect();
    let counted: u64 = rejected.iter().map(|event| event["count"].as_u64().unwrap()).sum();
    assert!(counted > 1_000 && rejected.len() < 100, "{counted} in {} lines", rejected.len());
    assert_eq!((count(&told, "data"), count(&told, "hello")), (0, 0));
    mote.boot = 2;
    mote.connect(gateway.addr);
}
