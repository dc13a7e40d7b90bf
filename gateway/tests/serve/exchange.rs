//! What devices, operators and applications see of a gateway that works.

use std::time::Duration;

use moteseal::control::Control;
use serde_json::json;

use crate::gateway::{Gateway, PATIENCE, Site, count, payloads};
use crate::mote::{Heard, Mote, receive};

#[test]
fn hello_early_data_command_and_acknowledgement() {
    let site = Site::new(1);
    let mut gateway = site.start();
    let mut mote = Mote::new(1);
    let id = mote.id.to_string();

    let hello = mote.hello(b"21.5 C");
    mote.send(&hello, gateway.addr);
    assert_eq!(mote.hear(PATIENCE), Some(Heard::Welcome { early_taken: true }));
    let event = gateway.expect("hello");
    assert_eq!((&event["device"], &event["epoch"]), (&json!(id), &json!("1.0")));
    assert_eq!(gateway.expect("early")["payload"], hex::encode("21.5 C"));

    // Early data is delivered once, whatever is repeated.
    mote.send(&hello, gateway.addr);

    let first = mote.data(b"hello", true);
    mote.send(&first, gateway.addr);
    assert_eq!(gateway.expect("session")["epoch"], "1.0");
    let event = gateway.expect("data");
    assert_eq!((&event["seq"], &event["payload"]), (&json!(0), &json!(hex::encode("hello"))));
    while mote.hear(PATIENCE) != Some(Heard::Ack) {}

    gateway.say(&format!("send {id} 0badcafe"));
    let command = gateway.expect("queued")["command"].clone();
    let Some(Heard::Command(number, payload)) = mote.hear(PATIENCE) else { panic!() };
    assert_eq!(payload, [0x0B, 0xAD, 0xCA, 0xFE]);
    let event = gateway.expect("sent");
    assert_eq!((&event["command"], &event["epoch"]), (&command, &json!("1.0")));
    // The acknowledgement is lost; the same bytes come again.
    assert_eq!(mote.hear(PATIENCE), Some(Heard::Repeat(number)));
    let ack = mote.ack(number);
    mote.send(&ack, gateway.addr);
    assert_eq!(gateway.expect("acknowledged")["command"], command);
    assert_eq!(mote.hear(Duration::from_secs(1)), None);

    let close = mote.control(&Control::Close);
    mote.send(&close, gateway.addr);
    assert_eq!(gateway.expect("closed")["device"], id);
    let told = gateway.stop();
    assert_eq!((count(&told, "early"), count(&told, "acknowledged")), (1, 1));
    assert_eq!(payloads(&told, "data"), [b"hello"]);
}

#[test]
fn a_command_waits_for_its_device_and_expires() {
    let site = Site::new(2);
    let mut gateway = site.start();
    let (mut mote, other) = (Mote::new(1), Mote::new(2));
    let queued = site.ask("send", &[&mote.id.to_string(), "01"]);
    assert_eq!(queued[0]["event"], "queued");
    let expiring = site.ask("send", &[&other.id.to_string(), "02", "--expires", "1"]);
    assert_ne!(queued[0]["command"], expiring[0]["command"]);
    assert_eq!(gateway.expect("expired")["command"], expiring[0]["command"]);

    mote.connect(gateway.addr);
    let heard = mote.hear(PATIENCE);
    let Some(Heard::Command(number, payload)) = heard else { panic!("{heard:?}") };
    assert_eq!(payload, [1]);
    let ack = mote.ack(number);
    mote.send(&ack, gateway.addr);
    assert_eq!(gateway.expect("acknowledged")["command"], queued[0]["command"]);
}

#[test]
fn a_session_that_ends_leaves_its_command_unknown() {
    let site = Site::new(1);
    let mut gateway = site.start();
    let mut mote = Mote::new(1);
    mote.connect(gateway.addr);
    let id = mote.id.to_string();
    for idempotent in [false, true] {
        let options: &[&str] = if idempotent { &[&id, "07", "--idempotent"] } else { &[&id, "07"] };
        let command = site.ask("send", options)[0]["command"].clone();
        gateway.expect("sent");
        mote.socket = crate::mote::socket();
        mote.boot += 1;
        mote.connect(gateway.addr);
        let unknown = gateway.expect("unknown");
        assert_eq!((&unknown["command"], &unknown["requeued"]), (&command, &json!(idempotent)));
        if idempotent {
            assert_eq!(gateway.expect("sent")["command"], command);
            let Some(Heard::Command(number, _)) = mote.hear(PATIENCE) else { panic!() };
            let ack = mote.ack(number);
            mote.send(&ack, gateway.addr);
            assert_eq!(gateway.expect("acknowledged")["command"], command);
        }
    }
}

/// M-128: the attacker holds a command back with all its repeats, until its device takes no copy any more.
#[test]
fn a_command_that_is_held_back_does_not_hold_up_the_next() {
    let site = Site::new(1);
    let mut gateway = site.start();
    let mut mote = Mote::new(1);
    mote.connect(gateway.addr);
    let id = mote.id.to_string();
    for idempotent in [false, true] {
        let options: &[&str] = if idempotent { &[&id, "07", "--idempotent"] } else { &[&id, "07"] };
        let command = site.ask("send", options)[0]["command"].clone();
        let next = site.ask("send", &[&id, "08"])[0]["command"].clone();
        assert_eq!(gateway.expect("sent")["command"], command);
        let held = receive(&mote.socket, PATIENCE).unwrap();
        for _ in 0..64 {
            let data = mote.data(b"x", true);
            mote.send(&data, gateway.addr);
            let answer = loop {
                let datagram = receive(&mote.socket, PATIENCE).unwrap();
                if datagram != held {
                    break datagram;
                }
            };
            assert_eq!(mote.understand(answer), Heard::Ack);
        }
        let highest = mote.session.as_ref().unwrap().highest_verified().unwrap();
        let ack = mote.ack(highest.value());
        mote.send(&ack, gateway.addr);
        let unknown = gateway.expect("unknown");
        assert_eq!((&unknown["command"], &unknown["requeued"]), (&command, &json!(idempotent)));
        // In the same session the next one goes, after the same one again if that does no harm.
        let follow: &[(_, _)] = if idempotent { &[(&command, 7), (&next, 8)] } else { &[(&next, 8)] };
        for (command, byte) in follow {
            let sent = gateway.expect("sent");
            assert_eq!((&sent["command"], &sent["epoch"]), (*command, &json!("1.0")));
            let number = loop {
                match mote.hear(PATIENCE).unwrap() {
                    Heard::Command(number, payload) if payload == [*byte] => break number,
                    // A repeat of what was held back, which is of no use any more.
                    Heard::Other => {}
                    other => panic!("{other:?}"),
                }
            };
            let ack = mote.ack(number);
            mote.send(&ack, gateway.addr);
            assert_eq!(gateway.expect("acknowledged")["command"], **command);
        }
        assert_eq!(mote.understand(held), Heard::Other, "it comes too late");
    }
    let told = gateway.stop();
    assert_eq!((count(&told, "unknown"), count(&told, "acknowledged")), (2, 3));
    // Nothing of it is left in the queue, or told again.
    let mut gateway = site.start();
    assert!(gateway.listen(Duration::from_secs(1)).is_empty());
    assert_eq!(site.ask("devices", &[])[0]["queued"], 0);
}

#[test]
fn wrong_requests_are_refused_with_a_reason() {
    let site = Site::new(1);
    let mut gateway = site.start();
    for line in ["send d000000000000009 00", "frobnicate", "rotate d000000000000001", "revoke xyz"] {
        gateway.say(line);
        assert!(gateway.expect("refused")["reason"].is_string());
    }
    let output = site.run("send", &["d000000000000009", "00"]);
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains("no device of this id"));
    let devices = site.ask("devices", &[]);
    assert_eq!((devices.len(), &devices[0]["status"]), (1, &json!("active")));
    gateway.stop();
    assert!(String::from_utf8(site.run("devices", &[]).stderr).unwrap().contains("no gateway runs"));
}

#[test]
fn a_closed_stdout_ends_the_gateway_with_an_error() {
    let site = Site::new(1);
    let mut child = site.serve_command().stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(!child.wait().unwrap().success());
}

#[test]
fn ipv6_works_too() {
    let site = Site::new(1);
    let mut command = crate::gateway::moteseal();
    command.args(["serve", "--listen", "[::1]:0", "--store"]).arg(site.store());
    command.arg("--registry").arg(site.registry());
    let gateway = Gateway::start(command);
    let mut mote = Mote::new(1);
    mote.socket = std::net::UdpSocket::bind("[::1]:0").unwrap();
    mote.connect(gateway.addr);
}
