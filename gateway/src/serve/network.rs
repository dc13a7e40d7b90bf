//! Datagrams: in from the socket, through the server half, and what follows out again. What is delivered goes to
//! stdout before anything of it is acknowledged. SPEC sections 7.1 to 7.6.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use moteseal::server::{
    Answer, AnswerKind, ControlEvent, DataReceived, Durable, Held, Index, Received, RecordChange,
};

use super::core::{Core, Input};
use super::events::{Event, Hex, Text};
use super::storage::Job;

/// How many Hellos may wait until they are durable; more are dropped, and repeated by their devices.
const MAX_IN_FLIGHT: usize = 4_096;
/// A datagram of UDP has fewer bytes.
const BUFFER_LEN: usize = 65_536;
/// What the kernel may hold for us, in bytes, so that a write to the store costs no datagrams.
const SOCKET_BUFFER_LEN: usize = 4 << 20;

/// Opens the socket.
pub fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(addr)?;
    // The kernel gives as much as its administrator allows.
    if let Err(error) = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER_LEN) {
        tracing::debug!("the receive buffer keeps its size: {error}");
    }
    Ok(socket)
}

/// Receives until the gateway is gone.
pub fn listen(socket: UdpSocket, inputs: SyncSender<Input>) {
    thread::spawn(move || {
        let mut buffer = vec![0; BUFFER_LEN];
        loop {
            match socket.recv_from(&mut buffer) {
                Ok((len, from)) => {
                    let datagram = buffer.get(..len).unwrap_or_default().to_vec();
                    if inputs.send(Input::Datagram(from, datagram)).is_err() {
                        return;
                    }
                }
                // Word that a device's port is closed comes as an error of whoever receives next.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!("receiving: {error}");
                    thread::sleep(Duration::from_millis(100));
                }
            }
        }
    });
}

impl Core {
    pub(super) fn receive(&mut self, from: SocketAddr, datagram: Vec<u8>) -> io::Result<()> {
        let now = self.now();
        match self.server.receive(now, from, datagram) {
            Received::Rejected { reason, device_id } => self.events.reject(now, reason.word(), device_id),
            Received::Answered { kind, device_id, answer, to } => {
                self.transmit(&answer, to);
                match kind {
                    AnswerKind::Floor => self.events.floor(now, device_id, to),
                    AnswerKind::Reset => self.events.tell(&Event::Reset { device: Text(device_id), to }),
                    AnswerKind::Welcome | AnswerKind::Acknowledgement => Ok(()),
                }
            }
            Received::Pending(held, _) if !self.storage_works => {
                self.events.reject(now, "storage", Some(held.device_id()))
            }
            Received::Pending(held, _) if self.in_flight >= MAX_IN_FLIGHT => {
                self.events.reject(now, "overload", Some(held.device_id()))
            }
            Received::Pending(held, change) => {
                self.in_flight += 1;
                let _ = self.jobs.send(Job::Hello(held, change));
                Ok(())
            }
            Received::Data(data) => self.deliver(&data),
        }
    }

    /// A fresh Hello is durable: its payload is delivered, and only then is it answered (M-54).
    pub(super) fn welcome(
        &mut self,
        held: Held<Vec<u8>, SocketAddr>,
        durable: Option<Durable<RecordChange>>,
    ) -> io::Result<()> {
        self.in_flight = self.in_flight.saturating_sub(1);
        let (device_id, from) = (held.device_id(), held.from());
        // Another change was made first: the Hello was never there, and the device repeats it.
        let Some(Ok(committed)) = durable.map(|durable| self.server.commit(held, durable)) else {
            tracing::debug!("a Hello of device {device_id} lost a race");
            return Ok(());
        };
        let (device, epoch) = (Text(device_id), Text(committed.epoch));
        if committed.jump {
            tracing::warn!("the boot counter of device {device_id} jumped to epoch {}", committed.epoch);
            self.events.tell(&Event::Jump { device, epoch })?;
        }
        self.events.tell(&Event::Hello { device, epoch, from })?;
        if let Some(payload) = &committed.payload {
            self.events.tell(&Event::Early { device, epoch, payload: Hex(payload.as_bytes()) })?;
        }
        if let Some(command) = committed.unknown {
            self.outcome_unknown(command)?;
        }
        if let Some((answer, to)) = committed.welcome {
            self.transmit(&answer, to);
        }
        Ok(())
    }

    /// A Data: told first, acknowledged then.
    fn deliver(&mut self, data: &DataReceived<Vec<u8>, SocketAddr>) -> io::Result<()> {
        let (device, epoch, seq) = (Text(data.device_id), Text(data.epoch), data.number.value());
        if data.confirmed {
            self.events.tell(&Event::Session { device, epoch })?;
        }
        if let Some(payload) = &data.payload {
            self.events.tell(&Event::Data { device, epoch, seq, payload: Hex(payload.as_bytes()) })?;
        }
        if data.malformed.is_some() {
            self.events.tell(&Event::Malformed { device, epoch, seq })?;
        }
        match data.control {
            Some(ControlEvent::Close) => self.events.tell(&Event::Closed { device })?,
            Some(ControlEvent::Moved { from, excused }) => {
                self.events.tell(&Event::Moved { device, from, excused })?;
            }
            Some(ControlEvent::Unknown(_)) | None => {}
        }
        if let Some(command) = data.unknown {
            self.outcome_unknown(command)?;
        }
        if let Some(command) = data.acknowledged {
            self.outcome_acknowledged(command)?;
        }
        if let Some((answer, to)) = &data.answer {
            self.transmit(answer, *to);
        }
        self.finish_rotation(data.index);
        self.send_next_command(data.device_id)?;
        self.send_to_device(data.index);
        Ok(())
    }

    /// Sends what a device has coming now, and notes when there is more.
    pub(super) fn send_to_device(&mut self, index: Index) {
        let now = self.now();
        while let Some(transmit) = self.server.poll(now, index) {
            send(&self.socket, transmit.datagram, transmit.to);
        }
        self.wake(index, self.server.deadline(index));
    }

    fn transmit(&self, answer: &Answer, to: SocketAddr) {
        send(&self.socket, answer.as_bytes(), to);
    }
}

/// A datagram that cannot be sent is a datagram lost: whoever needs it asks again.
pub(super) fn send(socket: &UdpSocket, datagram: &[u8], to: SocketAddr) {
    if let Err(error) = socket.send_to(datagram, to) {
        tracing::debug!("sending to {to}: {error}");
    }
}
