//! UDP over IPv4 with the addresses of QEMU's user network. Owns the stack (`smoltcp`) and its buffers; of a datagram it
//! knows only where it comes from.

use core::net::{Ipv4Addr, SocketAddrV4};

use moteseal::device::Millis;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::udp::{PacketBuffer, PacketMetadata, Socket};
use smoltcp::time::Instant;
use smoltcp::wire::{IpCidr, IpEndpoint, Ipv4Cidr};

use crate::clock::Clock;
use crate::ethernet::Ethernet;

/// This device and the way out, as QEMU's user network has them.
const ADDRESS: Ipv4Cidr = Ipv4Cidr::new(Ipv4Addr::new(10, 0, 2, 15), 24);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The device's own port.
const PORT: u16 = 49_152;
/// How many datagrams wait, and how many bytes they have together.
const DATAGRAMS: usize = 8;
const BYTES: usize = 4096;

/// The memory of the stack.
pub struct Buffers<'s> {
    sockets: [SocketStorage<'s>; 1],
    received: [u8; BYTES],
    received_meta: [PacketMetadata; DATAGRAMS],
    sent: [u8; BYTES],
    sent_meta: [PacketMetadata; DATAGRAMS],
}

impl Buffers<'_> {
    pub const fn new() -> Self {
        Self {
            sockets: [SocketStorage::EMPTY],
            received: [0; BYTES],
            received_meta: [PacketMetadata::EMPTY; DATAGRAMS],
            sent: [0; BYTES],
            sent_meta: [PacketMetadata::EMPTY; DATAGRAMS],
        }
    }
}

/// The network, and the one server on it.
pub struct Network<'b> {
    ethernet: Ethernet,
    interface: Interface,
    sockets: SocketSet<'b>,
    socket: SocketHandle,
    server: IpEndpoint,
}

impl<'b> Network<'b> {
    pub fn start(
        mut ethernet: Ethernet,
        buffers: &'b mut Buffers<'b>,
        clock: &mut Clock,
        server: SocketAddrV4,
    ) -> Self {
        let config = Config::new(ethernet.address().into());
        let mut interface = Interface::new(config, &mut ethernet, instant(clock.now()));
        // One address and one route: both tables have room for them.
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::Ipv4(ADDRESS));
        });
        let _ = interface.routes_mut().add_default_ipv4_route(GATEWAY);
        let mut udp = Socket::new(
            PacketBuffer::new(&mut buffers.received_meta[..], &mut buffers.received[..]),
            PacketBuffer::new(&mut buffers.sent_meta[..], &mut buffers.sent[..]),
        );
        // It fails for port 0 and for a socket that is bound already.
        let _ = udp.bind(PORT);
        let mut sockets = SocketSet::new(&mut buffers.sockets[..]);
        let socket = sockets.add(udp);
        Self { ethernet, interface, sockets, socket, server: server.into() }
    }

    /// Sends a datagram to the server, or loses it where the buffers are full.
    pub fn send(&mut self, datagram: &[u8], now: Millis) {
        let _ = self.sockets.get_mut::<Socket<'_>>(self.socket).send_slice(datagram, self.server);
        self.exchange(now);
    }

    /// The next datagram of the server's: its length in bytes, at the front of `buffer`.
    pub fn receive(&mut self, buffer: &mut [u8], now: Millis) -> Option<usize> {
        self.exchange(now);
        let socket = self.sockets.get_mut::<Socket<'_>>(self.socket);
        while socket.can_recv() {
            match socket.recv_slice(buffer) {
                Ok((len, from)) if from.endpoint == self.server => return Some(len),
                // Another's, or longer than a datagram may be.
                _ => {}
            }
        }
        None
    }

    /// Frames in and out, and answers of the stack's own (ARP).
    fn exchange(&mut self, now: Millis) {
        self.interface.poll(instant(now), &mut self.ethernet, &mut self.sockets);
    }
}

fn instant(now: Millis) -> Instant {
    Instant::from_millis(i64::try_from(now).unwrap_or(i64::MAX))
}
