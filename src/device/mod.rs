//! The device half: boot, Hello, session, liveness, rotation. Sans-IO: it owns no socket and no clock. Datagrams and
//! the time go in, datagrams and payloads come out. Device keys stay in flash; memory holds the keys of one session.
//! SPEC section 6.
//!
//! ```text
//!   application                device                       network
//!   send(payload)  --------->  Hello or Data  ----------->
//!                              receive(datagram)  <--------  payload, outcomes, event
//!   poll until it has nothing  acknowledgements, repeats -->
//!   sleep until deadline()
//! ```
//!
//! A session is opened when there is something to send, and kept; a device that has lost its state, or whose server
//! has, comes back by itself. Each payload is sealed once, so it runs at most once; its sender learns one word,
//! *acknowledged* or *unknown*.
//!
//! ```
//! use moteseal::device::{Config, Confirm, Device, Hardware};
//! use moteseal::error::{BootError, SendError};
//!
//! # trait Radio { fn transmit(&mut self, _: &[u8]) {} fn next(&mut self, _: u64) -> Option<(u64, &mut [u8])>; fn now(&self) -> u64; }
//! # fn obey(_: &[u8]) {}
//! # #[derive(Debug)] enum Error { Boot(BootError), Send(SendError) }
//! # impl From<BootError> for Error { fn from(e: BootError) -> Self { Self::Boot(e) } }
//! # impl From<SendError> for Error { fn from(e: SendError) -> Self { Self::Send(e) } }
//! fn run(board: impl Hardware, radio: &mut impl Radio) -> Result<(), Error> {
//!     let mut out = [0; 128];
//!     // 128 is the longest datagram in bytes that the device keeps for repeats.
//!     let mut device: Device<_, 128> = Device::boot(board, Config::default())?;
//!     let sent = device.send(radio.now(), b"21.5 C", Confirm::Yes, &mut out)?;
//!     if let Some(datagram) = sent.datagram {
//!         radio.transmit(datagram);
//!     }
//!     loop {
//!         // An error here is a fault of flash or RNG: log it; the device tries again by itself.
//!         while let Ok(Some(datagram)) = device.poll(radio.now(), &mut out) {
//!             radio.transmit(datagram);
//!         }
//!         let deadline = device.deadline().unwrap_or(u64::MAX);
//!         // The time after the wait, not before it: ages of commands are measured by it.
//!         let Some((now, datagram)) = radio.next(deadline) else { break };
//!         // Whatever is not authentic is an error: drop it in silence.
//!         let Ok(received) = device.receive(now, datagram) else { continue };
//!         if let Some(payload) = received.payload {
//!             obey(payload.bytes);
//!         }
//!     }
//!     Ok(())
//! }
//! ```

mod ages;
mod buffer;
mod epochs;
mod hardware;
mod hello;
mod link;
mod receive;
mod rotation;
mod send;

use core::fmt;

pub use crate::delivery::{Millis, Outcome, Settled, Ticket, Timing};
pub use hardware::{Hardware, NoRng, Parts};
pub use receive::{Event, Payload, Received};
pub use rotation::OldKey;
pub use send::{Closed, Confirm, Sent};

use crate::aead::{Backend, Portable};
use crate::delivery::{Backoff, Jitter};
use crate::error::BootError;
use crate::key_slots::KeySlots;
use crate::number::{DeviceId, Epoch, Salt};
use crate::scrub::ScrubOnDrop;
use crate::wire::HELLO_OVERHEAD;
use buffer::Buffer;
use epochs::Epochs;
use hello::Opening;
use link::Link;
use rotation::Keyring;

/// How a device behaves. The default is what SPEC recommends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub struct Config {
    /// Timeouts, repeats, and how often an acknowledgement is asked for.
    pub timing: Timing,
    /// How old a command may be.
    pub command_age: CommandAge,
}

/// What to do about commands that were held back on the network (SPEC 9.6).
///
/// A command is as old as the latest datagram of this device that the server had seen when it sealed the command. So a
/// device that has been silent for longer takes no bounded command until it has spoken. Ages are measured in steps
/// of a quarter of the bound, and never too young.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub enum CommandAge {
    /// Hand up every command and say how old it is, as far as the bound reaches.
    Report {
        /// In milliseconds.
        bound_ms: u32,
    },
    /// Refuse a command that is older or whose age is not known. It is acknowledged and reported as refused.
    Refuse {
        /// In milliseconds.
        bound_ms: u32,
    },
}

impl CommandAge {
    const fn bound_ms(self) -> u32 {
        match self {
            Self::Report { bound_ms } | Self::Refuse { bound_ms } => bound_ms,
        }
    }
}

impl Default for CommandAge {
    /// Reports ages up to ten minutes.
    fn default() -> Self {
        Self::Report { bound_ms: 600_000 }
    }
}

/// The device half of the protocol on hardware `H`, with a buffer of `N` bytes for one datagram, 38 to 65,535. `A` is
/// the implementation of the AEAD.
///
/// Dropping it wipes its keys, and the stack below, where ciphers leave copies of them (SPEC M-23): drop it before its
/// memory goes to other code, in the function that calls it.
#[cfg_attr(moteseal_explore, derive(Clone, Hash))]
pub struct Device<H, const N: usize, A: Backend = Portable> {
    hardware: H,
    config: Config,
    id: DeviceId,
    epochs: Epochs,
    keyring: Keyring,
    opening: Option<Opening>,
    link: Option<Link<A>>,
    buffer: Buffer<N>,
    jitter: Jitter,
    next_ticket: Ticket,
    _scrub: ScrubOnDrop,
}

impl<H: Hardware, const N: usize, A: Backend> Device<H, N, A> {
    /// The longest payload in bytes, whichever datagram carries it: `N` less the overhead of a Hello.
    pub const PAYLOAD_MAX: usize = Buffer::<N>::PAYLOAD_MAX;

    /// Starts the device: reads its identity and advances its boot counter, the one flash write of a boot (SPEC 6.1).
    /// No session is opened before something is sent, or [`connect`](Self::connect) is called.
    ///
    /// # Errors
    /// A [`BootError`]; nothing must be sent then.
    pub fn boot(mut hardware: H, config: Config) -> Result<Self, BootError> {
        const { assert!(N > HELLO_OVERHEAD && N <= u16::MAX as usize, "a buffer of 38 to 65,535 bytes") };
        let id = hardware.keys().identity()?.device_id;
        let keyring = Keyring::load(&mut hardware.keys())?;
        let epochs = Epochs::boot(&mut hardware)?;
        let jitter = seed(id, epochs.current());
        Ok(Self {
            hardware,
            config,
            id,
            epochs,
            keyring,
            opening: None,
            link: None,
            buffer: Buffer::new(),
            jitter,
            next_ticket: Ticket::FIRST,
            _scrub: ScrubOnDrop,
        })
    }

    /// The name of this device.
    pub const fn device_id(&self) -> DeviceId {
        self.id
    }

    /// The epoch of the session, if there is one. It may be one that only receives, while a new one is opened.
    pub fn session(&self) -> Option<Epoch> {
        self.link.as_ref().map(|link| link.session.epoch())
    }

    /// The hardware, for instance to look at it in a test. Changing the boot counter or a key is as good as
    /// a power cut: boot anew after it.
    pub const fn hardware(&mut self) -> &mut H {
        &mut self.hardware
    }

    /// Gives the hardware back. What is outstanding is forgotten, as by a power cut.
    pub fn into_hardware(self) -> H {
        self.hardware
    }

    /// When to call [`poll`](Self::poll) next, if no datagram comes before: a time in the past means at once, and
    /// nothing that there is nothing to wait for.
    pub fn deadline(&self) -> Option<Millis> {
        if self.owes_something() || self.is_due_for_hello() {
            return Some(0);
        }
        let repeat = self.link.as_ref().and_then(Link::repeating).map(Backoff::next);
        let hello = self.opening.as_ref().map(|opening| opening.backoff.next());
        repeat.into_iter().chain(hello).min()
    }

    fn can_speak(&self) -> bool {
        self.link.as_ref().is_some_and(Link::can_speak)
    }
}

impl<H, const N: usize, A: Backend> fmt::Debug for Device<H, N, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("device_id", &self.id).finish_non_exhaustive()
    }
}

/// Jitter that differs from device to device and from boot to boot.
const fn seed(device_id: DeviceId, boot: u32) -> Jitter {
    let id = device_id.as_bytes();
    let boot = boot.to_be_bytes();
    Jitter::new(Salt([id[2] ^ boot[0], id[3] ^ boot[1], id[4] ^ boot[2], id[5] ^ boot[3], id[6], id[7]]))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::mem::size_of;
    use std::format;

    use super::*;
    use crate::boot_counter::{BootCounter, Stored};
    use crate::control::Role;
    use crate::error::{IdentityError, StorageError};
    use crate::identity::{FactoryImage, Identity, KeySlot};
    use crate::key_slots::Slot;
    use crate::keys::{DeviceKey, RotationKey};
    use crate::number::{ConnectionId, ServerSalt};
    use crate::session::Session;

    /// Hardware that takes no memory, as drivers of fixed peripherals do.
    struct Nothing;

    impl BootCounter for Nothing {
        fn load(&mut self) -> Result<Stored, StorageError> {
            Err(StorageError::Read)
        }

        fn store(&mut self, _: u32) -> Result<(), StorageError> {
            Err(StorageError::Write)
        }
    }

    impl KeySlots for Nothing {
        fn identity(&mut self) -> Result<Identity, IdentityError> {
            Err(StorageError::Read.into())
        }

        fn read(&mut self, _: Slot) -> Result<Option<KeySlot>, StorageError> {
            Err(StorageError::Read)
        }

        fn write(&mut self, _: Slot, _: &KeySlot) -> Result<(), StorageError> {
            Err(StorageError::Write)
        }

        fn erase(&mut self, _: Slot) -> Result<(), StorageError> {
            Err(StorageError::Write)
        }
    }

    struct Counter(u32);

    impl BootCounter for Counter {
        fn load(&mut self) -> Result<Stored, StorageError> {
            Ok(Stored::Intact(self.0))
        }

        fn store(&mut self, boot: u32) -> Result<(), StorageError> {
            self.0 = boot;
            Ok(())
        }
    }

    #[test]
    fn m77_worn_out_keys_are_replaced_by_a_new_session() {
        let identity = Identity { device_id: DeviceId::new([1; 8]), rotation_key: RotationKey::new([2; 32]) };
        let key = DeviceKey::new([3; 32]);
        let keys = key.session_keys(identity.device_id, Epoch::new(1, 0), Salt([4; 6]), ServerSalt([5; 8]));
        let board = Parts::without_rng(Counter(0), FactoryImage::new(identity, key));
        let mut device: Device<_, 64> = Device::boot(board, Config::default()).unwrap();
        let cid = ConnectionId::new(1, 5).unwrap();
        let session = Session::new(Role::Device, keys, Epoch::new(1, 0), cid);
        device.link = Some(Link::new(session, Slot::A, 0));
        let mut out = [0; 64];
        assert_eq!(device.poll(0, &mut out).unwrap().unwrap().len(), 1 + 1 + 2 + 16);
        assert_eq!(device.poll(0, &mut out), Ok(None));
        device.link.as_mut().unwrap().session.wear_out();
        assert_eq!(device.deadline(), Some(0));
        assert_eq!(device.poll(0, &mut out).unwrap().unwrap().len(), HELLO_OVERHEAD);
        assert_eq!(device.poll(0, &mut out), Ok(None));
    }

    /// A fleet that boots at once, and a device that boots again, must not repeat in step.
    #[test]
    fn jitter_differs_by_each_bit_of_a_device_id_and_of_a_boot() {
        let first = |id, boot: u32| format!("{:?}", seed(DeviceId::new(id), boot));
        for (id, boot) in [([0; 8], 0), ([0xFF; 8], u32::MAX), ([0; 8], u32::MAX), ([0xFF; 8], 0)] {
            for bit in 0..32 {
                assert_ne!(first(id, boot), first(id, boot ^ 1 << bit), "{id:02x?}.{boot}: {bit}");
            }
            // The first two bytes name the maker.
            for bit in 16..64 {
                let mut other = id;
                other[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(first(id, boot), first(other, boot), "{id:02x?}.{boot}: {bit}");
            }
        }
    }

    #[test]
    fn sizes_are_decisions() {
        assert_eq!(size_of::<Parts<Nothing, Nothing>>(), 0);
        assert!(size_of::<Session>() <= 128, "{}", size_of::<Session>());
        let device = size_of::<Device<Parts<Nothing, Nothing>, 0>>();
        assert!(device <= 320, "{device}");
        assert_eq!(size_of::<Device<Parts<Nothing, Nothing>, 128>>(), device + 128);
    }
}
