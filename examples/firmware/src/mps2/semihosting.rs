//! Calls to the host that the debugger or QEMU answers: its files, its command line, and the end of the program. The
//! one file that says `bkpt` (Arm's specification of semihosting, for 32 bits).

use core::arch::asm;
use core::fmt::{self, Write as _};

const SYS_OPEN: usize = 0x01;
const SYS_CLOSE: usize = 0x02;
const SYS_WRITE: usize = 0x05;
const SYS_READ: usize = 0x06;
const SYS_SEEK: usize = 0x0A;
const SYS_FLEN: usize = 0x0C;
const SYS_GET_CMDLINE: usize = 0x15;
const SYS_EXIT_EXTENDED: usize = 0x20;
/// The program has come to its end.
const APPLICATION_EXIT: usize = 0x20026;

/// The longest path in bytes, with the zero at its end.
const PATH_LEN: usize = 512;
/// The longest line in bytes: a command of one Ethernet frame in hexadecimal digits, and what stands around it.
const LINE_LEN: usize = 3072;

/// What the host could not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostError {
    CommandLine,
    Path,
    Open,
    Read,
    Write,
    Length,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommandLine => "the host gives no command line, or one that is too long",
            Self::Path => "the path of a file is too long",
            Self::Open => "the host cannot open the file",
            Self::Read => "the host cannot read the file",
            Self::Write => "the host cannot write the file",
            Self::Length => "the file of the flash is not as long as the flash",
        })
    }
}

/// How a file is opened, by the numbers of the calls: as C's `fopen` has them.
#[derive(Clone, Copy)]
pub enum Mode {
    /// `rb`
    Read = 1,
    /// `r+b`
    Update = 3,
    /// `w`; with the name `:tt`, the standard output.
    Write = 4,
}

/// A file of the host's.
pub struct File(usize);

impl File {
    pub fn open(path: &str, mode: Mode) -> Result<Self, HostError> {
        let mut name = [0; PATH_LEN];
        let to = name.get_mut(..path.len()).filter(|_| path.len() < PATH_LEN).ok_or(HostError::Path)?;
        to.copy_from_slice(path.as_bytes());
        let handle = call(SYS_OPEN, &[name.as_ptr().expose_provenance(), mode as usize, path.len()]);
        if handle == usize::MAX { Err(HostError::Open) } else { Ok(Self(handle)) }
    }

    /// Its length in bytes.
    pub fn len(&self) -> Option<usize> {
        Some(call(SYS_FLEN, &[self.0])).filter(|len| *len != usize::MAX)
    }

    /// Goes to an offset from the start.
    pub fn seek(&mut self, offset: usize) -> Result<(), HostError> {
        if call(SYS_SEEK, &[self.0, offset]) == 0 { Ok(()) } else { Err(HostError::Read) }
    }

    /// Reads all of `bytes`.
    pub fn read(&mut self, bytes: &mut [u8]) -> Result<(), HostError> {
        let missing = call(SYS_READ, &[self.0, bytes.as_mut_ptr().expose_provenance(), bytes.len()]);
        if missing == 0 { Ok(()) } else { Err(HostError::Read) }
    }

    /// Writes all of `bytes`: the host's kernel has them when this returns.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), HostError> {
        let missing = call(SYS_WRITE, &[self.0, bytes.as_ptr().expose_provenance(), bytes.len()]);
        if missing == 0 { Ok(()) } else { Err(HostError::Write) }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        call(SYS_CLOSE, &[self.0]);
    }
}

/// The words after `arg=` of QEMU's `-semihosting-config`, with blanks between them.
pub fn command_line(buffer: &mut [u8]) -> Result<&str, HostError> {
    let mut block = [buffer.as_mut_ptr().expose_provenance(), buffer.len()];
    if call_mut(SYS_GET_CMDLINE, &mut block) != 0 {
        return Err(HostError::CommandLine);
    }
    let line = buffer.get(..block[1]).ok_or(HostError::CommandLine)?;
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    core::str::from_utf8(line).map_err(|_| HostError::CommandLine)
}

/// Tells a line on the standard output: in one piece, so that a power cut tears none.
pub fn tell(line: &dyn fmt::Display) {
    let mut text = heapless::String::<LINE_LEN>::new();
    // A longer one is cut. What the host does not print is lost.
    let _ = write!(text, "{line}");
    if text.len() == LINE_LEN {
        text.pop();
    }
    let _ = text.push('\n');
    let _ = File::open(":tt", Mode::Write).and_then(|mut output| output.write(text.as_bytes()));
}

/// Ends the program, and QEMU with it, with this status.
pub fn exit(status: usize) -> ! {
    loop {
        call(SYS_EXIT_EXTENDED, &[APPLICATION_EXIT, status]);
    }
}

fn call<const N: usize>(operation: usize, parameters: &[usize; N]) -> usize {
    call_mut(operation, &mut { *parameters })
}

/// Some calls answer in the block of their parameters.
fn call_mut<const N: usize>(operation: usize, parameters: &mut [usize; N]) -> usize {
    let result;
    // SAFETY: the callers in this file give each operation the block that it is defined with, and every address in a
    // block is that of a buffer that is borrowed for the call and as long as the block says; exposed, since the host
    // reads and writes it. The call changes r0 and memory only.
    unsafe {
        asm!("bkpt 0xab", inlateout("r0") operation => result, in("r1") parameters.as_mut_ptr(), options(nostack));
    }
    result
}
