//! Control messages: what a Data with K carries. SPEC section 10.
//!
//! ```text
//! rotate  01 | generation 1 | secret 32     server -> device
//! close   02                                device -> server, without C
//! moved   03 | boot counter 4               device -> server
//! ```

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

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

/// The bytes of a control message, wiped when dropped: a *rotate* holds a secret.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Of each kind one: its bytes, and the half that sends it.
    fn every_kind() -> [(Control, Role, heapless::Vec<u8, CONTROL_MAX_LEN>); 3] {
        let rotate = Control::Rotate {
            generation: Generation::new(3).unwrap(),
            secret: RotationSecret::from_bytes([9; KEY_LEN]),
        };
        let mut secret = heapless::Vec::from_array([1, 3]);
        secret.extend_from_slice(&[9; KEY_LEN]).unwrap();
        [
            (rotate, Role::Server, secret),
            (Control::Close, Role::Device, heapless::Vec::from_array([2])),
            (Control::Moved(0x0102_0304), Role::Device, heapless::Vec::from_array([3, 1, 2, 3, 4])),
        ]
    }

    fn error(bytes: &[u8], sender: Role, confirm: bool) -> Option<Malformed> {
        Control::decode(bytes, sender, confirm).err()
    }

    #[test]
    fn each_kind_has_its_bytes_and_its_direction() {
        for (control, sender, bytes) in every_kind() {
            assert_eq!(control.encode().as_bytes(), bytes.as_slice());
            let read = Control::decode(&bytes, sender, false).unwrap();
            assert_eq!(core::mem::discriminant(&read), core::mem::discriminant(&control));
            assert_eq!(read.encode().as_bytes(), bytes.as_slice());
            assert_eq!(error(&bytes, sender.peer(), false), Some(Malformed::WrongDirection));
        }
        let [(rotate, ..), ..] = every_kind();
        assert_eq!(rotate.encode().as_bytes().len(), CONTROL_MAX_LEN);
    }

    #[test]
    fn each_kind_has_one_length() {
        for (_, sender, bytes) in every_kind() {
            for len in 1..bytes.len() {
                assert_eq!(error(&bytes[..len], sender, false), Some(Malformed::ControlLength), "{len}");
            }
            let mut longer = [0; CONTROL_MAX_LEN + 1];
            longer[..bytes.len()].copy_from_slice(&bytes);
            let longer = error(&longer[..=bytes.len()], sender, false);
            assert_eq!(longer, Some(Malformed::ControlLength));
        }
        assert_eq!(error(&[], Role::Device, false), Some(Malformed::EmptyControl));
    }

    /// M-124: a *close* never asks for an acknowledgement; the others may.
    #[test]
    fn a_close_that_asks_for_an_acknowledgement_is_malformed() {
        let errors = every_kind().map(|(_, sender, bytes)| error(&bytes, sender, true));
        assert_eq!(errors, [None, Some(Malformed::ConfirmedClose), None]);
    }

    /// M-114, M-116.
    #[test]
    fn what_is_not_known_is_taken_from_either_side() {
        for sender in [Role::Device, Role::Server] {
            let unknown = Control::decode(&[0x77, 1, 2], sender, true).unwrap();
            assert!(matches!(unknown, Control::Unknown(0x77)));
            assert_eq!(unknown.encode().as_bytes(), [0x77]);
        }
        let [(_, sender, mut rotate), ..] = every_kind();
        rotate[1] = 0;
        assert!(matches!(Control::decode(&rotate, sender, false), Ok(Control::Unknown(ROTATE))));
    }
}
