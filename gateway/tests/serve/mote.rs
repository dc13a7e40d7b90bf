//! A device made of the codec alone: it does exactly what a test says, right or wrong.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use moteseal::aead::{Backend as _, Nonce, Portable};
use moteseal::control::{Control, Role};
use moteseal::keys::{DeviceKey, RotationKey};
use moteseal::number::{ConnectionId, DeviceId, Epoch, Generation, Salt, SequenceNumber};
use moteseal::replay::Answering;
use moteseal::session::{Content, Incoming, Outgoing, Session};
use moteseal::wire::{Header, Hello, Unverified};

pub struct Mote {
    pub id: DeviceId,
    pub generation: Generation,
    pub key: DeviceKey,
    pub rotation_key: RotationKey,
    pub boot: u32,
    pub count: u16,
    pub salt: u32,
    pub session: Option<Session>,
    pub socket: UdpSocket,
    pub outstanding: Option<(Epoch, Salt)>,
    /// All Hellos ever sent.
    pub hellos: Vec<Vec<u8>>,
    pub next_key: Option<DeviceKey>,
}

/// What a datagram to the device said.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Welcome {
        early_taken: bool,
    },
    Floor(Epoch),
    Reset,
    /// A payload with its number, and whether it wants an acknowledgement.
    Command(u16, Vec<u8>),
    Repeat(u16),
    Ack,
    Rotate,
    Other,
}

impl Mote {
    pub fn new(number: u8) -> Self {
        Self {
            id: DeviceId::new([0xD0, 0, 0, 0, 0, 0, 0, number]),
            generation: Generation::FIRST,
            key: DeviceKey::new([number ^ 0x5A; 32]),
            rotation_key: RotationKey::new([number ^ 0xC3; 32]),
            boot: 1,
            count: 0,
            salt: u32::from(number) << 16,
            session: None,
            socket: socket(),
            outstanding: None,
            hellos: Vec::new(),
            next_key: None,
        }
    }

    /// A Hello that has not been used.
    pub fn hello(&mut self, payload: &[u8]) -> Vec<u8> {
        let epoch = Epoch::new(self.boot, self.count);
        self.count += 1;
        self.salt += 1;
        let [a, b, c, d] = self.salt.to_be_bytes();
        let salt = Salt([c, d, a, b, 7, 9]);
        let hello = Hello { generation_bits: self.generation.low_bits(), device_id: self.id, epoch, salt };
        let header = Header::Hello(hello).encode();
        let mut payload = payload.to_vec();
        let key = self.key.hello_key(self.id);
        let tag = Portable::seal(&key, Nonce::hello(epoch, salt), &header.as_bytes()[..9], &mut payload);
        self.outstanding = Some((epoch, salt));
        let datagram = [header.as_bytes(), &payload, &tag].concat();
        self.hellos.push(datagram.clone());
        datagram
    }

    pub fn data(&mut self, payload: &[u8], confirm: bool) -> Vec<u8> {
        self.protect(Outgoing { payload, confirm, ..Outgoing::default() })
    }

    pub fn control(&mut self, control: &Control) -> Vec<u8> {
        let confirm = !matches!(control, Control::Close);
        let bytes = control.encode();
        self.protect(Outgoing { payload: bytes.as_bytes(), confirm, control: true, ..Outgoing::default() })
    }

    pub fn ack(&mut self, number: u16) -> Vec<u8> {
        let answering = Answering::New(SequenceNumber::new(number));
        let ack = self.session.as_ref().unwrap().ack_block(Some(answering));
        self.protect(Outgoing { ack, ..Outgoing::default() })
    }

    fn protect(&mut self, outgoing: Outgoing<'_>) -> Vec<u8> {
        let mut out = vec![0; outgoing.payload.len() + 64];
        let protected = self.session.as_mut().expect("a session").protect(outgoing, &mut out).unwrap();
        out.truncate(protected.len);
        out
    }

    pub fn send(&self, datagram: &[u8], to: SocketAddr) {
        self.socket.send_to(datagram, to).unwrap();
    }

    /// What comes within `patience`.
    pub fn hear(&mut self, patience: Duration) -> Option<Heard> {
        let datagram = receive(&self.socket, patience)?;
        Some(self.understand(datagram))
    }

    pub fn understand(&mut self, mut datagram: Vec<u8>) -> Heard {
        let Unverified { header, sealed } =
            Unverified::parse(&mut datagram).expect("a datagram of version 1");
        match header {
            Header::Welcome(welcome) => {
                let Some((epoch, salt)) = self.outstanding else { return Heard::Other };
                if welcome.echo != salt.echo() {
                    return Heard::Other;
                }
                let keys = self.key.session_keys(self.id, epoch, salt, welcome.server_salt);
                Portable::open(&keys.down, Nonce::welcome(), sealed.aad, sealed.ciphertext, sealed.tag)
                    .expect("a Welcome that opens");
                let cid = ConnectionId::from_bytes(sealed.ciphertext).unwrap();
                self.session = Some(Session::new(Role::Device, keys, epoch, cid));
                self.outstanding = None;
                Heard::Welcome { early_taken: welcome.early_taken }
            }
            Header::Floor(floor) => {
                let Some((epoch, salt)) = self.outstanding.filter(|(_, salt)| salt.echo() == floor.echo)
                else {
                    return Heard::Other;
                };
                let (key, nonce) = (self.key.floor_key(self.id, floor.floor), Nonce::hello(epoch, salt));
                Portable::open(&key, nonce, sealed.aad, sealed.ciphertext, sealed.tag).expect("a Floor");
                (self.boot, self.count, self.outstanding) = (floor.floor.boot() + 1, 0, None);
                Heard::Floor(floor.floor)
            }
            Header::Reset(reset) => {
                let session = self.session.as_mut();
                if session.is_none_or(|session| session.verify_reset(&reset, sealed).is_err()) {
                    return Heard::Other;
                }
                self.session = None;
                Heard::Reset
            }
            Header::Data(data) => {
                // What an older session was sent may come late.
                let Some(session) = self.session.as_mut() else { return Heard::Other };
                match session.verify(&data, sealed) {
                    Err(_) => Heard::Other,
                    Ok(Incoming::Repeat(number)) => Heard::Repeat(number.value()),
                    Ok(Incoming::New(verified)) => {
                        let number = verified.number;
                        match verified.content {
                            Content::Empty => Heard::Ack,
                            Content::Payload(payload) => Heard::Command(number.value(), payload.to_vec()),
                            Content::Control(Control::Rotate { generation, secret }) => {
                                assert!(self.rotation_key.proves(&secret, generation, self.id));
                                let key = self.rotation_key.next_device_key(&secret, generation, self.id);
                                self.next_key = Some(key);
                                session.accept(number, verified.ack);
                                Heard::Rotate
                            }
                            Content::Control(_) => Heard::Other,
                        }
                    }
                }
            }
            Header::Hello(_) => panic!("a Hello to a device"),
        }
    }

    /// A session, confirmed by a payload.
    pub fn connect(&mut self, gateway: SocketAddr) {
        for _ in 0..4 {
            let hello = self.hello(b"");
            self.send(&hello, gateway);
            match self.hear(Duration::from_secs(5)).expect("an answer to a Hello") {
                Heard::Welcome { .. } => {
                    let first = self.data(b"first", true);
                    self.send(&first, gateway);
                    assert_eq!(self.hear(Duration::from_secs(5)), Some(Heard::Ack));
                    return;
                }
                Heard::Floor(_) => {}
                other => panic!("{other:?}"),
            }
        }
        panic!("no session");
    }
}

pub fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

pub fn receive(socket: &UdpSocket, patience: Duration) -> Option<Vec<u8>> {
    let end = Instant::now() + patience;
    let mut buffer = vec![0; 65_536];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        socket.set_read_timeout(Some(left)).unwrap();
        match socket.recv_from(&mut buffer) {
            Ok((len, _)) => return Some(buffer[..len].to_vec()),
            // A gateway that was killed: its port is closed.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
            Err(_) => return None,
        }
    }
}
