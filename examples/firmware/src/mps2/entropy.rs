//! Random numbers: the host's, for QEMU's boards have no generator. A chip's TRNG stands here in a product.

use moteseal::entropy::Entropy;
use moteseal::error::EntropyError;

use crate::semihosting::{File, HostError, Mode};

/// The host's generator.
pub struct HostEntropy(File);

impl HostEntropy {
    pub fn open() -> Result<Self, HostError> {
        File::open("/dev/urandom", Mode::Read).map(Self)
    }
}

impl Entropy for HostEntropy {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.0.read(bytes).map_err(|_| EntropyError::Failed)
    }
}
