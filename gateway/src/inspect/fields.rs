//! Datagrams as names and values for people. Shows payloads, never the secret of a rotation.

use moteseal::control::{Control, Role};
use moteseal::number::Epoch;
use moteseal::wire::{AckBlock, Header, Seq, Unverified};

use super::opener::{Body, Content, Name, Opened};

/// A name and a value.
pub type Field = (&'static str, String);

/// What the datagram is.
pub const fn type_name(header: &Header) -> &'static str {
    match header {
        Header::Hello(_) => "Hello, device to server",
        Header::Welcome(_) => "Welcome, server to device",
        Header::Floor(_) => "Floor, server to device",
        Header::Data(_) => "Data",
        Header::Reset(_) => "Reset, server to device",
    }
}

/// What everybody can read.
pub fn in_the_clear(datagram: &Unverified<'_>) -> Vec<Field> {
    let sealed_len = datagram.sealed.ciphertext.len();
    let mut fields = match &datagram.header {
        Header::Hello(hello) => vec![
            ("device id", hello.device_id.to_string()),
            ("generation", format!("{} modulo 4", hello.generation_bits)),
            ("epoch", epoch(hello.epoch)),
            ("salt", hex::encode(hello.salt.0)),
            ("early data", sealed(sealed_len)),
        ],
        Header::Welcome(welcome) => vec![
            ("early data", (if welcome.early_taken { "E: taken" } else { "none" }).into()),
            ("echo", hex::encode(welcome.echo)),
            ("server salt", hex::encode(welcome.server_salt.0)),
            ("connection id", sealed(sealed_len)),
        ],
        Header::Floor(floor) => vec![("echo", hex::encode(floor.echo)), ("floor", epoch(floor.floor))],
        Header::Data(data) => vec![
            ("connection id", data.cid.to_string()),
            ("number", seq(data.seq)),
            ("confirm", flag(data.confirm, "C: asks for an acknowledgement")),
            ("acknowledges", flag(data.ack, "A: a block of 3 bytes, sealed")),
            ("control", flag(data.control, "K: a control message")),
            ("plaintext", sealed(sealed_len)),
        ],
        Header::Reset(reset) => vec![("connection id", reset.cid.to_string()), ("number", seq(reset.seq))],
    };
    fields.push(("tag", hex::encode(datagram.sealed.tag)));
    fields
}

/// What only the holder of a key can read.
pub fn inside(opened: &Opened) -> Vec<Field> {
    match opened {
        Opened::Hello(payload) => vec![("opened", "authentic".into()), ("payload", bytes(payload))],
        Opened::Welcome { hello, cid } => {
            let cid = cid.map_or_else(|| "malformed: not one connection id".into(), |cid| cid.to_string());
            vec![("opened", answers(*hello)), ("session", cid)]
        }
        Opened::Floor { hello } => vec![("opened", answers(*hello))],
        Opened::Data { session, sender, number, content } => {
            let direction = match sender {
                Role::Device => "device to server",
                Role::Server => "server to device",
            };
            let mut fields = vec![
                ("opened", format!("authentic, {direction}, number {}", number.value())),
                ("session", of(*session)),
            ];
            match content {
                Ok(content) => fields.extend(content_fields(content)),
                Err(malformed) => fields.push(("malformed", malformed.to_string())),
            }
            fields
        }
        Opened::Reset { session, number } => vec![
            ("opened", format!("authentic, answers number {}", number.value())),
            ("session", of(*session)),
        ],
    }
}

fn content_fields(content: &Content) -> Vec<Field> {
    let body = match &content.body {
        Body::Payload(payload) => ("payload", bytes(payload)),
        Body::Control(control) => ("message", self::control(control)),
    };
    let ack = content.ack.map(|block| ("acknowledged", numbers(block)));
    ack.into_iter().chain([body]).collect()
}

fn control(control: &Control) -> String {
    match control {
        Control::Rotate { generation, .. } => {
            format!("rotate to generation {}, secret not shown", generation.number())
        }
        Control::Close => "close".into(),
        Control::Moved(boot) => format!("moved by a Floor, boot counter before {boot}"),
        Control::Unknown(kind) => format!("kind {kind:02x}, which does nothing"),
    }
}

fn numbers(block: AckBlock) -> String {
    let numbers: Vec<_> = block.numbers().map(|number| number.value().to_string()).collect();
    numbers.join(" ")
}

fn answers(hello: Name) -> String {
    format!("authentic, answers the Hello of {}", of(hello))
}

fn of(name: Name) -> String {
    format!("device {} epoch {}", name.device_id, name.epoch)
}

fn epoch(epoch: Epoch) -> String {
    format!("{epoch} (boot {}, Hello {})", epoch.boot(), epoch.count())
}

fn seq(seq: Seq) -> String {
    match seq {
        Seq::One(low) => format!("low byte {low:02x}"),
        Seq::Two(number) => number.value().to_string(),
    }
}

fn flag(set: bool, meaning: &str) -> String {
    (if set { meaning } else { "no" }).into()
}

fn sealed(len: usize) -> String {
    match len {
        0 => "none".into(),
        1 => "1 byte, sealed".into(),
        len => format!("{len} bytes, sealed"),
    }
}

/// Hexadecimal digits, and the text if it is plain text: nothing from the network reaches a terminal raw.
fn bytes(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        _ if bytes.is_empty() => "none".into(),
        Ok(text) if text.chars().all(|c| c == ' ' || c.is_ascii_graphic()) => {
            format!("{} \"{text}\"", hex::encode(bytes))
        }
        _ => hex::encode(bytes),
    }
}
