//! The `moteseal` program: provisioning, a gateway, a device for trying, and the demonstration of all of them.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod demo;
mod device;
mod files;
mod inspect;
mod provision;
mod random;
mod registry;
mod serve;

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
    /// Runs a device on this host, for trying.
    Device(device::Args),
    /// Says what a datagram is, and with a key what it says.
    Inspect(inspect::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Provision(args) => provision::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Device(args) => device::run(&args),
        Command::Inspect(args) => inspect::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("moteseal: {error}");
        ExitCode::FAILURE
    })
}
