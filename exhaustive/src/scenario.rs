//! The scenarios: what may happen in each, how often, and how many states there are at least. A change after which there
//! are fewer, because something cannot happen any more, fails.

use crate::bounds::Bounds;
use crate::bounds::Item::{
    self, Boot, Burst, Change, Close, Command, Connect, Crash, Cut, DeviceWait, Erase, Hello, Plain, Restore,
    Revocation, RollBack, Rotation, Send, SendPlain, ServerWait, Withdraw,
};

/// What one exploration allows.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// The device has a generator of random numbers.
    pub rng: bool,
    /// What the factory wrote into the boot counter.
    pub boots: u32,
    /// The application takes its time to ask the device for what is due.
    pub lazy: bool,
    /// Other things happen while a change waits for the store.
    pub under_way: bool,
    /// The attacker has the device key of the first generation.
    pub thief: bool,
    /// Payloads may be sealed under a name that another one had: a counter that was rolled back, or erased before the
    /// boot before this one, repeats epochs (M-32 lasts for one boot). Under one name they are never both delivered.
    pub names_repeat: bool,
    /// The bounds for CI, and how many states lie within them.
    pub short: (&'static [(Item, u8)], usize),
    /// Larger bounds, whose states are too many for most machines: they are explored up to a limit.
    pub deep: &'static [(Item, u8)],
}

impl Scenario {
    /// The bounds.
    pub const fn bounds(&self, deep: bool) -> Bounds {
        Bounds::of(if deep { self.deep } else { self.short.0 })
    }
}

/// What most of them have in common.
const PLAIN: Scenario = Scenario {
    name: "",
    about: "",
    rng: true,
    boots: 0,
    lazy: false,
    under_way: false,
    thief: false,
    names_repeat: false,
    short: (&[], 0),
    deep: &[],
};

/// All of them.
pub const SCENARIOS: [Scenario; 17] = [
    Scenario {
        name: "crash",
        about: "early data, Data both ways, a reboot, crashes of the server between any two steps",
        short: (&[(Send, 2), (Boot, 1), (Crash, 2), (Hello, 4)], 846_840),
        deep: &[(Send, 2), (Command, 1), (Boot, 1), (Crash, 2), (Hello, 4)],
        ..PLAIN
    },
    Scenario {
        name: "talk",
        about: "payloads both ways, with C and without, repeats, and timers",
        short: (
            &[(Send, 1), (SendPlain, 1), (Command, 1), (Plain, 1), (DeviceWait, 1), (Hello, 2)],
            1_144_281,
        ),
        deep: &[
            (Send, 2),
            (SendPlain, 1),
            (Command, 1),
            (Plain, 1),
            (DeviceWait, 2),
            (ServerWait, 1),
            (Hello, 3),
        ],
        ..PLAIN
    },
    Scenario {
        name: "commands",
        about: "commands, their marks and outcomes, and a crash",
        short: (&[(Send, 1), (Command, 1), (ServerWait, 1), (Crash, 1), (Hello, 3)], 115_551),
        deep: &[(Send, 2), (Command, 2), (ServerWait, 2), (DeviceWait, 1), (Crash, 1), (Hello, 3)],
        ..PLAIN
    },
    Scenario {
        name: "under-way",
        about: "changes that wait for the store while everything else goes on",
        under_way: true,
        short: (&[(Send, 2), (Withdraw, 1), (Crash, 1), (Hello, 3), (Change, 4)], 425_776),
        deep: &[(Send, 2), (Withdraw, 1), (Command, 1), (Boot, 1), (Crash, 1), (Hello, 3), (Change, 5)],
        ..PLAIN
    },
    Scenario {
        name: "lazy",
        about: "an application that takes its time to ask the device for what is due",
        lazy: true,
        short: (&[(Send, 2), (Command, 1), (Crash, 1), (Hello, 3)], 598_234),
        deep: &[(Send, 2), (Command, 1), (Connect, 1), (DeviceWait, 1), (Boot, 1), (Crash, 1), (Hello, 3)],
        ..PLAIN
    },
    Scenario {
        name: "outcomes",
        about: "payloads that are withdrawn, repeats that run out, sessions that are closed",
        short: (&[(Send, 2), (Withdraw, 1), (Close, 1), (DeviceWait, 2), (Hello, 4)], 339_726),
        deep: &[(Send, 3), (Withdraw, 1), (Close, 1), (DeviceWait, 2), (Connect, 1), (Crash, 1), (Hello, 4)],
        ..PLAIN
    },
    Scenario {
        name: "window",
        about: "so many Data that what lies before them leaves the windows",
        short: (&[(Send, 2), (SendPlain, 1), (Burst, 1), (DeviceWait, 1), (Hello, 2)], 26_392),
        deep: &[(Send, 2), (SendPlain, 1), (Burst, 2), (DeviceWait, 1), (Crash, 1), (Hello, 2)],
        ..PLAIN
    },
    Scenario {
        name: "erased",
        about: "the flash of the boot counter is erased, on a device with a generator",
        short: (&[(Send, 3), (Erase, 1), (DeviceWait, 1), (Crash, 1), (Hello, 4)], 1_116_764),
        deep: &[(Send, 3), (Command, 1), (Erase, 1), (DeviceWait, 1), (Crash, 2), (Hello, 5)],
        ..PLAIN
    },
    Scenario {
        name: "erased-again",
        about: "the same, and power cuts after it, so that the device does not know of it any more",
        names_repeat: true,
        short: (&[(Send, 3), (Erase, 1), (Cut, 1), (Boot, 1), (Hello, 4)], 18_249),
        deep: &[(Send, 3), (Erase, 1), (Cut, 1), (Boot, 1), (Crash, 1), (Hello, 5)],
        ..PLAIN
    },
    Scenario {
        name: "rolled-back",
        about: "that flash is rolled back to what the factory wrote",
        names_repeat: true,
        short: (&[(Send, 3), (RollBack, 1), (Cut, 1), (Boot, 1), (Hello, 4)], 18_109),
        deep: &[(Send, 3), (RollBack, 1), (Cut, 1), (Boot, 1), (Crash, 1), (Hello, 5)],
        ..PLAIN
    },
    Scenario {
        name: "no-rng",
        about: "a device without a generator: reboots, crashes, an erased counter",
        rng: false,
        short: (&[(Send, 3), (Boot, 1), (Erase, 1), (Crash, 1), (Hello, 4)], 228_752),
        deep: &[(Send, 3), (Boot, 2), (Erase, 1), (Crash, 2), (Hello, 5)],
        ..PLAIN
    },
    Scenario {
        name: "restore",
        about: "two restores of one backup, cut short anywhere",
        short: (&[(Send, 2), (Restore, 2), (Hello, 4)], 470_516),
        deep: &[(Send, 2), (Command, 1), (Restore, 2), (Hello, 5)],
        ..PLAIN
    },
    Scenario {
        name: "noted",
        about: "a device that has booted more than 2^20 times, and a backup from before",
        boots: (1 << 20) + 5,
        short: (&[(Send, 2), (Restore, 1), (Crash, 1), (Hello, 3)], 248_938),
        deep: &[(Send, 2), (Boot, 1), (Restore, 1), (Crash, 1), (Hello, 4)],
        ..PLAIN
    },
    Scenario {
        name: "rotation",
        about: "a rotation from begin to end, power cuts in its flash writes, a crash",
        short: (&[(Send, 1), (Rotation, 1), (Cut, 1), (Crash, 1), (Hello, 4)], 625_781),
        deep: &[(Send, 2), (Rotation, 1), (Cut, 1), (DeviceWait, 2), (Crash, 1), (Hello, 5)],
        ..PLAIN
    },
    Scenario {
        name: "rotation-restored",
        about: "a rotation, and a backup from before it",
        short: (&[(Send, 1), (Rotation, 1), (Restore, 1), (Hello, 3)], 498_758),
        deep: &[(Send, 2), (Rotation, 1), (Restore, 1), (DeviceWait, 2), (Hello, 5)],
        ..PLAIN
    },
    Scenario {
        name: "revoked",
        about: "a revocation, at any moment, a crash and a backup from before it",
        under_way: true,
        short: (&[(Send, 1), (Command, 1), (Revocation, 1), (Crash, 1), (Hello, 2), (Change, 4)], 144_453),
        deep: &[
            (Send, 1),
            (Command, 1),
            (Plain, 1),
            (Revocation, 1),
            (Crash, 1),
            (Restore, 1),
            (Hello, 2),
            (Change, 4),
        ],
        ..PLAIN
    },
    Scenario {
        name: "thief",
        about: "somebody has the device key: malformed Data, and a rotation that does not prove itself",
        thief: true,
        short: (&[(Send, 1), (Command, 1), (Rotation, 1), (Hello, 3)], 1_071_434),
        deep: &[(Send, 2), (Command, 1), (Rotation, 1), (DeviceWait, 1), (Hello, 4)],
        ..PLAIN
    },
];
