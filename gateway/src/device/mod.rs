//! `moteseal device`: the device half on this host, over UDP, for trying. Owns its socket and its clock; the flash
//! is a file. SPEC section 6.

mod events;
mod flash;
mod input;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use moteseal::aead::Ring;
use moteseal::boot_counter::{BootCounter as _, Stored};
use moteseal::device::{CommandAge, Config, Confirm, Device, Hardware, Millis, Parts, Settled, Ticket};
use moteseal::error::{ReceiveError, SendError};

use crate::random;
use events::{Event, Hex, Text, tell};
use flash::Flash;
use input::{Input, Inputs};

/// The longest datagram that is sent, in bytes: one that every path of the Internet takes.
const DATAGRAM_LEN: usize = 1200;
/// The shortest wait, so that a device that cannot send does not spin.
const MIN_WAIT: Duration = Duration::from_millis(5);
/// The longest wait; the clock is looked at again then.
const MAX_WAIT: Duration = Duration::from_secs(3600);

const HELP: &str = "\
Each line of stdin is a payload, as it stands or as hexadecimal digits after `hex:`, and is repeated
until the server acknowledges it; the next line is taken then. The first goes out in a Hello, as
early data. Blank lines are skipped. At the end of the input the last outcome is awaited and the
session closed; SIGINT and SIGTERM close it at once. To cut the device's power, use SIGKILL.

Only one process at a time can run a device. Its state file (mode 0600) holds its keys.
";

/// Options.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{HELP}\n{}", events::HELP))]
pub struct Args {
    /// The factory image, images/ID.bin of `moteseal provision`: flashed when there is no state yet.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// The device's flash: keys and boot counter. Made from the image the first time.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// The gateway, host:port.
    #[arg(long, value_name = "ADDR")]
    server: String,
    /// Open a session at once, rather than with the first payload.
    #[arg(long)]
    connect: bool,
    /// Refuse commands that may be older than this, in seconds.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    max_age: Option<u32>,
    /// Be a device without a random number generator.
    #[arg(long)]
    no_rng: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, String> {
    let flash = Flash::open(&args.state, args.image.as_deref())?;
    let (socket, server) = connect(&args.server)?;
    let socket = Arc::new(socket);
    let inputs = Inputs::start(Arc::clone(&socket)).map_err(|error| format!("signals: {error}"))?;
    let rng = (!args.no_rng).then(random::os);
    let hardware = Parts { counter: flash.counter()?, keys: flash.keys()?, rng };
    let mut device = Device::boot(hardware, config(args)).map_err(|error| flash.error(error))?;

    let Ok(Stored::Intact(boot)) = device.hardware().counter().load() else {
        return Err(flash.error("the boot counter cannot be read back").into());
    };
    tell(Event::Started { device: Text(&device.device_id()), boot, server: Text(&server) })?;
    if args.connect {
        device.connect(0);
    }
    let runner = Runner {
        device,
        socket,
        inputs,
        started: Instant::now(),
        out: [0; DATAGRAM_LEN],
        line: None,
        more_lines: true,
        outstanding: BTreeSet::new(),
        last_error: None,
    };
    runner.run()?;
    Ok(ExitCode::SUCCESS)
}

fn config(args: &Args) -> Config {
    let mut config = Config::default();
    if let Some(seconds) = args.max_age {
        config.command_age = CommandAge::Refuse { bound_ms: seconds * 1000 };
    }
    config
}

fn connect(server: &str) -> Result<(UdpSocket, SocketAddr), String> {
    let addresses = server.to_socket_addrs().map_err(|error| format!("--server {server}: {error}"))?;
    let mut result = Err(format!("--server {server}: has no address"));
    for address in addresses {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let connected = UdpSocket::bind(any).and_then(|socket| socket.connect(address).map(|()| socket));
        match connected {
            Ok(socket) => return Ok((socket, address)),
            Err(error) => result = Err(format!("--server {server}: {error}")),
        }
    }
    result
}

/// The device and what it runs on.
struct Runner<H> {
    device: Device<H, DATAGRAM_LEN, Ring>,
    socket: Arc<UdpSocket>,
    inputs: Inputs,
    started: Instant,
    out: [u8; DATAGRAM_LEN],
    /// A payload that waits until the device takes it.
    line: Option<Vec<u8>>,
    more_lines: bool,
    /// Payloads whose outcome is not known yet.
    outstanding: BTreeSet<u16>,
    /// So that an error that lasts is told once.
    last_error: Option<String>,
}

impl<H: Hardware> Runner<H> {
    fn run(mut self) -> Result<(), String> {
        loop {
            self.offer()?;
            self.poll()?;
            if !self.more_lines && self.line.is_none() && self.outstanding.is_empty() {
                return self.stop();
            }
            match self.inputs.events.recv_timeout(self.wait()) {
                Ok(Input::Line(line)) => self.take(&line)?,
                Ok(Input::End) => self.more_lines = false,
                Ok(Input::Datagram(mut datagram)) => self.receive(&mut datagram)?,
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => return self.stop(),
            }
        }
    }

    fn now(&self) -> Millis {
        self.started.elapsed().as_millis().try_into().unwrap_or(Millis::MAX)
    }

    fn wait(&self) -> Duration {
        let deadline = self.device.deadline().map(|at| at.saturating_sub(self.now()));
        deadline.map_or(MAX_WAIT, Duration::from_millis).clamp(MIN_WAIT, MAX_WAIT)
    }

    /// Makes a payload of a line.
    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        let payload = match line.strip_prefix(b"hex:") {
            Some(digits) => hex::decode(digits.trim_ascii()),
            None => Ok(line.to_vec()),
        };
        match payload {
            Ok(payload) if !payload.is_empty() => {
                self.line = Some(payload);
                return Ok(());
            }
            Ok(_) => {}
            Err(error) => tell(Event::Refused { reason: Text(&format_args!("after hex: {error}")) })?,
        }
        self.inputs.next_line();
        Ok(())
    }

    /// Offers the payload that waits to the device.
    fn offer(&mut self) -> Result<(), String> {
        let now = self.now();
        let Some(payload) = self.line.take() else { return Ok(()) };
        match self.device.send(now, &payload, Confirm::Yes, &mut self.out) {
            Ok(sent) => {
                let ticket = sent.ticket.map(Ticket::number);
                self.outstanding.extend(ticket);
                tell(Event::Sent { ticket, payload: Hex(&payload) })?;
                if let Some(datagram) = sent.datagram {
                    // What the network does not take is lost like any other datagram, and repeated.
                    let _ = self.socket.send(datagram);
                }
            }
            Err(SendError::Busy) => {
                self.line = Some(payload);
                return Ok(());
            }
            Err(error) => tell(Event::Refused { reason: Text(&error) })?,
        }
        self.inputs.next_line();
        Ok(())
    }

    /// Sends all that is due.
    fn poll(&mut self) -> Result<(), String> {
        loop {
            let now = self.now();
            let error = match self.device.poll(now, &mut self.out) {
                Ok(None) => return Ok(()),
                Ok(Some(datagram)) => match self.socket.send(datagram) {
                    // A server that is down is no fault of this device's, which will repeat.
                    Err(error) if error.kind() != ErrorKind::ConnectionRefused => error.to_string(),
                    _ => {
                        self.last_error = None;
                        continue;
                    }
                },
                Err(error) => error.to_string(),
            };
            return self.complain(error);
        }
    }

    /// Tells an error, one that lasts once.
    fn complain(&mut self, error: String) -> Result<(), String> {
        if self.last_error.as_ref() == Some(&error) {
            return Ok(());
        }
        tell(Event::Error { error: Text(&error) })?;
        self.last_error = Some(error);
        Ok(())
    }

    fn receive(&mut self, datagram: &mut [u8]) -> Result<(), String> {
        let now = self.now();
        match self.device.receive(now, datagram) {
            Ok(received) => {
                received.payload.as_ref().map_or(Ok(()), events::tell_command)?;
                received.event.map_or(Ok(()), events::tell_device)?;
                received.settled.into_iter().try_for_each(|settled| self.settle(settled))
            }
            Err(ReceiveError::InvalidConnectionId(invalid)) => {
                invalid.settled.map_or(Ok(()), |settled| self.settle(settled))
            }
            // Anybody can send anything: nothing is told, nothing has changed.
            Err(_) => Ok(()),
        }
    }

    fn settle(&mut self, settled: Settled) -> Result<(), String> {
        self.outstanding.remove(&settled.ticket.number());
        events::tell_settled(settled)
    }

    /// Closes the session, and tells the last outcomes.
    fn stop(mut self) -> Result<(), String> {
        let now = self.now();
        let closed = self.device.close(now, &mut self.out).map_err(|error| error.to_string())?;
        if let Some(datagram) = closed.datagram {
            let _ = self.socket.send(datagram);
        }
        let settled = closed.settled;
        settled.into_iter().try_for_each(|settled| self.settle(settled))?;
        if self.line.is_some() {
            tell(Event::Refused { reason: Text(&"stopped before the last line was taken") })?;
        }
        tell(Event::Stopped)
    }
}
