//! Connection ids: SPEC 4.8.

use std::collections::{BTreeMap, BTreeSet};

use moteseal::error::TableError;
use moteseal::number::ConnectionId;
use moteseal::record::Record;

use crate::support::*;

const HERE: Address = 1;

fn fleet(size: u8) -> (World, Vec<Device>) {
    let devices: Vec<_> = (1..=size).map(Device::new).collect();
    (World::new(&devices.iter().collect::<Vec<_>>()), devices)
}

/// No two records name one connection id; gives how many there are of each length.
fn lengths(world: &World) -> BTreeMap<usize, usize> {
    let records = world.store.records.values().map(|bytes| Record::decode(bytes).unwrap());
    let named: Vec<ConnectionId> = records
        .flat_map(|record| {
            record.confirmed().into_iter().chain(record.candidate()).copied().collect::<Vec<_>>()
        })
        .map(|entry| entry.cid)
        .collect();
    let distinct: BTreeSet<_> = named.iter().map(ConnectionId::as_bytes).collect();
    assert_eq!(distinct.len(), named.len(), "M-11");
    let mut lengths = BTreeMap::new();
    for cid in named {
        *lengths.entry(cid.as_bytes().len()).or_default() += 1;
    }
    lengths
}

#[test]
fn m_12_32_devices_are_served_by_one_byte_for_certain() {
    let (mut world, mut devices) = fleet(32);
    let mut noise = Noise(1);
    for round in 0..6 {
        for device in &mut devices {
            // Changes that are abandoned do not use ids up.
            for _ in 0..noise.below(3) {
                drop(world.pending(HERE, &device.hello(b"")));
            }
            match noise.below(3) {
                0 => world.offer(device, HERE),
                _ => drop(world.connect(device, HERE)),
            }
            assert_eq!(cid_of(device).as_bytes().len(), 1, "round {round}");
        }
        if round == 3 {
            world.crash();
        }
        assert_eq!(lengths(&world).keys().copied().collect::<Vec<_>>(), [1]);
    }
}

#[test]
fn m_12_when_one_length_is_used_up_the_next_is_taken() {
    let (mut world, mut devices) = fleet(80);
    for _ in 0..3 {
        for device in &mut devices {
            world.connect(device, HERE);
        }
    }
    assert_eq!(lengths(&world), BTreeMap::from([(1, 64), (2, 96)]));
    // All of them are served, and served as the devices that they are.
    for device in &mut devices {
        let data = device.data(&device.id.as_bytes().clone(), true);
        assert_eq!(world.hears(HERE, &data).payload.as_deref(), Some(device.id.as_bytes().as_slice()));
    }
    // Over a crash as well: a Reset for each.
    world.crash();
    for device in &mut devices {
        let data = device.data(b"x", true);
        let reset = world.answers(moteseal::server::AnswerKind::Reset, HERE, &data);
        assert_eq!(device.reset(&reset), Ok(()));
    }
}

#[test]
fn m_12_an_id_stays_in_use_as_long_as_a_record_names_it() {
    let (mut world, mut devices) = fleet(2);
    let [one, two] = devices.as_mut_slice() else { unreachable!() };
    world.connect(one, HERE);
    let first = cid_of(one);
    world.connect(one, HERE);
    // Confirmed in memory only: the record names the session before as well, and nobody else gets its id.
    for _ in 0..70 {
        world.connect(two, HERE);
        assert_ne!(cid_of(two), first);
        assert_ne!(cid_of(two), cid_of(one));
    }
    let record = world.record(one);
    assert_eq!(record.confirmed().unwrap().cid, first);
    // A table does not take two records that name one id.
    let mut stranger = *record.encode().expose();
    stranger[4..12].copy_from_slice(&[99; 8]);
    let mut table = Devices::new();
    assert_eq!(table.insert(record.clone()).unwrap().0, 0);
    assert_eq!(table.insert(record), Err(TableError::Known));
    assert_eq!(table.insert(Record::decode(&stranger).unwrap()), Err(TableError::CidTaken));
}
