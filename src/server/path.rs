//! Where a session's datagrams go: the peer's address, when it moves, and how much an address may receive that
//! has not answered yet. SPEC section 7.5.

use crate::number::SequenceNumber;
use crate::wire::AckBlock;

/// How many bytes an address that is not free receives for each verified byte that came from it (M-70).
const FACTOR: usize = 3;

/// The way to one device.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub(crate) struct Path<Address> {
    address: Address,
    freedom: Freedom,
    budget: usize,
}

/// Whether an address may receive without bound.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(moteseal_explore, derive(Hash))]
enum Freedom {
    Free,
    /// An acknowledgement of this number, or of a later one, frees it.
    From(SequenceNumber),
    /// No number was left to be sealed since the move: nothing frees it.
    Never,
}

impl<Address: Copy + PartialEq> Path<Address> {
    /// At confirmation, before the first Data is [`heard`](Self::heard): free at once if the Hello came from there
    /// too (M-71).
    pub(crate) const fn confirmed(from: Address, is_hello_source: bool) -> Self {
        let freedom = if is_hello_source { Freedom::Free } else { Freedom::From(SequenceNumber::FIRST) };
        Self { address: from, freedom, budget: 0 }
    }

    pub(crate) const fn address(&self) -> Address {
        self.address
    }

    /// A Data was newly verified; `next` is the number that the session sends next. Only the highest number moves the
    /// address (M-69).
    pub(crate) fn heard(&mut self, from: Address, newest: bool, len: usize, next: Option<SequenceNumber>) {
        let earned = len.saturating_mul(FACTOR);
        if from == self.address {
            self.budget = self.budget.saturating_add(earned);
        } else if newest {
            let freedom = next.map_or(Freedom::Never, Freedom::From);
            *self = Self { address: from, freedom, budget: earned };
        }
    }

    /// An acknowledgement came.
    pub(crate) fn acknowledged(&mut self, from: Address, block: AckBlock) {
        if let Freedom::From(first) = self.freedom
            && from == self.address
            && block.numbers().any(|number| number >= first)
        {
            self.freedom = Freedom::Free;
        }
    }

    /// Takes `len` bytes from what the address may receive; no if that is not enough.
    pub(crate) fn spend(&mut self, len: usize) -> bool {
        if matches!(self.freedom, Freedom::Free) {
            return true;
        }
        match self.budget.checked_sub(len) {
            Some(rest) => {
                self.budget = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(number: u16) -> AckBlock {
        AckBlock { number: SequenceNumber::new(number), before: 0 }
    }

    #[test]
    fn a_moved_address_receives_three_times_what_it_sent_until_it_acknowledges() {
        let mut path = Path::confirmed('a', true);
        assert!(path.spend(10_000));
        path.heard('b', true, 20, Some(SequenceNumber::new(7)));
        assert_eq!(path.address(), 'b');
        assert!(path.spend(60) && !path.spend(1));
        path.heard('b', false, 20, Some(SequenceNumber::new(9)));
        assert!(path.spend(60) && !path.spend(1));
        path.acknowledged('b', ack(6)); // sealed before the move
        path.acknowledged('a', ack(7)); // from elsewhere
        assert!(!path.spend(1));
        path.acknowledged('b', ack(7));
        assert!(path.spend(10_000));
    }

    #[test]
    fn only_the_highest_number_moves_the_address() {
        let mut path = Path::confirmed('a', true);
        path.heard('b', false, 20, None);
        assert_eq!(path.address(), 'a');
    }

    #[test]
    fn a_first_data_from_elsewhere_than_the_hello_is_not_free() {
        let mut path = Path::confirmed('b', false);
        path.heard('b', true, 20, Some(SequenceNumber::FIRST));
        assert!(path.spend(60) && !path.spend(1));
        path.acknowledged('b', ack(0));
        assert!(path.spend(1));
    }

    #[test]
    fn what_was_sealed_before_the_move_frees_nothing_even_if_no_number_is_left() {
        let mut path = Path::confirmed('a', true);
        path.heard('b', true, 20, None);
        path.acknowledged('b', ack(u16::MAX));
        assert!(path.spend(60) && !path.spend(1));
    }
}
