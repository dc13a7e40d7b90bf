//! What is promised, in the words of a user, and the proof that it was broken. SPEC section 2.2.

use std::fmt;

/// Something that was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Promise {
    /// P2: no payload is delivered twice.
    OnlyOnce,
    /// P1: what is delivered was sent, by this device, in this session.
    Authentic,
    /// What is acknowledged was delivered.
    NothingLost,
    /// M-102: one word for each payload, and no more.
    OneWord,
    /// P3: no key seals two things under one nonce.
    NoncesOnce,
    /// M-95: a payload is sealed once, unless it is a command that may run twice.
    SealedOnce,
    /// P7: a revoked device is neither heard nor spoken to.
    RevokedSilent,
    /// P5: who was not revoked is back once the attacker has stopped.
    NobodyLockedOut,
    /// P4: one flash write a boot, and one where a Floor moves the counter.
    FlashSpared,
    /// The gateway runs, and stops and starts as it is told.
    GatewayRuns,
    /// Every datagram could be audited.
    Audited,
}

impl Promise {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 11] = [
        Self::OnlyOnce,
        Self::Authentic,
        Self::NothingLost,
        Self::OneWord,
        Self::NobodyLockedOut,
        Self::RevokedSilent,
        Self::NoncesOnce,
        Self::SealedOnce,
        Self::FlashSpared,
        Self::GatewayRuns,
        Self::Audited,
    ];

    /// What the table calls a breach of it.
    pub const fn breach(self) -> &'static str {
        match self {
            Self::OnlyOnce => "duplicates",
            Self::Authentic => "forgeries accepted",
            Self::NothingLost => "acknowledged, not delivered",
            Self::OneWord => "untrue or second outcomes",
            Self::NobodyLockedOut => "devices locked out",
            Self::RevokedSilent => "revoked, yet heard or spoken to",
            Self::NoncesOnce => "nonces reused",
            Self::SealedOnce => "payloads sealed twice",
            Self::FlashSpared => "flash writes beyond the promise",
            Self::GatewayRuns => "failures of the gateway",
            Self::Audited => "datagrams that escaped the audit",
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnlyOnce => "a payload is delivered at most once",
            Self::Authentic => "what is delivered was sent, by that device, in that session",
            Self::NothingLost => "what is acknowledged was delivered",
            Self::OneWord => "a sender is told one outcome",
            Self::NoncesOnce => "a key seals one thing under a nonce",
            Self::SealedOnce => "a payload is sealed once",
            Self::RevokedSilent => "a revoked device is neither heard nor spoken to",
            Self::NobodyLockedOut => "a device is back once the attacker has stopped",
            Self::FlashSpared => "flash is written once a boot",
            Self::GatewayRuns => "the gateway runs, stops and starts as told",
            Self::Audited => "every datagram could be audited",
        })
    }
}

/// A promise that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which one.
    pub promise: Promise,
    /// What happened.
    pub how: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.how)
    }
}
