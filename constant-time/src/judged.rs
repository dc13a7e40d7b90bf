//! An AEAD backend, with the one place where something about a secret is given away on purpose: whether a tag is right,
//! and what a datagram then says to the protocol itself. Everything else of a plaintext stays secret.

use moteseal::aead::{Backend, Nonce, Tag};
use moteseal::error::Inauthentic;
use moteseal::keys::AeadKey;

use crate::memcheck::{declassified, flagged, publish};
use crate::table::COUNTS;

/// The backend `A`, whose verdicts are public.
#[derive(Clone, Copy, Debug)]
pub struct Judged<A>(A);

impl<A: Backend> Backend for Judged<A> {
    /// Nothing becomes public here: a datagram does when it is [sent](crate::world::wire).
    fn seal(key: &AeadKey, nonce: Nonce, aad: &[u8], buffer: &mut [u8]) -> Tag {
        A::seal(key, nonce, aad, buffer)
    }

    /// The verdict: the datagram is taken, or dropped, for everybody to see. It may decide one branch, wherever the tag is
    /// wrong; [`Table`](crate::table::Table) holds it to that.
    fn open(
        key: &AeadKey,
        nonce: Nonce,
        aad: &[u8],
        buffer: &mut [u8],
        tag: &Tag,
    ) -> Result<(), Inauthentic> {
        let before = flagged();
        let verdict = A::open(key, nonce, aad, buffer, tag);
        COUNTS.with(|counts| {
            counts.verdicts.set(counts.verdicts.get() + flagged() - before);
            counts.tags.set(counts.tags.get() + 1);
        });
        let verdict = declassified(verdict.is_ok());
        if verdict {
            publish_protocol(aad, buffer);
        }
        verdict.then_some(()).ok_or(Inauthentic)
    }
}

/// What decides how both halves go on, and shows in what they do next. `aad` begins with the flags (SPEC 4.1).
fn publish_protocol(aad: &[u8], plaintext: &[u8]) {
    let flags = aad.first().copied().unwrap_or(0);
    let (is_data, has_ack, is_control) = (flags >> 4 == 6, flags & 2 != 0, flags & 1 != 0);
    match flags >> 4 {
        // A Welcome: the connection id, which stands in clear in the next Data.
        5 => publish(plaintext),
        _ if is_data => {
            // Which numbers are acknowledged: repeats end.
            let (ack, rest) = plaintext.split_at(if has_ack { plaintext.len().min(3) } else { 0 });
            publish(ack);
            // Which control message it is, its generation, and what *moved* says. The secret of a *rotate* stays one.
            if is_control {
                publish(rest.get(..rest.len().min(2)).unwrap_or(rest));
                if rest.first() != Some(&1) {
                    publish(rest);
                }
            }
        }
        _ => {}
    }
}
