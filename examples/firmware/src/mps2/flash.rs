//! The file that the contents of the flash last in when QEMU is killed: QEMU loads it into the memory of the flash, and
//! whatever is changed there is written through to it.

use mote::flash::Backing;

use crate::board::FLASH_LEN;
use crate::semihosting::{File, HostError, Mode};

/// The file.
pub struct FlashFile(File);

impl FlashFile {
    pub fn open(path: &str) -> Result<Self, HostError> {
        let file = File::open(path, Mode::Update)?;
        if file.len() == Some(FLASH_LEN) { Ok(Self(file)) } else { Err(HostError::Length) }
    }

    fn seek(&mut self, offset: u32) -> Result<(), HostError> {
        self.0.seek(offset.try_into().map_err(|_| HostError::Read)?)
    }
}

impl Backing for FlashFile {
    type Error = HostError;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), HostError> {
        self.seek(offset)?;
        self.0.read(bytes)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), HostError> {
        self.seek(offset)?;
        self.0.write(bytes)
    }
}
