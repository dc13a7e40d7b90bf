//! Devices taken out of service, and keys that change over the air.

use std::fs;
use std::time::Duration;

use serde_json::json;

use crate::gateway::{Gateway, PATIENCE, Site};
use crate::mote::{Heard, Mote};

fn is_silent(gateway: &mut Gateway, mote: &mut Mote) {
    let data = mote.data(b"let me in", true);
    mote.send(&data, gateway.addr);
    mote.boot += 1;
    let hello = mote.hello(b"let me in");
    mote.send(&hello, gateway.addr);
    assert_eq!(gateway.expect("rejected")["reason"], "not_active");
    assert_eq!(mote.hear(Duration::from_millis(300)), None);
}

#[test]
fn a_revoked_device_is_silent_from_the_next_datagram_on() {
    let site = Site::new(1);
    let mut gateway = site.start();
    let mut mote = Mote::new(1);
    let id = mote.id.to_string();
    mote.connect(gateway.addr);
    // A command is under way, one waits.
    let first = site.ask("send", &[&id, "01"])[0]["command"].clone();
    gateway.expect("sent");
    let second = site.ask("send", &[&id, "02"])[0]["command"].clone();
    assert!(matches!(mote.hear(PATIENCE), Some(Heard::Command(..))));
    site.ask("revoke", &[&id]);
    assert_eq!(gateway.expect("unknown")["command"], first);
    gateway.expect("revoked");
    assert_eq!(gateway.expect("refused")["command"], second);
    while mote.hear(Duration::from_millis(100)).is_some() {}
    is_silent(&mut gateway, &mut mote);
    for verb in ["readmit", "quarantine", "rotate", "send"] {
        let args: &[&str] = if verb == "send" { &[&id, "03"] } else { &[&id] };
        assert!(!site.run(verb, args).status.success(), "{verb}");
    }
    gateway.kill();
    let mut gateway = site.start();
    let data = mote.data(b"and now", true);
    mote.send(&data, gateway.addr);
    assert_eq!(gateway.expect("rejected")["reason"], "not_active");
}

#[test]
fn a_quarantined_device_can_be_readmitted() {
    let site = Site::new(1);
    let mut gateway = site.start();
    let mut mote = Mote::new(1);
    let id = mote.id.to_string();
    mote.connect(gateway.addr);
    for line in [format!("readmit {id}"), format!("quarantine {id}")] {
        gateway.say(&line);
    }
    gateway.expect("readmitted");
    gateway.expect("quarantined");
    is_silent(&mut gateway, &mut mote);
    site.ask("readmit", &[&id]);
    gateway.expect("readmitted");
    mote.connect(gateway.addr);
    assert_eq!(site.ask("devices", &[])[0]["session"], json!(true));
}

/// Whether a file holds these bytes anywhere.
fn holds(path: &std::path::Path, bytes: &[u8]) -> bool {
    fs::read(path).unwrap().windows(bytes.len()).any(|window| window == bytes)
}

/// Takes the *rotate* and acknowledges it.
fn takes_rotate(gateway: &Gateway, mote: &mut Mote) {
    while mote.hear(PATIENCE).expect("a rotate") != Heard::Rotate {}
    let ack = mote.ack(0);
    mote.send(&ack, gateway.addr);
}

/// Uses its next key, and forgets the one before.
fn turns(mote: &mut Mote) {
    mote.key = mote.next_key.take().unwrap();
    mote.generation = mote.generation.next().unwrap();
}

#[test]
fn a_rotation_runs_to_its_end_and_the_old_key_leaves_the_journal() {
    let site = Site::new(2);
    let mut command = site.serve_command();
    command.arg("--rotation-keys").arg(site.rotation_keys());
    let mut gateway = Gateway::start(command);
    let mut mote = Mote::new(1);
    let (id, old_key) = (mote.id.to_string(), *mote.key.expose());
    mote.connect(gateway.addr);
    assert!(holds(&site.file("journal"), &old_key));
    assert_eq!(site.ask("rotate", &[&id])[0]["generation"], 2);
    gateway.expect("rotation_begun");
    assert!(!site.run("rotate", &[&id]).status.success(), "a second rotation begins");
    takes_rotate(&gateway, &mut mote);
    let new_key = *mote.next_key.as_ref().unwrap().expose();
    assert!(holds(&site.file("journal"), &old_key) && holds(&site.file("journal"), &new_key));
    // Killed in the middle, it goes on.
    gateway.kill();
    let mut gateway = site.start();
    assert_eq!(site.ask("devices", &[])[0]["rotating"], true);
    mote.boot += 1;
    mote.connect(gateway.addr);
    let asked = mote.next_key.take();
    takes_rotate(&gateway, &mut mote);
    assert_eq!(mote.next_key, asked, "another secret for the same generation");
    turns(&mut mote);
    mote.connect(gateway.addr);
    assert_eq!(gateway.expect("rotation_finished")["generation"], 2);
    assert!(!holds(&site.file("journal"), &old_key));
    assert!(holds(&site.file("journal"), &new_key));
    assert!(holds(&site.file("journal"), Mote::new(2).key.expose()), "another device's key is gone");
    // The session goes on, under the new key alone.
    let data = mote.data(b"new", true);
    mote.send(&data, gateway.addr);
    assert_eq!(mote.hear(PATIENCE), Some(Heard::Ack));
    let mut thief = Mote::new(1);
    thief.boot = 1 << 20;
    let hello = thief.hello(b"old key");
    thief.send(&hello, gateway.addr);
    assert_eq!(gateway.expect("rejected")["reason"], "unknown_generation");
    gateway.stop();
    // The registry still has the old line: it is skipped.
    let gateway = site.start();
    mote.boot += 1;
    mote.connect(gateway.addr);
    assert_eq!(site.ask("devices", &[])[0]["generation"], 2);
}

#[test]
fn m_79_a_restore_does_not_bring_an_old_key_back() {
    let site = Site::new(1);
    let mut gateway = site.start();
    let mut mote = Mote::new(1);
    let id = mote.id.to_string();
    mote.connect(gateway.addr);
    let copy = site.root.path().join("backup");
    site.ask("backup", &["--to", copy.to_str().unwrap()]);
    // The key comes from a file of the operator's, not of the gateway's.
    let refused = site.run("rotate", &[&id]);
    assert!(String::from_utf8(refused.stdout).unwrap().contains("--rotation-keys"));
    site.ask("rotate", &[&id, "--rotation-keys", site.rotation_keys().to_str().unwrap()]);
    takes_rotate(&gateway, &mut mote);
    turns(&mut mote);
    mote.connect(gateway.addr);
    gateway.expect("rotation_finished");
    gateway.stop();
    let output = site.run("restore", &["--from", copy.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut gateway = site.start();
    let mut thief = Mote::new(1);
    thief.boot = 1 << 22;
    let hello = thief.hello(b"stolen");
    thief.send(&hello, gateway.addr);
    assert_eq!(gateway.expect("rejected")["reason"], "unknown_generation");
    mote.connect(gateway.addr);
    assert_eq!(site.ask("devices", &[])[0]["generation"], 2);
}
