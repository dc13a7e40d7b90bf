//! One word for each payload, and the right one (SPEC 9.4): the model's view of outcomes.

use moteseal::device::{Outcome, Settled, Ticket};
use moteseal::number::Epoch;

use super::{Model, Place};

impl Model {
    pub(super) fn place_of(&self, ticket: Ticket) -> Option<Place> {
        let (_, payload) = self.open.get(&ticket.number()).expect("a second word, or one for nothing");
        self.sealed.get(payload).copied()
    }

    pub(super) fn close_ticket(&mut self, ticket: Ticket) {
        assert!(self.open.remove(&ticket.number()).is_some(), "M-102: a second word");
    }

    pub(super) fn settle_hello(&mut self, settled: Settled, epoch: Epoch, outcome: Outcome) {
        assert_eq!(self.place_of(settled.ticket), Some(Place::Hello(epoch)));
        assert_eq!(settled.outcome, outcome, "M-102");
        self.close_ticket(settled.ticket);
    }

    pub(super) fn nothing_open_in(&self, place: Place) {
        let waits = |payload: &Vec<u8>| self.sealed.get(payload) == Some(&place);
        assert!(!self.open.values().any(|(_, payload)| waits(payload)), "M-102: no word");
    }

    /// After a Data: *acknowledged* if a block named it, *unknown* if it is out of reach or its Hello was replaced.
    pub(super) fn check_settled(&mut self, settled: &[Settled]) {
        let live = self.live.as_ref().expect("a session");
        let (epoch, acknowledged) = (live.epoch, live.slow.acknowledged.clone());
        for settled in settled {
            match (self.place_of(settled.ticket), settled.outcome) {
                (Some(Place::Data(in_epoch, number)), Outcome::Acknowledged) => {
                    assert!(in_epoch == epoch && acknowledged.contains(&number), "M-102: {number}");
                }
                (Some(Place::Data(_, number)), Outcome::Unknown) => {
                    let highest = acknowledged.last().expect("given up");
                    assert!(highest - number >= 64, "M-128: {number}");
                }
                (Some(Place::Hello(_)), Outcome::Unknown) => {}
                other => panic!("M-102: {other:?}"),
            }
            self.close_ticket(settled.ticket);
        }
        for (_, payload) in self.open.values() {
            if let Some(Place::Data(in_epoch, number)) = self.sealed.get(payload) {
                let named = *in_epoch == epoch && acknowledged.contains(number);
                assert!(!named, "M-102: number {number} is acknowledged, and no word was told");
            }
        }
    }

    /// The application took a payload back.
    pub fn withdrawn(&mut self, ticket: Ticket, outcome: Outcome) {
        match self.place_of(ticket) {
            None => assert_eq!(outcome, Outcome::Unsent),
            Some(place) => {
                assert!(
                    matches!(place, Place::Hello(_)) && outcome == Outcome::Unknown,
                    "{place:?} {outcome:?}"
                );
                self.outstanding = None;
            }
        }
        self.close_ticket(ticket);
    }

    /// The session was closed: everything has its word.
    pub fn closed(&mut self, settled: &[Settled]) {
        for settled in settled {
            let sealed = self.place_of(settled.ticket).is_some();
            assert_eq!(settled.outcome, if sealed { Outcome::Unknown } else { Outcome::Unsent }, "M-102");
            self.close_ticket(settled.ticket);
        }
        assert!(self.open.is_empty(), "M-102: closed, and a word is missing");
        (self.live, self.outstanding) = (None, None);
    }
}
