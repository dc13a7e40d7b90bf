//! What the device is told at its start: words of a command line, each with a name.

use core::fmt;
use core::net::SocketAddrV4;

/// What a device is told. Words are parted by blanks, so a path has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options<'l> {
    /// `flash=PATH`: the file that holds the contents of the flash.
    pub flash: &'l str,
    /// `server=ADDRESS:PORT`: the gateway.
    pub server: SocketAddrV4,
    /// `every=MS`: the time from one telemetry to the next; 10 seconds unless it is given.
    pub every_ms: u32,
}

/// What is wrong with a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionsError {
    /// A word that is none of the options.
    Unknown,
    /// There is no `flash=PATH`.
    NoFlash,
    /// There is no `server=ADDRESS:PORT`, or it is none.
    NoServer,
    /// `every=` is not followed by a number above 0.
    NoPeriod,
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "an option is none of flash=PATH server=ADDRESS:PORT every=MS",
            Self::NoFlash => "flash=PATH is missing: the file with the contents of the flash",
            Self::NoServer => "server=ADDRESS:PORT is missing or wrong: the gateway",
            Self::NoPeriod => "every=MS wants a number of milliseconds above 0",
        })
    }
}

impl core::error::Error for OptionsError {}

impl<'l> Options<'l> {
    /// Reads a command line whose first word is the program's name.
    ///
    /// # Errors
    /// An [`OptionsError`] that says what is wrong.
    pub fn parse(line: &'l str) -> Result<Self, OptionsError> {
        let (mut flash, mut server, mut every_ms) = (None, None, 10_000);
        for word in line.split_ascii_whitespace().skip(1) {
            match word.split_once('=').ok_or(OptionsError::Unknown)? {
                ("flash", path) => flash = Some(path),
                ("server", address) => server = address.parse().ok(),
                ("every", period) => every_ms = parse_period(period).ok_or(OptionsError::NoPeriod)?,
                _ => return Err(OptionsError::Unknown),
            }
        }
        let flash = flash.filter(|path| !path.is_empty()).ok_or(OptionsError::NoFlash)?;
        Ok(Self { flash, server: server.ok_or(OptionsError::NoServer)?, every_ms })
    }
}

/// A number of milliseconds above 0.
pub(crate) fn parse_period(text: &str) -> Option<u32> {
    text.parse().ok().filter(|period| *period > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_read_in_any_order() {
        let options = Options::parse("firmware every=250 server=10.0.2.2:4242 flash=/a/b.flash").unwrap();
        assert_eq!(options.flash, "/a/b.flash");
        assert_eq!(options.server, "10.0.2.2:4242".parse().unwrap());
        assert_eq!(options.every_ms, 250);
        assert_eq!(Options::parse("firmware flash=f server=10.0.2.2:1").unwrap().every_ms, 10_000);
    }

    #[test]
    fn each_mistake_has_its_name() {
        for (line, error) in [
            ("", OptionsError::NoFlash),
            ("firmware", OptionsError::NoFlash),
            ("firmware flash= server=10.0.2.2:1", OptionsError::NoFlash),
            ("firmware flash=f", OptionsError::NoServer),
            ("firmware flash=f server=10.0.2.2", OptionsError::NoServer),
            ("firmware flash=f server=example.org:1", OptionsError::NoServer),
            ("firmware flash=f server=10.0.2.2:1 every=0", OptionsError::NoPeriod),
            ("firmware flash=f server=10.0.2.2:1 every=soon", OptionsError::NoPeriod),
            ("firmware flash=f server=10.0.2.2:1 fast", OptionsError::Unknown),
            ("firmware flash=f server=10.0.2.2:1 speed=2", OptionsError::Unknown),
        ] {
            assert_eq!(Options::parse(line), Err(error), "{line}");
        }
    }
}
