//! What happens to the device, as QEMU has loaded it: a byte that says how it ends, then steps of a letter, a length and a
//! datagram, then 0.

const START: *const u8 = 0x0020_0000 as *const u8;

/// One call of the device.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// It starts.
    Boot,
    /// It sends, and this datagram comes out.
    Send(&'static [u8]),
    /// It is polled, and this datagram comes out; if it is empty, none.
    Poll(&'static [u8]),
    /// It receives this datagram.
    Receive(&'static [u8]),
}

/// How the device ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Dropped.
    Dropped,
    /// Dropped, and called before from deeper than a drop wipes.
    Deep,
    /// It lives on, and the stack is wiped.
    Living,
}

/// The first byte of the script.
pub fn ending() -> Ending {
    // SAFETY: QEMU has loaded it there, and nothing changes it.
    match unsafe { START.read_volatile() } {
        0 => Ending::Dropped,
        1 => Ending::Deep,
        2 => Ending::Living,
        _ => panic!("no such ending"),
    }
}

/// The rest of the script.
#[derive(Debug)]
pub struct Script(*const u8);

impl Script {
    pub const fn start() -> Self {
        Self(START.wrapping_add(1))
    }
}

impl Iterator for Script {
    type Item = Step;

    #[inline(never)]
    fn next(&mut self) -> Option<Step> {
        // SAFETY: as above; a step is followed by a step, or by the byte of the end.
        let (letter, datagram) = unsafe {
            let letter = self.0.read_volatile();
            if letter == 0 {
                return None;
            }
            let len = usize::from(self.0.add(1).read_volatile());
            (letter, core::slice::from_raw_parts(self.0.add(2), len))
        };
        self.0 = self.0.wrapping_add(2 + datagram.len());
        match letter {
            b's' => Some(Step::Send(datagram)),
            b'p' => Some(Step::Poll(datagram)),
            b'r' => Some(Step::Receive(datagram)),
            _ => panic!("no such step"),
        }
    }
}
