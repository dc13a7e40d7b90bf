//! Stands between a device and its gateway, which may move, and keeps every datagram.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

pub struct Relay {
    /// Where the device speaks to.
    front: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    device: Option<SocketAddr>,
    gateway: Option<SocketAddr>,
    datagrams: Vec<Vec<u8>>,
}

impl Relay {
    pub fn start() -> Self {
        let socket = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (front, back) = (socket(), socket());
        let relay = Self { front: front.local_addr().unwrap(), shared: Arc::default() };
        let sockets = [(front.try_clone().unwrap(), back.try_clone().unwrap()), (back, front)];
        for ((from, to), is_up) in sockets.into_iter().zip([true, false]) {
            let shared = Arc::clone(&relay.shared);
            thread::spawn(move || forward(&from, &to, is_up, &shared));
        }
        relay
    }

    pub fn address(&self) -> String {
        self.front.to_string()
    }

    pub fn lead_to(&self, gateway: SocketAddr) {
        self.shared.lock().unwrap().gateway = Some(gateway);
    }
}

/// All datagrams, those of one device after those of the other.
pub fn datagrams(relays: &[Relay]) -> Vec<Vec<u8>> {
    relays.iter().flat_map(|relay| relay.shared.lock().unwrap().datagrams.clone()).collect()
}

fn forward(from: &UdpSocket, to: &UdpSocket, is_up: bool, shared: &Mutex<Shared>) {
    let mut datagram = [0; 2048];
    loop {
        // A gateway that is down.
        let Ok((len, sender)) = from.recv_from(&mut datagram) else { continue };
        let mut shared = shared.lock().unwrap();
        shared.datagrams.push(datagram[..len].to_vec());
        if is_up {
            shared.device = Some(sender);
        }
        let address = if is_up { shared.gateway } else { shared.device };
        let _ = address.map(|address| to.send_to(&datagram[..len], address));
    }
}
