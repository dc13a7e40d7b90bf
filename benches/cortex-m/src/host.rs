//! What a firmware tells the host, by semihosting, and how it ends.

use core::arch::asm;
use core::ffi::CStr;
use core::panic::PanicInfo;

const OPEN: usize = 0x01;
const WRITE: usize = 0x05;
const WRITE0: usize = 0x04;
const EXIT_EXTENDED: usize = 0x20;
const APPLICATION_EXIT: usize = 0x2_0026;

/// Prints a line: a name and numbers.
pub fn line(name: &str, numbers: &[u32]) {
    print(name);
    for number in numbers {
        print(" ");
        print_number(*number);
    }
    print("\n");
}

/// Ends the run.
pub fn exit(status: usize) -> ! {
    let block = [APPLICATION_EXIT, status];
    call(EXIT_EXTENDED, block.as_ptr().addr());
    loop {
        core::hint::spin_loop();
    }
}

/// Says where the firmware failed, and ends the run.
pub fn failed(info: &PanicInfo) -> ! {
    if let Some(place) = info.location() {
        print(place.file());
        line(": failed at", &[place.line()]);
    }
    exit(1)
}

fn print(text: &str) {
    // A string for semihosting ends with 0, so in pieces.
    for piece in text.as_bytes().chunks(31) {
        let mut buffer = [0; 32];
        for (to, from) in buffer.iter_mut().zip(piece) {
            *to = *from;
        }
        call(WRITE0, buffer.as_ptr().expose_provenance());
    }
}

fn print_number(number: u32) {
    let mut digits = [b'0'; 10];
    let (mut left, mut first) = (number, digits.len() - 1);
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            first = at;
            break;
        }
    }
    print(core::str::from_utf8(&digits[first..]).unwrap_or_default());
}

/// A file of the host's, to be written.
#[derive(Debug)]
pub struct File(usize);

impl File {
    /// Makes it anew, where QEMU was started.
    pub fn create(name: &CStr) -> Option<Self> {
        const WRITE_BINARY: usize = 5;
        let block = [name.as_ptr().expose_provenance(), WRITE_BINARY, name.count_bytes()];
        let handle = call(OPEN, block.as_ptr().expose_provenance());
        (handle != usize::MAX).then_some(Self(handle))
    }

    /// Writes words, and uses no stack.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what lies below the caller on the stack stays as it is")]
    pub fn write(&self, words: &[usize]) {
        self.write_range(words.as_ptr().expose_provenance(), size_of_val(words));
    }

    /// Writes all RAM, from its start to the end of the stack. What lies below the caller on the stack stays as it is.
    #[inline(always)]
    pub fn write_ram(&self) {
        unsafe extern "C" {
            /// From `cortex-m-rt`'s linker script.
            static _stack_start: u32;
        }
        const RAM: usize = 0x2000_0000;
        self.write_range(RAM, (&raw const _stack_start).addr() - RAM);
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as for words")]
    fn write_range(&self, start: usize, len: usize) {
        let block = [self.0, start, len];
        let missing = call(WRITE, block.as_ptr().expose_provenance());
        assert!(missing == 0, "the host could not write");
    }
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "as for words")]
fn call(operation: usize, argument: usize) -> usize {
    let result;
    // SAFETY: a semihosting call; the host reads what the argument points to and writes nothing but r0.
    unsafe {
        asm!("bkpt 0xAB", inout("r0") operation => result, in("r1") argument, options(nostack, preserves_flags));
    }
    result
}
