//! Protect and verify of a session by itself, without the device half around it.

use core::hint::black_box;

use moteseal::control::Role;
use moteseal::error::VerifyError;
use moteseal::keys::DeviceKey;
use moteseal::number::{ConnectionId, DeviceId, Epoch, Salt, ServerSalt};
use moteseal::session::{Content, Incoming, Outgoing, Session};
use moteseal::wire::{Header, Unverified};

use crate::measure::{Aligned, LENGTHS, measure_len};

const PROTECT: [&str; 5] = [
    "session/protect/0",
    "session/protect/16",
    "session/protect/64",
    "session/protect/256",
    "session/protect/1024",
];
const VERIFY: [&str; 5] = [
    "session/verify/0",
    "session/verify/16",
    "session/verify/64",
    "session/verify/256",
    "session/verify/1024",
];

fn session(role: Role) -> Session {
    let id = DeviceId::new([1; 8]);
    let keys = DeviceKey::new([3; 32]).session_keys(id, Epoch::new(1, 0), Salt([2; 6]), ServerSalt([4; 8]));
    Session::new(role, keys, Epoch::new(1, 0), ConnectionId::new(1, 7).expect("7 fits 6 bits"))
}

fn verify<'d>(receiver: &mut Session, datagram: &'d mut [u8]) -> Result<Incoming<'d>, VerifyError> {
    let Ok(Unverified { header: Header::Data(data), sealed }) = Unverified::parse(datagram) else { panic!() };
    receiver.verify(&data, sealed)
}

/// Counts both ways at each length.
#[inline(never)]
pub fn run() {
    let (mut server, mut device) = (session(Role::Server), session(Role::Device));
    let payload = [0xA5; 1024];
    let Aligned(out) = &mut Aligned([0; 1088]);
    // So that what is counted is not the first of a session.
    for _ in 0..2 {
        let protected = server.protect(Outgoing::default(), out).expect("there is room");
        verify(&mut device, &mut out[..protected.len]).expect("authentic and fresh");
    }
    for (at, len) in LENGTHS.into_iter().enumerate() {
        let outgoing = Outgoing { payload: black_box(&payload[..len]), ..Outgoing::default() };
        let protected = measure_len(&PROTECT, at, || server.protect(outgoing, out)).expect("there is room");
        assert_eq!(protected.len, len + 19);
        let datagram = black_box(&mut out[..protected.len]);
        let incoming =
            measure_len(&VERIFY, at, || verify(&mut device, datagram)).expect("authentic and fresh");
        let Incoming::New(verified) = incoming else { panic!() };
        match verified.content {
            Content::Payload(bytes) => assert_eq!(bytes, &payload[..len]),
            _ => assert_eq!(len, 0),
        }
    }
}
