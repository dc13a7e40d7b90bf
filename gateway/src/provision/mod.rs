//! `moteseal provision`: keys and factory images for new devices, and the files that a gateway takes them in
//! by. Owns the layout of the directory; writes it whole or not at all. SPEC sections 3.1 to 3.3.

mod flash;
mod fleet;
mod ids;
mod intel_hex;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ArgGroup;
use moteseal::identity::FactoryImage;
use moteseal::keys::RotationKey;
use moteseal::number::DeviceId;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::files::NewDirectory;
use crate::random;
use crate::registry::{self, Device};
use flash::Region;
use fleet::{Fleet, Keys};

/// What the directory holds, for `--help`.
const LAYOUT: &str = "\
The directory (mode 0700, its files 0600) must not exist and appears complete or not at all:
  registry.csv       device_id,generation,device_key: for `moteseal serve --registry`
  rotation-keys.csv  device_id,rotation_key: keep it offline until a key is rotated
  fleet.secret       of a new fleet: keep it offline; `--fleet` adds devices to the fleet
  images/ID.bin      192 bytes: identity, key slot A, key slot B (the bytes: `moteseal::identity`)
  images/ID.hex      with --flash-base: the same as Intel HEX, one part an erase page, and behind
                     them the first page of the boot counter, which starts at 0. The second page,
                     right behind it, is to be erased

All of them are secret. Nothing secret is printed.

Examples:
  moteseal provision --count 20 --out fleet
  moteseal provision --ids ids.csv --fleet fleet/fleet.secret --out more
  moteseal provision --ids ids.csv --out fleet --flash-base 0x0807e000 --page-size 2048";

/// Options.
#[derive(Debug, clap::Args)]
#[command(after_help = LAYOUT)]
#[command(group(ArgGroup::new("devices").required(true).args(["count", "ids"])))]
pub struct Args {
    /// The directory to make.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Make up this many device ids: random, locally administered EUI-64.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    count: Option<u32>,
    /// Take the device ids from a file: one a line, 16 hexadecimal digits; `#` begins a comment.
    #[arg(long, value_name = "CSV")]
    ids: Option<PathBuf>,
    /// Derive the keys from the secrets of this fleet, rather than from those of a new one.
    #[arg(long, value_name = "FILE", conflicts_with = "random_keys")]
    fleet: Option<PathBuf>,
    /// Draw each key by itself, rather than derive all from the secrets of a fleet.
    #[arg(long)]
    random_keys: bool,
    /// Also write Intel HEX, for flash from this address on: 0x and hexadecimal digits, or decimal.
    #[arg(long, value_name = "ADDR", value_parser = flash::parse_address)]
    flash_base: Option<u32>,
    /// The size of the flash's erase pages in bytes, for Intel HEX.
    #[arg(long, value_name = "BYTES", default_value_t = 4096, requires = "flash_base")]
    page_size: u32,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, String> {
    let region = args.flash_base.map(|base| Region::new(base, args.page_size)).transpose()?;
    let ids = match (&args.ids, args.count) {
        (Some(path), _) => ids::read(path)?,
        (None, count) => ids::random(count.unwrap_or(0), &mut random::os()).map_err(|e| e.to_string())?,
    };
    let keys = match &args.fleet {
        Some(path) => Keys::Fleet(Fleet::read(path)?),
        None if args.random_keys => Keys::Random,
        None => Keys::Fleet(Fleet::generate().map_err(|e| e.to_string())?),
    };
    let new_fleet = if let (Keys::Fleet(fleet), None) = (&keys, &args.fleet) { Some(fleet) } else { None };

    let directory = NewDirectory::begin(&args.out)?;
    let devices = write_images(&directory, &keys, &ids, region)?;
    write_registry(&directory, &devices)?;
    if let Some(fleet) = new_fleet {
        directory.add("fleet.secret", fleet.text().as_bytes())?;
    }
    directory.publish()?;
    let report = report(args, devices.len(), new_fleet.is_some());
    let said = io::stdout().write_all(report.as_bytes());
    said.map_err(|error| format!("{} is made, but stdout: {error}", args.out.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// A device's keys, as the gateway's files want them.
type NewDevice = (Device, RotationKey);

fn write_images(
    directory: &NewDirectory,
    keys: &Keys,
    ids: &[DeviceId],
    region: Option<Region>,
) -> Result<Vec<NewDevice>, String> {
    let interrupted = on_interrupt()?;
    directory.add_directory("images")?;
    let mut devices = Vec::with_capacity(ids.len());
    for device_id in ids.iter().copied() {
        if interrupted.load(Ordering::Relaxed) {
            return Err("interrupted; nothing was made".into());
        }
        let image = keys.image(device_id).map_err(|error| error.to_string())?;
        directory.add(&format!("images/{device_id}.bin"), image.encode().expose())?;
        if let Some(region) = region {
            directory.add(&format!("images/{device_id}.hex"), region.intel_hex(&image).as_bytes())?;
        }
        devices.push(new_device(image)?);
    }
    Ok(devices)
}

/// Set by SIGINT and SIGTERM, so that what is half made is removed and no secret stays behind.
fn on_interrupt() -> Result<Arc<AtomicBool>, String> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).map_err(|error| error.to_string())?;
    }
    Ok(interrupted)
}

fn new_device(image: FactoryImage) -> Result<NewDevice, String> {
    let FactoryImage { identity, slots: [slot, _] } = image;
    let slot = slot.ok_or("a new image without a key")?;
    let device =
        Device { device_id: identity.device_id, generation: slot.generation, device_key: slot.device_key };
    Ok((device, identity.rotation_key))
}

fn write_registry(directory: &NewDirectory, devices: &[NewDevice]) -> Result<(), String> {
    let registry = registry::text(devices.iter().map(|(device, _)| device));
    directory.add("registry.csv", registry.as_bytes())?;
    let keys = devices.iter().map(|(device, rotation_key)| (device.device_id, rotation_key));
    directory.add("rotation-keys.csv", registry::rotation_keys_text(keys).as_bytes())?;
    Ok(())
}

fn report(args: &Args, devices: usize, new_fleet: bool) -> String {
    let out = args.out.display();
    let mut lines = vec![
        format!("{out}: {devices} devices"),
        "  registry.csv       for the gateway: moteseal serve --registry".into(),
        "  rotation-keys.csv  keep it offline until a key is rotated".into(),
    ];
    if new_fleet {
        lines.push("  fleet.secret       keep it offline; --fleet adds devices to this fleet".into());
    }
    lines.push(match args.flash_base {
        Some(base) => format!("  images/            to flash: ID.bin, and ID.hex for {base:#x}"),
        None => "  images/            to flash: ID.bin (Intel HEX too with --flash-base)".into(),
    });
    lines.join("\n") + "\n"
}
