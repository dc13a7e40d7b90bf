//! A thief of the device key: he can seal under every session key of the key that he stole, towards either side. He
//! sends what authenticates and makes no sense, and a rotation that does not prove itself. (Payloads of his own he could
//! send as well; nothing is promised about those.)

use moteseal::aead::{Backend, Nonce};
use moteseal::control::{Control, Role};
use moteseal::keys::RotationSecret;
use moteseal::number::{ConnectionId, Generation, SequenceNumber};
use moteseal::session::{Outgoing, Session};
use moteseal::wire::{Header, Sealed, Unverified};

use crate::catalog::{Catalog, DatagramId};
use crate::device::{ID, first_key};
use crate::toy::{self, Toy};

/// His numbers are above those of anybody else, so that an acknowledgement of one can be told.
pub const FIRST_NUMBER: u16 = 40;

/// What he can seal once he has seen this Hello and this Welcome.
pub fn forge(hello: DatagramId, welcome: DatagramId, catalog: &mut Catalog) -> Vec<DatagramId> {
    let (Some(Header::Hello(hello)), Some(Header::Welcome(head))) =
        (catalog.header(hello), catalog.header(welcome))
    else {
        return Vec::new();
    };
    let keys = first_key().session_keys(ID, hello.epoch, hello.salt, head.server_salt);
    let mut welcome = catalog.bytes(welcome).to_vec();
    let Ok(Unverified { sealed: Sealed { aad, ciphertext, tag }, .. }) = Unverified::parse(&mut welcome)
    else {
        return Vec::new();
    };
    if Toy::open(&keys.down, Nonce::welcome(), aad, ciphertext, tag).is_err() {
        return Vec::new();
    }
    let Some(cid) = ConnectionId::from_bytes(ciphertext) else { return Vec::new() };
    let mut server = Session::<Toy>::new(Role::Server, keys.clone(), hello.epoch, cid);
    let mut device = Session::<Toy>::new(Role::Device, keys, hello.epoch, cid);
    let mut out = [0; 80];
    while server.next() < Some(SequenceNumber::new(FIRST_NUMBER)) {
        let _ = server.protect(Outgoing::default(), &mut out);
        let _ = device.protect(Outgoing::default(), &mut out);
    }
    let generation = Generation::FIRST.next().unwrap_or(Generation::FIRST);
    let rotate = Control::Rotate { generation, secret: RotationSecret::from_bytes([0x66; 32]) }.encode();
    let rotate = Outgoing { payload: rotate.as_bytes(), confirm: true, control: true, ack: None };
    // A control message without a byte is malformed in both directions.
    let empty = Outgoing { confirm: true, control: true, ..Outgoing::default() };
    let mut forged = Vec::new();
    let mut add = |session: &mut Session<Toy>, outgoing| {
        if let Ok(protected) = session.protect(outgoing, &mut out) {
            forged.push(catalog.datagram(&out[..protected.len]));
        }
    };
    add(&mut server, rotate);
    add(&mut server, empty);
    add(&mut device, empty);
    // His seals are his: that he repeats a nonce of others is no fault of theirs.
    toy::sealed();
    forged
}
