//! How much of everything an exploration allows. What is not counted here, the attacker may do without end: deliver any
//! datagram that was ever sent, to either side, at any time.

/// Something that happens a limited number of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// The power of a device that runs is cut, and comes back.
    Boot,
    /// A payload with C, or in a Hello.
    Send,
    /// A payload without C.
    SendPlain,
    /// 63 Data without C.
    Burst,
    /// A session, or a sign of life, is asked for.
    Connect,
    /// A payload is taken back.
    Withdraw,
    /// A session is closed.
    Close,
    /// All timers of the device run out.
    DeviceWait,
    /// The power goes in the middle of a flash write.
    Cut,
    /// The flash of the boot counter is erased.
    Erase,
    /// It is rolled back.
    RollBack,
    /// A Hello that has not been sent before.
    Hello,
    /// The server crashes.
    Crash,
    /// The backup is restored.
    Restore,
    /// A command.
    Command,
    /// A Data without C to the device.
    Plain,
    /// All timers of the server run out.
    ServerWait,
    /// A rotation.
    Rotation,
    /// A revocation.
    Revocation,
    /// A change that waits for the store while other things go on; where nothing goes on they are not counted.
    Change,
}

/// The items in the order of their places.
pub const ITEMS: [(Item, &str); 20] = [
    (Item::Boot, "reboots"),
    (Item::Send, "payloads up"),
    (Item::SendPlain, "payloads up without C"),
    (Item::Burst, "bursts of 63 Data"),
    (Item::Connect, "connects"),
    (Item::Withdraw, "withdrawals"),
    (Item::Close, "closes"),
    (Item::DeviceWait, "waits of the device"),
    (Item::Cut, "power cuts in a flash write"),
    (Item::Erase, "erased counters"),
    (Item::RollBack, "rolled back counters"),
    (Item::Hello, "Hellos"),
    (Item::Crash, "crashes"),
    (Item::Restore, "restores"),
    (Item::Command, "commands"),
    (Item::Plain, "payloads down without C"),
    (Item::ServerWait, "waits of the server"),
    (Item::Rotation, "rotations"),
    (Item::Revocation, "revocations"),
    (Item::Change, "changes under way"),
];

/// What is left: four bits for each item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bounds(u128);

impl Bounds {
    /// These and nothing else; 15 of each at most.
    pub const fn of(items: &[(Item, u8)]) -> Self {
        let (mut bounds, mut at) = (0, 0);
        while at < items.len() {
            let (item, count) = items[at];
            assert!(count < 16);
            bounds |= (count as u128) << (item as u32 * 4);
            at += 1;
        }
        Self(bounds)
    }

    /// How many are left.
    pub const fn left(self, item: Item) -> u8 {
        (self.0 >> (item as u32 * 4) & 0xF) as u8
    }

    /// The same with another count of the item whose name starts like this, in lower case (`crash=2`). Nothing for what is
    /// no such thing.
    pub fn with(self, setting: &str) -> Option<Self> {
        let (name, count) = setting.split_once('=')?;
        let count = count.parse().ok().filter(|count: &u8| *count < 16)?;
        let is_it = |item: &Item| format!("{item:?}").to_lowercase() == name;
        let (item, _) = ITEMS.iter().find(|(item, _)| is_it(item))?;
        let at = *item as u32 * 4;
        Some(Self(self.0 & !(0xF << at) | u128::from(count) << at))
    }

    /// One less; nothing where none is left.
    pub fn take(self, item: Item) -> Option<Self> {
        (self.left(item) > 0).then(|| Self(self.0 - (1 << (item as u32 * 4))))
    }

    /// For people.
    pub fn describe(self) -> String {
        let some = ITEMS.iter().filter(|(item, _)| self.left(*item) > 0);
        some.map(|(item, name)| format!("{} {name}", self.left(*item))).collect::<Vec<_>>().join(", ")
    }
}
