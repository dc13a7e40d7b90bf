//! The device half, driven by bytes and held against what it may do: datagrams of a server that holds the keys and keeps
//! no rule, changed ones and junk, the time, power cuts, flash that fails. SPEC sections 6, 9 and 10.

mod board;
mod model;
mod peer;

use moteseal::device::{CommandAge, Config, Confirm, Device, Millis, Timing};
use moteseal::error::{PollError, SendError};
use moteseal::keys::{DeviceKey, RotationKey};

use crate::tape::Tape;
use board::Board;
use model::Model;
pub use peer::seal;

/// The longest datagram that the device keeps.
const N: usize = 96;
type Half = Device<Board, N>;

/// One life.
pub fn run(bytes: &[u8]) {
    let mut tape = Tape::new(bytes);
    let mut life = Life::new(&mut tape);
    while !tape.is_empty() {
        life.step(&mut tape);
    }
}

struct Life {
    board: Board,
    config: Config,
    /// Nothing while the power is off.
    half: Option<Half>,
    now: Millis,
    model: Model,
    next_payload: u16,
    disturbed: bool,
}

impl Life {
    fn new(tape: &mut Tape<'_>) -> Self {
        let bits = tape.u8();
        let (device_key, rotation_key) = (DeviceKey::new([1; 32]), RotationKey::new([2; 32]));
        let boots = tape.pick(&[0, 5, 0xFEFF_FFFD, u32::MAX - 2]);
        let board = Board::new(device_key.clone(), rotation_key.clone(), bits & 1 == 0, boots);
        let timing = Timing {
            hello_cap_ms: if bits & 2 == 0 { 60_000 } else { 600_000 },
            confirm_after_ms: if bits & 4 == 0 { 600_000 } else { 10_000 },
            confirm_every: if bits & 8 == 0 { 64 } else { 3 },
            ..Timing::DEFAULT
        };
        let bound_ms = if bits & 16 == 0 { 600_000 } else { 4_000 };
        let command_age =
            if bits & 32 == 0 { CommandAge::Report { bound_ms } } else { CommandAge::Refuse { bound_ms } };
        let model = Model::new(device_key, rotation_key, command_age, boots);
        let config = Config { timing, command_age };
        Self { board, config, half: None, now: 1_000, model, next_payload: 0, disturbed: false }
    }

    fn step(&mut self, tape: &mut Tape<'_>) {
        if self.half.is_none() {
            return self.boot(tape);
        }
        match tape.u8() {
            0..=29 => self.send(tape),
            30..=59 => self.poll(),
            60..=79 => self.wait(tape),
            80..=99 => self.answer_hello(tape),
            100..=189 => self.receive_in_session(tape),
            190..=214 => {
                let bytes = self.model.peer.again(tape);
                self.receive(bytes);
            }
            215..=219 => self.withdraw(tape),
            220..=222 => self.close(),
            223..=226 => self.connect(),
            227..=232 => self.board.break_rng(tape),
            233..=240 => {
                self.disturbed = true;
                self.board.disturb(tape);
            }
            241..=243 => {
                self.disturbed = false;
                self.board.repair();
            }
            244..=247 => self.burst(tape),
            _ => self.power_off(),
        }
    }

    fn boot(&mut self, tape: &mut Tape<'_>) {
        self.board.repair();
        self.disturbed = tape.u8() >= 200;
        if self.disturbed {
            self.board.disturb(tape);
        }
        let before = self.board.wear();
        match Half::boot(self.board.clone(), self.config) {
            Ok(half) => {
                let (writes, erases) = self.spent(before);
                let once = erases <= 1 && (writes == 1 || (writes, erases) == (2, 1));
                assert!(self.disturbed || once, "P4: {writes}, {erases} at boot");
                self.half = Some(half);
                self.model.booted();
            }
            Err(error) => assert!(self.disturbed || self.model.is_used_up(), "{error}"),
        }
    }

    fn spent(&self, (writes, erases): (u64, u64)) -> (u64, u64) {
        let wear = self.board.wear();
        (wear.0 - writes, wear.1 - erases)
    }

    fn power_off(&mut self) {
        self.half = None;
        self.model.lost_power();
    }

    /// Whether the call that was just made was cut short by a loss of power: then nobody saw its result.
    fn is_cut(&mut self) -> bool {
        let cut = !self.board.has_power();
        if cut {
            self.power_off();
        }
        cut
    }

    fn send(&mut self, tape: &mut Tape<'_>) {
        let bits = tape.u8();
        let payload = self.payload(usize::from(bits & 63));
        let confirm = if bits & 64 == 0 { Confirm::Yes } else { Confirm::No };
        self.send_one(&payload, confirm, bits & 0x80 == 0 || bits & 0x1F != 0);
    }

    /// Each payload has its own number, so that it is known wherever it comes to light.
    fn payload(&mut self, len: usize) -> Vec<u8> {
        self.next_payload = self.next_payload.wrapping_add(1);
        let mut payload = self.next_payload.to_be_bytes().to_vec();
        payload.resize(len.clamp(2, Half::PAYLOAD_MAX + 1), b'.');
        payload
    }

    fn send_one(&mut self, payload: &[u8], confirm: Confirm, room: bool) {
        let Some(half) = &mut self.half else { return };
        let before = self.board.wear();
        let mut out = [0; N];
        let out = if room { &mut out[..] } else { &mut out[..30] };
        self.model.calls();
        let sent = half.send(self.now, payload, confirm, out);
        let sent = sent.map(|sent| (sent.ticket, sent.datagram.map(<[u8]>::to_vec)));
        if self.is_cut() {
            return;
        }
        match sent {
            Ok((ticket, datagram)) => {
                assert!(ticket.is_some() || datagram.is_some(), "taken, and neither sent nor named");
                self.model.handed_over(payload, ticket);
                self.left(datagram, before);
            }
            Err(SendError::TooLong) => assert!(payload.len() > Half::PAYLOAD_MAX),
            Err(SendError::BufferTooShort) => assert!(!room),
            Err(SendError::Hello(error)) => self.excuse(&error),
            Err(error) => assert_eq!(error, SendError::Busy),
        }
    }

    /// A fault of the hardware needs hardware that is faulty.
    fn excuse(&self, error: &dyn std::fmt::Display) {
        let excused = self.disturbed || !self.board.rng_works() || self.model.is_used_up();
        assert!(excused, "{error}");
    }

    fn left(&mut self, datagram: Option<Vec<u8>>, before: (u64, u64)) {
        let spent = self.spent(before);
        assert!(spent == (0, 0) || self.model.may_advance(), "P4: sending wrote {spent:?}");
        if let Some(datagram) = datagram {
            self.model.left(self.now, &datagram);
        }
    }

    /// Whatever is due.
    fn poll(&mut self) {
        for _ in 0..8 {
            let Some(half) = &mut self.half else { return };
            let before = self.board.wear();
            let mut out = [0; N];
            let polled = half.poll(self.now, &mut out).map(|datagram| datagram.map(<[u8]>::to_vec));
            if self.is_cut() {
                return;
            }
            match polled {
                Ok(Some(datagram)) => self.left(Some(datagram), before),
                Ok(None) => {
                    let deadline = self.half.as_ref().and_then(Half::deadline);
                    assert!(deadline.is_none_or(|at| at > self.now), "polled, and something is due");
                    return;
                }
                Err(PollError::Hello(error)) => {
                    self.model.calls();
                    self.excuse(&error);
                }
                Err(error) => panic!("there was room: {error}"),
            }
        }
        panic!("a device that does not stop speaking");
    }

    fn wait(&mut self, tape: &mut Tape<'_>) {
        let deadline = self.half.as_ref().and_then(Half::deadline);
        self.now = match tape.below(8) {
            0..=3 => deadline.map_or(self.now, |at| at.max(self.now)),
            4 => self.now + u64::from(tape.u16()),
            5 => self.now + 999,
            6 => self.now + 60_000,
            _ => self.now + 600_000,
        };
        self.poll();
    }

    fn answer_hello(&mut self, tape: &mut Tape<'_>) {
        if let Some(bytes) = self.model.answer_hello(tape) {
            self.receive(bytes);
        }
    }

    fn receive_in_session(&mut self, tape: &mut Tape<'_>) {
        if let Some(bytes) = self.model.speak(tape) {
            self.receive(bytes);
        }
    }

    fn receive(&mut self, bytes: Vec<u8>) {
        let Some(half) = &mut self.half else { return };
        let state = (half.session(), half.deadline());
        let before = self.board.wear();
        let mut datagram = bytes.clone();
        let result = half.receive(self.now, &mut datagram).map(model::Brought::of);
        let after = (half.session(), half.deadline());
        if self.is_cut() {
            return self.model.heard_in_part(&bytes);
        }
        let spent = self.spent(before);
        let rejected = result.as_ref().err().map(ToString::to_string);
        let counts = self.model.heard(self.now, &bytes, result, self.disturbed);
        let most = model::allowed_wear(counts);
        let within = spent.0 <= most.0 && spent.1 <= most.1;
        // A counter may try three slots where flash fails, a slot may be erased and not be written.
        assert!(within || self.disturbed, "P4: {spent:?} for {counts:?}");
        if let Some(error) = rejected.filter(|_| matches!(counts, model::Effect::None)) {
            assert_eq!(state, after, "M-24");
            assert_eq!(spent, (0, 0), "M-24: {error}");
        }
        self.poll();
    }

    fn withdraw(&mut self, tape: &mut Tape<'_>) {
        let Some(half) = &mut self.half else { return };
        let Some(ticket) = self.model.any_ticket(tape) else { return };
        self.model.calls();
        let outcome = half.withdraw(self.now, ticket);
        if let Some(outcome) = outcome {
            self.model.withdrawn(ticket, outcome);
        }
    }

    fn close(&mut self) {
        let Some(half) = &mut self.half else { return };
        let mut out = [0; N];
        self.model.calls();
        let closed = half.close(self.now, &mut out).expect("there was room");
        let (datagram, settled) = (closed.datagram.map(<[u8]>::to_vec), closed.settled.to_vec());
        if let Some(datagram) = datagram {
            self.model.left(self.now, &datagram);
        }
        self.model.closed(&settled);
        assert_eq!(half.session(), None, "M-124");
        assert_eq!(half.deadline(), None);
    }

    fn connect(&mut self) {
        let Some(half) = &mut self.half else { return };
        self.model.calls();
        half.connect(self.now);
        self.poll();
    }

    /// Many payloads that ask for nothing, so that numbers need two bytes.
    fn burst(&mut self, tape: &mut Tape<'_>) {
        for _ in 0..tape.pick(&[10_u8, 70, 130]) {
            let payload = self.payload(2);
            self.send_one(&payload, Confirm::No, true);
        }
    }
}
