//! The devices' side of a world: power, flash, the application, and what each call of the device half may have done.

use moteseal::device::{Confirm, Event, OldKey, Outcome, Settled};
use moteseal::error::{PollError, ReceiveError, SendError};
use moteseal::number::{Epoch, SequenceNumber};
use moteseal_sim::nor::Tear;

use crate::auditor::{Kind, up_payload};
use crate::mote::{Board, Half, Mote};
use crate::network::{Datagram, SERVER};
use crate::world::World;

/// What a datagram brought, without borrows.
struct Brought {
    payload: Option<(Vec<u8>, Epoch, SequenceNumber, Option<u64>)>,
    settled: Vec<Settled>,
    event: Option<Event>,
}

impl World {
    /// Power comes, and may go again at any of the next writes.
    pub fn boot(&mut self, device: usize) {
        let hostile = self.network.hostile;
        let mote = &mut self.motes[device];
        mote.board.flash.borrow_mut().power_on();
        let tear = if hostile && self.random.chance(400) {
            Some(plan_cut(&mote.board, &mut self.random))
        } else {
            None
        };
        let before = mote.wear();
        match Half::boot(mote.board.clone(), mote.config) {
            Ok(half) => {
                let (writes, erases) = (mote.wear().0 - before.0, mote.wear().1 - before.1);
                let once = erases <= 1 && (writes == 1 || (writes, erases) == (2, 1));
                assert!(once, "P4: {writes} writes and {erases} erases in a boot");
                if !mote.has_rng() {
                    self.coverage.hit("device: without RNG");
                }
                mote.half = Some(half);
            }
            Err(error) => {
                assert!(!mote.has_power(), "{error}");
                self.coverage.hit("device: power cut during boot");
                self.lost_power(device, before);
            }
        }
        if tear.is_some_and(|tear| matches!(tear, Tear::Garbage(_))) && !self.motes[device].has_power() {
            self.coverage.hit("device: torn to garbage");
        }
    }

    pub fn power_off(&mut self, device: usize) {
        let mote = &mut self.motes[device];
        mote.half = None;
        mote.open.clear();
        mote.epoch = None;
        mote.untrusted = false;
        mote.wakes = self.now + self.random.pick(&[0, 100, 20_000]);
    }

    /// The flash has lost power in the middle of a call: what it would have returned, nobody saw.
    fn lost_power(&mut self, device: usize, before: (u64, u64)) {
        let wear = self.motes[device].wear();
        if wear.1 > before.1 && wear.0 == before.0 {
            self.coverage.hit("device: power cut during an erase");
        }
        self.power_off(device);
    }

    pub fn cut_power(&mut self, device: usize) {
        if self.motes[device].half.is_some() {
            self.coverage.hit("device: power cut between two calls");
            self.power_off(device);
        }
    }

    /// Erases the boot counter, or puts back what it was. Never on a device without an RNG (2.3).
    pub fn damage_counter(&mut self, device: usize) {
        if !self.motes[device].has_rng() {
            return;
        }
        match (self.random.below(3), self.motes[device].saved.clone()) {
            (0, _) => self.motes[device].save_counter(),
            (1, Some(saved)) => {
                self.coverage.hit("device: counter rolled back");
                self.power_off(device);
                self.motes[device].roll_counter_back(&saved);
            }
            _ => {
                self.coverage.hit("device: counter erased");
                self.power_off(device);
                let broken = self.random.chance(500);
                self.motes[device].lose_counter(broken);
                self.motes[device].untrusted = true;
            }
        }
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
        let before = self.motes[device].wear();
        let mote = &mut self.motes[device];
        let Some(half) = &mut mote.half else { return };
        let mut out = [0; 128];
        let sent = half.send(self.now, &payload, confirm, &mut out);
        let sent = sent.map(|sent| (sent.ticket, sent.datagram.map(<[u8]>::to_vec)));
        if !mote.has_power() {
            return self.lost_power(device, before);
        }
        assert_eq!(mote.wear(), before, "P4: sending wrote");
        match sent {
            Ok((ticket, datagram)) => {
                assert!(ticket.is_some() || datagram.is_some(), "taken, and neither sent nor named");
                if let Some(ticket) = ticket {
                    let other = mote.open.insert(ticket.number(), (ticket, id));
                    assert!(other.is_none(), "one ticket for two payloads");
                }
                if let Some(datagram) = datagram {
                    self.device_sends(device, datagram);
                }
            }
            Err(SendError::Busy | SendError::Hello(_)) => self.auditor.never_sealed(id),
            Err(error) => panic!("{error}"),
        }
    }

    /// Many payloads in a row; of the second half the attacker takes every one, so that one byte of the next number says
    /// too little (M-14).
    pub fn burst(&mut self, device: usize) {
        let rate = self.network.rate;
        for rate in [rate, 1_000] {
            self.network.rate = rate;
            for _ in 0..140 {
                self.hand_over_one(device, Confirm::No, &[]);
                self.send_plain(device);
            }
        }
        self.network.rate = rate;
        self.hand_over_one(device, Confirm::No, &[]);
    }

    pub fn connect(&mut self, device: usize) {
        if let Some(half) = &mut self.motes[device].half {
            half.connect(self.now);
        }
        self.poll_device(device);
    }

    pub fn withdraw(&mut self, device: usize) {
        let mote = &mut self.motes[device];
        let (Some(half), Some((ticket, _))) = (&mut mote.half, mote.open.values().last()) else { return };
        let (ticket, outcome) = (*ticket, half.withdraw(self.now, *ticket));
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
        let Some(half) = &mut self.motes[device].half else { return };
        let mut out = [0; 128];
        let closed = half.close(self.now, &mut out).unwrap();
        let (datagram, settled) = (closed.datagram.map(<[u8]>::to_vec), closed.settled.to_vec());
        self.coverage.hit("device: closed");
        if let Some(datagram) = datagram {
            self.device_sends(device, datagram);
        }
        self.settle(device, &settled, false);
        assert!(self.motes[device].open.is_empty(), "closed, and a word is missing");
    }

    fn settle(&mut self, device: usize, settled: &[Settled], in_welcome: bool) {
        for Settled { ticket, outcome } in settled {
            let handed = self.motes[device].open.remove(&ticket.number());
            let (_, id) = handed.expect("a second word for one payload, or a word for none");
            self.auditor.outcome(id, *outcome);
            self.motes[device].is_back |= *outcome == Outcome::Acknowledged;
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
        for _ in 0..16 {
            let before = self.motes[device].wear();
            let mote = &mut self.motes[device];
            let Some(half) = &mut mote.half else { return };
            let mut out = [0; 128];
            let polled = half.poll(self.now, &mut out).map(|datagram| datagram.map(<[u8]>::to_vec));
            if !mote.has_power() {
                return self.lost_power(device, before);
            }
            assert_eq!(mote.wear(), before, "P4: polling wrote");
            match polled {
                Ok(Some(datagram)) => self.device_sends(device, datagram),
                Ok(None) => {
                    let deadline = self.motes[device].half.as_ref().and_then(Half::deadline);
                    assert!(
                        deadline.is_none_or(|deadline| deadline > self.now),
                        "polled, and something is due"
                    );
                    return;
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

    fn device_sends(&mut self, device: usize, bytes: Vec<u8>) {
        let seen = self.auditor.left_device(self.now, device, &bytes);
        let mote = &mut self.motes[device];
        if let Kind::Hello { epoch, payload_len } = seen.kind {
            assert!(mote.epoch.is_none_or(|highest| epoch >= highest), "M-29: an epoch went back");
            assert!(!mote.untrusted || payload_len == 0, "M-32: early data after a lost counter");
            mote.epoch = Some(epoch);
        }
        let datagram = Datagram { from: mote.address, to: SERVER, bytes };
        self.network.send(self.now, datagram, &mut self.coverage);
    }

    pub fn device_receives(&mut self, device: usize, mut bytes: Vec<u8>) {
        let first = bytes.first().copied().unwrap_or(0);
        let kind = self.auditor.recognise(&bytes);
        let mote = &mut self.motes[device];
        let before = mote.wear();
        let Some(half) = &mut mote.half else { return };
        let state = (half.session(), half.deadline());
        let result = half.receive(self.now, &mut bytes).map(|received| Brought {
            payload: received.payload.map(|p| (p.bytes.to_vec(), p.epoch, p.number, p.age_ms)),
            settled: received.settled.to_vec(),
            event: received.event,
        });
        let after = (half.session(), half.deadline());
        if !mote.has_power() {
            self.coverage.hit(match first {
                0x54 => "device: power cut while the counter moves past a floor",
                _ => "device: power cut while a key is taken or erased",
            });
            return self.lost_power(device, before);
        }
        let wear = (mote.wear().0 - before.0, mote.wear().1 - before.1);
        match result {
            Ok(brought) => {
                check_wear(brought.event, wear);
                mote.heard(kind.expect("P1: nobody has sent this"));
                self.brought(device, brought);
            }
            Err(error) => {
                assert_eq!((wear, after), ((0, 0), state), "P6: {error}");
                let expected = !matches!(
                    error,
                    ReceiveError::Storage(_)
                        | ReceiveError::Counter(_)
                        | ReceiveError::Identity(_)
                        | ReceiveError::InvalidConnectionId(_)
                        | ReceiveError::FloorTooHigh
                        | ReceiveError::KeyMissing
                );
                assert!(expected, "{error}");
            }
        }
        self.poll_device(device);
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
        let sent_at = self.auditor.block_sent_at(device, epoch, number);
        let mote = &self.motes[device];
        if let Some(age) = age_ms {
            let truth = self.now - sent_at.expect("an age out of nothing");
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
        let in_calm = mote.round_trips.is_some();
        match event {
            Event::SessionOpened { old_key, .. } => {
                mote.acknowledged.clear();
                mote.untrusted = false;
                self.coverage.hit("device: session replaced");
                if old_key == OldKey::Erased {
                    self.coverage.hit("device: old key erased");
                }
                if let Some(round_trips) = &mut mote.round_trips {
                    // From here on the session holds: nothing may turn the device away again.
                    assert!(*round_trips < 3, "P5: {} round trips", *round_trips + 1);
                    *round_trips = 3;
                }
            }
            Event::Stale { moved, .. } => {
                mote.untrusted = false;
                self.coverage.hit("device: stale hello");
                self.coverage.hit(if moved {
                    "device: floor passed with a write"
                } else {
                    "device: floor passed without a write"
                });
                self.count_round_trip(device, in_calm);
            }
            Event::SessionLost => {
                self.coverage.hit("device: session lost");
                self.count_round_trip(device, in_calm);
            }
            Event::KeyTaken(_) => {
                self.coverage.hit("device: key taken");
                // A rotation opens one more session.
                mote.round_trips = mote.round_trips.map(|_| 2);
            }
            Event::CommandRefused { number, .. } => {
                let epoch = mote.half.as_ref().and_then(Half::session).unwrap();
                self.auditor.refused(device, epoch, number);
                assert!(mote.refuses(), "refused without a bound");
                self.coverage.hit("device: command refused for its age");
            }
            other => panic!("{other:?}"),
        }
    }

    fn count_round_trip(&mut self, device: usize, in_calm: bool) {
        if in_calm {
            let round_trips = self.motes[device].round_trips.as_mut().unwrap();
            *round_trips += 1;
            assert!(*round_trips < 3, "P5: no session after three round trips");
        }
    }
}

impl Mote {
    /// A datagram was accepted.
    fn heard(&mut self, kind: Kind) {
        match kind {
            Kind::Data { block: Some(block), .. } => {
                self.acknowledged.extend(block.numbers().map(SequenceNumber::value));
            }
            Kind::Reset { number } => {
                assert!(!self.acknowledged.contains(&number), "M-46: a Reset for an acknowledged number");
            }
            _ => {}
        }
    }
}

/// P4: what a datagram may cost the flash.
fn check_wear(event: Option<Event>, (writes, erases): (u64, u64)) {
    let allowed = match event {
        Some(Event::Stale { moved: true, .. }) => erases <= 1 && (writes == 1 || (writes, erases) == (2, 1)),
        Some(Event::KeyTaken(_)) => writes <= 1 && erases <= 1,
        // The old key, or what a power cut left of one.
        Some(Event::SessionOpened { .. }) => writes == 0 && erases <= 1,
        _ => writes == 0 && erases == 0,
    };
    assert!(allowed, "P4: {writes} writes and {erases} erases for {event:?}");
}

/// Power goes at one of the next writes, in any of the ways that flash has.
fn plan_cut(board: &Board, random: &mut crate::random::Random) -> Tear {
    let tear = match random.below(4) {
        0 => Tear::Bits(random.pick(&[0, u64::MAX])),
        1 => Tear::Garbage(random.next()),
        _ => Tear::Random(random.next()),
    };
    let after = random.pick(&[0, 1, 2, 3, 4, 8, 19, 20]);
    board.flash.borrow_mut().cut_power(after, tear);
    tear
}
