//! Several gateways over the same records, all in range of everything: SPEC 8.

use moteseal::error::{AdminError, CommitError, Reject, TableError, VerifyError};
use moteseal::record::{GatewayId, Record, Status};
use moteseal::server::{AnswerKind, CidRange, CommandId, CommandState};

use crate::support::*;

pub const HERE: Address = 1;
pub const THERE: Address = 2;
pub const A: usize = 0;
pub const B: usize = 1;

/// Two gateways. The store is with the one that is asked last; what a server knows of it is another matter.
pub struct Pair {
    pub worlds: Vec<World>,
    holder: usize,
}

impl Pair {
    pub fn new(devices: &[&Device]) -> Self {
        let store = World::new(devices).store;
        let worlds = (1..=2).map(|id| World::of(GatewayId(id), store.clone(), 0)).collect();
        Self { worlds, holder: A }
    }

    /// A gateway, with the store as it is and the records that it happens to know.
    pub fn stale(&mut self, gateway: usize) -> &mut World {
        if gateway != self.holder {
            let store = std::mem::take(&mut self.worlds[self.holder].store);
            self.worlds[gateway].store = store;
            self.holder = gateway;
        }
        &mut self.worlds[gateway]
    }

    /// A gateway that has read the store. Gives the commands that this left unknown.
    pub fn refresh(&mut self, gateway: usize) -> Vec<CommandId> {
        let world = self.stale(gateway);
        let records: Vec<_> =
            world.store.records.values().map(|bytes| Record::decode(bytes).unwrap()).collect();
        let refresh = |record: Record| {
            let index = moteseal::server::Table::find(world.server.table(), record.device_id()).unwrap();
            world.server.refresh(index, record).unwrap()
        };
        records.into_iter().filter_map(refresh).collect()
    }

    /// A gateway that knows what the store holds.
    pub fn at(&mut self, gateway: usize) -> &mut World {
        self.refresh(gateway);
        self.stale(gateway)
    }

    pub fn sleep(&mut self, ms: u64) {
        for world in &mut self.worlds {
            world.now += ms;
        }
    }

    /// Writes the confirmation that is due at a gateway.
    pub fn write_confirmation(&mut self, gateway: usize, device: &Device) {
        let world = self.at(gateway);
        let index = world.index(device);
        assert!(world.server.confirmation_to_write(index));
        let (admin, change) = world.server.write_confirmation(index).unwrap();
        let durable = world.store.make(change).unwrap();
        assert_eq!(world.server.apply(admin, durable), Ok(None));
        assert!(!world.server.confirmation_to_write(index));
    }
}

#[test]
fn m_90_another_gateway_is_silent_to_the_first_copy_of_data() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    pair.at(A).connect(&mut device, HERE);
    // Ten exchanges that both hear: a device whose gateway answers is left alone.
    for _ in 0..10 {
        pair.sleep(5_000);
        let data = device.data(b"x", true);
        let answer = pair.at(A).hears(HERE, &data).answer.unwrap().0;
        assert_eq!(pair.at(B).rejects(HERE, &data), Reject::OtherGateway);
        device.open(&answer);
    }
    // A is gone. Nothing but a copy, a second later, with C, that verifies, gets B's Reset.
    let data = device.data(b"y", true);
    let plain = device.data(b"z", false);
    assert_eq!(pair.at(B).rejects(HERE, &data), Reject::OtherGateway);
    pair.sleep(999);
    assert_eq!(pair.at(B).rejects(HERE, &data), Reject::OtherGateway);
    pair.sleep(1);
    assert_eq!(pair.at(B).rejects(HERE, &plain), Reject::OtherGateway);
    assert_eq!(pair.at(B).rejects(THERE, &forged(&data)), Reject::Verify(VerifyError::Inauthentic));
    let reset = pair.at(B).answers(AnswerKind::Reset, HERE, &data);
    assert_eq!(device.reset(&reset), Ok(()));
    assert_eq!(pair.at(B).rejects(HERE, &data), Reject::ResetLimited);
    // P5: B takes over, and A, back with its counters, learns it.
    pair.at(B).connect(&mut device, HERE);
    pair.write_confirmation(B, &device);
    assert_eq!(pair.at(A).rejects(HERE, &data), Reject::UnknownConnection);
}

/// It asks for no answer, so its own gateway sends none, and a copy of it says nothing about that gateway.
#[test]
fn m_90_another_gateway_answers_no_copy_of_plain_data() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    pair.at(A).connect(&mut device, HERE);
    let plain = device.data(b"x", false);
    pair.at(A).hears(HERE, &plain);
    for _ in 0..5 {
        assert_eq!(pair.at(B).rejects(THERE, &plain), Reject::OtherGateway);
        pair.sleep(1_000);
    }
}

/// What the attacker recorded does not keep the gateway that is left from seeing the device's own repeat.
#[test]
fn m_92_what_is_remembered_is_not_displaced_by_recordings() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    pair.at(A).connect(&mut device, HERE);
    let recorded: Vec<_> = (0..20).map(|_| device.data(b"x", true)).collect();
    for datagram in &recorded {
        pair.at(A).hears(HERE, datagram);
    }
    let data = device.data(b"y", true);
    assert_eq!(pair.at(B).rejects(HERE, &data), Reject::OtherGateway);
    for datagram in &recorded {
        pair.sleep(100);
        assert_eq!(pair.at(B).rejects(THERE, datagram), Reject::OtherGateway);
    }
    let reset = pair.at(B).answers(AnswerKind::Reset, HERE, &data);
    assert_eq!(device.reset(&reset), Ok(()));
}

#[test]
fn m_91_another_gateway_is_silent_to_the_first_copy_of_a_candidates_hello() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    let hello = device.hello(b"early");
    let fresh = pair.at(A).welcomes(HERE, &hello);
    // The network hands it to B as well: no Floor that the device would follow before the Welcome.
    assert_eq!(pair.at(B).rejects(HERE, &hello), Reject::OtherGateway);
    pair.sleep(999);
    assert_eq!(pair.at(B).rejects(HERE, &hello), Reject::OtherGateway);
    // Its own gateway repeats the Welcome.
    assert_eq!(pair.at(A).answers(AnswerKind::Welcome, HERE, &hello), fresh.welcome.unwrap());
    // It is gone: the device's repeat brings it to B.
    pair.sleep(1);
    let floor = pair.at(B).answers(AnswerKind::Floor, HERE, &hello);
    assert_eq!(device.floor(&floor), pair.at(B).record(&device).newest());
    pair.at(B).connect(&mut device, HERE);
}

#[test]
fn m_91_the_loser_of_a_race_is_silent_to_the_first_copy() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    let hello = device.hello(b"early");
    let (_, lost) = pair.at(B).pending(HERE, &hello);
    let fresh = pair.at(A).welcomes(HERE, &hello);
    assert_eq!(fresh.payload.as_deref(), Some(&b"early"[..]));
    // M-88: the store refuses the second; nothing was delivered twice.
    assert!(pair.stale(B).store.make(lost).is_none());
    pair.sleep(999);
    assert_eq!(pair.at(B).rejects(HERE, &hello), Reject::OtherGateway);
    // Its first copy was the one of the race.
    pair.sleep(1);
    pair.at(B).answers(AnswerKind::Floor, HERE, &hello);
}

/// B could not write a Hello; then the device lost its counter, and A has offered it a session of a lower epoch and is gone.
#[test]
fn m_91_a_newer_hello_that_came_to_nothing_keeps_nobody_silent() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    device.boot = 9;
    let (_, refused) = pair.at(B).pending(HERE, &device.hello(b""));
    drop(refused);
    device.boot = 4;
    let hello = device.hello(b"");
    pair.at(A).welcomes(HERE, &hello);
    assert_eq!(pair.at(B).rejects(HERE, &hello), Reject::OtherGateway);
    pair.sleep(1_000);
    pair.at(B).answers(AnswerKind::Floor, HERE, &hello);
}

/// Both in range of everything and no attacker: one Hello, one Welcome, one session.
#[test]
fn m_90_m_91_two_gateways_in_range_bring_one_session_and_no_storm() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    for round in 0..20 {
        let (first, second) = if round % 3 == 0 { (B, A) } else { (A, B) };
        pair.sleep(60_000);
        let hello = device.hello(b"");
        let fresh = pair.at(first).welcomes(HERE, &hello);
        assert_eq!(pair.at(second).rejects(HERE, &hello), Reject::OtherGateway);
        device.welcome(&fresh.welcome.unwrap());
        for _ in 0..5 {
            pair.sleep(100);
            let data = device.data(b"x", true);
            let answer = pair.at(first).hears(HERE, &data).answer.unwrap().0;
            assert_eq!(pair.at(second).rejects(HERE, &data), Reject::OtherGateway);
            device.open(&answer);
        }
        let index = pair.at(first).index(&device);
        if pair.at(first).server.confirmation_to_write(index) {
            pair.write_confirmation(first, &device);
        }
    }
}

#[test]
fn m_93_the_gateway_before_learns_that_its_session_has_ended() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    // A session that was offered and not taken up was nobody else's.
    pair.at(A).offer(&mut device, HERE);
    for _ in 0..2 {
        pair.at(A).connect(&mut device, HERE);
        // No gateway changed: nothing is to be written, and P4 holds.
        let index = pair.at(A).index(&device);
        assert!(!pair.at(A).server.confirmation_to_write(index));
        assert!(matches!(pair.at(A).server.write_confirmation(index), Err(AdminError::NotDue)));
    }
    let old = device.data(b"old", true);
    pair.at(A).command(&device, 9, b"open");
    pair.at(B).connect(&mut device, THERE);
    let writes = pair.stale(B).store.writes;
    pair.write_confirmation(B, &device);
    assert_eq!(pair.stale(B).store.writes, writes + 1);
    assert_eq!(pair.refresh(A), [CommandId(9)]);
    assert_eq!(pair.at(A).rejects(HERE, &old), Reject::UnknownConnection);
    let record = pair.at(A).record(&device);
    assert_eq!((record.confirmed().unwrap().gateway, record.candidate()), (GatewayId(2), None));
}

/// The attacker hands a Hello that the device has sent for its next session to another gateway, and the Welcome to
/// nobody. The confirmation of the session in service was never written, so the record names it no more.
#[test]
fn m_129_what_another_gateway_has_offered_ends_no_session() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    pair.at(A).connect(&mut device, HERE);
    let session = device.session.take();
    let delayed = device.hello(b"");
    device.session = session;
    let (sealed, _) = pair.at(A).command(&device, 9, b"open").unwrap();
    pair.at(B).welcomes(THERE, &delayed);
    // A has read that, serves on, and puts its session back beside what B has offered.
    assert_eq!(pair.refresh(A), []);
    for written in [false, true] {
        let data = device.data(b"x", true);
        assert!(pair.at(A).hears(HERE, &data).answer.is_some());
        if !written {
            pair.write_confirmation(A, &device);
        }
    }
    let record = pair.at(A).record(&device);
    assert_eq!(
        (record.confirmed().unwrap().gateway, record.candidate().unwrap().gateway),
        (GatewayId(1), GatewayId(2))
    );
    assert!(pair.refresh(B).is_empty());
    // Its command is acknowledged, its id stays its own, and the crash of A leaves an entry that answers Reset.
    device.open(&sealed);
    let data = device.data(b"y", true);
    assert_eq!(pair.at(A).hears(HERE, &data).acknowledged, Some(CommandId(9)));
    pair.at(A).crash();
    let data = device.data(b"z", true);
    let reset = pair.at(A).answers(AnswerKind::Reset, HERE, &data);
    assert_eq!(device.reset(&reset), Ok(()));
    // The device takes B's offer up after all: B writes it down, and A's entry is gone.
    let asked = device.hello(b"");
    let fresh = pair.at(B).welcomes(HERE, &asked);
    device.welcome(&fresh.welcome.unwrap());
    let first = device.data(b"first", true);
    assert!(pair.at(B).hears(HERE, &first).confirmed);
    pair.write_confirmation(B, &device);
    assert_eq!(pair.at(A).rejects(HERE, &data), Reject::UnknownConnection);
}

/// B has confirmed a session, and offered one more, before A reads any of it: A's session has ended all the same.
#[test]
fn m_129_a_newer_confirmed_session_ends_the_one_before() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    pair.at(A).connect(&mut device, HERE);
    let old = device.data(b"old", true);
    pair.at(B).connect(&mut device, THERE);
    pair.stale(B).connect(&mut device, THERE);
    pair.stale(B).offer(&mut device, THERE);
    assert_eq!(pair.at(A).rejects(HERE, &old), Reject::UnknownConnection);
    let index = pair.at(A).index(&device);
    assert!(!pair.at(A).server.confirmation_to_write(index));
}

/// A quarantine that A writes before its session is back in the record does not end it.
#[test]
fn m_129_the_session_outlives_other_changes_until_it_is_written() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    pair.at(A).connect(&mut device, HERE);
    let session = device.session.take();
    let delayed = device.hello(b"");
    device.session = session;
    pair.at(B).welcomes(THERE, &delayed);
    for status in [Status::Quarantined, Status::Active] {
        assert_eq!(pair.at(A).set_status(&device, status), None);
    }
    let data = device.data(b"x", true);
    pair.at(A).hears(HERE, &data);
    // Nor do new ids collide with its own, which no record names.
    let cid = cid_of(&device);
    let entry = *pair.at(A).record(&device).candidate().unwrap();
    assert_ne!(entry.cid, cid);
    let mut other = Device::new(1);
    (other.boot, other.noise) = (9, Noise(99));
    let fresh = pair.at(A).welcomes(HERE, &other.hello(b""));
    other.welcome(&fresh.welcome.unwrap());
    assert_ne!(cid_of(&other), cid);
    assert_eq!(pair.at(A).record(&device).confirmed().unwrap().cid, cid);
}

#[test]
fn m_94_a_command_names_the_gateway_and_the_session_that_sealed_it() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    pair.at(A).connect(&mut device, HERE);
    // B holds no session: the command stays in the shared queue until A takes it.
    let elsewhere = pair.at(B).server.begin_command(device.id, CommandId(1), 1);
    assert!(elsewhere.is_err());
    let (_, mark) = pair.at(A).server.begin_command(device.id, CommandId(1), 1).unwrap();
    let (gateway, epoch) = (mark.value().gateway, mark.value().epoch);
    assert_eq!((gateway, epoch), (GatewayId(1), device.session.as_ref().unwrap().epoch()));
    assert_eq!(gateway, pair.stale(A).server.gateway());
    assert_ne!(CommandState::Sent { gateway, epoch }, CommandState::Sent { gateway: GatewayId(2), epoch });
}

#[test]
fn m_65_a_revocation_holds_at_each_gateway_that_has_read_it() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    pair.at(A).connect(&mut device, HERE);
    pair.at(A).command(&device, 4, b"open");
    assert_eq!(pair.at(B).set_status(&device, Status::Revoked), None);
    assert_eq!(pair.refresh(A), [CommandId(4)]);
    let data = device.data(b"x", true);
    for gateway in [A, B] {
        assert_eq!(pair.at(gateway).rejects(HERE, &data), Reject::NotActive);
        assert!(pair.at(gateway).poll(&device).is_none());
    }
}

/// Two gateways get one late Hello and make the same record of the same record. One write is made; the answer to the
/// other is lost, and whoever then reads the record finds the epoch in it.
#[test]
fn m_131_a_record_that_looks_as_if_the_change_was_made_delivers_nothing() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    let late = device.hello(b"late");
    let newest = device.hello(b"");
    let _ = pair.at(A).welcomes(HERE, &newest);
    let first = pair.at(A).pending(HERE, &late);
    let (held, change) = pair.at(B).pending(HERE, &late);
    let fresh = pair.stale(A).finish(first).unwrap();
    assert_eq!(fresh.payload.as_deref(), Some(&b"late"[..]));
    assert_eq!(change.value().record, pair.at(B).record(&device), "it looks as if this one was made");
    let durable = change.committed();
    let twice = pair.stale(B).server.commit(held, durable);
    assert_eq!(twice.err(), Some(CommitError::Conflict));
}

#[test]
fn m_88_a_change_made_from_an_old_record_is_refused_and_tried_again() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    let _ = pair.at(A).set_status(&device, Status::Quarantined);
    // B has not read it.
    let hello = device.hello(b"x");
    let (held, change) = pair.stale(B).pending(HERE, &hello);
    assert!(pair.stale(B).store.make(change).is_none());
    drop(held);
    assert_eq!(pair.at(B).rejects(HERE, &hello), Reject::NotActive);
    pair.at(A).set_status(&device, Status::Active);
    pair.at(B).welcomes(HERE, &hello);
    // Nor does a server take the proof of a change that its record has left behind.
    let next = device.hello(b"y");
    let (held, change) = pair.at(B).pending(HERE, &next);
    let record = pair.stale(B).record(&device).with_status(Status::Quarantined);
    let index = pair.stale(B).index(&device);
    assert_eq!(pair.stale(B).server.refresh(index, record), Ok(None));
    let refused = pair.stale(B).server.commit(held, change.committed());
    assert!(matches!(refused, Err(CommitError::Conflict)));
}

#[test]
fn m_11_each_gateway_hands_out_its_own_connection_ids() {
    let mut devices: Vec<_> = (1..=40).map(Device::new).collect();
    let mut pair = Pair::new(&devices.iter().collect::<Vec<_>>());
    let ranges = [1, 2].map(|prefix| CidRange::new(3, prefix).unwrap());
    let mut noise = Noise(5);
    for _ in 0..5 {
        for device in &mut devices {
            let gateway = noise.below(2);
            pair.at(gateway).connect(device, HERE);
            let index = pair.at(gateway).index(device);
            if pair.at(gateway).server.confirmation_to_write(index) {
                pair.write_confirmation(gateway, device);
            }
            assert!(ranges[gateway].contains(cid_of(device)));
        }
    }
    // Eight one-byte ids each, and then longer ones; every session is served by its own gateway.
    for device in &mut devices {
        let data = device.data(b"x", true);
        let served = [A, B].map(|gateway| matches!(pair.at(gateway).deliver(HERE, &data), Outcome::Data(_)));
        assert_eq!(served.iter().filter(|served| **served).count(), 1);
    }
}

/// B gives one of its own ids from the first device to the second, and A hears of the second alone.
#[test]
fn an_id_that_went_to_another_device_is_found_there() {
    let (mut one, mut two) = (Device::new(1), Device::new(2));
    let mut pair = Pair::new(&[&one, &two]);
    pair.at(B).connect(&mut one, HERE);
    let cid = cid_of(&one);
    pair.refresh(A);
    // B's id becomes free when A has served the first device twice, which B wrote and A's second has not seen.
    let entry = *pair.at(B).record(&one).candidate().unwrap();
    let [old, new] = [&one, &two].map(|device| pair.stale(B).record(device));
    let mut bytes = *new.encode().expose();
    let taken = *old.encode().expose();
    // The second device's record with the first's entry.
    bytes[58..58 + 56].copy_from_slice(&taken[58..58 + 56]);
    let new = Record::decode(&bytes).unwrap();
    assert_eq!(new.candidate().map(|entry| entry.cid), Some(entry.cid));
    let (index, other) = (pair.stale(A).index(&two), pair.stale(A).index(&one));
    assert_eq!(pair.stale(A).server.refresh(index, new.clone()), Ok(None));
    let owner = moteseal::server::Table::owner(pair.stale(A).server.table(), cid);
    assert_eq!(owner, Some(index));
    // At B, which gave it out, that is an error: two ranges overlap.
    let (index, own) = (pair.stale(B).index(&two), pair.stale(B).index(&one));
    assert_eq!(pair.stale(B).server.refresh(index, new.clone()), Err(TableError::CidTaken));
    assert_eq!(pair.stale(B).server.refresh(own, new), Err(TableError::OtherDevice));
    assert_ne!(other, index);
    let data = one.data(b"x", true);
    pair.stale(B).hears(HERE, &data);
    let _ = two.hello(b"");
}

/// A's own write frees an id of B, B gives it to another device, and A hears of that before the proof of its own write
/// is handed over: what the store has made is not refused.
#[test]
fn m_88_a_proof_may_come_after_the_news_of_what_it_has_freed() {
    let (mut one, mut two) = (Device::new(1), Device::new(2));
    let mut pair = Pair::new(&[&one, &two]);
    pair.at(B).connect(&mut one, HERE);
    let taken = *pair.at(B).record(&one).encode().expose();
    let next = one.hello(b"early");
    let (held, change) = pair.at(A).pending(HERE, &next);
    let durable = pair.stale(A).store.make(change).unwrap();
    // The second device's record with what was the first's entry.
    let mut bytes = *pair.stale(A).record(&two).encode().expose();
    bytes[58..58 + 56].copy_from_slice(&taken[58..58 + 56]);
    let index = pair.stale(A).index(&two);
    assert_eq!(pair.stale(A).server.refresh(index, Record::decode(&bytes).unwrap()), Ok(None));
    let fresh = fresh(pair.stale(A).server.commit(held, durable).unwrap());
    assert_eq!(fresh.payload.as_deref(), Some(&b"early"[..]));
    // The id stays with the second, and the first has changed its gateway, which is written down (M-93).
    let table = pair.stale(A).server.table();
    assert_eq!(moteseal::server::Table::owner(table, cid_of(&one)), Some(index));
    one.welcome(&fresh.welcome.unwrap());
    let first = one.data(b"first", true);
    assert!(pair.stale(A).hears(HERE, &first).confirmed);
    let index = pair.stale(A).index(&one);
    assert!(pair.stale(A).server.confirmation_to_write(index));
    let _ = two.hello(b"");
}

/// A writes its session back into the record, and the device closes it before the store has made that change. The id is
/// not free yet.
#[test]
fn m_12_an_id_that_a_change_under_way_names_is_in_use_after_its_session() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    pair.at(A).connect(&mut device, HERE);
    let session = device.session.take();
    let delayed = device.hello(b"");
    device.session = session;
    pair.at(B).welcomes(THERE, &delayed);
    pair.refresh(A);
    let (cid, index) = (cid_of(&device), pair.stale(A).index(&device));
    let owner = |pair: &mut Pair| moteseal::server::Table::owner(pair.stale(A).server.table(), cid);
    let (admin, change) = pair.stale(A).server.write_confirmation(index).unwrap();
    let close = device.control(&moteseal::control::Control::Close, false);
    pair.stale(A).hears(HERE, &close);
    assert_eq!(owner(&mut pair), Some(index));
    let durable = pair.stale(A).store.make(change).unwrap();
    assert_eq!(pair.stale(A).server.apply(admin, durable), Ok(None));
    assert_eq!(pair.stale(A).record(&device).confirmed().map(|entry| entry.cid), Some(cid));
    assert_eq!(owner(&mut pair), Some(index));
}
