//! As much of a server as the tests need, made of the crate's lower layers: it does what the test says, right or wrong.

use moteseal::aead::{Backend, Nonce, Portable};
use moteseal::control::{Control, Role};
use moteseal::device::Millis;
use moteseal::keys::{DeviceKey, SessionKeys};
use moteseal::number::{ConnectionId, Epoch, Salt, SequenceNumber, ServerSalt};
use moteseal::replay::Answering;
use moteseal::session::{Content, Incoming, Outgoing, Session, answer_without_counters};
use moteseal::wire::{self, AckBlock, Header, Seq, Unverified};

use crate::board::{Convenient, Heard, ID, Mote, device_key};

/// A Hello that verified.
#[derive(Debug, PartialEq)]
pub struct Hello {
    pub epoch: Epoch,
    pub salt: Salt,
    pub generation_bits: u8,
    pub payload: Vec<u8>,
}

/// Opens a Hello under the key of its generation, 1 to 4.
pub fn open_hello(datagram: &[u8]) -> Hello {
    open_hello_under(datagram, &device_key)
}

pub fn open_hello_under(datagram: &[u8], keys: &dyn Fn(u8) -> DeviceKey) -> Hello {
    let mut datagram = datagram.to_vec();
    let Unverified { header: Header::Hello(hello), sealed } = Unverified::parse(&mut datagram).unwrap()
    else {
        panic!("not a Hello");
    };
    assert_eq!(hello.device_id, ID);
    let key = keys(hello.generation_bits).hello_key(ID);
    let nonce = Nonce::hello(hello.epoch, hello.salt);
    Portable::open(&key, nonce, sealed.aad, sealed.ciphertext, sealed.tag).unwrap();
    let wire::Hello { generation_bits, epoch, salt, .. } = hello;
    Hello { epoch, salt, generation_bits, payload: sealed.ciphertext.to_vec() }
}

impl Hello {
    /// The Welcome that opens to these bytes, which need not be a connection id.
    pub fn welcome_with(&self, key: &DeviceKey, early_taken: bool, server_salt: u8, cid: &[u8]) -> Vec<u8> {
        let server_salt = ServerSalt([server_salt; 8]);
        let keys = key.session_keys(ID, self.epoch, self.salt, server_salt);
        let header = wire::Welcome { early_taken, echo: self.salt.echo(), server_salt };
        let mut datagram = Header::Welcome(header).encode().as_bytes().to_vec();
        let mut cid = cid.to_vec();
        let tag = Portable::seal(&keys.down, Nonce::welcome(), &datagram, &mut cid);
        datagram.extend(cid);
        datagram.extend(tag);
        datagram
    }

    pub fn floor(&self, key: &DeviceKey, floor: Epoch) -> Vec<u8> {
        let header = wire::Floor { echo: self.salt.echo(), floor };
        let mut datagram = Header::Floor(header).encode().as_bytes().to_vec();
        let nonce = Nonce::hello(self.epoch, self.salt);
        let tag = Portable::seal(&key.floor_key(ID, floor), nonce, &datagram, &mut []);
        datagram.extend(tag);
        datagram
    }
}

/// The server's end of one session.
#[derive(Debug)]
pub struct Peer {
    pub session: Session,
    pub keys: SessionKeys,
}

/// A Data of the device that verified.
#[derive(Debug, PartialEq)]
pub struct Data {
    pub number: u16,
    pub confirm: bool,
    pub ack: Option<AckBlock>,
    pub payload: Vec<u8>,
    pub moved: Option<u32>,
    pub close: bool,
}

pub const SERVER_SALT: u8 = 0x5A;

pub fn cid() -> ConnectionId {
    ConnectionId::new(2, 0x123).unwrap()
}

impl Peer {
    /// Answers `hello` of the key of generation 1.
    pub fn answer(hello: &Hello) -> (Self, Vec<u8>) {
        Self::answer_under(hello, &device_key(hello.generation_bits))
    }

    pub fn answer_under(hello: &Hello, key: &DeviceKey) -> (Self, Vec<u8>) {
        let early = !hello.payload.is_empty();
        let welcome = hello.welcome_with(key, early, SERVER_SALT, cid().as_bytes());
        let keys = key.session_keys(ID, hello.epoch, hello.salt, ServerSalt([SERVER_SALT; 8]));
        let session = Session::new(Role::Server, keys.clone(), hello.epoch, cid());
        (Self { session, keys }, welcome)
    }

    /// A device that has just opened a session, and whose first Data was acknowledged.
    pub fn connected(device: &mut Mote<'_>, now: Millis) -> Self {
        Self::connected_saying(device, now).0
    }

    /// The same, with what that Data said.
    pub fn connected_saying(device: &mut Mote<'_>, now: Millis) -> (Self, Data) {
        device.connect(now);
        let hello = open_hello(&device.one(now));
        let (mut peer, welcome) = Self::answer(&hello);
        device.hear(now, &welcome);
        let first = peer.hear(&device.one(now));
        assert_eq!(first.number, 0);
        device.hear(now, &peer.acknowledge());
        (peer, first)
    }

    pub fn hear(&mut self, datagram: &[u8]) -> Data {
        match self.try_hear(datagram) {
            Some(data) => data,
            None => panic!("a repeat"),
        }
    }

    /// Nothing for a repeat.
    pub fn try_hear(&mut self, datagram: &[u8]) -> Option<Data> {
        let mut datagram = datagram.to_vec();
        let Unverified { header: Header::Data(data), sealed } = Unverified::parse(&mut datagram).unwrap()
        else {
            panic!("not a Data");
        };
        let Incoming::New(verified) = self.session.verify(&data, sealed).unwrap() else { return None };
        let (mut payload, mut moved, mut close) = (Vec::new(), None, false);
        match verified.content {
            Content::Empty => {}
            Content::Payload(bytes) => payload = bytes.to_vec(),
            Content::Control(Control::Moved(boot)) => moved = Some(boot),
            Content::Control(Control::Close) => close = true,
            Content::Control(other) => panic!("{other:?}"),
        }
        let (confirm, ack) = (verified.confirm, verified.ack);
        Some(Data { number: verified.number.value(), confirm, ack, payload, moved, close })
    }

    pub fn send(&mut self, outgoing: Outgoing<'_>) -> Vec<u8> {
        let mut out = [0; 256];
        let len = self.session.protect(outgoing, &mut out).unwrap().len;
        out[..len].to_vec()
    }

    /// A pure acknowledgement of whatever was verified.
    pub fn acknowledge(&mut self) -> Vec<u8> {
        let ack = self.session.ack_block(None);
        self.send(Outgoing { ack, ..Outgoing::default() })
    }

    pub fn acknowledge_number(&mut self, number: u16) -> Vec<u8> {
        let ack = Some(AckBlock { number: SequenceNumber::new(number), before: 0 });
        self.send(Outgoing { ack, ..Outgoing::default() })
    }

    /// A command, as a server sends it: with C and an acknowledgement block.
    pub fn command(&mut self, payload: &[u8]) -> Vec<u8> {
        let ack = self.session.ack_block(None);
        self.send(Outgoing { payload, ack, confirm: true, control: false })
    }

    pub fn control(&mut self, control: &Control, confirm: bool) -> Vec<u8> {
        let ack = self.session.ack_block(None);
        self.send(Outgoing { payload: control.encode().as_bytes(), ack, confirm, control: true })
    }

    /// The Reset that answers this Data of the device.
    pub fn reset(&self, datagram: &[u8]) -> Vec<u8> {
        let mut datagram = datagram.to_vec();
        let Unverified { header: Header::Data(data), sealed } = Unverified::parse(&mut datagram).unwrap()
        else {
            panic!("not a Data");
        };
        answer_without_counters::<Portable>(&self.keys, &data, sealed).unwrap().as_bytes().to_vec()
    }

    /// A Reset as a server never makes it, for any number.
    pub fn reset_for(&self, seq: Seq, number: u16) -> Vec<u8> {
        let mut datagram = Header::Reset(wire::Reset { cid: cid(), seq }).encode().as_bytes().to_vec();
        let nonce = Nonce::reset(SequenceNumber::new(number));
        let tag = Portable::seal(&self.keys.down, nonce, &datagram, &mut []);
        datagram.extend(tag);
        datagram
    }

    /// The acknowledgement block for a Data that was answered.
    pub fn block(&self, answering: Option<Answering>) -> Option<AckBlock> {
        self.session.ack_block(answering)
    }
}

/// The header of a Data, for its bits.
pub fn data_header(datagram: &[u8]) -> wire::Data {
    match Unverified::parse(&mut datagram.to_vec()).unwrap().header {
        Header::Data(data) => data,
        other => panic!("{other:?}"),
    }
}

pub fn is_hello(datagram: &[u8]) -> bool {
    matches!(Unverified::parse(&mut datagram.to_vec()).unwrap().header, Header::Hello(_))
}

/// A datagram that brought nothing.
pub fn nothing() -> Heard {
    Heard::default()
}
