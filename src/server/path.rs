//! Where a session's datagrams go: the peer's address, when it moves, and how much an address may receive that
//! has not answered yet. SPEC section 7.5.

use crate::number::SequenceNumber;
use crate::wire::AckBlock;

/// How many bytes an address that is not free receives for each verified byte that came from it (M-70).
const FACTOR: usize = 3;

/// The way to one device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path<Address> {
    address: Address,
    /// An acknowledgement of this number, or of a later one, frees the address; a free address has none.
    frees: Option<SequenceNumber>,
    budget: usize,
}

impl<Address: Copy + PartialEq> Path<Address> {
    /// At confirmation: free at once if the Hello came from there too (M-71).
    pub(crate) const fn confirmed(from: Address, is_hello_source: bool, len: usize) -> Self {
        let frees = if is_hello_source { None } else { Some(SequenceNumber::FIRST) };
        Self { address: from, frees, budget: len.saturating_mul(FACTOR) }
    }

    pub(crate) const fn address(&self) -> Address {
        self.address
    }

    /// A Data was newly verified; `next` is the number that the session sends next.
    pub(crate) fn heard(&mut self, from: Address, newest: bool, len: usize, next: Option<SequenceNumber>) {
        let earned = len.saturating_mul(FACTOR);
        if from == self.address {
            self.budget = self.budget.saturating_add(earned);
        } else if newest {
            *self = Self { address: from, frees: Some(next.unwrap_or(SequenceNumber::LAST)), budget: earned };
        }
    }

    /// An acknowledgement came.
    pub(crate) fn acknowledged(&mut self, from: Address, block: AckBlock) {
        if from == self.address && self.frees.is_some_and(|first| block.numbers().any(|n| n >= first)) {
            self.frees = None;
        }
    }

    /// Takes `len` bytes from what the address may receive; no if that is not enough.
    pub(crate) fn spend(&mut self, len: usize) -> bool {
        if self.frees.is_none() {
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
        let mut path = Path::confirmed('a', true, 20);
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
        let mut path = Path::confirmed('a', true, 20);
        path.heard('b', false, 20, None);
        assert_eq!(path.address(), 'a');
    }

    #[test]
    fn a_first_data_from_elsewhere_than_the_hello_is_not_free() {
        let mut path = Path::confirmed('b', false, 20);
        assert!(path.spend(60) && !path.spend(1));
        path.acknowledged('b', ack(0));
        assert!(path.spend(1));
    }
}
