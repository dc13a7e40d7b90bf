//! One word for each payload, and each payload sealed once: SPEC 9.1, 9.4 and 10.3, over many random histories.

use std::collections::HashMap;

use moteseal::device::{Confirm, Millis, Outcome, Settled, Ticket};
use moteseal::error::ReceiveError;
use moteseal::wire::{Header, Seq, Unverified};
use proptest::prelude::*;

use crate::board::{Board, Convenient, Mote, N, boot, device_key};
use crate::server::{Hello, Peer, open_hello};

#[test]
fn m124_close_goes_out_without_c_and_forgets_the_session() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut peer = Peer::connected(&mut device, 0);
    let said = device.say(1, b"x", Confirm::Yes);
    let mut out = [0; N];
    let closed = device.close(2, &mut out).unwrap();
    let unknown = Settled { ticket: said.ticket.unwrap(), outcome: Outcome::Unknown };
    assert_eq!(closed.settled, [unknown]);
    let data = peer.hear(closed.datagram.unwrap());
    assert!(data.close && !data.confirm);
    assert_eq!((device.session(), device.deadline()), (None, None));
    assert_eq!(device.refuse(3, &peer.command(b"on")), ReceiveError::NoSession);
    // There is nothing to close any more.
    let closed = device.close(4, &mut out).unwrap();
    assert_eq!((closed.datagram, closed.settled.len()), (None, 0));
}

#[test]
fn m124_close_settles_what_waits_and_what_a_hello_carries() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    let mut out = [0; N];
    let early = device.say(0, b"early", Confirm::Yes).ticket.unwrap();
    let closed = device.close(0, &mut out).unwrap();
    assert_eq!(closed.datagram, None);
    assert_eq!(closed.settled, [Settled { ticket: early, outcome: Outcome::Unknown }]);
    device.connect(0);
    device.one(0);
    let waiting = device.say(0, b"waits", Confirm::Yes).ticket.unwrap();
    let closed = device.close(0, &mut out).unwrap();
    assert_eq!(closed.settled, [Settled { ticket: waiting, outcome: Outcome::Unsent }]);
}

#[test]
fn a_payload_in_data_cannot_be_withdrawn() {
    let mut board = Board::new();
    let mut device = boot(&mut board);
    Peer::connected(&mut device, 0);
    let said = device.say(0, b"x", Confirm::Yes);
    assert_eq!(device.withdraw(0, said.ticket.unwrap()), None);
    let repeat = device.deadline().unwrap();
    assert_eq!(Some(device.one(repeat)), said.datagram);
}

/// What the network and the application do next.
#[derive(Clone, Debug)]
enum Step {
    Send(bool),
    Withdraw,
    Connect,
    Close,
    Wait,
    Welcome,
    Floor(u8),
    Reset,
    Acknowledge,
    Command,
    Replay(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(Step::Send),
        1 => Just(Step::Withdraw),
        1 => Just(Step::Connect),
        1 => Just(Step::Close),
        6 => Just(Step::Wait),
        5 => Just(Step::Welcome),
        2 => (0u8..4).prop_map(Step::Floor),
        1 => Just(Step::Reset),
        4 => Just(Step::Acknowledge),
        3 => Just(Step::Command),
        3 => any::<prop::sample::Index>().prop_map(Step::Replay),
    ]
}

/// Everything that one device sent and was told, and what must hold of it.
#[derive(Default)]
struct History {
    /// By nonce: a Hello's epoch and salt, a Data's session and number.
    sealed: HashMap<Vec<u8>, Vec<u8>>,
    /// Payloads are numbered; how often each was sealed.
    payloads: HashMap<Vec<u8>, usize>,
    open: Vec<Ticket>,
    downlinks: Vec<Vec<u8>>,
    commands: Vec<Vec<u8>>,
    hello: Option<Hello>,
    peer: Option<Peer>,
    last_data: Option<Vec<u8>>,
}

impl History {
    fn sent(&mut self, device: &Mote<'_>, datagram: &[u8]) {
        let Unverified { header, .. } = Unverified::parse(&mut datagram.to_vec()).unwrap();
        let mut name = Vec::new();
        match header {
            Header::Hello(hello) => {
                name.extend(hello.epoch.as_bytes());
                name.extend(hello.salt.0);
            }
            Header::Data(data) => {
                let epoch = device.session().unwrap();
                name.extend(epoch.as_bytes());
                name.push(0xDA);
                let Some(peer) = &mut self.peer else { panic!("data without a session") };
                // The peer is the one of this session, and nothing is lost on the way to it here.
                assert_eq!(peer.session.epoch(), epoch);
                let number = match data.seq {
                    Seq::Two(number) => number,
                    Seq::One(_) => data.seq.rebuild(peer.session.highest_verified()),
                };
                name.extend(number.value().to_be_bytes());
            }
            other => panic!("{other:?}"),
        }
        // M-95, P3: one nonce, one datagram.
        let known = self.sealed.entry(name).or_insert_with(|| datagram.to_vec());
        assert_eq!(known, datagram);
        if matches!(header, Header::Hello(_)) {
            let hello = open_hello(datagram);
            if self.hello.as_ref() != Some(&hello) {
                self.count(&hello.payload);
            }
            self.hello = Some(hello);
        } else if let Some(data) = self.peer.as_mut().unwrap().try_hear(datagram) {
            self.last_data = Some(datagram.to_vec());
            self.count(&data.payload);
        }
    }

    fn count(&mut self, payload: &[u8]) {
        if !payload.is_empty() {
            let times = self.payloads.entry(payload.to_vec()).or_default();
            *times += 1;
            assert_eq!(*times, 1, "a payload was sealed twice");
        }
    }

    fn settle(&mut self, settled: impl IntoIterator<Item = Settled>) {
        for Settled { ticket, .. } in settled {
            let at = self.open.iter().position(|open| *open == ticket);
            self.open.swap_remove(at.expect("one word, for a payload that was taken"));
        }
    }

    fn receive(&mut self, device: &mut Mote<'_>, now: Millis, datagram: &[u8]) {
        let mut bytes = datagram.to_vec();
        match device.receive(now, &mut bytes) {
            Ok(received) => {
                if let Some(payload) = received.payload {
                    let payload = payload.bytes.to_vec();
                    assert!(!self.commands.contains(&payload), "a command was delivered twice");
                    self.commands.push(payload);
                }
                self.settle(received.settled);
            }
            Err(ReceiveError::InvalidConnectionId(error)) => self.settle(error.settled),
            Err(_) => {}
        }
        self.downlinks.push(datagram.to_vec());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// M-95, M-102, M-104, P2, P3 for whatever happens in whatever order.
    #[test]
    fn every_payload_is_sealed_once_and_gets_one_word(steps in prop::collection::vec(step(), 1..120)) {
        let mut board = Board::new();
        let mut device = boot(&mut board);
        let mut history = History::default();
        let (mut now, mut counter) = (0, 0u32);
        let mut out = [0; N];
        for step in steps {
            counter += 1;
            now += 7;
            match step {
                Step::Send(confirm) => {
                    let confirm = if confirm { Confirm::Yes } else { Confirm::No };
                    if let Ok(sent) = device.send(now, &counter.to_be_bytes(), confirm, &mut out) {
                        history.open.extend(sent.ticket);
                        if let Some(datagram) = sent.datagram.map(<[u8]>::to_vec) {
                            history.sent(&device, &datagram);
                        }
                    }
                }
                Step::Withdraw => {
                    for ticket in history.open.clone() {
                        if let Some(outcome) = device.withdraw(now, ticket) {
                            history.settle([Settled { ticket, outcome }]);
                        }
                    }
                }
                Step::Connect => device.connect(now),
                Step::Close => {
                    let closed = device.close(now, &mut out).unwrap();
                    history.settle(closed.settled);
                    prop_assert_eq!(history.open.len(), 0);
                }
                Step::Wait => now = device.deadline().unwrap_or(now).max(now),
                Step::Welcome => {
                    if let Some(hello) = &history.hello {
                        let (peer, welcome) = Peer::answer(hello);
                        let before = device.session();
                        history.receive(&mut device, now, &welcome);
                        if device.session() != before {
                            history.peer = Some(peer);
                        }
                    }
                }
                Step::Floor(ahead) => {
                    if let Some(hello) = &history.hello {
                        let floor = moteseal::number::Epoch::new(hello.epoch.boot() + u32::from(ahead / 2), 0);
                        let floor = hello.floor(&device_key(1), floor);
                        history.receive(&mut device, now, &floor);
                    }
                }
                Step::Reset => {
                    if let (Some(peer), Some(data)) = (&history.peer, &history.last_data) {
                        let mut bytes = data.clone();
                        let same = Unverified::parse(&mut bytes).is_ok();
                        if same && peer.session.highest_verified().is_some() {
                            let number = peer.session.highest_verified().unwrap();
                            let reset = peer.reset_for(Seq::Two(number), number.value());
                            history.receive(&mut device, now, &reset);
                        }
                    }
                }
                Step::Acknowledge => {
                    if let Some(acknowledgement) = history.peer.as_mut().map(Peer::acknowledge) {
                        history.receive(&mut device, now, &acknowledgement);
                    }
                }
                Step::Command => {
                    if let Some(peer) = &mut history.peer {
                        let command = peer.command(&[b"command ", counter.to_be_bytes().as_slice()].concat());
                        history.receive(&mut device, now, &command);
                    }
                }
                Step::Replay(index) => {
                    if !history.downlinks.is_empty() {
                        let datagram = index.get(&history.downlinks).clone();
                        let before = device.session();
                        history.receive(&mut device, now, &datagram);
                        prop_assert_eq!(device.session(), before);
                    }
                }
            }
            for said in 0.. {
                let Some(datagram) = device.poll(now, &mut out).unwrap() else { break };
                let datagram = datagram.to_vec();
                history.sent(&device, &datagram);
                prop_assert!(said < 100, "it always has something to say");
            }
            prop_assert!(history.open.len() <= 2);
        }
        let closed = device.close(now, &mut out).unwrap();
        history.settle(closed.settled);
        prop_assert_eq!(history.open.len(), 0);
    }
}
