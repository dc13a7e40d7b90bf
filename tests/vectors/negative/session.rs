//! The Data and the Resets of both receivers, given to a session alone: what it counts can be seen here.

use moteseal::aead::Backend;
use moteseal::control::{Control, Role};
use moteseal::error::{Malformed, ResetError, VerifyError};
use moteseal::keys::{RotationKey, SessionKeys};
use moteseal::number::DeviceId;
use moteseal::session::{Content, Incoming, Outgoing, Session};
use moteseal::wire::{Header, Unverified};

use super::{AnswerKind, Case, Context, Effect, Entry, File, Reason, Stage, verify_reason};
use crate::numbers::number;

/// A session of a context, and who holds it.
struct Held<'f> {
    entry: &'f Entry,
    role: Role,
    keys: SessionKeys,
    device_id: DeviceId,
    rotation_key: Option<RotationKey>,
}

fn held<'f>(context: &'f Context, case: &Case) -> Option<Held<'f>> {
    let mut datagram = case.datagram.to_vec();
    let cid = match Unverified::parse(&mut datagram).ok()?.header {
        Header::Data(data) => data.cid,
        Header::Reset(reset) => reset.cid,
        _ => return None,
    };
    let held = match context {
        Context::Device(device) => {
            let (entry, device_id) = (device.session.as_ref()?, DeviceId::new(device.device_id.0));
            let keys = entry.keys(device_id, &device.device_key);
            let rotation_key = Some(RotationKey::new(device.rotation_key.0));
            Held { entry, role: Role::Device, keys, device_id, rotation_key }
        }
        Context::Server(server) => {
            let entries = server.devices.iter().flat_map(|device| {
                device.confirmed.iter().chain(&device.candidate).map(move |entry| (device, entry))
            });
            let (device, entry) = entries.into_iter().find(|(_, entry)| entry.cid() == cid)?;
            let device_id = DeviceId::new(device.device_id.0);
            let key = device.keys.iter().find(|key| key.generation == entry.generation)?;
            let keys = entry.keys(device_id, &key.device_key);
            Held { entry, role: Role::Server, keys, device_id, rotation_key: None }
        }
    };
    (held.entry.counters.is_some() && held.entry.cid() == cid).then_some(held)
}

impl Held<'_> {
    /// The session with the counters that the file tells.
    fn session<A: Backend>(&self) -> Session<A> {
        let counters = self.entry.counters.as_ref().unwrap();
        let mut session = Session::new(self.role, self.keys.clone(), self.entry.epoch(), self.entry.cid());
        for _ in 0..counters.next_number {
            session.protect(Outgoing::default(), &mut [0; 32]).unwrap();
        }
        for datagram in &counters.received {
            crate::data::verify(&mut session, datagram, |incoming| {
                assert!(matches!(incoming, Ok(Incoming::New(_))), "{incoming:?}");
            });
        }
        assert_eq!(session.next(), Some(number(counters.next_number)));
        assert_eq!(session.highest_verified(), counters.highest_verified.map(number));
        let acknowledged = |value: &u16| session.acknowledged().contains(number(*value));
        assert!((0..=counters.next_number).all(|n| acknowledged(&n) == counters.acknowledged.contains(&n)));
        // The 64 up to the highest that are seen are what it would acknowledge, all received being well-formed.
        let named = |value: u16| {
            let answering = moteseal::replay::Answering::Repeat(number(value));
            session.ack_block(Some(answering)).is_some_and(|block| block.number == number(value))
        };
        let window = counters.highest_verified.map_or(0..=0, |highest| highest.saturating_sub(63)..=highest);
        let seen = |value: &u16| counters.seen.contains(value);
        assert!(window.clone().all(|value| named(value) == seen(&value)));
        assert!(counters.seen.iter().all(|value| window.contains(value)));
        session
    }

    /// Gives a datagram to the session; a *rotate* has to prove itself as on a device.
    fn receive<A: Backend>(&self, session: &mut Session<A>, datagram: &[u8]) -> Result<bool, Reason> {
        let mut datagram = datagram.to_vec();
        let Unverified { header, sealed } = Unverified::parse(&mut datagram).unwrap();
        let data = match header {
            Header::Reset(reset) => {
                return session.verify_reset(&reset, sealed).map(|()| true).map_err(reset_reason);
            }
            Header::Data(data) => data,
            other => panic!("{other:?}"),
        };
        match session.verify(&data, sealed).map_err(verify_reason)? {
            Incoming::Repeat(_) => Ok(false),
            Incoming::New(verified) => match verified.content {
                Content::Control(Control::Rotate { generation, secret }) => {
                    let key = self.rotation_key.as_ref().unwrap();
                    let is_proven = key.proves(&secret, generation, self.device_id);
                    let error = VerifyError::Malformed(Malformed::UnprovenRotation);
                    if is_proven { Ok(true) } else { Err(verify_reason(error)) }
                }
                _ => Ok(true),
            },
        }
    }
}

fn reset_reason(error: ResetError) -> Reason {
    match error {
        ResetError::Inauthentic => Reason::BadTag,
        ResetError::NeverSent => Reason::NumberNeverSent,
        ResetError::Acknowledged => Reason::NumberAcknowledged,
        other => panic!("{other}"),
    }
}

fn sessions<A: Backend + std::fmt::Debug>() {
    let file = File::read();
    let mut count = 0;
    for case in file.cases.iter() {
        let Some(context) = case.context.as_ref().map(|name| &file.contexts[name]) else { continue };
        // Routing and an outstanding Hello are no session's business.
        let is_above = case.stage == Stage::Route || case.reason == Reason::HelloOutstanding;
        let Some(held) = held(context, case).filter(|_| !is_above) else { continue };
        println!("{}: {}", case.name, case.description);
        let mut session = held.session::<A>();
        let state = |session: &Session<A>| crate::masked::mask(&format!("{session:?}"), &["forgeries"]);
        let (before, acknowledged) = (state(&session), session.ack_block(None));
        let received = held.receive(&mut session, &case.datagram);
        let repeats = case.answer.as_ref().is_some_and(|answer| answer.kind == AnswerKind::Acknowledgement);
        assert_eq!(received, if repeats { Ok(false) } else { Err(case.reason) });
        match case.effect {
            Effect::None => assert_eq!(state(&session), before),
            Effect::NumberCommitted => {
                let highest = held.entry.counters.as_ref().unwrap().highest_verified;
                let value = case.number(highest);
                assert_eq!(session.highest_verified(), Some(number(value)).max(highest.map(number)));
                assert_eq!(session.ack_block(None), acknowledged, "nothing of it is acknowledged");
                assert_eq!(held.receive(&mut session, &case.datagram), Err(Reason::Replayed));
                let masked = |state: &str| crate::masked::mask(state, &["window"]);
                assert_eq!(masked(&state(&session)), masked(&before), "nothing in it has an effect");
            }
            Effect::HelloConsumed => panic!("not of a session"),
        }
        count += 1;
    }
    assert!(count > 150, "{count}");
}

crate::with_each_backend!(sessions);
