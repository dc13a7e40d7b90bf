//! The gateway: sockets, files and threads around the protocol's server half. One thread owns all sessions
//! (`core`), one writes (`storage`), and one each waits for datagrams, signals, stdin and clients. SPEC sections 7
//! to 10.

pub mod client;
pub mod control;
mod core;
mod events;
pub mod journal;
mod network;
mod queue;
pub mod recovery;
mod requests;
mod restore;
mod storage;
pub mod store;
mod table;
mod trial;

use std::fs::File;
use std::io::{self, IsTerminal as _, Stdout};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Sender, SyncSender};
use std::thread;

use moteseal::delivery::Timing;
use moteseal::record::{GatewayId, Status};
use moteseal::server::{Command, CommandId, CommandState, Server, Table as _};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::core::{Core, Input, Parts};
use crate::files::FileError;
use crate::{random, registry};
use events::{Event, Events, Text, wall_clock};
use queue::Queue;
use recovery::{Opened, Paths};
use storage::{Job, Storage};
use store::Item;
use table::Devices;

/// Why a command of a revoked device never runs.
const REVOKED: &str = "the device is revoked";
/// How many inputs may wait; datagrams beyond wait in the kernel, or are lost.
const INPUTS: usize = 256;

/// Options.
#[derive(Debug, clap::Args)]
#[command(after_long_help = events::HELP)]
pub struct Args {
    /// The UDP address to listen on; port 0 takes a free one, which the event `listening` tells.
    #[arg(long, value_name = "ADDR", default_value = "[::]:4242")]
    listen: SocketAddr,
    /// The directory of the store and its journal, made if it is not there. Both are secret. Back the store up
    /// with `moteseal backup`; never roll the journal back. The store's file may hold keys that were rotated away,
    /// on pages that are free, until these are used again: encrypt the disk. A new backup holds none of them.
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// New devices, as `moteseal provision` wrote them. Devices that are known already are left as they are.
    #[arg(long, value_name = "FILE")]
    registry: Option<PathBuf>,
    /// Rotation keys, which `rotate` needs; best kept offline until then.
    #[arg(long, value_name = "FILE")]
    rotation_keys: Option<PathBuf>,
    /// How long the first wait for the acknowledgement of a command is, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = Timing::DEFAULT.answer_timeout_ms)]
    answer_timeout: u32,
    /// Raise the high-water mark even where that takes more than 2^24 boots from every device.
    #[arg(long)]
    confirm_raise: bool,
    /// What goes to stderr: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", env = "MOTESEAL_LOG", default_value = "info")]
    log: tracing::Level,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, String> {
    let ansi = io::stderr().is_terminal();
    // A log that cannot be written, to a file on a full disk for instance, must not stop the gateway.
    let log = tracing_subscriber::fmt().with_max_level(args.log).with_ansi(ansi).with_writer(io::stderr);
    log.log_internal_errors(false).init();
    let devices = args.registry.as_deref().map(|path| registry::read(path).map(|devices| (path, devices)));
    let devices = devices.transpose()?;
    let rotation_keys = args.rotation_keys.as_deref().map(registry::read_rotation_keys).transpose()?;
    let paths = Paths::new(&args.store);
    recovery::make_directory(&paths)?;
    let _lock: File = recovery::lock(&paths)?;
    let mut opened = recovery::open(&paths, args.confirm_raise)?;
    if let Some((path, devices)) = devices {
        let count = recovery::import(&mut opened, &paths, path, &devices)?;
        tracing::info!("{count} new devices from {}", path.display());
    }
    let socket = network::bind(args.listen).map_err(|error| format!("{}: {error}", args.listen))?;
    let (inputs, waiting) = mpsc::sync_channel(INPUTS);
    control::listen_on_socket(&paths.directory, inputs.clone())?;
    stop_on_signals(inputs.clone()).map_err(|error| format!("signals: {error}"))?;

    let Opened { journal, store, records, commands, next_command } = opened;
    let mut devices = Devices::new();
    for record in records {
        let device_id = record.device_id();
        let fail = |what| FileError::new(&paths.store, format_args!("device {device_id}: {what}"));
        devices.insert(record).map_err(fail)?;
    }
    let mark = journal.state().mark;
    let mut events = Events::new(io::stdout());
    let closed = |error| format!("stdout, where events go, is closed: {error}");
    let addr = socket.local_addr().map_err(|error| error.to_string())?;
    events.tell(&Event::Listening { addr, devices: devices.iter().count() }).map_err(closed)?;

    let (jobs, written) = mpsc::channel();
    let stopping = Arc::new(AtomicBool::new(false));
    let queue = take_up(commands, &devices, &jobs, &mut events).map_err(closed)?;
    let timing = Timing { answer_timeout_ms: args.answer_timeout, ..Timing::DEFAULT };
    let server = Server::new(devices, random::os(), GatewayId(0), timing, mark);
    let server = server.map_err(|error| error.to_string())?;
    let storage = Storage {
        journal,
        store: Some(store),
        path: paths.store.clone(),
        jobs: written,
        inputs: inputs.clone(),
        stopping: stopping.clone(),
    };
    thread::spawn(move || storage.run());
    let receiver = socket.try_clone().map_err(|error| error.to_string())?;
    network::listen(receiver, inputs.clone());
    control::listen_on_stdin(inputs);
    let core = Core::new(Parts {
        server,
        socket,
        queue,
        next_command,
        rotation_keys: rotation_keys.unwrap_or_default(),
        jobs,
        stopping,
    });
    core.run(&waiting)?;
    Ok(ExitCode::SUCCESS)
}

/// The queue as the store has it. The sessions that sent commands have no counters any more, so what was sent is
/// unknown.
fn take_up(
    commands: Vec<Item>,
    devices: &Devices,
    jobs: &Sender<Job>,
    events: &mut Events<Stdout>,
) -> io::Result<Queue> {
    let mut queue = Queue::default();
    for item in commands {
        if item.command.state == CommandState::Queued {
            let Command { id: CommandId(id), device_id, .. } = item.command;
            let peer = devices.find(device_id).and_then(|index| devices.peer(index));
            if peer.is_some_and(|peer| peer.record().status() != Status::Revoked) {
                queue.insert(item);
            } else {
                // The gateway was killed while it revoked the device.
                let (device, command, reason) = (Some(Text(device_id)), Some(id), REVOKED);
                events.tell(&Event::Refused { device, command, reason })?;
                let ended = Command { state: CommandState::Expired, ..item.command };
                let _ = jobs.send(Job::UpdateNow(ended));
            }
            continue;
        }
        let command = item.command.unknown(wall_clock());
        let requeued = command.state == CommandState::Queued;
        events.tell(&Event::Unknown { device: Text(command.device_id), command: command.id.0, requeued })?;
        if requeued {
            queue.insert(Item { command, ..item });
        } else {
            let _ = jobs.send(Job::UpdateNow(command));
        }
    }
    Ok(queue)
}

/// The first signal stops the gateway in order; the second one at once, as a crash would: where nobody reads stdout,
/// the first is never looked at.
fn stop_on_signals(inputs: SyncSender<Input>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::spawn(move || {
        let mut signals = signals.forever();
        signals.next();
        // By itself: where the queue of inputs is full, it waits.
        thread::spawn(move || {
            let _ = inputs.send(Input::Stop);
        });
        signals.next();
        tracing::error!("a second signal: stopped without waiting for what is under way");
        process::exit(1);
    });
    Ok(())
}

/// Makes the name of a new file durable.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
