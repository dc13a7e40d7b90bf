//! The cases that a device receives, and the states that it receives them in.

use std::collections::VecDeque;

use moteseal::aead::{Backend, Nonce};
use moteseal::boot_counter::{BootCounter, Stored};
use moteseal::control::Role;
use moteseal::delivery::Timing;
use moteseal::device::{Config, Confirm, Device, Event, Parts};
use moteseal::entropy::Entropy;
use moteseal::error::{EntropyError, ReceiveError, ResetError, StorageError};
use moteseal::identity::{FactoryImage, Identity, KeySlot};
use moteseal::keys::{AeadKey, DeviceKey, RotationKey, SUITE};
use moteseal::number::{DeviceId, Epoch, Generation};
use moteseal::wire::{self, Header, Seq, Unverified};

use super::{
    AnswerKind, Case, Context, DeviceContext, Effect, Entry, File, Reason, Receiver, Stage, acknowledgement,
    parse_reason, verify_reason,
};
use crate::data::seal_data;
use crate::file::Array;
use crate::numbers::number;

/// When a case is received: before anything is repeated.
const NOW: u64 = 100;
/// The longest datagram of these tests.
const LEN: usize = 128;

type TestDevice<A> = Device<Parts<Counter, FactoryImage, Salts>, LEN, A>;

/// A boot counter in memory.
#[derive(Debug)]
struct Counter(u32);

impl BootCounter for Counter {
    fn load(&mut self) -> Result<Stored, StorageError> {
        Ok(Stored::Intact(self.0))
    }

    fn store(&mut self, boot: u32) -> Result<(), StorageError> {
        self.0 = boot;
        Ok(())
    }
}

/// The salts of the Hellos to come; behind them, a stream that no file contains.
#[derive(Debug, Default)]
struct Salts(VecDeque<u8>, u8);

impl Entropy for Salts {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for byte in bytes {
            self.1 = self.1.wrapping_mul(5).wrapping_add(0x35);
            *byte = self.0.pop_front().unwrap_or(self.1);
        }
        Ok(())
    }
}

impl DeviceContext {
    fn image(&self) -> FactoryImage {
        assert_eq!(self.suite, SUITE);
        let device_id = DeviceId::new(self.device_id.0);
        let identity = Identity { device_id, rotation_key: RotationKey::new(self.rotation_key.0) };
        let mut image = FactoryImage::new(identity, DeviceKey::new(self.device_key.0));
        let generation = Generation::new(self.generation).unwrap();
        image.slots[0] = Some(KeySlot { generation, device_key: DeviceKey::new(self.device_key.0) });
        image
    }

    /// The boot that the context is about: its Hellos are of boot 4.
    fn device<A: Backend>(&self) -> TestDevice<A> {
        let hellos = [self.session.as_ref().map(Entry::epoch), self.hello.as_ref().map(|h| epoch(h.epoch))];
        let boot = hellos.into_iter().flatten().map(Epoch::boot).max().unwrap_or(4);
        let hardware = Parts::new(Counter(boot - 1), self.image(), Salts::default());
        // It asks for no acknowledgement of its own but for the first.
        let timing = Timing { confirm_every: u16::MAX, confirm_after_ms: u32::MAX, ..Timing::DEFAULT };
        let mut device = Device::boot(hardware, Config { timing, ..Config::default() }).unwrap();
        if let Some(entry) = &self.session {
            assert_eq!(entry.generation, self.generation);
            open(&mut device, entry);
            use_session(&mut device, entry);
        }
        if let Some(hello) = &self.hello {
            if let Some(entry) = &self.session {
                lose_session(&mut device, entry);
            }
            say_hello(&mut device, epoch(hello.epoch), hello.salt, &hello.payload, &hello.datagram);
        }
        assert_eq!(poll(&mut device, NOW), None, "nothing is left to be sent");
        device
    }
}

fn epoch(bytes: Array<6>) -> Epoch {
    Epoch::from_bytes(bytes.0)
}

fn poll<A: Backend>(device: &mut TestDevice<A>, now: u64) -> Option<Vec<u8>> {
    device.poll(now, &mut [0; LEN]).unwrap().map(<[u8]>::to_vec)
}

/// Says Hello after Hello until it is the one of this epoch, which must have these bytes.
fn say_hello<A: Backend>(
    device: &mut TestDevice<A>,
    epoch: Epoch,
    salt: Array<6>,
    payload: &[u8],
    datagram: &[u8],
) {
    loop {
        device.hardware().rng.as_mut().unwrap().0.extend(salt.0);
        let mut out = [0; LEN];
        let sent = device.send(0, payload, Confirm::Yes, &mut out).unwrap();
        let (ticket, made) = (sent.ticket.unwrap(), sent.datagram.unwrap().to_vec());
        let mut parsed = made.clone();
        let Header::Hello(hello) = Unverified::parse(&mut parsed).unwrap().header else { panic!("no Hello") };
        if hello.epoch == epoch {
            assert_eq!(made, datagram);
            return;
        }
        assert!(hello.epoch < epoch);
        device.withdraw(0, ticket).unwrap();
    }
}

/// Hello and Welcome.
fn open<A: Backend>(device: &mut TestDevice<A>, entry: &Entry) {
    assert!(entry.welcome_kept);
    let payload = opened_payload::<A>(device, entry);
    say_hello(device, entry.epoch(), entry.salt, &payload, &entry.hello);
    let mut welcome = entry.welcome.to_vec();
    let received = device.receive(0, &mut welcome).unwrap();
    assert!(matches!(received.event, Some(Event::SessionOpened { epoch, .. }) if epoch == entry.epoch()));
}

/// The early data of the Hello that opened a session.
fn opened_payload<A: Backend>(device: &mut TestDevice<A>, entry: &Entry) -> Vec<u8> {
    let key = device.hardware().keys.slots[0].clone().unwrap().device_key;
    let mut hello = entry.hello.to_vec();
    let Unverified { header: Header::Hello(header), sealed } = Unverified::parse(&mut hello).unwrap() else {
        panic!("no Hello")
    };
    let nonce = Nonce::hello(header.epoch, header.salt);
    A::open(&key.hello_key(header.device_id), nonce, sealed.aad, sealed.ciphertext, sealed.tag).unwrap();
    sealed.ciphertext.to_vec()
}

/// Sends and receives what the file says was sent and received.
fn use_session<A: Backend>(device: &mut TestDevice<A>, entry: &Entry) {
    let counters = entry.counters.as_ref().unwrap();
    let answers = counters.received.iter().filter(|datagram| datagram[0] & 0b100 != 0).count();
    assert!(poll(device, 0).is_some(), "the first Data");
    for _ in 1..usize::from(counters.next_number) - answers {
        let mut out = [0; LEN];
        let sent = device.send(0, b"sent", Confirm::No, &mut out).unwrap();
        assert!(sent.ticket.is_none() && sent.datagram.is_some());
    }
    let mut answered = 0;
    for datagram in &counters.received {
        device.receive(0, &mut datagram.to_vec()).unwrap();
        answered += usize::from(poll(device, 0).is_some());
    }
    assert_eq!(answered, answers);
}

/// A Reset for the last number: the session only receives from then on, and a Hello is due.
fn lose_session<A: Backend>(device: &mut TestDevice<A>, entry: &Entry) {
    let last = number(entry.counters.as_ref().unwrap().next_number - 1);
    let header = Header::Reset(wire::Reset { cid: entry.cid(), seq: Seq::Two(last) }).encode();
    let key = AeadKey::new(entry.down_key.0);
    let tag = A::seal(&key, Nonce::reset(last), header.as_bytes(), &mut []);
    let received = device.receive(0, &mut [header.as_bytes(), &tag].concat()).unwrap().event;
    assert_eq!(received, Some(Event::SessionLost));
}

fn context<'f>(file: &'f File, name: &str) -> &'f DeviceContext {
    match &file.contexts[name] {
        Context::Device(device) => device,
        Context::Server(_) => panic!("{name} is no device"),
    }
}

/// Why a device rejected a datagram, in the words of the file.
fn reason(error: ReceiveError) -> Reason {
    match error {
        ReceiveError::Parse(error) => parse_reason(error),
        ReceiveError::Verify(error) => verify_reason(error),
        ReceiveError::ForServer => Reason::WrongDirection,
        ReceiveError::NoHello => Reason::NoHelloOutstanding,
        ReceiveError::EchoMismatch => Reason::EchoMismatch,
        ReceiveError::NoSession | ReceiveError::UnknownConnection => Reason::UnknownCid,
        ReceiveError::Reset(ResetError::Inauthentic) => Reason::BadTag,
        ReceiveError::Reset(ResetError::NeverSent) => Reason::NumberNeverSent,
        ReceiveError::Reset(ResetError::Acknowledged) => Reason::NumberAcknowledged,
        ReceiveError::HelloOutstanding => Reason::HelloOutstanding,
        ReceiveError::FloorTooHigh => Reason::FloorRefused,
        ReceiveError::InvalidConnectionId(_) => Reason::InvalidCid,
        other => panic!("{other}"),
    }
}

/// What the accepted datagrams of a context lead to, in order, each with what the device then sends.
fn later<A: Backend>(file: &File, context: &str, device: &mut TestDevice<A>) -> Vec<String> {
    let mut led_to = Vec::new();
    for later in file.later(context) {
        let mut datagram = later.datagram.to_vec();
        led_to.push(format!("{:?}", device.receive(NOW, &mut datagram)));
        led_to.extend(std::iter::from_fn(|| poll(device, NOW)).map(hex::encode));
    }
    led_to
}

/// Its number is seen; it is never acknowledged, and later traffic is.
fn check_committed<A: Backend>(case: &Case, context: &DeviceContext, device: &mut TestDevice<A>) {
    let again = device.receive(NOW, &mut case.datagram.to_vec()).map(|_| ()).map_err(reason);
    assert_eq!(again, Err(Reason::Replayed));
    assert_eq!(poll(device, NOW), None);
    let entry = context.session.as_ref().unwrap();
    let value = case.number(entry.counters.as_ref().unwrap().highest_verified);
    let keys = entry.keys(DeviceId::new(context.device_id.0), &context.device_key);
    let seq = Seq::Two(number(value + 1));
    let header = wire::Data { cid: entry.cid(), seq, confirm: true, ack: false, control: false };
    let mut after = seal_data::<A>(&keys, Role::Server, value + 1, header, b"after");
    assert_eq!(device.receive(NOW, &mut after).unwrap().payload.unwrap().bytes, b"after");
    let block = acknowledgement::<A>(&keys.up, &poll(device, NOW).expect("an acknowledgement"));
    assert_eq!(block.number, number(value + 1));
    assert!(!block.numbers().any(|named| named == number(value)), "a malformed Data was acknowledged");
}

fn check_answer<A: Backend>(case: &Case, context: &DeviceContext, device: &mut TestDevice<A>) {
    let sent = poll(device, NOW);
    match (case.answer.as_ref().map(|answer| answer.kind), sent) {
        (None, None) => {}
        (Some(AnswerKind::Acknowledgement), Some(sent)) => {
            let entry = context.session.as_ref().unwrap();
            let block = acknowledgement::<A>(&AeadKey::new(entry.up_key.0), &sent);
            let highest = entry.counters.as_ref().unwrap().highest_verified;
            assert_eq!(block.number.value(), case.number(highest));
        }
        (Some(AnswerKind::Hello), Some(mut sent)) => {
            let Header::Hello(hello) = Unverified::parse(&mut sent).unwrap().header else {
                panic!("no Hello")
            };
            let consumed = epoch(context.hello.as_ref().unwrap().epoch);
            assert!(hello.epoch > consumed);
        }
        (told, sent) => panic!("{sent:02x?} instead of {told:?}"),
    }
    assert!(case.answer.as_ref().is_none_or(|answer| answer.datagram.is_none()));
    assert_eq!(poll(device, NOW), None);
}

fn rejected_by_a_device<A: Backend>() {
    let file = File::read();
    let mut count = 0;
    for case in file.cases(Receiver::Device) {
        println!("{}: {}", case.name, case.description);
        count += 1;
        let name = case.context.as_deref().unwrap_or("device-idle");
        let context = context(&file, name);
        let mut device = context.device::<A>();
        let (flash, counter) = (device.hardware().keys.clone(), device.hardware().counter.0);
        let rejected = device.receive(NOW, &mut case.datagram.to_vec()).map(|_| ()).map_err(reason);
        // The answer to a repeat is an acknowledgement; the device tells nothing else of it.
        let is_repeat = case.answer.as_ref().is_some_and(|a| a.kind == AnswerKind::Acknowledgement);
        let told = if is_repeat { Ok(()) } else { Err(case.reason) };
        assert_eq!(rejected, told);
        assert!(!is_repeat || case.reason == Reason::Replayed);
        if case.effect == Effect::HelloConsumed {
            for welcome in file.later(name).filter(|later| later.name.starts_with("welcome")) {
                let error = device.receive(NOW, &mut welcome.datagram.to_vec()).map(|_| ());
                assert_eq!(error.map_err(reason), Err(Reason::NoHelloOutstanding));
            }
        }
        check_answer(case, context, &mut device);
        assert_eq!(device.hardware().keys, flash);
        assert_eq!(device.hardware().counter.0, counter);
        match case.effect {
            Effect::None if is_repeat => {}
            Effect::None => {
                let after = later(&file, name, &mut device);
                assert_eq!(
                    after,
                    later(&file, name, &mut context.device::<A>()),
                    "it changed what comes later"
                );
            }
            Effect::NumberCommitted => {
                assert_eq!(case.stage, Stage::Content);
                check_committed(case, context, &mut device);
            }
            Effect::HelloConsumed => assert_eq!(case.reason, Reason::InvalidCid),
        }
    }
    assert!(count > 250, "{count}");
}

fn accepted_by_a_device<A: Backend>() {
    let file = File::read();
    let mut count = 0;
    for case in file.accepted(Receiver::Device) {
        println!("{}: {}", case.name, case.description);
        let mut datagram = case.datagram.to_vec();
        let header = Unverified::parse(&mut datagram.clone()).unwrap().header;
        let mut device = context(&file, &case.context).device::<A>();
        let received = device.receive(NOW, &mut datagram).unwrap();
        assert_eq!(received.payload.as_ref().map(|payload| payload.bytes), case.delivers.as_deref());
        let is_told = match (header, received.event) {
            (Header::Welcome(_), Some(Event::SessionOpened { .. }))
            | (Header::Floor(_), Some(Event::Stale { .. }))
            | (Header::Reset(_), Some(Event::SessionLost)) => true,
            (Header::Data(data), Some(Event::KeyTaken(_))) => data.control,
            (Header::Data(data), None) => !data.control,
            _ => false,
        };
        assert!(is_told, "{:?}", received.event);
        count += 1;
    }
    assert!(count >= 14, "{count}");
}

crate::with_each_backend!(rejected_by_a_device, accepted_by_a_device);
