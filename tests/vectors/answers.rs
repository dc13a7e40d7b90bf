//! `welcome.json` and `floor.json`: what a server answers a Hello with.

use moteseal::aead::{Backend, Nonce};
use moteseal::number::{ConnectionId, Epoch, ServerSalt};
use moteseal::server::{AnswerKind, Received};
use moteseal::wire::{Floor, Header, Welcome};
use serde::Deserialize;

use crate::file::{Array, Bytes, Cases, read};
use crate::sealed::{Origin, Sealed};
use crate::server::{DEVICE, Host, Stored};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File<T> {
    cases: Cases<T>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WelcomeCase {
    name: String,
    description: String,
    #[serde(flatten)]
    origin: Origin,
    hello: Bytes,
    echo: Array<2>,
    server_salt: Array<8>,
    cid: Bytes,
    early_data_taken: bool,
    #[serde(flatten)]
    sealed: Sealed,
}

fn welcomes<A: Backend>() {
    for case in read::<File<WelcomeCase>>("welcome").cases.iter() {
        println!("{}: {}", case.name, case.description);
        let WelcomeCase { origin, sealed, .. } = case;
        let header = Header::Welcome(Welcome {
            early_taken: case.early_data_taken,
            echo: case.echo.0,
            server_salt: ServerSalt(case.server_salt.0),
        });
        assert_eq!(origin.salt().echo(), case.echo.0);
        let keys = origin.session_keys(case.server_salt);
        sealed.check::<A>(&keys.down, Nonce::welcome, header, &case.cid);

        let record = Stored::new(origin.device_id(), origin.generation(), origin.device_key());
        let cid = ConnectionId::from_bytes(&case.cid).unwrap();
        let fresh = Host::<A>::start([&record]).open(&case.hello, case.server_salt.0, cid);
        assert_eq!(fresh.payload.is_some(), case.early_data_taken);
        assert_eq!(fresh.welcome.as_deref(), Some(&*sealed.datagram));
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FloorCase {
    name: String,
    description: String,
    #[serde(flatten)]
    origin: Origin,
    hello: Bytes,
    echo: Array<2>,
    floor: Array<6>,
    #[serde(flatten)]
    sealed: Sealed,
}

fn floors<A: Backend>() {
    for case in read::<File<FloorCase>>("floor").cases.iter() {
        println!("{}: {}", case.name, case.description);
        let FloorCase { origin, sealed, .. } = case;
        let floor = Epoch::from_bytes(case.floor.0);
        assert_eq!(origin.salt().echo(), case.echo.0);
        let header = Header::Floor(Floor { echo: case.echo.0, floor });
        let key = origin.device_key().floor_key(origin.device_id(), floor);
        sealed.check::<A>(&key, || Nonce::hello(origin.epoch(), origin.salt()), header, &[]);

        // Raised: everything up to the floor counts as seen.
        let new = Stored::new(origin.device_id(), origin.generation(), origin.device_key());
        let record = Stored { newest: floor, seen: u32::MAX, ..new };
        match Host::<A>::start([&record]).server.receive(0, DEVICE, case.hello.to_vec()) {
            Received::Answered { kind: AnswerKind::Floor, device_id, answer, to: DEVICE } => {
                assert_eq!(device_id, origin.device_id());
                assert_eq!(answer.as_bytes(), &*sealed.datagram);
            }
            other => panic!("no Floor: {other:?}"),
        }
    }
}

crate::with_each_backend!(welcomes, floors);
