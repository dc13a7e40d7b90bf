//! A fuzzer's bytes as a tape of decisions, read from front to back: what is mutated early changes everything after it,
//! what is mutated late only the end. An empty tape gives zeros, and tells that it is empty.

/// The bytes that are left.
#[derive(Debug)]
pub struct Tape<'b>(&'b [u8]);

impl<'b> Tape<'b> {
    /// All bytes.
    pub const fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    /// Whether no decision is left.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn u8(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    /// Two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    /// Four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.array())
    }

    /// The lowest bit of one byte.
    pub fn flag(&mut self) -> bool {
        self.u8() & 1 == 1
    }

    /// One of 0 to `limit` - 1, of one byte.
    pub fn below(&mut self, limit: u8) -> u8 {
        self.u8() % limit
    }

    /// One of these, by one byte.
    pub fn pick<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[usize::from(self.u8()) % choice.len()]
    }

    /// One of the places in something of this length, by two bytes where one is not enough.
    pub fn place(&mut self, len: usize) -> usize {
        let at = if len > 256 { usize::from(self.u16()) } else { usize::from(self.u8()) };
        at % len.max(1)
    }

    /// A number of a session, most often the next one, or one that was there before: `highest` is the highest so far.
    pub fn number(&mut self, highest: Option<u16>) -> u16 {
        let at = highest.unwrap_or(0);
        match self.u8() {
            0..=95 => highest.map_or(0, |highest| highest.wrapping_add(1)),
            back @ 96..=159 => at.wrapping_sub(u16::from(back - 96)),
            on @ 160..=223 => at.wrapping_add(u16::from(on - 160)),
            back @ 224..=254 => at.wrapping_sub(8 * u16::from(back - 224)),
            255 => self.u16(),
        }
    }

    /// A distance, most often a short one.
    pub fn near(&mut self) -> u8 {
        match self.u8() {
            near @ 0..192 => near & 3,
            far => far & 0x7F,
        }
    }

    /// As many bytes as the array has, zeros where they are used up.
    pub fn array<const L: usize>(&mut self) -> [u8; L] {
        let mut array = [0; L];
        let taken = self.take(L);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    /// So many bytes, or what is left.
    pub fn take(&mut self, len: usize) -> &'b [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A length of one byte, at most `limit`, and so many bytes.
    pub fn bytes(&mut self, limit: u8) -> &'b [u8] {
        let len = self.u8().min(limit);
        self.take(len.into())
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'b [u8] {
        self.take(self.0.len())
    }
}
