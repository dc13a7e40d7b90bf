//! The `moteseal` program: provisioning, a gateway, a device for trying, and the demonstration of all of them. A
//! library, so that whatever the program reads from outside can be handed to it by a fuzzer: see [`inputs`].

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use serve::client;

mod demo;
mod device;
mod files;
pub mod inputs;
mod inspect;
mod process;
mod provision;
mod random;
mod registry;
mod serve;
mod shown;

/// The exit status after arguments that make no sense.
const USAGE: u8 = 2;

/// Authenticated, replay-protected datagrams for small devices.
#[derive(Debug, Parser)]
#[command(name = "moteseal", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a gateway and a fleet of devices over a hostile network, on loopback, and checks every promise.
    Demo(demo::Args),
    /// Makes keys and images for new devices, and the registry that a gateway takes them in by.
    Provision(provision::Args),
    /// Runs a gateway.
    Serve(serve::Args),
    /// Queues a command for a device.
    Send(client::SendArgs),
    /// Silences a device for good.
    Revoke(client::DeviceArgs),
    /// Silences a device until it is readmitted.
    Quarantine(client::DeviceArgs),
    /// Lets a device speak again that is quarantined.
    Readmit(client::DeviceArgs),
    /// Gives a device a new key over the air.
    Rotate(client::RotateArgs),
    /// Lists the devices of a gateway.
    Devices(client::StoreArgs),
    /// Copies the store of a gateway, which may be running.
    Backup(client::BackupArgs),
    /// Puts a backup in the place of the store; the gateway must be down.
    Restore(client::RestoreArgs),
    /// Runs a device on this host, for trying.
    Device(device::Args),
    /// Says what a datagram is, and with a key what it says.
    Inspect(inspect::Args),
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let result = process::close_memory().and_then(|()| match Cli::try_parse() {
        Ok(cli) => run(&cli.command),
        Err(error) => Ok(explain(&error)),
    });
    result.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "moteseal: {}", shown::without_keys(&error));
        ExitCode::FAILURE
    })
}

/// Help, or what is wrong with the arguments: it is shown with the argument, which may be a key.
fn explain(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        error.exit();
    }
    let text = error.render();
    let text = if io::stderr().is_terminal() { text.ansi().to_string() } else { text.to_string() };
    let _ = write!(io::stderr(), "{}", shown::without_keys(&text));
    ExitCode::from(USAGE)
}

fn run(command: &Command) -> Result<ExitCode, String> {
    match command {
        Command::Demo(args) => demo::run(args),
        Command::Provision(args) => provision::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Send(args) => client::send(args),
        Command::Revoke(args) => client::device("revoke", args),
        Command::Quarantine(args) => client::device("quarantine", args),
        Command::Readmit(args) => client::device("readmit", args),
        Command::Rotate(args) => client::rotate(args),
        Command::Devices(args) => client::devices(args),
        Command::Backup(args) => client::backup(args),
        Command::Restore(args) => client::restore(args),
        Command::Device(args) => device::run(args),
        Command::Inspect(args) => inspect::run(args),
    }
}
