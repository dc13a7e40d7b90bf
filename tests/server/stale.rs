//! What a gateway makes of records that come late, twice, or in the wrong order: SPEC 8.

use moteseal::control::Control;
use moteseal::error::{Reject, TableError};
use moteseal::keys::DeviceKey;
use moteseal::number::{ConnectionId, Generation};
use moteseal::record::{GatewayId, Record, Status};
use moteseal::server::{CommandId, ControlEvent, Table};

use crate::gateways::*;
use crate::support::*;

impl Pair {
    /// Hands a record to a gateway, whatever the store holds by now.
    fn hands(
        &mut self,
        gateway: usize,
        device: &Device,
        record: Record,
    ) -> Result<Option<CommandId>, TableError> {
        let index = self.stale(gateway).index(device);
        self.stale(gateway).server.refresh(index, record)
    }

    /// The device says Hello, keeps its session, and somebody carries the Hello to a gateway, which offers a session.
    fn carries(&mut self, gateway: usize, device: &mut Device) {
        let session = device.session.take();
        let delayed = device.hello(b"");
        device.session = session;
        let _ = self.at(gateway).welcomes(THERE, &delayed);
    }
}

/// A session that the record does not name ends by *close*: its connection id belongs to nobody then.
#[test]
fn m_76_the_id_of_a_session_that_closes_unnamed_is_free() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    pair.at(A).connect(&mut device, HERE);
    let cid = cid_of(&device);
    pair.carries(B, &mut device);
    pair.refresh(A);
    let close = device.control(&Control::Close, false);
    let _ = pair.stale(A).hears(HERE, &close);
    // A change under way may have named it; with the next record no such change is made any more.
    assert_eq!(pair.at(B).set_status(&device, Status::Quarantined), None);
    pair.refresh(A);
    assert_eq!(pair.stale(A).server.table().owner(cid), None);
}

/// An operator quarantines a device at A and readmits it at B.
#[test]
fn a_readmission_by_another_gateway_counts() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    pair.at(A).connect(&mut device, HERE);
    assert_eq!(pair.at(A).set_status(&device, Status::Quarantined), None);
    let data = device.data(b"x", true);
    assert_eq!(pair.at(A).rejects(HERE, &data), Reject::NotActive);
    assert_eq!(pair.at(B).set_status(&device, Status::Active), None);
    assert!(pair.at(A).hears(HERE, &data).payload.is_some());
}

/// A record that was read before a change and comes after it.
#[test]
fn m_5_a_record_that_comes_late_readmits_nobody() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    pair.at(A).connect(&mut device, HERE);
    let read = pair.at(A).record(&device);
    assert_eq!(pair.at(B).set_status(&device, Status::Revoked), None);
    pair.refresh(A);
    assert_eq!(pair.hands(A, &device, read), Err(TableError::Older));
    let data = device.hello(b"x");
    assert_eq!(pair.stale(A).rejects(HERE, &data), Reject::NotActive);
}

/// The same, and what the record did not name yet is a connection id: it must not go to another device.
#[test]
fn m_12_a_record_that_comes_late_frees_no_connection_id() {
    let mut devices: Vec<_> = (1..=20).map(Device::new).collect();
    let mut pair = Pair::new(&devices.iter().collect::<Vec<_>>());
    for gateway in [A, B] {
        pair.refresh(gateway);
    }
    let read = pair.at(A).record(&devices[0]);
    pair.stale(A).connect(&mut devices[0], HERE);
    let session = devices[0].session.take();
    // The session is over: nothing but the record holds the id.
    devices[0].session = session;
    let close = devices[0].control(&Control::Close, false);
    let _ = pair.stale(A).hears(HERE, &close);
    let cid = cid_of(&devices[0]);
    assert_eq!(pair.hands(A, &devices[0], read), Err(TableError::Older));
    for device in &mut devices[1..] {
        pair.stale(A).connect(device, HERE);
        assert_ne!(cid_of(device), cid);
    }
    // All the records can be read by somebody who starts now.
    pair.stale(A).crash();
}

/// The rotation that A has begun is not taken back by a record from before.
#[test]
fn m_123_a_record_that_comes_late_ends_no_session_under_the_next_key() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    pair.at(A).connect(&mut device, HERE);
    let before = pair.at(A).record(&device);
    pair.at(A).begin_rotation(&device);
    let (rotate, _) = pair.at(A).poll(&device).unwrap();
    let rotate = device.open(&rotate).control.unwrap();
    device.rotate(&rotate);
    pair.at(A).connect(&mut device, HERE);
    assert_eq!(pair.hands(A, &device, before), Err(TableError::Older));
    let data = device.data(b"x", true);
    assert!(pair.stale(A).hears(HERE, &data).payload.is_some());
}

/// Whoever watches the store sees his own changes too, and perhaps before the store has answered him.
#[test]
fn m_54_a_change_that_is_read_before_its_proof_comes_loses_no_payload() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    let hello = device.hello(b"once");
    let (held, change) = pair.at(A).pending(HERE, &hello);
    let durable = pair.stale(A).store.make(change).unwrap();
    assert_eq!(pair.refresh(A), []);
    let fresh = fresh(pair.stale(A).server.commit(held, durable).unwrap());
    assert_eq!(fresh.payload.as_deref(), Some(&b"once"[..]));
    assert!(device.welcome(&fresh.welcome.unwrap()));
    let data = device.data(b"x", true);
    assert!(pair.at(A).hears(HERE, &data).confirmed);
}

/// The same with an administrative change.
#[test]
fn a_quarantine_that_is_read_before_its_proof_comes_is_taken() {
    let device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    let (admin, change) = pair.at(A).server.set_status(device.id, Status::Quarantined).unwrap();
    let durable = pair.stale(A).store.make(change).unwrap();
    assert_eq!(pair.refresh(A), []);
    assert_eq!(pair.stale(A).server.apply(admin, durable), Ok(None));
    pair.at(B).set_status(&device, Status::Active);
    let hello = { device }.hello(b"x");
    let _ = pair.at(A).welcomes(HERE, &hello);
}

/// A session whose id its successor in the record has taken does not serve beside it.
#[test]
fn m_12_what_this_gateway_displaced_itself_ends_also_when_it_is_read_first() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    pair.at(A).connect(&mut device, HERE);
    pair.at(A).offer(&mut device, HERE);
    let session = device.session.take();
    let hello = device.hello(b"");
    let (held, change) = pair.at(A).pending(HERE, &hello);
    let durable = pair.stale(A).store.make(change).unwrap();
    device.session = session;
    let first = device.data(b"first", true);
    assert!(pair.stale(A).hears(HERE, &first).confirmed);
    pair.refresh(A);
    let index = pair.stale(A).index(&device);
    assert!(!pair.stale(A).server.table().peer(index).unwrap().has_session());
    let fresh = fresh(pair.stale(A).server.commit(held, durable).unwrap());
    assert!(!device.welcome(&fresh.welcome.unwrap()));
    let data = device.data(b"x", true);
    assert!(pair.at(A).hears(HERE, &data).confirmed);
}

/// and its own older one still stands there as the confirmed one.
#[test]
fn m_93_the_word_is_owed_until_a_newer_session_is_confirmed() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    for _ in 0..2 {
        pair.at(A).connect(&mut device, HERE);
    }
    let hello = device.hello(b"");
    let _ = pair.at(A).welcomes(HERE, &hello);
    assert_eq!(pair.at(A).record(&device).confirmed().unwrap().gateway, GatewayId(1));
    pair.at(B).connect(&mut device, THERE);
    pair.at(A).connect(&mut device, HERE);
    pair.write_confirmation(A, &device);
    let index = pair.at(B).index(&device);
    assert!(!pair.at(B).server.table().peer(index).unwrap().has_session());
}

/// Revoked and provisioned anew under the same id: A hears of the last step alone.
#[test]
fn m_5_no_session_outlives_the_key_that_it_was_made_under() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    pair.at(A).connect(&mut device, HERE);
    pair.at(A).command(&device, 9, b"open");
    let record = Record::provisioned(device.id, Generation::FIRST, DeviceKey::new([0xEE; 32])).raised(40);
    assert_eq!(pair.hands(A, &device, record), Ok(Some(CommandId(9))));
    let data = device.data(b"x", true);
    assert_eq!(pair.stale(A).rejects(HERE, &data), Reject::UnknownConnection);
}

/// A restore excuses one *moved*. Whoever takes the device over next learns that it was used up, and what was counted.
#[test]
fn m_86_what_is_written_at_a_confirmation_tells_of_the_excuse_and_of_the_clones() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    let raised = pair.at(A).record(&device).raised(3);
    pair.stale(A).store.put(&raised);
    device.boot = 4;
    let moved = |pair: &mut Pair, gateway: usize, device: &mut Device| {
        let moved = device.control(&Control::Moved(1), true);
        match pair.at(gateway).hears(HERE, &moved).control {
            Some(ControlEvent::Moved { excused, .. }) => excused,
            other => panic!("not moved: {other:?}"),
        }
    };
    pair.at(B).offer(&mut device, HERE);
    pair.at(A).connect(&mut device, HERE);
    assert!(moved(&mut pair, A, &mut device));
    pair.write_confirmation(A, &device);
    pair.at(B).connect(&mut device, HERE);
    assert!(!moved(&mut pair, B, &mut device));
    pair.write_confirmation(B, &device);
    assert_eq!(pair.at(A).record(&device).clones(), 1);
    pair.at(B).connect(&mut device, HERE);
    assert_eq!(pair.at(A).record(&device).clones(), 1);
}

/// The ranges overlap, and the record cannot be taken as it is; but the device is out of service, and that counts.
#[test]
fn m_65_a_revocation_holds_also_where_connection_ids_collide() {
    let (mut one, mut two) = (Device::new(1), Device::new(2));
    let mut pair = Pair::new(&[&one, &two]);
    pair.at(A).connect(&mut one, HERE);
    pair.at(A).connect(&mut two, HERE);
    let entries = pair.at(A).record(&one).encode().expose()[58..58 + 56].to_vec();
    for (status, refused) in [(2, Reject::NotActive), (1, Reject::NotActive)] {
        let mut bytes = *pair.at(A).record(&two).encode().expose();
        bytes[58..58 + 56].copy_from_slice(&entries);
        bytes[1] = status;
        let record = Record::decode(&bytes).unwrap();
        assert_eq!(pair.hands(A, &two, record), Err(TableError::CidTaken));
        let data = two.data(b"x", true);
        assert_eq!(pair.stale(A).rejects(HERE, &data), refused);
    }
}

/// A's record of a device, with another connection id in its candidate's entry.
fn naming(pair: &mut Pair, device: &Device, cid: ConnectionId) -> Record {
    let mut bytes = *pair.stale(A).record(device).encode().expose();
    let at = 58 + 28 + 22;
    bytes[at..at + 4].fill(0);
    bytes[at..at + cid.as_bytes().len()].copy_from_slice(cid.as_bytes());
    Record::decode(&bytes).unwrap()
}

/// A has given the id to the first device, and no word of another gateway takes it away: be it that the record names it
/// after a crash, that a session is in service under it which the record does not name, or that a change is under way.
#[test]
fn m_11_an_id_that_this_gateway_has_given_stays_where_it_is() {
    for case in ["record", "session", "change"] {
        let (mut one, mut two) = (Device::new(1), Device::new(2));
        let mut pair = Pair::new(&[&one, &two]);
        pair.at(A).offer(&mut two, HERE);
        let index = pair.at(A).index(&one);
        let cid = if case == "change" {
            let (_, change) = pair.at(A).pending(HERE, &one.hello(b""));
            change.value().record.candidate().unwrap().cid
        } else {
            pair.at(A).connect(&mut one, HERE);
            cid_of(&one)
        };
        match case {
            "record" => pair.at(A).crash(),
            "session" => pair.carries(B, &mut one),
            _ => {}
        }
        pair.refresh(A);
        assert_eq!(pair.stale(A).server.table().owner(cid), Some(index), "{case}");
        let record = naming(&mut pair, &two, cid);
        assert_eq!(pair.hands(A, &two, record), Err(TableError::CidTaken), "{case}");
        assert_eq!(pair.stale(A).server.table().owner(cid), Some(index), "{case}");
    }
}

/// B has taken an id of its own from the first device and given it to the second. A, which has a session with the first
/// under an id of A's, hears of the second alone.
#[test]
fn m_11_an_id_of_another_gateway_goes_where_that_one_gives_it() {
    let (mut one, mut two) = (Device::new(1), Device::new(2));
    let mut pair = Pair::new(&[&one, &two]);
    pair.at(A).offer(&mut two, HERE);
    pair.at(B).connect(&mut one, THERE);
    let cid = cid_of(&one);
    pair.at(B).connect(&mut one, THERE);
    pair.at(A).connect(&mut one, HERE);
    assert_eq!(pair.stale(A).record(&one).confirmed().map(|entry| entry.cid), Some(cid));
    let record = naming(&mut pair, &two, cid);
    assert_eq!(pair.hands(A, &two, record), Ok(None));
    let index = pair.stale(A).index(&two);
    assert_eq!(pair.stale(A).server.table().owner(cid), Some(index));
    let data = one.data(b"x", true);
    assert!(pair.stale(A).hears(HERE, &data).payload.is_some());
}
