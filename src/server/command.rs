//! A command in the durable queue: its states, and which may follow which. The queue itself is a store's.
//! SPEC section 9.5.
//!
//! ```text
//! queued -> sent -> acknowledged
//!   |  ^      `--> unknown            (idempotent: back to queued)
//!   `-> expired
//! ```

use crate::delivery::Millis;
use crate::error::CommandError;
use crate::number::{DeviceId, Epoch};
use crate::record::GatewayId;

/// The name of a command, given by the queue and never again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// Where a command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandState {
    /// Waits for its device.
    Queued,
    /// Sealed, or about to be, in this session of this gateway, which alone gives the outcome.
    Sent {
        /// The gateway that sealed it.
        gateway: GatewayId,
        /// The epoch of the session that sealed it.
        epoch: Epoch,
    },
    /// The device has recorded it, or refused it for its age and told its application.
    Acknowledged,
    /// The session that sealed it ended without a word, or it was given up (M-128); it ran once or not at all.
    Unknown,
    /// Its time passed before it was sealed.
    Expired,
}

/// A command without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its name.
    pub id: CommandId,
    /// Whom it is for.
    pub device_id: DeviceId,
    /// Its sender declared that running it twice is like running it once.
    pub idempotent: bool,
    /// When it must no longer be sealed, in milliseconds of the wall clock.
    pub expires: Option<Millis>,
    /// Where it stands.
    pub state: CommandState,
}

impl Command {
    /// Whether it must no longer be sealed (M-108).
    pub fn is_expired(&self, wall_clock: Millis) -> bool {
        self.expires.is_some_and(|expires| expires <= wall_clock)
    }

    /// Queued becomes sent, before it is sealed (M-106).
    ///
    /// # Errors
    /// [`CommandError::NotQueued`], or [`CommandError::Expired`], which the queue must write down.
    pub fn sent(self, wall_clock: Millis, gateway: GatewayId, epoch: Epoch) -> Result<Self, CommandError> {
        match self.state {
            CommandState::Queued if self.is_expired(wall_clock) => Err(CommandError::Expired),
            CommandState::Queued => Ok(Self { state: CommandState::Sent { gateway, epoch }, ..self }),
            _ => Err(CommandError::NotQueued),
        }
    }

    /// The device has acknowledged it.
    #[must_use]
    pub fn acknowledged(self) -> Self {
        Self { state: CommandState::Acknowledged, ..self }
    }

    /// Its session ended without an acknowledgement, it was given up (M-128), or a restore made its history unknown.
    /// Only an idempotent one goes back into the queue (M-104, M-107).
    #[must_use]
    pub fn unknown(self, wall_clock: Millis) -> Self {
        let state = match self.state {
            CommandState::Queued | CommandState::Sent { .. } if self.idempotent => {
                if self.is_expired(wall_clock) { CommandState::Unknown } else { CommandState::Queued }
            }
            CommandState::Queued | CommandState::Sent { .. } => CommandState::Unknown,
            ended => ended,
        };
        Self { state, ..self }
    }

    /// It was marked sent, and its session ended before it was sealed: it is certain that it never ran.
    #[must_use]
    pub fn never_sealed(self) -> Self {
        Self { state: CommandState::Queued, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(idempotent: bool) -> Command {
        let (id, device_id) = (CommandId(1), DeviceId::new([1; 8]));
        Command { id, device_id, idempotent, expires: Some(100), state: CommandState::Queued }
    }

    fn sent(idempotent: bool) -> Command {
        command(idempotent).sent(0, GatewayId(0), Epoch::new(1, 0)).unwrap()
    }

    #[test]
    fn m_106_only_a_queued_command_is_sent() {
        assert_eq!(sent(true).sent(0, GatewayId(0), Epoch::new(1, 1)), Err(CommandError::NotQueued));
        let acknowledged = sent(true).acknowledged();
        assert_eq!(acknowledged.sent(0, GatewayId(0), Epoch::new(1, 1)), Err(CommandError::NotQueued));
    }

    #[test]
    fn m_107_only_an_idempotent_command_goes_back() {
        assert_eq!(sent(true).unknown(99).state, CommandState::Queued);
        assert_eq!(sent(true).unknown(100).state, CommandState::Unknown);
        assert_eq!(sent(false).unknown(0).state, CommandState::Unknown);
        assert_eq!(sent(true).acknowledged().unknown(0).state, CommandState::Acknowledged);
    }

    #[test]
    fn m_108_an_expired_command_is_not_sent() {
        let sent = |at| command(false).sent(at, GatewayId(0), Epoch::new(1, 0));
        assert!(sent(99).is_ok());
        assert_eq!(sent(100), Err(CommandError::Expired));
    }
}
