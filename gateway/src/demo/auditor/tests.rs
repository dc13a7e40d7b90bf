use super::*;
use crate::demo::ledger::tests::{Exchange, data};
use crate::demo::totals::Totals;
use moteseal::aead::Ring;
use moteseal::control::Role;
use moteseal::number::Salt;
use moteseal::session::Session;

/// An auditor who has seen one device open a session, and the two halves of it.
struct Case {
    auditor: Auditor,
    one: Exchange,
    up: Session<Ring>,
    down: Session<Ring>,
}

impl Case {
    fn new() -> Self {
        let one = Exchange::new(1);
        let mut ledger = Ledger::default();
        one.provision(&mut ledger);
        Exchange::new(2).provision(&mut ledger);
        let mut auditor = Auditor::new(ledger);
        auditor.sealed(one.device(), &one.hello(b""));
        auditor.sealed(Origin::Gateway, &one.welcome(false));
        let (up, down) = (one.half(Role::Device), one.half(Role::Server));
        Self { auditor, one, up, down }
    }

    /// The device sends telemetry, as it should.
    fn send(&mut self, payload: &[u8]) {
        self.auditor.sent(self.one.device_id, payload.to_vec(), true);
        let datagram = data(&mut self.up, payload, true);
        self.auditor.sealed(self.one.device(), &datagram);
    }

    /// The gateway writes that it delivered it as this number.
    fn deliver(&mut self, payload: &[u8], number: u16) {
        let number = Some(SequenceNumber::new(number));
        self.auditor.delivered(self.one.device_id, self.one.epoch, number, payload);
    }

    /// A command is pushed, taken under this id, and sealed.
    fn push(&mut self, payload: &[u8], idempotent: bool, id: u64) {
        self.auditor.pushed(self.one.device_id, payload.to_vec(), idempotent);
        self.auditor.queued(id, payload);
        self.seal(payload);
    }

    fn seal(&mut self, payload: &[u8]) {
        let datagram = data(&mut self.down, payload, true);
        self.auditor.sealed(Origin::Gateway, &datagram);
    }

    fn receive(&mut self, payload: &[u8], number: u16) {
        self.auditor.received(self.one.device_id, payload, self.one.epoch, SequenceNumber::new(number));
    }

    /// Which promises were broken, when all is over.
    fn verdict(mut self) -> Vec<Promise> {
        self.auditor.close();
        self.auditor.broken().iter().map(|broken| broken.promise).collect()
    }
}

#[test]
fn what_is_kept_is_not_held_against_anybody() {
    let mut case = Case::new();
    for (number, payload) in [b"one", b"two", b"six"].into_iter().enumerate() {
        case.send(payload);
        case.deliver(payload, u16::try_from(number).unwrap());
    }
    case.auditor.told(b"one", Word::Acknowledged);
    case.auditor.told(b"two", Word::Unknown);
    case.auditor.forgotten(b"six");
    case.push(b"on", false, 1);
    case.receive(b"on", 0);
    case.auditor.command_told(1, Word::Acknowledged);
    let Totals { telemetry, commands, bytes, sealed, .. } = case.auditor.totals();
    assert_eq!((telemetry.sent, telemetry.delivered, telemetry.delivered_unknown), (3, 3, 1));
    assert_eq!((telemetry.acknowledged, telemetry.unknown, telemetry.forgotten), (1, 1, 1));
    assert_eq!((commands.sent, commands.delivered, commands.acknowledged), (1, 1, 1));
    assert_eq!((sealed, bytes.mean_payload(), bytes.mean_wire()), (6, 3.0, 23.0));
    assert_eq!(case.verdict(), []);
}

#[test]
fn a_duplicate_is_seen() {
    let mut case = Case::new();
    case.send(b"one");
    case.deliver(b"one", 0);
    case.auditor.gateway_ended();
    case.deliver(b"one", 0);
    assert_eq!(case.verdict(), [Promise::OnlyOnce]);
}

#[test]
fn a_forgery_is_seen() {
    let mut case = Case::new();
    case.deliver(b"made up", 0);
    assert_eq!(case.verdict(), [Promise::Authentic]);
}

#[test]
fn a_payload_under_another_name_is_seen() {
    let mut case = Case::new();
    case.send(b"one");
    case.deliver(b"one", 1);
    assert_eq!(case.verdict(), [Promise::Authentic]);

    let mut case = Case::new();
    case.send(b"one");
    case.auditor.delivered(Exchange::new(2).device_id, case.one.epoch, Some(SequenceNumber::FIRST), b"one");
    assert_eq!(case.verdict(), [Promise::Authentic]);

    let mut case = Case::new();
    case.auditor.sent(case.one.device_id, b"not sealed yet".to_vec(), true);
    case.deliver(b"not sealed yet", 0);
    assert_eq!(case.verdict(), [Promise::Authentic]);
}

#[test]
fn a_lost_acknowledged_payload_is_seen() {
    let mut case = Case::new();
    case.send(b"one");
    case.auditor.told(b"one", Word::Acknowledged);
    assert_eq!(case.verdict(), [Promise::NothingLost]);

    let mut case = Case::new();
    case.push(b"on", true, 1);
    case.auditor.command_told(1, Word::Acknowledged);
    assert_eq!(case.verdict(), [Promise::NothingLost]);
}

#[test]
fn recorded_early_data_without_its_line_is_counted() {
    let one = Exchange::new(1);
    let mut ledger = Ledger::default();
    one.provision(&mut ledger);
    let mut auditor = Auditor::new(ledger);
    auditor.sent(one.device_id, b"early".to_vec(), true);
    auditor.sealed(one.device(), &one.hello(b"early"));
    auditor.sealed(Origin::Gateway, &one.floor(Epoch::new(6, 0)));
    assert_eq!(auditor.totals().lines_lost, 0);
    auditor.sealed(Origin::Gateway, &one.floor(one.epoch));
    assert_eq!(auditor.totals().lines_lost, 1);
    auditor.delivered(one.device_id, one.epoch, None, b"early");
    assert_eq!(auditor.totals().lines_lost, 0);
    assert_eq!(auditor.broken(), []);
}

#[test]
fn early_data_is_not_lost_where_another_hello_of_its_epoch_was_accepted() {
    let (one, mut ledger) = (Exchange::new(1), Ledger::default());
    one.provision(&mut ledger);
    let mut auditor = Auditor::new(ledger);
    auditor.sent(one.device_id, b"never arrived".to_vec(), true);
    auditor.sealed(one.device(), &one.hello(b"never arrived"));
    // The counter is erased, and the same epoch comes again, under another salt.
    let mut again = Exchange::new(1);
    again.salt = Salt([7; 6]);
    auditor.sealed(one.device(), &again.hello(b""));
    auditor.sealed(Origin::Gateway, &one.floor(one.epoch));
    assert_eq!(auditor.totals().lines_lost, 0);
}

#[test]
fn a_reused_nonce_is_seen() {
    let mut case = Case::new();
    case.send(b"one");
    case.up = case.one.half(Role::Device);
    case.send(b"two");
    assert_eq!(case.verdict(), [Promise::NoncesOnce]);
}

#[test]
fn data_of_a_revoked_device_is_seen() {
    let mut case = Case::new();
    case.send(b"one");
    case.auditor.revoked(case.one.device_id, Instant::now());
    case.deliver(b"one", 0);
    assert_eq!(case.verdict(), [Promise::RevokedSilent]);
}

#[test]
fn data_for_a_revoked_device_is_seen_once_it_cannot_be_older() {
    let mut case = Case::new();
    let revoked = Instant::now();
    case.auditor.pushed(case.one.device_id, b"on".to_vec(), true);
    case.auditor.revoked(case.one.device_id, revoked);
    let passes = [10, 240, 260, 300].map(|ms| revoked + Duration::from_millis(ms));
    for pass in passes {
        // What is found in a pass may have waited since the one before.
        assert_eq!(case.auditor.broken(), []);
        case.auditor.pass_begins(pass);
        case.seal(b"on");
    }
    assert_eq!(case.verdict(), [Promise::RevokedSilent]);
}

#[test]
fn a_second_word_is_seen() {
    let mut case = Case::new();
    case.send(b"one");
    case.deliver(b"one", 0);
    case.auditor.told(b"one", Word::Acknowledged);
    case.auditor.told(b"one", Word::Unknown);
    assert_eq!(case.verdict(), [Promise::OneWord]);
}

#[test]
fn a_payload_that_was_said_to_be_unsent_is_seen_when_it_was_sealed() {
    let mut case = Case::new();
    case.send(b"one");
    case.auditor.told(b"one", Word::Unsent);
    assert_eq!(case.verdict(), [Promise::OneWord]);
}

#[test]
fn a_payload_that_is_sealed_twice_is_seen() {
    let mut case = Case::new();
    case.send(b"one");
    let again = data(&mut case.up, b"one", true);
    case.auditor.sealed(case.one.device(), &again);
    assert_eq!(case.verdict(), [Promise::SealedOnce]);

    let mut case = Case::new();
    case.push(b"on", false, 1);
    case.seal(b"on");
    assert_eq!(case.verdict(), [Promise::SealedOnce]);
}

#[test]
fn a_command_runs_once_unless_it_may_run_again() {
    for (idempotent, broken) in [(true, vec![]), (false, vec![Promise::SealedOnce, Promise::OnlyOnce])] {
        let mut case = Case::new();
        case.push(b"on", idempotent, 1);
        case.receive(b"on", 0);
        case.seal(b"on");
        case.receive(b"on", 1);
        assert_eq!(case.verdict(), broken);
    }
    // Even so, one datagram is one delivery.
    let mut case = Case::new();
    case.push(b"on", true, 1);
    case.receive(b"on", 0);
    case.receive(b"on", 0);
    assert_eq!(case.verdict(), [Promise::OnlyOnce]);
}

#[test]
fn a_command_that_nobody_sent_or_sealed_is_seen() {
    let mut case = Case::new();
    case.receive(b"off", 0);
    assert_eq!(case.verdict(), [Promise::Authentic]);

    let mut case = Case::new();
    case.push(b"on", true, 1);
    case.receive(b"on", 5);
    assert_eq!(case.verdict(), [Promise::Authentic]);
}

#[test]
fn the_word_of_a_command_changes_only_where_the_gateway_may_forget() {
    let (acknowledged, unknown) = (Word::Acknowledged, Word::Unknown);
    let second = |first, ends, second| {
        let mut case = Case::new();
        case.push(b"on", false, 1);
        case.receive(b"on", 0);
        case.auditor.command_told(1, first);
        if ends {
            case.auditor.gateway_ended();
        }
        case.auditor.command_told(1, second);
        case.verdict()
    };
    assert_eq!(second(acknowledged, true, unknown), []);
    assert_eq!(second(unknown, true, unknown), []);
    assert_eq!(second(acknowledged, false, unknown), [Promise::OneWord]);
    assert_eq!(second(unknown, true, acknowledged), [Promise::OneWord]);
}

#[test]
fn only_a_command_that_may_run_twice_is_put_back() {
    for (idempotent, broken) in [(true, vec![]), (false, vec![Promise::SealedOnce])] {
        let mut case = Case::new();
        case.push(b"on", idempotent, 1);
        case.auditor.requeued(1);
        assert_eq!(case.auditor.totals().requeued, 1);
        assert_eq!(case.verdict(), broken);
    }
}

#[test]
fn a_datagram_that_escapes_the_audit_is_seen() {
    let mut case = Case::new();
    case.auditor.sealed(Origin::Gateway, &[0x60; 30]);
    assert_eq!(case.verdict(), [Promise::Audited]);
}
