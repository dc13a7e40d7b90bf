//! What a step of one half brings about outside of that half, and the fingerprint by which states of a half are told
//! apart.

use std::hash::{DefaultHasher, Hash, Hasher};

use moteseal::device::Outcome;
use moteseal::number::Epoch;

use crate::catalog::{Catalog, DatagramId, Name, Payload, SealId, Way};
use crate::toy;

/// One effect of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Emit {
    /// A datagram is on the air: the attacker has it.
    Sent(DatagramId),
    /// Something was sealed, sent or not.
    Sealed(SealId),
    /// A payload was sealed under this name.
    Named(Payload, Name),
    /// A payload was handed to the application.
    Delivered(Payload, Name),
    /// The sender's application has its word.
    Told(Payload, Outcome),
    /// A backup was restored: the queue of commands is an old one.
    Restored,
    /// The server verified a Data of the session with counters.
    Heard,
    /// Something that a trace should tell.
    Note(&'static str),
    /// A property does not hold.
    Broken(String),
}

/// 128 bits of a state. Two states of one half count as one if these are equal; among a million states that happens by
/// chance with a probability of 2^-88.
pub fn fingerprint(state: &impl Hash) -> u128 {
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        state.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

/// Turns what was sealed since the last call into effects. `way` is the direction in which the sealing half sends, and
/// `session` tells the epoch of the session with a connection id that starts with these bytes.
pub fn take_sealed(
    catalog: &mut Catalog,
    way: Way,
    session: impl Fn(&[u8]) -> Option<Epoch>,
    emits: &mut Vec<Emit>,
) {
    for seal in toy::sealed() {
        let epoch = seal.aad.get(1..).and_then(&session);
        let id = catalog.seal(seal);
        emits.push(Emit::Sealed(id));
        let facts = catalog.facts(id);
        if let Some((payload, hello_epoch, number)) = facts.payload {
            if payload.way != way {
                emits.push(Emit::Broken(format!("P1: {payload:?} was sealed by the wrong side")));
            } else if let Some(epoch) = hello_epoch.or(epoch) {
                emits.push(Emit::Named(payload, Name { epoch, number }));
            }
        }
    }
}
