//! What leaves the device: each datagram opened with the keys, under the one number or epoch that it may have.

use moteseal::aead::Nonce;
use moteseal::device::Millis;
use moteseal::keys::AeadKey;
use moteseal::number::SequenceNumber;
use moteseal::wire::{self, Data, Header, Sealed, Unverified};

use super::super::board::ID;
use super::super::peer::Hello;
use super::{Model, Place, open};

impl Model {
    /// A datagram leaves the device.
    pub fn left(&mut self, now: Millis, bytes: &[u8]) {
        let mut datagram = bytes.to_vec();
        let Unverified { header, sealed } = Unverified::parse(&mut datagram).expect("M-8: it makes no sense");
        match header {
            Header::Hello(hello) => self.left_hello(bytes, &hello, &sealed),
            Header::Data(data) => self.left_data(now, bytes, &data, &sealed),
            other => panic!("a device sends {other:?}"),
        }
    }

    fn left_hello(&mut self, bytes: &[u8], hello: &wire::Hello, sealed: &Sealed<'_>) {
        if let Some(at) = self.outstanding.filter(|at| self.hellos[*at].bytes == bytes) {
            // The same bytes again (M-31), unless a rotation is under way.
            self.outstanding = Some(at);
            return;
        }
        assert_eq!(hello.device_id, ID);
        assert!(
            self.highest.is_none_or(|highest| hello.epoch > highest),
            "M-29: {} came before",
            hello.epoch
        );
        assert!(self.floor.is_none_or(|floor| hello.epoch > floor), "M-40: {} after a Floor", hello.epoch);
        assert!(
            self.caused || self.outstanding.is_none() || self.keys.len() > 1,
            "M-31: a new Hello for nothing"
        );
        self.highest = Some(hello.epoch);
        let nonce = || Nonce::hello(hello.epoch, hello.salt);
        let fits =
            self.keys.iter().rev().filter(|(generation, _)| generation.low_bits() == hello.generation_bits);
        let opened = fits.clone().find_map(|(generation, key)| {
            Some((*generation, key.clone(), open(&key.hello_key(ID), nonce(), sealed)?))
        });
        let (generation, key, payload) = opened.expect("a Hello that opens under no key");
        self.seals(&key.hello_key(ID), &nonce(), sealed.aad, &payload);
        self.place(&payload, Place::Hello(hello.epoch));
        let (epoch, salt, bytes) = (hello.epoch, hello.salt, bytes.to_vec());
        self.hellos.push(Hello { bytes, epoch, salt, generation, key, payload });
        self.outstanding = Some(self.hellos.len() - 1);
        self.caused = false;
    }

    fn left_data(&mut self, now: Millis, bytes: &[u8], data: &Data, sealed: &Sealed<'_>) {
        let live = self.live.as_mut().expect("a Data without a session");
        assert_eq!(data.cid, live.cid);
        if !live.sent.insert(bytes.to_vec()) {
            assert!(data.confirm, "M-97: repeated without C");
            return;
        }
        assert!(!live.silent, "M-48: it speaks in a session that was reset");
        let number = live.slow.sent(data);
        live.sent_at.insert(number, now);
        assert!(number != 0 || data.confirm, "M-37: the first Data without C");
        let (key, nonce) = (live.keys.up.clone(), || Nonce::data(SequenceNumber::new(number)));
        let text = open(&key, nonce(), sealed).expect("a Data that does not open under its number");
        let known = &live.slow.window.acknowledgeable;
        let payload = if data.ack {
            let (block, payload) = text.split_first_chunk().expect("M-113: too short for A");
            let block = wire::AckBlock::decode(*block).expect("M-18");
            let all = block.numbers().all(|number| known.contains(&number.value()));
            assert!(all, "M-18, M-16: acknowledged {block:?} of {known:?}");
            payload
        } else {
            assert!(!data.confirm || live.slow.window.block(None).is_none(), "M-44: C without A");
            &text[..]
        };
        if data.ack && payload.is_empty() && !data.confirm {
            live.answers += 1;
            assert!(live.answers <= 9, "M-101: it answers without end");
        }
        let (epoch, payload) = (live.epoch, payload.to_vec());
        self.seals(&key, &nonce(), sealed.aad, &text);
        if !data.control {
            self.place(&payload, Place::Data(epoch, number));
        }
    }

    /// P3.
    fn seals(&mut self, key: &AeadKey, nonce: &Nonce, aad: &[u8], text: &[u8]) {
        let what = (aad.to_vec(), text.to_vec());
        let before = self.sealings.entry((*key.expose(), *nonce.as_bytes())).or_insert_with(|| what.clone());
        assert_eq!(*before, what, "P3: one nonce, two plaintexts");
    }

    /// M-95.
    fn place(&mut self, payload: &[u8], place: Place) {
        if !payload.is_empty() {
            let before = self.sealed.insert(payload.to_vec(), place);
            assert!(before.is_none(), "M-95: sealed at {before:?} and at {place:?}");
        }
    }
}
