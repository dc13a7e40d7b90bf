//! A generator of random numbers that does not run: SPEC M-4.

use std::cell::Cell;

use moteseal::delivery::Timing;
use moteseal::entropy::{Entropy, FromFn};
use moteseal::error::{AdminError, EntropyError, Reject};
use moteseal::number::Generation;
use moteseal::record::Record;
use moteseal::server::{Received, Server};

use crate::support::*;

const HERE: Address = 1;
const WORKS: Option<u8> = Some(0x55);
const BROKEN: [(Option<u8>, EntropyError); 3] =
    [(Some(0), EntropyError::Stuck), (Some(0xFF), EntropyError::Stuck), (None, EntropyError::Failed)];

/// All that the generator gives; one that gives nothing fails.
type Byte = Cell<Option<u8>>;

fn server<'b>(
    device: &Device,
    byte: &'b Byte,
) -> Result<Server<Devices, impl Entropy + use<'b>>, EntropyError> {
    let mut devices = Devices::new();
    devices.insert(Record::provisioned(device.id, Generation::FIRST, device.keys[0].1.clone())).unwrap();
    let entropy = FromFn(|bytes: &mut [u8]| {
        bytes.fill(byte.get().ok_or(EntropyError::Failed)?);
        Ok(())
    });
    Server::new(devices, entropy, GATEWAY, Timing::DEFAULT, 0)
}

#[test]
fn m_4_a_server_does_not_start_with_a_stuck_or_broken_generator() {
    for (byte, error) in BROKEN {
        assert_eq!(server(&Device::new(1), &Cell::new(byte)).err(), Some(error));
    }
}

/// The `server_salt` is the server's half of what makes the keys of a session new.
#[test]
fn m_4_no_session_is_offered_on_what_a_stuck_generator_gives() {
    let (mut device, byte) = (Device::new(1), Cell::new(WORKS));
    let mut server = server(&device, &byte).unwrap();
    let hello = device.hello(b"early");
    for (broken, error) in BROKEN {
        byte.set(broken);
        let Received::Rejected { reason, .. } = server.receive(0, HERE, hello.clone()) else { panic!() };
        assert_eq!(reason, Reject::Entropy(error));
    }
    // Nothing is lost: the device repeats it.
    byte.set(WORKS);
    let Received::Pending(held, change) = server.receive(0, HERE, hello) else { panic!() };
    let fresh = fresh(server.commit(held, change.committed()).unwrap());
    assert_eq!(fresh.payload.as_deref(), Some(&b"early"[..]));
    assert!(device.welcome(&fresh.welcome.unwrap()));
}

/// The r0 is what makes the r of a rotation new.
#[test]
fn m_4_no_rotation_begins_on_what_a_stuck_generator_gives() {
    let (device, byte) = (Device::new(1), Cell::new(WORKS));
    let mut server = server(&device, &byte).unwrap();
    for (broken, error) in BROKEN {
        byte.set(broken);
        let begun = server.begin_rotation(device.id, &device.rotation_key);
        assert_eq!(begun.err(), Some(AdminError::Entropy(error)));
    }
    byte.set(WORKS);
    assert!(server.begin_rotation(device.id, &device.rotation_key).is_ok());
}
