//! What comes in from outside, as one stream: lines of stdin, datagrams, signals.

use std::io::{self, BufRead as _};
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The longest datagram that is received, in bytes.
const MAX_DATAGRAM_LEN: usize = 65_535;
/// How many datagrams may wait to be looked at. What comes beyond them waits in the socket, or is lost.
const QUEUE_LEN: usize = 64;
/// How long a socket is left alone that fails for another reason than an absent server.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Something that came in.
#[derive(Debug)]
pub enum Input {
    /// A line, without its end. The next one comes once [`Inputs::next_line`] asks for it.
    Line(Vec<u8>),
    /// There are no more lines.
    End,
    /// A datagram of the server's address.
    Datagram(Vec<u8>),
    /// SIGINT or SIGTERM.
    Stop,
}

/// All that comes in.
#[derive(Debug)]
pub struct Inputs {
    pub events: Receiver<Input>,
    lines: Sender<()>,
}

impl Inputs {
    /// Starts to listen.
    pub fn start(socket: Arc<UdpSocket>) -> io::Result<Self> {
        let (input, events) = mpsc::sync_channel(QUEUE_LEN);
        let (lines, wanted) = mpsc::channel();
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let stop = input.clone();
        thread::spawn(move || signals.forever().try_for_each(|_| stop.send(Input::Stop)));
        let datagrams = input.clone();
        thread::spawn(move || receive(&socket, &datagrams));
        thread::spawn(move || read_lines(&wanted, &input));
        let inputs = Self { events, lines };
        inputs.next_line();
        Ok(inputs)
    }

    /// Asks for the next line.
    pub fn next_line(&self) {
        // Nobody reads any more once the input has ended.
        let _ = self.lines.send(());
    }
}

fn read_lines(wanted: &Receiver<()>, input: &SyncSender<Input>) {
    let mut stdin = io::stdin().lock();
    while wanted.recv().is_ok() {
        let mut line = Vec::new();
        let more = stdin.read_until(b'\n', &mut line).is_ok_and(|len| len > 0);
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let sent = input.send(if more { Input::Line(line.to_vec()) } else { Input::End });
        if sent.is_err() || !more {
            return;
        }
    }
}

fn receive(socket: &UdpSocket, input: &SyncSender<Input>) {
    let mut datagram = vec![0; MAX_DATAGRAM_LEN];
    loop {
        match socket.recv(&mut datagram) {
            Ok(len) => {
                if input.send(Input::Datagram(datagram[..len].to_vec())).is_err() {
                    return;
                }
            }
            // The server is down; the device repeats what it has to say.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => thread::sleep(AFTER_FAILURE),
        }
    }
}
