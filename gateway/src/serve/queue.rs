//! Commands for devices that sleep, in memory as they are in the store: which one is next, and whose time has
//! passed. What each state may become is [`Command`]'s. SPEC section 9.5.

use std::collections::{BTreeMap, BTreeSet};

use moteseal::delivery::Millis;
use moteseal::number::DeviceId;
use moteseal::server::{Command, CommandId, CommandState};

use super::store::Item;

/// How many commands may wait for one device.
pub const MAX_WAITING: usize = 1_000;

/// The commands that have not come to their end.
#[derive(Debug, Default)]
pub struct Queue {
    items: BTreeMap<CommandId, Item>,
    /// The queued ones, the oldest first.
    waiting: BTreeMap<DeviceId, BTreeSet<CommandId>>,
    /// The queued ones by the time at which they expire.
    expiring: BTreeSet<(Millis, CommandId)>,
}

impl Queue {
    /// Adds a command.
    pub fn insert(&mut self, item: Item) {
        let command = item.command;
        self.items.insert(command.id, item);
        self.set(command);
    }

    /// A command is in another state now. One that has come to its end is forgotten.
    pub fn set(&mut self, command: Command) {
        let Command { id, device_id, expires, .. } = command;
        let is_queued = command.state == CommandState::Queued;
        let waiting = self.waiting.entry(device_id).or_default();
        if is_queued {
            waiting.insert(id)
        } else {
            waiting.remove(&id)
        };
        if waiting.is_empty() {
            self.waiting.remove(&device_id);
        }
        if let Some(expires) = expires {
            if is_queued {
                self.expiring.insert((expires, id))
            } else {
                self.expiring.remove(&(expires, id))
            };
        }
        if is_queued || matches!(command.state, CommandState::Sent { .. }) {
            if let Some(item) = self.items.get_mut(&id) {
                item.command = command;
            }
        } else {
            self.items.remove(&id);
        }
    }

    /// A command with its payload.
    pub fn item(&self, id: CommandId) -> Option<&Item> {
        self.items.get(&id)
    }

    /// The oldest command that waits for a device.
    pub fn next(&self, device_id: DeviceId) -> Option<&Item> {
        self.items.get(self.waiting.get(&device_id)?.first()?)
    }

    /// How many wait for a device.
    pub fn waiting(&self, device_id: DeviceId) -> usize {
        self.waiting.get(&device_id).map_or(0, BTreeSet::len)
    }

    /// All that wait for a device.
    pub fn waiting_for(&self, device_id: DeviceId) -> Vec<Command> {
        let ids = self.waiting.get(&device_id).into_iter().flatten();
        ids.filter_map(|id| Some(self.items.get(id)?.command)).collect()
    }

    /// A queued command whose time has passed (M-108).
    pub fn expired(&self, wall_clock: Millis) -> Option<Command> {
        let (_, id) = self.expiring.first().filter(|(expires, _)| *expires <= wall_clock)?;
        self.items.get(id).map(|item| item.command)
    }

    /// When the next one expires, by the wall clock.
    pub fn deadline(&self) -> Option<Millis> {
        self.expiring.first().map(|(expires, _)| *expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moteseal::number::Epoch;
    use moteseal::record::GatewayId;

    fn item(id: u64, expires: Option<Millis>) -> Item {
        let (id, device_id) = (CommandId(id), DeviceId::new([1; 8]));
        let command = Command { id, device_id, idempotent: true, expires, state: CommandState::Queued };
        Item { command, payload: vec![7] }
    }

    #[test]
    fn the_oldest_is_next_and_one_that_comes_back_is_oldest_again() {
        let mut queue = Queue::default();
        let device_id = DeviceId::new([1; 8]);
        for id in [2, 1, 3] {
            queue.insert(item(id, Some(100 + id)));
        }
        let first = queue.next(device_id).unwrap().command;
        assert_eq!((first.id, queue.waiting(device_id)), (CommandId(1), 3));
        let sent = first.sent(0, GatewayId(0), Epoch::new(1, 0)).unwrap();
        queue.set(sent);
        assert_eq!(queue.next(device_id).unwrap().command.id, CommandId(2));
        assert_eq!(queue.deadline(), Some(102));
        queue.set(sent.unknown(0));
        assert_eq!(queue.next(device_id).unwrap().command.id, CommandId(1));
        queue.set(sent.acknowledged());
        assert!(queue.item(CommandId(1)).is_none());
        assert_eq!(queue.next(device_id).unwrap().command.id, CommandId(2));
    }

    #[test]
    fn what_expires_first_is_told_first() {
        let mut queue = Queue::default();
        for (id, expires) in [(1, Some(30)), (2, Some(20)), (3, None)] {
            queue.insert(item(id, expires));
        }
        assert!(queue.expired(19).is_none());
        let expired = queue.expired(20).unwrap();
        assert_eq!(expired.id, CommandId(2));
        queue.set(Command { state: CommandState::Expired, ..expired });
        assert_eq!((queue.deadline(), queue.waiting(DeviceId::new([1; 8]))), (Some(30), 2));
    }
}
