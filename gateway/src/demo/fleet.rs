//! The devices: the real device half on simulated flash, each over a socket of its own, with an application that
//! sends telemetry and takes commands. They lose their power when they are told, in the middle of a flash operation
//! too; all that survives is what the flash holds. SPEC section 6.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;
use moteseal::boot_counter::{self, NorBootCounter};
use moteseal::device::{Config, Confirm, Device, Event, Outcome, Parts, Payload, Settled, Ticket, Timing};
use moteseal::entropy::FromFn;
use moteseal::error::{EntropyError, ReceiveError};
use moteseal::flash::SharedFlash;
use moteseal::identity::FactoryImage;
use moteseal::key_slots::NorKeySlots;
use moteseal::number::DeviceId;
use moteseal_sim::nor::{Nor, Tear};

use super::auditor::{Auditor, Word};
use super::chaos::{self, Millis, PowerCut};
use super::promise::Promise;
use super::tally::{Fault, Tally};
use super::{lock, relay};
use crate::random;

/// Flash in words of 8 bytes and pages of 64. Pages that small turn every 8 boots, so that a short run has erases
/// of the counter too.
type Flash = Nor<8, PAGE_LEN>;
const PAGE_LEN: usize = 64;
type Shared<'f> = SharedFlash<'f, Flash>;
type Board<'f> = Parts<NorBootCounter<Shared<'f>>, NorKeySlots<Shared<'f>>, OsRandom>;
type OsRandom = FromFn<fn(&mut [u8]) -> Result<(), EntropyError>>;

/// The counter's pages come after those of the keys.
const COUNTER_AT: u32 = NorKeySlots::<Flash>::LEN;
const COUNTER_LEN: u32 = NorBootCounter::<Flash>::LEN;
const COUNTER_PAGES: std::ops::Range<usize> = 3..5;
const FLASH_LEN: usize = 5 * PAGE_LEN;

/// The longest datagram that a device sends or takes, in bytes.
const DATAGRAM_MAX: usize = 128;
/// Patience for a network without distances and a life of half a minute.
const TIMING: Timing = Timing {
    answer_timeout_ms: 200,
    repeats: 3,
    hello_cap_ms: 2_000,
    confirm_after_ms: 1_000,
    confirm_every: 8,
};
/// How often a device has telemetry, in milliseconds.
const BETWEEN_TELEMETRY_MS: std::ops::Range<Millis> = 60..400;
/// How soon a device comes back after its power went in the middle of a flash operation, in milliseconds.
const OFF_AFTER_TEAR_MS: Millis = 50;
/// How long a thread sleeps when its devices have nothing to do.
const NAP: Duration = Duration::from_millis(1);

/// What the fleet is told to do.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// A device loses its power.
    CutPower(PowerCut),
    /// The attacker has gone: every device shows that it has a session.
    Calm,
}

/// What can be seen of a device from outside.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sight {
    /// It has power.
    pub on: bool,
    /// It has a session.
    pub in_session: bool,
    /// Since the calm a payload of its own was acknowledged.
    pub proven: bool,
    /// How often it was switched on, the boots that a power cut ended included.
    pub boots: u64,
    /// Writes to the flash of the counter.
    pub writes: u64,
    /// Erases of the flash of the counter.
    pub erases: u64,
    /// How often a Floor moved the counter, or began to.
    pub moves: u64,
    /// Turns of the counter's pages after one that a power cut had struck: these cost one more write each (P4).
    pub turns: u64,
    /// Datagrams that it dropped.
    pub rejected: u64,
}

/// A device before it is switched on.
pub struct Mote {
    number: usize,
    device_id: DeviceId,
    socket: UdpSocket,
    flash: Flash,
}

impl Mote {
    /// Flashes a device as the factory does.
    pub fn flashed(number: usize, image: &FactoryImage) -> Result<Self, String> {
        let mut flash = Flash::new(FLASH_LEN);
        let (page_len, mut parts) = (u32::try_from(PAGE_LEN).unwrap_or(0), Vec::new());
        parts.extend(image.parts(page_len).map(|(offset, part)| (offset, part.expose().to_vec())));
        parts.push((COUNTER_AT, boot_counter::entry(0).to_vec()));
        for (offset, part) in parts {
            flash.put(offset as usize, &part).map_err(|error| format!("the flash of a device: {error:?}"))?;
        }
        let socket = relay::socket().map_err(|error| format!("the socket of a device: {error}"))?;
        Ok(Self { number, device_id: image.identity.device_id, socket, flash })
    }

    /// Its name and where it sends from.
    pub fn address(&self) -> io::Result<(DeviceId, SocketAddr)> {
        Ok((self.device_id, self.socket.local_addr()?))
    }
}

/// What all devices share.
#[derive(Clone)]
pub struct Surroundings {
    /// Where the gateway seems to be.
    pub server: SocketAddr,
    /// The seed of the run.
    pub seed: u64,
    /// When the run began.
    pub start: Instant,
    /// Who is told everything.
    pub auditor: Arc<Mutex<Auditor>>,
    /// What struck.
    pub tally: Arc<Tally>,
    /// What can be seen of each device.
    pub sights: Arc<Mutex<Vec<Sight>>>,
}

/// Runs some of the devices until nobody gives orders any more.
pub fn run(motes: Vec<Mote>, around: &Surroundings, orders: &Receiver<Order>) -> io::Result<()> {
    let (flashes, rest): (Vec<_>, Vec<_>) = motes
        .into_iter()
        .map(|mote| (RefCell::new(mote.flash), (mote.number, mote.device_id, mote.socket)))
        .unzip();
    let mut running: Vec<_> = flashes
        .iter()
        .zip(rest)
        .map(|(flash, (number, device_id, socket))| Running::new(around, flash, number, device_id, socket))
        .collect();
    loop {
        loop {
            match orders.try_recv() {
                Ok(order) => running.iter_mut().for_each(|mote| mote.obey(order)),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        let mut busy = false;
        for mote in &mut running {
            busy |= mote.step()?;
            lock(&around.sights)[mote.number] = mote.sight();
        }
        if !busy {
            std::thread::sleep(NAP);
        }
    }
}

/// A device and its application.
struct Running<'f> {
    around: Surroundings,
    flash: &'f RefCell<Flash>,
    number: usize,
    device_id: DeviceId,
    socket: UdpSocket,
    power: Power<'f>,
    /// Payloads whose outcome is open. They are the application's memory, and lost with the power.
    open: HashMap<Ticket, Vec<u8>>,
    rng: Rng,
    serial: u32,
    next_telemetry: Millis,
    calm: bool,
    /// The payload by which it shows that it has a session.
    proof: Option<Ticket>,
    sight: Sight,
}

#[expect(clippy::large_enum_variant, reason = "a device is never moved while it runs")]
enum Power<'f> {
    On(Device<Board<'f>, DATAGRAM_MAX>),
    /// Until then; and a tear that is planned for after that.
    Off(Millis, Option<(u64, Tear)>),
}

impl<'f> Running<'f> {
    fn new(
        around: &Surroundings,
        flash: &'f RefCell<Flash>,
        number: usize,
        device_id: DeviceId,
        socket: UdpSocket,
    ) -> Self {
        let mut rng = chaos::stream(around.seed, "telemetry", number);
        // A fleet that is installed one after the other.
        let power = Power::Off(rng.u64(0..500), None);
        Self {
            around: around.clone(),
            flash,
            number,
            device_id,
            socket,
            power,
            open: HashMap::new(),
            rng,
            serial: 0,
            next_telemetry: 0,
            calm: false,
            proof: None,
            sight: Sight::default(),
        }
    }

    fn now(&self) -> Millis {
        u64::try_from(self.around.start.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    fn sight(&self) -> Sight {
        let flash = self.flash.borrow();
        let wear = COUNTER_PAGES.map(|page| flash.wear(page));
        let (writes, erases) =
            wear.fold((0, 0), |(writes, erases), wear| (writes + wear.writes, erases + wear.erases));
        let (on, in_session) = match &self.power {
            Power::On(device) => (true, device.session().is_some()),
            Power::Off(..) => (false, false),
        };
        Sight { on, in_session, writes, erases, ..self.sight }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::CutPower(cut) if cut.device == self.number => {
                let tear = cut.torn.map(|(spared, seed)| (spared, Tear::Random(seed)));
                let until = self.now() + cut.off_ms;
                self.lose_power(until, tear);
                self.around.tally.add(Fault::PowerCut);
                if cut.erases_counter {
                    self.erase_counter();
                }
            }
            Order::CutPower(_) => {}
            Order::Calm => {
                self.calm = true;
                if let Power::Off(..) = self.power {
                    self.power = Power::Off(0, None);
                }
                // A tear that was planned does not strike any more.
                self.flash.borrow_mut().power_on();
            }
        }
    }

    fn erase_counter(&mut self) {
        let erased = self.flash.borrow_mut().put(COUNTER_AT as usize, &[0xFF; COUNTER_LEN as usize]);
        if erased.is_ok() {
            self.around.tally.add(Fault::ErasedCounter);
        }
    }

    /// Everything but the flash is gone.
    fn lose_power(&mut self, until: Millis, tear: Option<(u64, Tear)>) {
        self.power = Power::Off(until, tear);
        self.proof = None;
        let mut auditor = lock(&self.around.auditor);
        for (_, payload) in self.open.drain() {
            auditor.forgotten(&payload);
        }
    }

    /// Does what is due; tells whether anything was.
    fn step(&mut self) -> io::Result<bool> {
        let now = self.now();
        if let Power::Off(until, tear) = self.power {
            if now >= until {
                self.boot(now, tear);
            }
            return Ok(false);
        }
        let mut busy = false;
        let mut buffer = [0; 2 * DATAGRAM_MAX];
        while let Some((len, _)) = relay::receive(&self.socket, &mut buffer)? {
            busy = true;
            self.receive(now, &mut buffer[..len]);
            self.send_what_is_due(now);
        }
        self.send_what_is_due(now);
        self.apply(now);
        Ok(busy)
    }

    fn boot(&mut self, now: Millis, tear: Option<(u64, Tear)>) {
        {
            let mut flash = self.flash.borrow_mut();
            flash.power_on();
            if let Some((spared, tear)) = tear {
                flash.cut_power(spared, tear);
            }
        }
        // What came while it was off is not there any more.
        let mut buffer = [0; 1];
        while let Ok(Some(_)) = relay::receive(&self.socket, &mut buffer) {}
        self.sight.boots += 1;
        let before = self.sight();
        let booted = board(self.flash, chaos::has_rng(self.number)).and_then(|board| {
            let config = Config { timing: TIMING, ..Config::default() };
            Device::boot(board, config).map_err(|error| error.to_string())
        });
        self.count_turn(before);
        match booted {
            Ok(device) => {
                self.power = Power::On(device);
                self.next_telemetry = now;
            }
            Err(_) if !self.flash.borrow().has_power() => self.notice_tear(now),
            Err(error) => {
                let how = format!("device {} does not start: {error}", self.device_id);
                lock(&self.around.auditor).broke(Promise::NobodyLockedOut, how);
                self.power = Power::Off(Millis::MAX, None);
            }
        }
    }

    /// Whether the counter turned its pages with one more write, since then.
    fn count_turn(&mut self, before: Sight) {
        let Sight { writes, erases, .. } = self.sight();
        self.sight.turns += u64::from(writes == before.writes + 2 && erases == before.erases + 1);
    }

    fn notice_tear(&mut self, now: Millis) {
        self.around.tally.add(Fault::TornFlash);
        self.lose_power(now + OFF_AFTER_TEAR_MS, None);
    }

    /// Whether the device still runs: a planned tear may have struck in what it just did.
    fn still_on(&mut self, now: Millis) -> bool {
        if self.flash.borrow().has_power() {
            return true;
        }
        let Sight { writes, boots, moves, turns, .. } = self.sight();
        // The write that it struck was for a Floor, if it was one to the counter.
        self.sight.moves += u64::from(writes > boots + moves + turns);
        self.notice_tear(now);
        false
    }

    fn receive(&mut self, now: Millis, datagram: &mut [u8]) {
        let before = self.sight();
        let Power::On(device) = &mut self.power else { return };
        let (settled, moved) = match device.receive(now, datagram) {
            Ok(received) => {
                if let Some(Payload { bytes, epoch, number, .. }) = received.payload {
                    lock(&self.around.auditor).received(self.device_id, bytes, epoch, number);
                }
                (received.settled, matches!(received.event, Some(Event::Stale { moved: true, .. })))
            }
            Err(ReceiveError::InvalidConnectionId(invalid)) => (invalid.settled.into_iter().collect(), false),
            Err(_) => {
                self.sight.rejected += 1;
                Default::default()
            }
        };
        self.count_turn(before);
        if moved {
            self.sight.moves += 1;
        }
        for Settled { ticket, outcome } in settled {
            self.settle(ticket, outcome);
        }
        self.still_on(now);
    }

    fn settle(&mut self, ticket: Ticket, outcome: Outcome) {
        if self.proof == Some(ticket) {
            self.proof = None;
            self.sight.proven |= outcome == Outcome::Acknowledged;
        }
        let word = match outcome {
            Outcome::Acknowledged => Word::Acknowledged,
            Outcome::Unknown => Word::Unknown,
            Outcome::Unsent => Word::Unsent,
        };
        let mut auditor = lock(&self.around.auditor);
        match self.open.remove(&ticket) {
            Some(payload) => auditor.told(&payload, word),
            None => {
                auditor.broke(Promise::OneWord, format!("device {}: {ticket:?} is not open", self.device_id));
            }
        }
    }

    fn send_what_is_due(&mut self, now: Millis) {
        let mut out = [0; DATAGRAM_MAX];
        loop {
            let Power::On(device) = &mut self.power else { return };
            let Ok(Some(datagram)) = device.poll(now, &mut out) else { break };
            transmit(&self.socket, self.around.server, datagram);
        }
        self.still_on(now);
    }

    /// What the application wants: telemetry now and then; and in the calm, a proof.
    fn apply(&mut self, now: Millis) {
        if now < self.next_telemetry {
            return;
        }
        if self.calm {
            self.next_telemetry = now + 20;
            if !self.sight.proven && self.proof.is_none() {
                self.proof = self.send(now, Confirm::Yes);
            }
            return;
        }
        self.next_telemetry = now + self.rng.u64(BETWEEN_TELEMETRY_MS);
        let confirm = if self.rng.bool() { Confirm::Yes } else { Confirm::No };
        self.send(now, confirm);
    }

    /// Sends a payload that was never sent before. The device may be busy; then there is no such payload. Gives the
    /// ticket, if an outcome will be told.
    fn send(&mut self, now: Millis, confirm: Confirm) -> Option<Ticket> {
        let payload = self.next_payload();
        let mut out = [0; DATAGRAM_MAX];
        let Power::On(device) = &mut self.power else { return None };
        let sent = device.send(now, &payload, confirm, &mut out);
        let (ticket, datagram) = sent.ok().map(|sent| (sent.ticket, sent.datagram)).unzip();
        if let Some(ticket) = ticket {
            lock(&self.around.auditor).sent(self.device_id, payload.clone(), ticket.is_some());
            if let Some(datagram) = datagram.flatten() {
                transmit(&self.socket, self.around.server, datagram);
            }
            self.open.extend(ticket.map(|ticket| (ticket, payload)));
        }
        if self.still_on(now) { ticket.flatten() } else { None }
    }

    /// The number of the device, the number of the payload, and some more bytes.
    fn next_payload(&mut self) -> Vec<u8> {
        self.serial += 1;
        let number = u32::try_from(self.number).unwrap_or(u32::MAX);
        let mut payload = [number.to_be_bytes(), self.serial.to_be_bytes()].concat();
        let more = self.rng.usize(0..32);
        payload.extend((0..more).map(|_| self.rng.u8(..)));
        payload
    }
}

fn board(flash: &RefCell<Flash>, has_rng: bool) -> Result<Board<'_>, String> {
    let shared = SharedFlash::new(flash);
    Ok(Parts {
        counter: NorBootCounter::new(shared.clone(), COUNTER_AT).map_err(|error| error.to_string())?,
        keys: NorKeySlots::new(shared, 0).map_err(|error| error.to_string())?,
        rng: has_rng.then(random::os),
    })
}

/// A datagram that the socket does not take is lost, as on any network.
fn transmit(socket: &UdpSocket, server: SocketAddr, datagram: &[u8]) {
    let _ = socket.send_to(datagram, server);
}
