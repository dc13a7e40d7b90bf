//! The attacks that SPEC gives as reasons for its rules, done to both real halves: the attacker does what he can, and what
//! he wanted does not come about. `tests/mutations` breaks the rules one by one and shows that it then does.

mod flood;
mod keystream;
mod liveness;
mod numbers;
mod rotation;
mod scene;
mod twice;

// What the tests of each half alone have already: hardware in memory, and a server with its store.
#[path = "../device/board.rs"]
#[expect(dead_code, reason = "some of it only the device's own tests need")]
mod board;
#[path = "../server/indexed.rs"]
mod indexed;
#[path = "../server/support.rs"]
#[expect(dead_code, reason = "some of it only the server's own tests need")]
mod support;
