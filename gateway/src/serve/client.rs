//! The commands that speak to a running gateway through its socket, and those that need it to be down.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use moteseal::number::DeviceId;
use zeroize::Zeroizing;

use super::control::SOCKET;
use super::recovery::{self, Paths};
use super::restore;
use super::store::Store;
use crate::files::FileError;
use crate::registry;

/// The gateway to speak to.
#[derive(Debug, clap::Args)]
pub struct StoreArgs {
    /// The store of the gateway, as it was given to `moteseal serve`.
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
}

/// One device of a gateway.
#[derive(Debug, clap::Args)]
pub struct DeviceArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The device, as 16 hexadecimal digits.
    #[arg(value_name = "ID", value_parser = registry::parse_device_id)]
    device: DeviceId,
}

/// Options of `send`.
#[derive(Debug, clap::Args)]
pub struct SendArgs {
    #[command(flatten)]
    device: DeviceArgs,
    /// The payload, as hexadecimal digits. Whoever may list the processes of this host can read it here; the gateway's
    /// own stdin takes it unseen.
    #[arg(value_name = "HEX")]
    payload: String,
    /// Running the command twice is like running it once: it goes back into the queue where its outcome is
    /// unknown. After a crash of the gateway that may even happen to a command that was acknowledged.
    #[arg(long)]
    idempotent: bool,
    /// Seconds after which it is not sent any more.
    #[arg(long, value_name = "S")]
    expires: Option<u64>,
}

/// Options of `rotate`.
#[derive(Debug, clap::Args)]
pub struct RotateArgs {
    #[command(flatten)]
    device: DeviceArgs,
    /// The rotation keys, where the gateway was not started with them: only this device's goes to it.
    #[arg(long, value_name = "FILE")]
    rotation_keys: Option<PathBuf>,
}

/// Options of `backup`.
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The new file, made with mode 0600. It is as secret as the store.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// Options of `restore`.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The backup.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Raise the high-water mark even where that takes more than 2^24 boots from every device.
    #[arg(long)]
    confirm_raise: bool,
}

/// Queues a command.
pub fn send(args: &SendArgs) -> Result<ExitCode, String> {
    let mut line = format!("send {} {}", args.device.device, args.payload);
    if args.idempotent {
        line.push_str(" --idempotent");
    }
    if let Some(seconds) = args.expires {
        let _ = write!(line, " --expires {seconds}");
    }
    ask(&args.device.store, &line)
}

/// Does one thing to one device.
pub fn device(verb: &str, args: &DeviceArgs) -> Result<ExitCode, String> {
    ask(&args.store, &format!("{verb} {}", args.device))
}

/// Begins a rotation.
pub fn rotate(args: &RotateArgs) -> Result<ExitCode, String> {
    let device = args.device.device;
    let mut line = Zeroizing::new(String::with_capacity(128));
    let _ = write!(line, "rotate {device}");
    if let Some(path) = &args.rotation_keys {
        let keys = registry::read_rotation_keys(path)?;
        let missing = || FileError::new(path, format_args!("does not have a key of device {device}"));
        line.push(' ');
        let _ = registry::write_hex(keys.get(&device).ok_or_else(missing)?.expose(), &mut line);
    }
    ask(&args.device.store, &line)
}

/// Lists the devices.
pub fn devices(args: &StoreArgs) -> Result<ExitCode, String> {
    ask(args, "devices")
}

/// Copies the store: through the gateway if it runs, otherwise from the file.
pub fn backup(args: &BackupArgs) -> Result<ExitCode, String> {
    let paths = Paths::new(&args.store.store);
    let Some(_lock) = recovery::try_lock(&paths)? else {
        // The gateway has another working directory.
        let to = std::path::absolute(&args.to).map_err(|error| FileError::new(&args.to, error))?;
        let to = to.to_str().filter(|to| !to.contains('\n'));
        let to = to.ok_or_else(|| FileError::new(&args.to, "has a name that cannot be told on one line"))?;
        return ask(&args.store, &format!("backup {to}"));
    };
    Store::look_at(&paths.store)?;
    let store = Store::open(&paths.store)?;
    let snapshot = store.snapshot().map_err(|error| FileError::new(&paths.store, error))?;
    snapshot.save(&args.to)?;
    Ok(ExitCode::SUCCESS)
}

/// Puts a backup in the place of the store.
pub fn restore(args: &RestoreArgs) -> Result<ExitCode, String> {
    restore::restore(&Paths::new(&args.store.store), &args.from, args.confirm_raise)?;
    Ok(ExitCode::SUCCESS)
}

/// Sends one request, and prints what comes back; a refusal is an exit status of its own.
fn ask(args: &StoreArgs, line: &str) -> Result<ExitCode, String> {
    let path = args.store.join(SOCKET);
    let fail = |error: &dyn std::fmt::Display| FileError::new(&path, error).to_string();
    let mut stream = UnixStream::connect(&path).map_err(|error| not_running(&args.store, &error))?;
    stream.write_all(line.as_bytes()).and_then(|()| stream.write_all(b"\n")).map_err(|error| fail(&error))?;
    stream.shutdown(std::net::Shutdown::Write).map_err(|error| fail(&error))?;
    let (mut refused, mut answered) = (false, false);
    for answer in BufReader::new(stream).lines() {
        let answer = answer.map_err(|error| fail(&error))?;
        refused |= answer.starts_with(r#"{"event":"refused""#);
        answered = true;
        writeln!(io::stdout(), "{answer}").map_err(|error| format!("stdout: {error}"))?;
    }
    if !answered && line != "devices" {
        return Err(fail(&"the gateway stopped before it answered"));
    }
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn not_running(store: &Path, error: &io::Error) -> String {
    format!("no gateway runs on {} ({error}); start one with `moteseal serve --store {0}`", store.display())
}
