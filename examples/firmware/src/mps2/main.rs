//! The device on the MPS2 boards that QEMU has: AN385 (Cortex-M3), AN386 (Cortex-M4) and AN505 (Cortex-M33). Here the
//! drivers are put together; what the device does is in the library `mote`.
//!
//! ```text
//! board        addresses, the registers behind them, and `Board` for the main loop
//! clock        milliseconds, and sleep
//! ethernet     the LAN9118
//! network      UDP over IPv4 on it
//! flash        the file that the flash's contents last in
//! entropy      random numbers
//! semihosting  calls to the host: files, the command line, the end
//! faults       what happens when nothing else can
//! ```

#![no_std]
#![no_main]

mod board;
mod clock;
mod entropy;
mod ethernet;
mod faults;
mod flash;
mod network;
mod semihosting;

use core::cell::RefCell;
use core::fmt;

use cortex_m_rt::entry;
use mote::flash::{FlashError, MappedFlash};
use mote::mote::Mote;
use mote::options::{Options, OptionsError};
use moteseal::boot_counter::NorBootCounter;
use moteseal::device::Parts;
use moteseal::flash::SharedFlash;
use moteseal::key_slots::NorKeySlots;

use board::Mps2;
use clock::Clock;
use entropy::HostEntropy;
use ethernet::{Ethernet, EthernetError};
use flash::FlashFile;
use network::{Buffers, Network};
use semihosting::HostError;

/// The longest command line in bytes.
const COMMAND_LINE_LEN: usize = 512;

type Keys = NorKeySlots<MappedFlash<'static, FlashFile>>;

#[entry]
fn main() -> ! {
    match run() {
        Ok(()) => semihosting::exit(0),
        Err(error) => faults::stop(&error),
    }
}

fn run() -> Result<(), Fault> {
    let mut line = [0; COMMAND_LINE_LEN];
    let options = Options::parse(semihosting::command_line(&mut line)?)?;
    let flash = RefCell::new(MappedFlash::open(board::flash(), FlashFile::open(options.flash)?)?);
    let keys = NorKeySlots::new(SharedFlash::new(&flash), 0).map_err(Fault::Region)?;
    let counter = NorBootCounter::new(SharedFlash::new(&flash), Keys::LEN).map_err(Fault::Region)?;
    let hardware = Parts::new(counter, keys, HostEntropy::open()?);

    let mut clock = Clock::start();
    let mut buffers = Buffers::new();
    let network = Network::start(Ethernet::start(&mut clock)?, &mut buffers, &mut clock, options.server);
    let device = Mote::boot(hardware, Mps2::new(clock, network), options.every_ms).map_err(Fault::Boot)?;
    device.run();
    Ok(())
}

/// Why the device cannot start.
enum Fault {
    Options(OptionsError),
    Host(HostError),
    Flash(FlashError),
    Region(moteseal::error::RegionError),
    Ethernet(EthernetError),
    Boot(moteseal::error::BootError),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options(error) => error.fmt(f),
            Self::Host(error) => error.fmt(f),
            Self::Flash(error) => error.fmt(f),
            Self::Region(error) => error.fmt(f),
            Self::Ethernet(error) => error.fmt(f),
            Self::Boot(error) => error.fmt(f),
        }
    }
}

impl From<OptionsError> for Fault {
    fn from(error: OptionsError) -> Self {
        Self::Options(error)
    }
}

impl From<HostError> for Fault {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

impl From<FlashError> for Fault {
    fn from(error: FlashError) -> Self {
        Self::Flash(error)
    }
}

impl From<EthernetError> for Fault {
    fn from(error: EthernetError) -> Self {
        Self::Ethernet(error)
    }
}
