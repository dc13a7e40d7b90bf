//! `hello.json`: sealed and opened, and taken by a server that has not heard of the device.

use moteseal::aead::{Backend, Nonce};
use moteseal::number::ConnectionId;
use serde::Deserialize;

use crate::file::{Bytes, Cases, read};
use crate::sealed::{Origin, Sealed};
use crate::server::{Fresh, Host, Stored};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cases: Cases<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    description: String,
    #[serde(flatten)]
    origin: Origin,
    payload: Bytes,
    #[serde(flatten)]
    sealed: Sealed,
}

fn hellos<A: Backend>() {
    for case in read::<File>("hello").cases.iter() {
        println!("{}: {}", case.name, case.description);
        let Case { origin, payload, sealed, .. } = case;
        let (device_id, epoch, salt) = (origin.device_id(), origin.epoch(), origin.salt());
        let key = origin.device_key();
        let nonce = || Nonce::hello(epoch, salt);
        sealed.check::<A>(&key.hello_key(device_id), nonce, origin.hello(), payload);
        if case.name == "no-rng" {
            assert_eq!(key.salt(epoch), salt);
        }

        let record = Stored::new(device_id, origin.generation(), key);
        let mut host = Host::<A>::start([&record]);
        let fresh = host.open(&sealed.datagram, [7; 8], ConnectionId::new(1, 5).unwrap());
        let delivered = Some(payload.to_vec()).filter(|payload| !payload.is_empty());
        assert!(fresh.welcome.is_some());
        assert_eq!(fresh, Fresh { device_id, epoch, payload: delivered, welcome: fresh.welcome.clone() });
    }
}

crate::with_each_backend!(hellos);
