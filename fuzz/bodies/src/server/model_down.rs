//! What leaves the server, opened with the keys: each Data under the next number, and nothing sealed twice under one key
//! and nonce (P3).

use moteseal::aead::{Backend, Nonce, Portable};
use moteseal::keys::AeadKey;
use moteseal::number::{ConnectionId, SequenceNumber};
use moteseal::wire::{Data, Header, Seq, Unverified};

use super::fleet::Offered;
use super::model::Sealings;
use crate::slow::SlowSession;

/// Everything that was sealed.
#[derive(Debug, Default)]
pub struct Down(Sealings);

impl Down {
    /// `form` tells apart what only a device that breaks P3 itself brings under one nonce.
    fn open(
        &mut self,
        key: &AeadKey,
        nonce: impl Fn() -> Nonce,
        form: u8,
        bytes: &[u8],
    ) -> (Header, Vec<u8>) {
        let mut datagram = bytes.to_vec();
        let Unverified { header, sealed } = Unverified::parse(&mut datagram).expect("M-8: it makes no sense");
        let mut text = sealed.ciphertext.to_vec();
        let opened = Portable::open(key, nonce(), sealed.aad, &mut text, sealed.tag);
        opened.expect("it does not open under its key and number");
        let what = (sealed.aad.to_vec(), text.clone());
        let name = (*key.expose(), *nonce().as_bytes(), form);
        let before = self.0.entry(name).or_insert_with(|| what.clone());
        assert_eq!(*before, what, "P3: one nonce, two plaintexts");
        (header, text)
    }

    /// A Welcome, with this connection id.
    pub fn welcome(&mut self, session: &Offered, cid: ConnectionId, bytes: &[u8]) {
        let (header, text) = self.open(&session.keys.down, Nonce::welcome, 0, bytes);
        assert!(matches!(header, Header::Welcome(_)) && text == cid.as_bytes(), "4.3");
    }

    /// A Reset, for the number that a Data had.
    pub fn reset(&mut self, session: &Offered, seq: Seq, bytes: &[u8]) {
        let number = match seq {
            Seq::One(low) => SequenceNumber::new(low.into()),
            Seq::Two(number) => number,
        };
        // A Reset repeats the form of the number that it answers. A device seals each number once, so in one form; those of
        // this fleet do not, and hold the key that they spoil.
        let form = u8::from(matches!(seq, Seq::Two(_)));
        let (header, _) = self.open(&session.keys.down, || Nonce::reset(number), form, bytes);
        assert!(
            matches!(header, Header::Reset(reset) if reset.seq == seq && reset.cid == session.cid),
            "4.6"
        );
    }

    /// A Data, under the next number.
    pub fn data(&mut self, session: &Offered, slow: &mut SlowSession, bytes: &[u8]) -> (Data, Vec<u8>) {
        let Header::Data(data) = Unverified::parse(&mut bytes.to_vec()).expect("M-8").header else {
            panic!("not a Data")
        };
        assert_eq!(data.cid, session.cid);
        let number = SequenceNumber::new(slow.sent(&data));
        let (_, text) = self.open(&session.keys.down, || Nonce::data(number), 0, bytes);
        (data, text)
    }

    /// A Data that was sealed before, under this number.
    pub fn command(&mut self, session: &Offered, number: u16, bytes: &[u8]) -> (Data, Vec<u8>) {
        let number = SequenceNumber::new(number);
        let (header, text) = self.open(&session.keys.down, || Nonce::data(number), 0, bytes);
        let Header::Data(data) = header else { panic!("not a Data") };
        assert_eq!((data.cid, data.seq), (session.cid, Seq::Two(number)), "M-14");
        (data, text)
    }
}
