//! What a crash takes away: the sessions of one device with their counters, and what is under way to it.
//! SPEC sections 7.3 to 7.6 and 9.2.

use crate::aead::{Backend, Tag};
use crate::delivery::{AnswerLimit, Backoff, Millis};
use crate::number::{ConnectionId, Epoch, SequenceNumber};
use crate::record::Entry;
use crate::session::Session;

use super::Answer;
use super::change::Ticket;
use super::command::CommandId;
use super::overheard::Overheard;
use super::path::Path;

/// The volatile half of what a server knows of a device.
#[derive(Debug)]
#[cfg_attr(moteseal_explore, derive(Clone, Hash))]
pub(crate) struct Link<Address, O, A: Backend> {
    /// The confirmed session, if its counters are here.
    pub(super) active: Option<Active<Address, O, A>>,
    /// The session that was offered last, if its counters are here and no Data has come under it.
    pub(super) candidate: Option<Candidate<Address, A>>,
    /// A connection id that a change under way will put into the record.
    pub(super) reserved: Option<ConnectionId>,
    /// That of a session which has ended, and which no record names: a change under way may name it all the same.
    pub(super) held: Option<ConnectionId>,
    /// The change that takes it out of service; the record will say so once that is durable.
    pub(super) silenced: Option<Ticket>,
    /// When a Reset was last sent: under the confirmed entry, under the candidate's.
    pub(super) resets: [Option<Millis>; 2],
    /// A session was confirmed, so the record's excuse is used up; the next write says so.
    pub(super) excuse_used: bool,
    /// Jumps of the device's counter to be added to the record when it is next written.
    pub(super) clones: u32,
    /// The newest session of another gateway that this server has taken out of the record. That gateway does not know
    /// whether the device came over until a newer one stands there as confirmed (M-93).
    pub(super) displaced: Option<Epoch>,
    /// What other gateways are to answer.
    pub(super) overheard: Overheard,
}

impl<Address, O, A: Backend> Default for Link<Address, O, A> {
    fn default() -> Self {
        Self {
            active: None,
            candidate: None,
            reserved: None,
            held: None,
            silenced: None,
            resets: [None; 2],
            excuse_used: false,
            clones: 0,
            displaced: None,
            overheard: Overheard::default(),
        }
    }
}

impl<Address, O, A: Backend> Link<Address, O, A> {
    /// The session in service, unless too many forgeries came under its key: then it counts as one whose counters
    /// are gone (M-77), and only waits for its successor, which settles its command.
    pub(super) fn in_service(&mut self) -> Option<&mut Active<Address, O, A>> {
        self.active.as_mut().filter(|active| !active.session.is_worn_out())
    }

    /// Ends the session. Gives the command that ends without a word.
    #[inline(never)] // of three callers
    pub(super) fn end_session(&mut self) -> Option<CommandId> {
        let unanswered = self.active.as_ref().and_then(Active::unanswered);
        // Assigned rather than taken: so the keys are wiped where they lie, and not in a copy.
        self.active = None;
        unanswered
    }
}

impl<Address: Copy + PartialEq, O: Default, A: Backend> Link<Address, O, A> {
    /// The candidate becomes the session in service, by Data from this address (M-62).
    #[inline(never)] // so that its frame lies where the caller has wiped the stack
    pub(super) fn confirm(&mut self, from: Address) -> Option<&mut Active<Address, O, A>> {
        let candidate = self.candidate.take()?;
        self.excuse_used = true;
        Some(self.active.insert(Active::confirmed(candidate, from)))
    }
}

/// A session that was offered and not taken up yet.
#[derive(Debug)]
#[cfg_attr(moteseal_explore, derive(Clone, Hash))]
pub(crate) struct Candidate<Address, A: Backend> {
    pub(super) session: Session<A>,
    /// The session as far as it is durable.
    pub(super) entry: Entry,
    /// The only Welcome that is ever sealed under this session's keys.
    pub(super) welcome: Answer,
    /// The tag of the Hello that it answers.
    pub(super) hello_tag: Tag,
    /// Where that Hello came from, unless it came from elsewhere too.
    pub(super) from: Option<Address>,
    pub(super) excused: bool,
}

/// A session in service.
#[derive(Debug)]
#[cfg_attr(moteseal_explore, derive(Clone, Hash))]
pub(crate) struct Active<Address, O, A: Backend> {
    pub(super) session: Session<A>,
    /// The session as far as it is durable.
    pub(super) entry: Entry,
    pub(super) hello_tag: Tag,
    pub(super) path: Path<Address>,
    pub(super) answers: AnswerLimit,
    pub(super) excused: bool,
    /// This session owes no *rotate*: it was acknowledged, or there is no number or no room for it.
    pub(super) rotate_over: bool,
    /// A command for which the store has been asked to write *sent*.
    pub(super) sending: Option<Ticket>,
    pub(super) outstanding: Option<Outstanding>,
    pub(super) outbox: O,
}

impl<Address: Copy + PartialEq, O: Default, A: Backend> Active<Address, O, A> {
    /// The candidate after its first Data, which came from `from` (M-62, M-71).
    pub(super) fn confirmed(candidate: Candidate<Address, A>, from: Address) -> Self {
        Self {
            path: Path::confirmed(from, candidate.from == Some(from)),
            session: candidate.session,
            entry: candidate.entry,
            hello_tag: candidate.hello_tag,
            answers: AnswerLimit::default(),
            excused: candidate.excused,
            rotate_over: false,
            sending: None,
            outstanding: None,
            outbox: O::default(),
        }
    }
}

impl<Address, O, A: Backend> Active<Address, O, A> {
    /// The command that ends without a word if this session ends now.
    pub(super) fn unanswered(&self) -> Option<CommandId> {
        match self.outstanding?.purpose {
            Purpose::Command(id) => Some(id),
            Purpose::Rotate => None,
        }
    }
}

/// What a Data with C to a device is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub(crate) enum Purpose {
    Command(CommandId),
    Rotate,
}

/// A Data with C that is not acknowledged; its bytes are in the outbox.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub(crate) struct Outstanding {
    pub(super) purpose: Purpose,
    pub(super) number: SequenceNumber,
    pub(super) repeats: Repeats,
}

/// When the bytes of the outbox are sent again.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub(crate) enum Repeats {
    /// By the clock.
    Timed(Backoff),
    /// The repeats ran out: once at each newly verified Data (M-98). `true` is now.
    OnSight(bool),
}
