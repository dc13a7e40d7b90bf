//! Control messages: what a Data with K carries. SPEC section 10.
//!
//! ```text
//! rotate  01 | generation 1 | secret 32     server -> device
//! close   02                                device -> server, without C
//! moved   03 | boot counter 4               device -> server
//! ```

use core::fmt;

use crate::error::Malformed;
use crate::keys::{KEY_LEN, RotationSecret};
use crate::number::Generation;

const ROTATE: u8 = 1;
const CLOSE: u8 = 2;
const MOVED: u8 = 3;

/// Length of the longest control message in bytes.
pub const CONTROL_MAX_LEN: usize = 2 + KEY_LEN;

/// Which half of the protocol somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub enum Role {
    /// Sends under the up key.
    Device,
    /// Sends under the down key.
    Server,
}

impl Role {
    /// The other one.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Device => Self::Server,
            Self::Server => Self::Device,
        }
    }
}

/// A control message.
#[derive(Clone, Debug)]
pub enum Control {
    /// From the server: take the next device key.
    Rotate {
        /// The generation of the next key, one above the session's own.
        generation: Generation,
        /// What it is derived from.
        secret: RotationSecret,
    },
    /// From the device: forget the session.
    Close,
    /// From the device: the boot counter that it had before a Floor moved it.
    Moved(u32),
    /// A kind that this version does not know, or a rotation to generation 0, which comes after none; acknowledged
    /// and otherwise ignored (M-114, M-116).
    Unknown(u8),
}

/// The bytes of a control message.
#[derive(Clone)]
pub struct ControlBytes(heapless::Vec<u8, CONTROL_MAX_LEN>);

impl ControlBytes {
    /// The payload of the Data.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ControlBytes {
    /// A *rotate* holds a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ControlBytes({} bytes)", self.0.len())
    }
}

impl Drop for ControlBytes {
    /// A *rotate* holds a secret.
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(self.0.as_mut_slice());
    }
}

impl Control {
    /// Reads what `sender` sent, `confirm` being the C of its Data.
    ///
    /// # Errors
    /// [`Malformed`] if nothing is there, if a known kind has another length than its own, comes from the wrong
    /// side, or is a *close* that asks for an acknowledgement.
    pub fn decode(bytes: &[u8], sender: Role, confirm: bool) -> Result<Self, Malformed> {
        let (kind, rest) = bytes.split_first().ok_or(Malformed::EmptyControl)?;
        let expected = match *kind {
            ROTATE => Role::Server,
            CLOSE | MOVED => Role::Device,
            unknown => return Ok(Self::Unknown(unknown)),
        };
        if sender != expected {
            return Err(Malformed::WrongDirection);
        }
        match *kind {
            ROTATE => Self::decode_rotate(rest),
            CLOSE if confirm => Err(Malformed::ConfirmedClose),
            CLOSE => rest.is_empty().then_some(Self::Close).ok_or(Malformed::ControlLength),
            _ => rest
                .try_into()
                .map(|boot| Self::Moved(u32::from_be_bytes(boot)))
                .map_err(|_| Malformed::ControlLength),
        }
    }

    fn decode_rotate(rest: &[u8]) -> Result<Self, Malformed> {
        let (generation, secret) = rest.split_first().ok_or(Malformed::ControlLength)?;
        let secret = RotationSecret::from_bytes(secret.try_into().map_err(|_| Malformed::ControlLength)?);
        // There is no generation 0; it is one "for any other generation" than the next (M-116), not malformed.
        Ok(Generation::new(*generation)
            .map_or(Self::Unknown(ROTATE), |generation| Self::Rotate { generation, secret }))
    }

    /// The bytes of this message.
    pub fn encode(&self) -> ControlBytes {
        let mut bytes = heapless::Vec::new();
        // The vector holds the longest message.
        let _ = match self {
            Self::Rotate { generation, secret } => {
                let _ = bytes.extend_from_slice(&[ROTATE, generation.number()]);
                bytes.extend_from_slice(secret.expose())
            }
            Self::Close => bytes.extend_from_slice(&[CLOSE]),
            Self::Moved(boot) => {
                let _ = bytes.extend_from_slice(&[MOVED]);
                bytes.extend_from_slice(&boot.to_be_bytes())
            }
            Self::Unknown(kind) => bytes.extend_from_slice(&[*kind]),
        };
        ControlBytes(bytes)
    }
}
