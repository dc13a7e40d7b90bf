//! What operators ask for: one line a request, from stdin and from a Unix socket in the store's directory, which
//! only the gateway's own user can open. Each is answered by events. It reads lines and decides nothing.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender, SyncSender};
use std::time::Duration;
use std::{fs, io, thread};

use moteseal::keys::RotationKey;
use moteseal::number::DeviceId;
use moteseal::record::Status;
use zeroize::Zeroizing;

use super::core::Input;
use crate::files::FileError;
use crate::registry;

/// The name of the socket in the store's directory.
pub const SOCKET: &str = "control.sock";
/// The longest request in bytes: a payload of a whole datagram as digits, and room for words.
const MAX_LINE_LEN: u64 = 2 * 65_536 + 256;
/// The longest payload of a command: what is left of a UDP datagram.
const MAX_PAYLOAD_LEN: usize = 65_507 - moteseal::wire::DATA_MAX_OVERHEAD;

/// Something that an operator wants.
#[derive(Debug)]
pub enum Request {
    Send { device: DeviceId, payload: Vec<u8>, idempotent: bool, expires: Option<Duration> },
    SetStatus(DeviceId, Status),
    Rotate(DeviceId, Option<RotationKey>),
    Devices,
    Backup(PathBuf),
}

/// Where the answer goes.
#[derive(Clone, Debug)]
pub enum Reply {
    /// To stdout, as all events do.
    Stdout,
    /// To whoever asked through the socket.
    Socket(Sender<String>),
}

/// Reads a request. The error says what is wrong, and never what was given: it may be a key.
pub fn parse(line: &str) -> Result<Request, String> {
    let line = line.trim();
    let (verb, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let mut words = rest.split_whitespace();
    let request = match verb {
        "backup" if !rest.is_empty() => return Ok(Request::Backup(rest.into())),
        "send" => parse_send(&mut words)?,
        "revoke" => Request::SetStatus(device(&mut words)?, Status::Revoked),
        "quarantine" => Request::SetStatus(device(&mut words)?, Status::Quarantined),
        "readmit" => Request::SetStatus(device(&mut words)?, Status::Active),
        "rotate" => {
            let (device, key) = (device(&mut words)?, words.next().map(registry::parse_key).transpose()?);
            Request::Rotate(device, key.map(|key| RotationKey::new(*key)))
        }
        "devices" => Request::Devices,
        _ => {
            let verbs = "send ID HEX [--idempotent] [--expires S], revoke ID, quarantine ID, readmit ID, \
                         rotate ID [KEY], devices, backup PATH";
            return Err(format!("not a request; there are: {verbs}"));
        }
    };
    if words.next().is_some() {
        Err("there is more on the line than belongs to it".into())
    } else {
        Ok(request)
    }
}

fn device<'w>(words: &mut impl Iterator<Item = &'w str>) -> Result<DeviceId, String> {
    registry::parse_device_id(words.next().unwrap_or_default())
}

fn parse_send<'w>(words: &mut impl Iterator<Item = &'w str>) -> Result<Request, String> {
    let device = device(words)?;
    let payload = words.next().and_then(|digits| hex::decode(digits).ok());
    let payload = payload.ok_or("the payload is not an even number of hexadecimal digits")?;
    if payload.is_empty() || payload.len() > MAX_PAYLOAD_LEN {
        return Err(format!("the payload must have 1 to {MAX_PAYLOAD_LEN} bytes"));
    }
    let (mut idempotent, mut expires) = (false, None);
    while let Some(word) = words.next() {
        match word {
            "--idempotent" => idempotent = true,
            "--expires" => {
                let seconds = words.next().and_then(|seconds| seconds.parse().ok());
                expires = Some(Duration::from_secs(seconds.ok_or("--expires needs a number of seconds")?));
            }
            _ => return Err("send ID HEX takes --idempotent and --expires S, nothing else".into()),
        }
    }
    Ok(Request::Send { device, payload, idempotent, expires })
}

/// Reads requests from stdin until it ends; the gateway goes on without them.
pub fn listen_on_stdin(inputs: SyncSender<Input>) {
    thread::spawn(move || {
        let mut lines = BufReader::new(io::stdin());
        loop {
            match read_line(&mut lines) {
                Ok(Some(line)) => {
                    if inputs.send(Input::Line(line, Reply::Stdout)).is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => return tracing::warn!("requests from stdin are not read any more: {error}"),
            }
        }
    });
}

/// Opens the socket, in the place of one that a killed gateway left; whoever holds the store's lock may.
pub fn listen_on_socket(directory: &Path, inputs: SyncSender<Input>) -> Result<(), FileError> {
    let path = directory.join(SOCKET);
    let fail = |error: io::Error| FileError::new(&path, format_args!("cannot be opened: {error}"));
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(fail)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(fail)?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                // No descriptor is free, for instance: not to be asked again at once.
                thread::sleep(Duration::from_millis(100));
                continue;
            };
            let inputs = inputs.clone();
            thread::spawn(move || serve(&stream, &inputs));
        }
    });
    Ok(())
}

/// One client: its requests one after the other, the answers to each until there are no more.
fn serve(stream: &UnixStream, inputs: &SyncSender<Input>) -> Option<()> {
    let mut lines = BufReader::new(stream);
    while let Ok(Some(line)) = read_line(&mut lines) {
        let (reply, answers) = mpsc::channel();
        inputs.send(Input::Line(line, Reply::Socket(reply))).ok()?;
        for answer in answers {
            writeln!(&*stream, "{answer}").ok()?;
        }
    }
    None
}

fn read_line(lines: &mut impl BufRead) -> io::Result<Option<Zeroizing<String>>> {
    // In one piece: a string that grows leaves copies of keys behind.
    let mut line = Zeroizing::new(String::with_capacity(256));
    let len = lines.take(MAX_LINE_LEN).read_line(&mut line)?;
    if len as u64 == MAX_LINE_LEN {
        return Err(io::Error::other("a request is too long"));
    }
    Ok((len > 0).then_some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0102030405060708";

    #[test]
    fn requests_are_read() {
        let send = parse(&format!("  send {ID} 01ff --expires 60 --idempotent\n")).unwrap();
        let Request::Send { device, payload, idempotent: true, expires } = send else { panic!("{send:?}") };
        assert_eq!((device.to_string().as_str(), payload.as_slice()), (ID, [1, 255].as_slice()));
        assert_eq!(expires, Some(Duration::from_secs(60)));
        assert!(matches!(parse(&format!("revoke {ID}")), Ok(Request::SetStatus(_, Status::Revoked))));
        assert!(matches!(parse(&format!("rotate {ID}")), Ok(Request::Rotate(_, None))));
        assert!(matches!(parse("devices"), Ok(Request::Devices)));
        let Ok(Request::Backup(path)) = parse("backup /a b/c") else { panic!() };
        assert_eq!(path, Path::new("/a b/c"));
    }

    #[test]
    fn anything_else_is_refused_and_not_repeated() {
        let key = "5a".repeat(32);
        for line in [
            "",
            "frobnicate",
            "send",
            "send 01 02",
            &format!("send {ID}"),
            &format!("send {ID} 0"),
            &format!("send {ID} 00 --expires"),
            &format!("send {ID} 00 --expires -1"),
            &format!("send {ID} 00 --later"),
            &format!("revoke {ID} {ID}"),
            &format!("rotate {ID} {key}00"),
            &format!("rotate {ID} {key} 00"),
            &key,
            "backup",
        ] {
            assert!(!parse(line).unwrap_err().contains("5a5a"), "{line}");
        }
        assert!(parse(&format!("send {ID} {}", "00".repeat(MAX_PAYLOAD_LEN + 1))).is_err());
        assert!(parse(&format!("send {ID} {}", "00".repeat(MAX_PAYLOAD_LEN))).is_ok());
    }
}
