//! Every error of the crate and nothing else: small `Copy` enums, one for each verb, kept apart by whose fault
//! it is. The SPEC sections are those that each error names.

use core::fmt;

use crate::delivery::Settled;

/// Declares an error: its variants are documented once, and the text is what `Display` shows.
macro_rules! error {
    ($(#[$doc:meta])* $name:ident { $($variant:ident => $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = $text] $variant,)+
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)+ })
            }
        }

        impl core::error::Error for $name {}
    };
}

error! {
    /// What the caller's flash or other storage did not do.
    StorageError {
        Read => "the storage could not be read; check the wiring and the address",
        Write => "the storage could not be written or erased; nothing was sent that needed it",
        Verify => "the storage read back other than written; it is worn out or write-protected",
        Backwards => "the boot counter holds a higher number; store only what is above the number loaded",
        Format => "a key slot is intact but of another format or suite; run firmware that knows it",
    }
}

error! {
    /// Why a region of flash cannot be used.
    RegionError {
        Misaligned => "the region must start at a multiple of the flash's erase size",
        OutOfRange => "the region ends behind the end of the flash",
    }
}

error! {
    /// What is wrong with a factory image.
    ImageError {
        Length => "a factory image has exactly 192 bytes; this one was truncated or is another file",
        Blank => "the identity is erased; flash the factory image first",
        Magic => "the magic is not that of a factory image; this is other data",
        Version => "the format version is unknown; use the firmware or program that made the image",
        Check => "the check value of the identity does not match; flash the factory image again",
        Suite => "the suite is unknown; this version knows suite 1 only",
        Reserved => "a reserved byte is not zero; the image was made by something newer",
        Generation => "a key slot says generation 0; the first is 1",
        NoKey => "neither slot holds an intact device key; flash the factory image again",
        SameGeneration => "both key slots hold the same generation; one must be erased",
        GenerationGap => "the generations of the two key slots do not follow each other; one must be erased",
    }
}

/// Why the identity of a device could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdentityError {
    /// The storage failed.
    Storage(StorageError),
    /// The storage works, but what it holds is no identity.
    Image(ImageError),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::Image(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for IdentityError {}

impl From<StorageError> for IdentityError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<ImageError> for IdentityError {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

error! {
    /// What the caller's random number generator did not do.
    EntropyError {
        Failed => "the random number generator failed; nothing was sent that needed it",
        Stuck => "the random number generator gave all zeros or all ones; it is not running",
    }
}

/// The tag does not verify: the datagram was not sealed under this key, or was changed. Nothing of why is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Inauthentic;

impl fmt::Display for Inauthentic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the tag does not verify")
    }
}

impl core::error::Error for Inauthentic {}

error! {
    /// Why bytes are not a datagram of version 1: the sender's fault, drop them (SPEC section 4.1).
    ParseError {
        Length => "shorter or longer than a datagram of its type can be",
        Version => "not version 1",
        ReservedBit => "a bit is set that version 1 does not define",
        ConfirmWithoutFullNumber => "it asks for an acknowledgement with a shortened number",
    }
}

error! {
    /// Why a sequence number cannot be delivered (SPEC section 7.4).
    NotFresh {
        Repeat => "this number has been seen",
        TooOld => "this number lies left of the replay window",
    }
}

error! {
    /// Why a datagram that is authentic makes no sense: a fault in the peer's code. Its number is used up,
    /// nothing of it is delivered or acknowledged (SPEC section 9.7).
    Malformed {
        ShortAck => "the acknowledgement block is cut short",
        AckOfUnsent => "it acknowledges a number that was never sent",
        EmptyControl => "a control message without a kind",
        ControlLength => "a control message of the wrong length",
        WrongDirection => "a control message from the wrong side",
        ConfirmedClose => "a close that asks for an acknowledgement",
        UnprovenRotation => "a rotation that the rotation key does not prove",
    }
}

error! {
    /// Why nothing could be protected: the caller's fault, or the session's end.
    ProtectError {
        BufferTooShort => "the output buffer is too short; see the overheads in `wire`",
        NumbersUsedUp => "all numbers of this session are used up; a new session must be opened",
    }
}

error! {
    /// Why a Reset does not end the session (SPEC section 6.6).
    ResetError {
        NeverSent => "it answers a number that was never sent",
        Acknowledged => "it answers a number that is acknowledged",
        Inauthentic => "its tag does not verify",
    }
}

/// Why a Data is not delivered (SPEC sections 7.4 and 9.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VerifyError {
    /// The tag does not verify.
    Inauthentic,
    /// The number has been seen.
    Replayed,
    /// The number lies left of the replay window.
    TooOld,
    /// It is authentic and makes no sense.
    Malformed(Malformed),
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inauthentic => Inauthentic.fmt(f),
            Self::Replayed => NotFresh::Repeat.fmt(f),
            Self::TooOld => NotFresh::TooOld.fmt(f),
            Self::Malformed(malformed) => malformed.fmt(f),
        }
    }
}

impl core::error::Error for VerifyError {}

error! {
    /// Why bytes are not a record, or a record cannot be changed so (SPEC sections 3.2 and 10.2).
    RecordError {
        Length => "the record is shorter or longer than a record is",
        Version => "the record was written by another version",
        Field => "a field of the record has a value that is never written",
        LastGeneration => "generation 255 is the last; the device must be provisioned anew",
    }
}

error! {
    /// Why a device cannot be added to a table.
    TableError {
        Full => "the table is full",
        Known => "a device of this id is in the table",
        CidTaken => "another device's record names one of its connection ids",
        OtherDevice => "the record is not that of the device at this place",
        Older => "the record is older than the one that is here",
    }
}

error! {
    /// Why a command cannot be sent now (SPEC section 9.5).
    CommandError {
        NotQueued => "the command is not in the queue any more",
        Expired => "the command's time has passed",
        UnknownDevice => "no device of this id is known",
        NotActive => "the device is revoked or quarantined",
        NoSession => "the device has no session; the command waits until it speaks",
        Busy => "the device has not acknowledged the last command; this one waits",
        Length => "the payload is empty, or does not fit into one datagram to this device",
        OtherTicket => "this proof belongs to another change",
    }
}

error! {
    /// Why something that a store has written cannot be applied: a fault in the store or in the caller.
    CommitError {
        OtherTicket => "this proof belongs to another change",
        Conflict => "the record has changed since; the store must compare before it sets",
    }
}

/// Why an administrative change cannot be made (SPEC sections 3.2 and 10.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AdminError {
    /// No device of this id is known.
    UnknownDevice,
    /// The device is revoked, and that is final; provision it anew.
    Revoked,
    /// The device is revoked or quarantined.
    NotActive,
    /// A rotation has begun and is not finished; it goes on by itself.
    RotationUnderWay,
    /// No session under the next generation was confirmed.
    NoRotation,
    /// No session is in service, or no other gateway waits for the word that it is confirmed.
    NotDue,
    /// Generation 255 is the last; the device must be provisioned anew.
    LastGeneration,
    /// The random number generator.
    Entropy(EntropyError),
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownDevice => "no device of this id is known",
            Self::Revoked => "the device is revoked, and that is final; provision it anew",
            Self::NotActive => "the device is revoked or quarantined",
            Self::RotationUnderWay => "a rotation has begun and is not finished; it goes on by itself",
            Self::NoRotation => "no session under the next generation was confirmed",
            Self::NotDue => "no other gateway waits for a word on the session in service",
            Self::LastGeneration => "generation 255 is the last; provision the device anew",
            Self::Entropy(error) => return error.fmt(f),
        })
    }
}

impl core::error::Error for AdminError {}

/// Why a server drops a datagram: count it by this, and answer nothing (SPEC sections 7 and 12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reject {
    /// It is not a datagram of version 1.
    Parse(ParseError),
    /// A Welcome, Floor or Reset, which only a device takes.
    NotForServer,
    /// A Hello of a device that is not known.
    UnknownDevice,
    /// A Data of a connection that is not known.
    UnknownConnection,
    /// The device is revoked or quarantined.
    NotActive,
    /// A Hello under a generation that the server does not hold.
    UnknownGeneration,
    /// A Hello whose tag does not verify.
    Inauthentic,
    /// A boot count of FF000000 or more: the device must be provisioned anew. Report it.
    BootCounterUsedUp,
    /// A Hello whose session is confirmed already.
    SameHello,
    /// A stale Hello, and its source has had its Floors.
    FloorLimited,
    /// A stale Hello, and the newest epoch is too high to be a floor.
    FloorOutOfRange,
    /// A Data of a session without counters, within a second of a Reset.
    ResetLimited,
    /// A repeat that has been acknowledged often enough, or an address that may not receive more yet.
    AnswerLimited,
    /// Another gateway has the session, and is the one to answer; a copy that comes a second or more later may be
    /// answered here (SPEC section 8).
    OtherGateway,
    /// All connection ids are in use.
    NoConnectionId,
    /// The random number generator.
    Entropy(EntropyError),
    /// A Data that the session refuses.
    Verify(VerifyError),
}

impl Reject {
    /// One word for counters and logs, the same for good.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Parse(ParseError::Length) => "length",
            Self::Parse(ParseError::Version) => "version",
            Self::Parse(_) => "reserved_bit",
            Self::NotForServer => "not_for_server",
            Self::UnknownDevice => "unknown_device",
            Self::UnknownConnection => "unknown_connection",
            Self::NotActive => "not_active",
            Self::UnknownGeneration => "unknown_generation",
            Self::Inauthentic | Self::Verify(VerifyError::Inauthentic) => "inauthentic",
            Self::BootCounterUsedUp => "boot_counter_used_up",
            Self::SameHello => "same_hello",
            Self::FloorLimited => "floor_limited",
            Self::FloorOutOfRange => "floor_out_of_range",
            Self::ResetLimited => "reset_limited",
            Self::AnswerLimited => "answer_limited",
            Self::OtherGateway => "other_gateway",
            Self::NoConnectionId => "no_connection_id",
            Self::Entropy(_) => "entropy",
            Self::Verify(VerifyError::Replayed) => "replayed",
            Self::Verify(VerifyError::TooOld) => "too_old",
            Self::Verify(VerifyError::Malformed(_)) => "malformed",
        }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parse(error) => error.fmt(f),
            Self::Entropy(error) => error.fmt(f),
            Self::Verify(error) => error.fmt(f),
            other => f.write_str(other.word()),
        }
    }
}

impl core::error::Error for Reject {}
impl From<Malformed> for VerifyError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// Declares an error that wraps others: `Display` shows the text, or the wrapped error's.
macro_rules! wrapping_error {
    ($(#[$doc:meta])* $name:ident {
        $($inner:ident($type:ty),)*
        ; $($variant:ident => $text:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = concat!("See [`", stringify!($type), "`].")] $inner($type),)*
            $(#[doc = $text] $variant,)*
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$inner(error) => error.fmt(f),)*
                    $(Self::$variant => f.write_str($text),)*
                }
            }
        }

        impl core::error::Error for $name {}

        $(impl From<$type> for $name {
            fn from(error: $type) -> Self {
                Self::$inner(error)
            }
        })*
    };
}

wrapping_error! {
    /// Why the boot counter does not advance (SPEC 6.1).
    CounterError {
        Storage(StorageError),
        ;
        UsedUp => "the boot counter stands at its end; the device must be provisioned anew",
    }
}

wrapping_error! {
    /// Why a device cannot start (SPEC 6.1). It must not send anything then.
    BootError {
        Identity(IdentityError),
        Storage(StorageError),
        Counter(CounterError),
        ;
        CounterLost => "the boot counter is blank or broken and there is no random number generator; an old session \
            could be replayed to this device, so provision it anew",
    }
}

wrapping_error! {
    /// Why a Hello cannot be made. It is tried again by itself, later and later.
    HelloError {
        Storage(StorageError),
        Counter(CounterError),
        Entropy(EntropyError),
        ;
        KeyMissing => "the slot of the device key is empty or torn; flash the factory image again",
    }
}

wrapping_error! {
    /// Why a payload was not taken. Nothing of it was kept or sent.
    SendError {
        Hello(HelloError),
        ;
        Empty => "an empty payload is never delivered; to open a session or to ask for a sign of life, connect",
        TooLong => "the payload is longer than the device's buffer holds; see `PAYLOAD_MAX`",
        Busy => "one payload is outstanding or waits; poll, and send this one when the outcome of that one is known, \
            or withdraw that one",
        BufferTooShort => "the output buffer is too short for this datagram; see the overheads in `wire`",
    }
}

wrapping_error! {
    /// Why what is due could not be sent. It stays due.
    PollError {
        Hello(HelloError),
        ;
        BufferTooShort => "the output buffer is too short for this datagram; give it as many bytes as the device's \
            own buffer has",
    }
}

wrapping_error! {
    /// Why a datagram had no effect. Unless the variant says otherwise, everything is as it was, and the datagram
    /// is to be dropped in silence.
    ReceiveError {
        Parse(ParseError),
        Verify(VerifyError),
        Reset(ResetError),
        InvalidConnectionId(InvalidConnectionId),
        Storage(StorageError),
        Counter(CounterError),
        Identity(IdentityError),
        ;
        ForServer => "a Hello, which only servers take",
        NoHello => "it answers a Hello, and none is outstanding",
        EchoMismatch => "it answers another Hello",
        FloorTooHigh => "a floor with a boot count of FEFFFFFF or more; the server's record of this device is damaged",
        NoSession => "it belongs to a session, and there is none",
        UnknownConnection => "it belongs to another session",
        HelloOutstanding => "a Reset while a new session is being opened anyway",
        KeyMissing => "the slot of the device key is empty or torn; flash the factory image again",
    }
}

/// A Welcome that is authentic and names no session: a fault in the server's code. The Hello is used up, and a new
/// one follows (M-35).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvalidConnectionId {
    /// What became of the payload of that Hello.
    pub settled: Option<Settled>,
}

impl fmt::Display for InvalidConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the Welcome names no valid connection id")
    }
}

impl core::error::Error for InvalidConnectionId {}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::BTreeSet;

    use super::*;

    /// Dashboards and alarms count by them: they are what they were.
    #[test]
    fn each_reject_has_a_word_of_its_own() {
        let words = [
            (Reject::Parse(ParseError::Length), "length"),
            (Reject::Parse(ParseError::Version), "version"),
            (Reject::Parse(ParseError::ReservedBit), "reserved_bit"),
            (Reject::NotForServer, "not_for_server"),
            (Reject::UnknownDevice, "unknown_device"),
            (Reject::UnknownConnection, "unknown_connection"),
            (Reject::NotActive, "not_active"),
            (Reject::UnknownGeneration, "unknown_generation"),
            (Reject::Inauthentic, "inauthentic"),
            (Reject::BootCounterUsedUp, "boot_counter_used_up"),
            (Reject::SameHello, "same_hello"),
            (Reject::FloorLimited, "floor_limited"),
            (Reject::FloorOutOfRange, "floor_out_of_range"),
            (Reject::ResetLimited, "reset_limited"),
            (Reject::AnswerLimited, "answer_limited"),
            (Reject::OtherGateway, "other_gateway"),
            (Reject::NoConnectionId, "no_connection_id"),
            (Reject::Entropy(EntropyError::Failed), "entropy"),
            (Reject::Verify(VerifyError::Replayed), "replayed"),
            (Reject::Verify(VerifyError::TooOld), "too_old"),
            (Reject::Verify(Malformed::ShortAck.into()), "malformed"),
        ];
        for (reject, word) in words {
            assert_eq!(reject.word(), word);
        }
        assert_eq!(words.map(|(_, word)| word).into_iter().collect::<BTreeSet<_>>().len(), words.len());
        // However a forgery was noticed, it is one.
        assert_eq!(Reject::Verify(VerifyError::Inauthentic).word(), Reject::Inauthentic.word());
    }
}
