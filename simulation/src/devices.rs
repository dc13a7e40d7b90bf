//! The devices' side of a world: the application, and what each call of the device half may have done.

use moteseal::device::{Confirm, Event, OldKey, Outcome, Settled};
use moteseal::error::{PollError, ReceiveError, SendError};

use moteseal::record::FLOOR_LIMIT;

use crate::answers::Answers;
use crate::auditor::{Kind, Origin, up_payload};
use crate::mote::{Half, Mote};
use crate::network::{self, Datagram};
use crate::power::Doing;
use crate::world::World;

/// What a datagram brought, without borrows.
struct Brought {
    payload: Option<(Vec<u8>, u64, u16, Option<u64>)>,
    settled: Vec<Settled>,
    event: Option<Event>,
}

impl World {
    /// The time by a device's clock.
    fn time_of(&self, device: usize) -> u64 {
        self.motes[device].clock.at(self.now)
    }

    /// The application hands a payload over, whatever it is.
    pub fn hand_over(&mut self, device: usize) {
        let len = self.random.pick(&[0, 1, 12, 40, Half::PAYLOAD_MAX - 4]);
        let confirm = if self.random.chance(500) { Confirm::Yes } else { Confirm::No };
        let padding = self.random.bytes(len);
        self.hand_over_one(device, confirm, &padding);
    }

    pub fn hand_over_one(&mut self, device: usize, confirm: Confirm, padding: &[u8]) {
        self.next_payload += 1;
        let (id, payload) = (self.next_payload, up_payload(self.next_payload, padding));
        let (before, now) = (self.flash_before(device), self.time_of(device));
        let mote = &mut self.motes[device];
        let Some(half) = &mut mote.half else { return };
        let mut out = [0; 128];
        let sent = half.send(now, &payload, confirm, &mut out);
        let sent = sent.map(|sent| (sent.ticket, sent.datagram.map(<[u8]>::to_vec)));
        if !mote.has_power() {
            return self.lost_power(device, Doing::Floor, before);
        }
        assert_eq!(mote.wear(), before.wear, "P4: sending wrote");
        match sent {
            Ok((ticket, datagram)) => {
                assert!(ticket.is_some() || datagram.is_some(), "taken, and neither sent nor named");
                if let Some(ticket) = ticket {
                    let known = mote.open.iter().any(|(open, _)| *open == ticket);
                    assert!(!known, "one ticket for two payloads");
                    mote.open.push((ticket, id));
                }
                if let Some(datagram) = datagram {
                    self.device_sends(device, &datagram);
                }
            }
            Err(SendError::Busy | SendError::Hello(_)) => self.auditor.never_sealed(id),
            Err(error) => panic!("{error}"),
        }
        self.schedule_device(device);
    }

    pub fn connect(&mut self, device: usize) {
        let now = self.time_of(device);
        if let Some(half) = &mut self.motes[device].half {
            half.connect(now);
        }
        self.poll_device(device);
    }

    pub fn withdraw(&mut self, device: usize) {
        let now = self.time_of(device);
        let mote = &mut self.motes[device];
        let (Some(half), Some((ticket, _))) = (&mut mote.half, mote.open.last()) else { return };
        let (ticket, outcome) = (*ticket, half.withdraw(now, *ticket));
        let Some(outcome) = outcome else { return };
        self.coverage.hit(match outcome {
            Outcome::Unsent => "device: withdrawn before it was sealed",
            _ => "device: withdrawn after it was sealed",
        });
        assert_ne!(outcome, Outcome::Acknowledged);
        self.settle(device, &[Settled { ticket, outcome }], false);
        self.poll_device(device);
    }

    pub fn close(&mut self, device: usize) {
        let now = self.time_of(device);
        let Some(half) = &mut self.motes[device].half else { return };
        let mut out = [0; 128];
        let closed = half.close(now, &mut out).unwrap();
        let (datagram, settled) = (closed.datagram.map(<[u8]>::to_vec), closed.settled.to_vec());
        self.coverage.hit("device: closed");
        (self.motes[device].is_opening, self.motes[device].last_hello) = (false, None);
        if let Some(datagram) = datagram {
            self.device_sends(device, &datagram);
        }
        self.settle(device, &settled, false);
        assert!(self.motes[device].open.is_empty(), "M-102: closed, and a word is missing");
    }

    fn settle(&mut self, device: usize, settled: &[Settled], in_welcome: bool) {
        for Settled { ticket, outcome } in settled {
            let mote = &mut self.motes[device];
            let handed = mote.open.iter().position(|(open, _)| open == ticket);
            let handed = handed.expect("M-102: a second word for one payload, or a word for none");
            let (_, id) = mote.open.remove(handed);
            mote.is_back |= *outcome == Outcome::Acknowledged;
            if !self.auditor.is_stolen(device) {
                self.auditor.outcome(id, *outcome);
            }
            self.coverage.hit(match outcome {
                Outcome::Acknowledged if in_welcome => "outcome: acknowledged early data",
                Outcome::Acknowledged => "outcome: acknowledged data",
                Outcome::Unknown => "outcome: unknown",
                Outcome::Unsent => "outcome: unsent",
            });
        }
    }

    /// Everything that is due now.
    pub fn poll_device(&mut self, device: usize) {
        let now = self.time_of(device);
        for _ in 0..16 {
            let before = self.flash_before(device);
            let mote = &mut self.motes[device];
            let Some(half) = &mut mote.half else { return };
            let mut out = [0; 128];
            let polled = half.poll(now, &mut out).map(|datagram| datagram.map(<[u8]>::to_vec));
            if !mote.has_power() {
                return self.lost_power(device, Doing::Floor, before);
            }
            assert_eq!(mote.wear(), before.wear, "P4: polling wrote");
            match polled {
                Ok(Some(datagram)) => self.device_sends(device, &datagram),
                Ok(None) => {
                    let deadline = self.motes[device].half.as_ref().and_then(Half::deadline);
                    assert!(deadline.is_none_or(|deadline| deadline > now), "polled, and something is due");
                    return self.schedule_device(device);
                }
                Err(PollError::Hello(error)) => {
                    let entropy = matches!(error, moteseal::error::HelloError::Entropy(_));
                    assert!(entropy, "{error}");
                    self.coverage.hit("device: generator failed");
                }
                Err(error) => panic!("{error}"),
            }
        }
        panic!("a device that does not stop speaking");
    }

    /// A datagram leaves a device, to every gateway that it reaches.
    fn device_sends(&mut self, device: usize, bytes: &[u8]) {
        let origin = self.auditor.left_device(self.time_of(device), device, bytes);
        let mote = &mut self.motes[device];
        if let Kind::Hello { epoch, payload_len, generation, .. } = origin.kind {
            mote.takes_turns(epoch, generation);
            assert!(mote.epoch.is_none_or(|highest| epoch >= highest), "M-29: an epoch went back");
            assert!(
                !mote.untrusted || payload_len == 0,
                "M-32: device {device}: early data after a lost counter"
            );
            mote.hellos += u32::from(mote.epoch != Some(epoch));
            mote.epoch = Some(epoch);
            mote.is_opening = true;
            mote.highest_boot = mote.highest_boot.max(u32::try_from(epoch >> 16).unwrap());
        }
        if let Kind::Up { number, block, .. } = origin.kind {
            let now = mote.clock.at(self.now);
            let is_given_up = mote.sent >= Some(number)
                && !mote.acknowledged.contains(&number)
                && mote.acknowledged.last().is_some_and(|highest| highest.saturating_sub(number) >= 64);
            assert!(!is_given_up, "M-128: number {number} is repeated, and far behind what is acknowledged");
            // Without C a block is only there because an answer is due (M-44), and it names what is answered (M-15).
            let answers = mote.repeated.filter(|_| bytes[0] & 4 == 0 && mote.sent < Some(number));
            if let (Some(repeated), Some(block)) = (answers, block) {
                assert_eq!(repeated, block.number, "M-15: a repeat is answered by another number");
                mote.answers.answered(now);
                mote.repeated = None;
                self.coverage.hit("device: repeat acknowledged");
            }
            mote.sent = mote.sent.max(Some(number));
        }
        let reach = mote.reach;
        let (from, copies) = self.source_of(device, self.now);
        self.trace.note(self.now, sends(&origin), device, None, number(&origin));
        for site in (0..self.sites.len()).filter(|site| reach >> site & 1 == 1) {
            for _ in 0..copies {
                let to = network::gateway(site);
                let datagram = Datagram { from, to, bytes: bytes.to_vec(), origin: Some(origin) };
                self.network.send(self.now, datagram, &mut self.agenda, &mut self.coverage);
            }
        }
    }

    /// A cut may be planned for what this datagram will have the flash do.
    fn plan_cut_for(&mut self, device: usize, origin: Option<&Origin>) -> Doing {
        let hostile = self.network.hostile && self.random.chance(self.mood.cuts / 2);
        let (doing, operations) = match origin.map(|origin| origin.kind) {
            Some(Kind::Down { control: true, .. }) => (Doing::Rotation, 17),
            Some(Kind::Floor { .. }) => (Doing::Floor, 3),
            Some(Kind::Welcome { .. }) => (Doing::Welcome, 1),
            _ => return Doing::Rotation,
        };
        if hostile && self.motes[device].half.is_some() {
            let after = self.random.below(operations);
            self.plan_cut(device, after);
        }
        doing
    }

    pub fn device_receives(&mut self, device: usize, datagram: Datagram) {
        let Datagram { mut bytes, origin, .. } = datagram;
        let doing = self.plan_cut_for(device, origin.as_ref());
        let (before, now) = (self.flash_before(device), self.time_of(device));
        let mote = &mut self.motes[device];
        let Some(half) = &mut mote.half else { return };
        let state = (half.session(), half.deadline());
        let result = half.receive(now, &mut bytes).map(|received| Brought {
            payload: received
                .payload
                .map(|p| (p.bytes.to_vec(), p.epoch.value(), p.number.value(), p.age_ms)),
            settled: received.settled.to_vec(),
            event: received.event,
        });
        let after = (half.session(), half.deadline());
        if !mote.has_power() {
            return self.lost_power(device, doing, before);
        }
        let wear = (mote.wear().0 - before.wear.0, mote.wear().1 - before.wear.1);
        match result {
            Ok(brought) => {
                let origin = origin.expect("P1: nobody has sent this");
                self.trace.note(self.now, takes(&origin), device, None, number(&origin));
                assert_eq!(origin.device, device, "P7: a datagram of another device");
                assert!(
                    mote.is_worn || is_allowed(brought.event, wear),
                    "P4: {wear:?} for {:?}",
                    brought.event
                );
                mote.heard(origin.kind);
                self.brought(device, brought);
                self.poll_device(device);
                self.motes[device].repeated = None;
                return;
            }
            Err(error) => self.refused(device, error, (wear, after) == ((0, 0), state)),
        }
        self.poll_device(device);
    }

    /// A datagram had no effect.
    fn refused(&mut self, device: usize, error: ReceiveError, unchanged: bool) {
        let mote = &self.motes[device];
        let by_thief = self.auditor.is_stolen(device);
        match error {
            ReceiveError::Storage(_) | ReceiveError::Counter(_) | ReceiveError::KeyMissing => {
                assert!(mote.is_worn, "{error}");
                self.coverage.hit("device: worn flash refuses");
            }
            ReceiveError::FloorTooHigh => {
                assert!(by_thief && unchanged, "{error}");
                self.coverage.hit("device: floor out of range");
            }
            ReceiveError::InvalidConnectionId(invalid) => {
                assert!(by_thief, "{error}");
                self.coverage.hit("device: welcome without a connection id");
                let settled = invalid.settled;
                // A Welcome was accepted, such as it is.
                self.motes[device].untrusted = false;
                (self.motes[device].is_opening, self.motes[device].last_hello) = (false, None);
                self.settle(device, settled.as_slice(), true);
            }
            ReceiveError::Verify(moteseal::error::VerifyError::Malformed(_)) => {
                assert!(by_thief, "{error}");
                self.coverage.hit("device: malformed data");
            }
            ReceiveError::Identity(_) => panic!("{error}"),
            _ => assert!(unchanged, "P6: {error} has changed something"),
        }
    }

    fn brought(&mut self, device: usize, brought: Brought) {
        let is_opened = matches!(brought.event, Some(Event::SessionOpened { .. }));
        let ends = is_opened || matches!(brought.event, Some(Event::Stale { .. } | Event::KeyTaken(_)));
        if !ends && brought.settled.iter().any(|settled| settled.outcome == Outcome::Unknown) {
            self.coverage.hit("outcome: left of the window");
        }
        if let Some(event) = brought.event {
            self.happened(device, event);
        }
        self.settle(device, &brought.settled, is_opened);
        let Some((payload, epoch, number, age_ms)) = brought.payload else { return };
        self.auditor.delivered_down(device, epoch, number, &payload);
        let (sent_at, now) = (self.auditor.block_sent_at(device, epoch, number), self.time_of(device));
        let mote = &self.motes[device];
        if let Some(age) = age_ms.filter(|_| !self.auditor.is_stolen(device)) {
            let truth = now - sent_at.expect("M-111: an age out of nothing");
            assert!(age >= truth, "M-111: {age} ms, in truth {truth}");
        }
        if mote.refuses() {
            let age = age_ms.expect("M-112: of unknown age");
            assert!(age <= mote.bound_ms().into(), "M-112: {age} ms old");
            self.coverage.hit("device: command delivered under a bound");
        }
    }

    fn happened(&mut self, device: usize, event: Event) {
        let mote = &mut self.motes[device];
        match event {
            Event::SessionOpened { old_key, .. } => {
                mote.begin_session();
                self.coverage.hit("device: session replaced");
                if old_key == OldKey::Erased || !mote.slots_rolled_back {
                    mote.keep_slots();
                }
                if old_key == OldKey::Erased {
                    self.coverage.hit("device: old key erased");
                }
                mote.may_be_stale = false;
                if let Some(round_trips) = &mut mote.round_trips {
                    // From here on the session holds: nothing may turn the device away again.
                    assert!(*round_trips < 3, "P5: {} round trips", *round_trips + 1);
                    *round_trips = 3;
                }
            }
            Event::Stale { moved, floor } => {
                assert!(floor.boot() < FLOOR_LIMIT, "M-39: a floor of {floor} was accepted");
                (mote.untrusted, mote.is_opening, mote.last_hello) = (false, false, None);
                self.coverage.hit("device: stale hello");
                self.coverage.hit(if moved {
                    "device: floor passed with a write"
                } else {
                    "device: floor passed without a write"
                });
                if !std::mem::take(&mut mote.may_be_stale) {
                    self.count_round_trip(device);
                }
            }
            Event::SessionLost => {
                self.coverage.hit("device: session lost");
                self.count_round_trip(device);
            }
            Event::KeyTaken(_) => {
                mote.keep_slots();
                (mote.has_two_keys, mote.last_hello) = (true, None);
                self.coverage.hit("device: key taken");
                // A rotation opens one more session.
                mote.round_trips = mote.round_trips.map(|_| 2);
                mote.may_be_stale = true;
            }
            Event::CommandRefused { number, .. } => {
                let epoch = mote.half.as_ref().and_then(Half::session).unwrap();
                assert!(mote.refuses(), "refused without a bound");
                self.auditor.refused(device, epoch.value(), number.value());
                self.coverage.hit("device: command refused for its age");
            }
            // A rotate that was sealed before the key slots were rolled back.
            Event::ControlIgnored => {}
            other => panic!("{other:?}"),
        }
    }

    /// Since the attacker stopped.
    fn count_round_trip(&mut self, device: usize) {
        let is_stolen = self.auditor.is_stolen(device);
        if let Some(round_trips) = self.motes[device].round_trips.as_mut() {
            *round_trips += 1;
            assert!(*round_trips < 3 || is_stolen, "P5: no session after three round trips");
        }
    }
}

impl Mote {
    /// A datagram was accepted.
    fn heard(&mut self, kind: Kind) {
        match kind {
            Kind::Down { number, block, .. } => {
                if self.verified.insert(number) {
                    self.answers.renew();
                } else {
                    self.repeated = Some(number);
                }
                self.acknowledged.extend(block.iter().flat_map(|block| block.numbers()));
            }
            Kind::Reset { number, .. } => {
                assert!(!self.acknowledged.contains(&number), "M-46: a Reset for an acknowledged number");
                assert!(self.sent >= Some(number), "M-46: a Reset for a number that was never sent");
                assert!(!self.is_opening, "M-46: a Reset while a Hello is outstanding");
            }
            _ => {}
        }
    }

    /// A Welcome was accepted.
    fn begin_session(&mut self) {
        self.acknowledged.clear();
        self.verified.clear();
        (self.sent, self.answers) = (None, Answers::default());
        (self.untrusted, self.is_opening, self.has_two_keys) = (false, false, false);
    }

    /// M-119: with two keys each transmission of a Hello is a new one, and under the other key.
    fn takes_turns(&mut self, epoch: u64, generation: u8) {
        if let Some((last, key)) = self.last_hello.filter(|_| self.has_two_keys) {
            let is_in_turn = last != epoch && key != generation;
            assert!(is_in_turn, "M-119: device {} twice under the key of generation {key}", self.id);
        }
        self.last_hello = Some((epoch, generation));
    }
}

/// P4: what a datagram may cost the flash.
fn is_allowed(event: Option<Event>, (writes, erases): (u64, u64)) -> bool {
    match event {
        Some(Event::Stale { moved: true, .. }) => erases <= 1 && (writes == 1 || (writes, erases) == (2, 1)),
        Some(Event::KeyTaken(_)) => writes <= 1 && erases <= 1,
        // The old key, or what a power cut left of one.
        Some(Event::SessionOpened { .. }) => writes == 0 && erases <= 1,
        _ => writes == 0 && erases == 0,
    }
}

const fn sends(origin: &Origin) -> &'static str {
    match origin.kind {
        Kind::Hello { .. } => "sends Hello",
        _ => "sends Data",
    }
}

const fn takes(origin: &Origin) -> &'static str {
    match origin.kind {
        Kind::Welcome { .. } => "takes Welcome",
        Kind::Floor { .. } => "takes Floor",
        Kind::Reset { .. } => "takes Reset",
        _ => "takes Data",
    }
}

/// What tells a datagram from others of its kind.
pub fn number(origin: &Origin) -> u64 {
    match origin.kind {
        Kind::Hello { epoch, .. } | Kind::Welcome { epoch } => epoch,
        Kind::Floor { floor } => floor,
        Kind::Up { number, .. } | Kind::Down { number, .. } | Kind::Reset { number, .. } => number.into(),
    }
}
