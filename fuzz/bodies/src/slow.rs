//! One session as SPEC has it, slow and plain: what its receiver must answer to any datagram, and what its sender may
//! send. Sets for windows, arithmetic by trying, and a cipher that is asked from outside whether a tag is good.

use std::collections::BTreeSet;

use moteseal::control::Role;
use moteseal::error::{Malformed, NotFresh, VerifyError};
use moteseal::wire::{Data, Seq};

use crate::codecs::nearest;
use crate::windows::SlowWindow;

/// What is known of one session on one side.
#[derive(Clone, Debug)]
pub struct SlowSession {
    /// Which side this is.
    pub role: Role,
    /// What was verified.
    pub window: SlowWindow,
    /// The own numbers that the peer acknowledged.
    pub acknowledged: BTreeSet<u16>,
    /// The next own number; 65,536 when they are used up.
    pub next: u32,
}

/// What an authentic Data carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// Nothing, or an application's bytes.
    Payload(Vec<u8>),
    /// A word between the halves, its bytes.
    Control(Vec<u8>),
}

/// What a receiver must make of a Data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Deliver it: the number, whether it is the highest, the block, and what is carried.
    New(u16, bool, Option<[u8; 3]>, Carried),
    /// Acknowledge it again.
    Repeat(u16),
}

impl SlowSession {
    /// Just agreed on.
    pub fn new(role: Role) -> Self {
        Self { role, window: SlowWindow::default(), acknowledged: BTreeSet::new(), next: 0 }
    }

    /// The number that a Data stands for (M-13).
    pub fn number_of(&self, data: &Data) -> u16 {
        match data.seq {
            Seq::One(low) => nearest(low, self.window.highest()),
            Seq::Two(number) => number.value(),
        }
    }

    /// M-66 to M-68, 9.7. `open` says what the tag says of that number: the plaintext, if it is good.
    ///
    /// # Errors
    /// As the half must answer.
    pub fn receive(
        &mut self,
        data: &Data,
        open: impl FnOnce(u16) -> Option<Vec<u8>>,
    ) -> Result<Judged, VerifyError> {
        let number = self.number_of(data);
        let newest = self.window.highest().is_none_or(|highest| number > highest);
        match self.window.check(number) {
            Err(NotFresh::TooOld) => return Err(VerifyError::TooOld),
            Err(NotFresh::Repeat) if !data.confirm => return Err(VerifyError::Replayed),
            Err(NotFresh::Repeat) => {
                open(number).ok_or(VerifyError::Inauthentic)?;
                let again = self.window.is_acknowledgeable(number);
                return if again { Ok(Judged::Repeat(number)) } else { Err(VerifyError::Replayed) };
            }
            _ => {}
        }
        let plaintext = open(number).ok_or(VerifyError::Inauthentic)?;
        let read = self.read(data, &plaintext);
        let is_rotate = matches!(&read, Ok((_, Carried::Control(control)))
            if control.first() == Some(&1) && control.get(1) != Some(&0));
        self.window.commit(number, read.is_ok() && !is_rotate);
        let (block, carried) = read.map_err(VerifyError::Malformed)?;
        if let Some(block) = block.filter(|_| !is_rotate) {
            self.unite(block);
        }
        Ok(Judged::New(number, newest, block, carried))
    }

    /// A *rotate* has proved itself (M-113, M-115), or is none of ours.
    pub fn accept(&mut self, number: u16, block: Option<[u8; 3]>) {
        self.window.acknowledge(number);
        if let Some(block) = block {
            self.unite(block);
        }
    }

    fn unite(&mut self, [high, low, bits]: [u8; 3]) {
        let number = u16::from_be_bytes([high, low]);
        self.acknowledged.insert(number);
        self.acknowledged.extend((0..8).filter(|bit| bits >> bit & 1 == 1).map(|bit| number - 1 - bit));
    }

    /// 4.11, 9.7 and 10.1.
    fn read(&self, data: &Data, plaintext: &[u8]) -> Result<(Option<[u8; 3]>, Carried), Malformed> {
        let (block, payload) = match plaintext.split_first_chunk::<3>() {
            _ if !data.ack => (None, plaintext),
            None => return Err(Malformed::ShortAck),
            Some((block, payload)) => (Some(*block), payload),
        };
        if let Some([high, low, bits]) = block {
            let number = u16::from_be_bytes([high, low]);
            let below_zero = (0..8).any(|bit| bits >> bit & 1 == 1 && number < bit + 1);
            if below_zero || u32::from(number) >= self.next {
                return Err(Malformed::AckOfUnsent);
            }
        }
        if data.control {
            self.read_control(payload, data.confirm)?;
            return Ok((block, Carried::Control(payload.to_vec())));
        }
        Ok((block, Carried::Payload(payload.to_vec())))
    }

    fn read_control(&self, payload: &[u8], confirm: bool) -> Result<(), Malformed> {
        let from_server = self.role == Role::Device;
        match payload {
            [] => Err(Malformed::EmptyControl),
            [1, ..] if !from_server => Err(Malformed::WrongDirection),
            [2 | 3, ..] if from_server => Err(Malformed::WrongDirection),
            [2, ..] if confirm => Err(Malformed::ConfirmedClose),
            [1, ..] if payload.len() != 34 => Err(Malformed::ControlLength),
            [2, ..] if payload.len() != 1 => Err(Malformed::ControlLength),
            [3, ..] if payload.len() != 5 => Err(Malformed::ControlLength),
            _ => Ok(()),
        }
    }

    /// M-14: whether one byte says enough of `number`.
    pub fn fits_one_byte(&self, number: u16) -> bool {
        let expected = self.acknowledged.last().map_or(0, |highest| i32::from(*highest) + 1);
        i32::from(number) - expected < 128
    }

    /// The next number was sealed, in a Data of this header.
    pub fn sent(&mut self, data: &Data) -> u16 {
        let number = u16::try_from(self.next).expect("M-50: a number after the last");
        let one = !data.confirm && self.fits_one_byte(number);
        match data.seq {
            Seq::One(low) => {
                assert!(one, "M-14: number {number} in one byte");
                assert_eq!(number.to_be_bytes()[1], low);
            }
            Seq::Two(written) => {
                assert!(!one, "number {number} in two bytes");
                assert_eq!(written.value(), number, "M-21: not the next number");
            }
        }
        self.next += 1;
        number
    }

    /// M-46: whether a Reset for `number` may end the session.
    pub fn may_reset(&self, number: u16) -> bool {
        let remembered =
            self.acknowledged.last().is_none_or(|highest| u32::from(number) + 64 > u32::from(*highest));
        u32::from(number) < self.next && remembered && !self.acknowledged.contains(&number)
    }
}
