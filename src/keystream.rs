//! ChaCha20 as `chacha20poly1305` wants it, without what it does not use. The block function, Poly1305 and the
//! composition of RFC 8439 are those of the crates; here stands only how their blocks meet the bytes of a datagram. SPEC
//! section 3.4.
//!
//! The stream of the crate `chacha20` keeps a partly used block between calls, can be positioned at any byte, and panics
//! at the end of its 256 GiB. The AEAD asks for two stretches of keystream only, each from the start of a block: the key of
//! Poly1305 from block 0, the rest from block 1. [`Keystream`] gives just these. That saves flash, leaves no panic in the
//! firmware, and takes fewer instructions.

#![allow(clippy::inline_always)] // what the AEAD asks for is constant: seen through, its checks and panics vanish

use chacha20::cipher::array::Array;
use chacha20::cipher::common::{Block, BlockSizeUser, ParBlocks};
use chacha20::cipher::consts::{U4, U12, U32, U64};
use chacha20::cipher::inout::InOutBuf;
use chacha20::cipher::typenum::Unsigned;
use chacha20::cipher::{
    Iv, IvSizeUser, Key, KeyIvInit, KeySizeUser, OverflowError, SeekNum, StreamCipher, StreamCipherBackend,
    StreamCipherClosure, StreamCipherCore, StreamCipherError, StreamCipherSeek,
};
use chacha20::{ChaChaCore, R20, variants::Ietf};
use zeroize::Zeroize;

/// The keystream of one key and nonce, at the start of a block. Wiped when dropped.
pub(crate) struct Keystream(ChaChaCore<R20, Ietf>);

const BLOCK_LEN: usize = 64;
const BLOCK_LEN_BYTE: u8 = 64;

impl KeySizeUser for Keystream {
    type KeySize = U32;
}

impl IvSizeUser for Keystream {
    type IvSize = U12;
}

impl KeyIvInit for Keystream {
    #[inline]
    fn new(key: &Key<Self>, iv: &Iv<Self>) -> Self {
        Self(ChaChaCore::new(key, iv))
    }
}

impl StreamCipher for Keystream {
    /// The AEAD refuses longer messages before it asks (RFC 8439, 2.8).
    #[inline(always)]
    fn check_remaining(&self, _: usize) -> Result<(), StreamCipherError> {
        Ok(())
    }

    #[inline]
    fn unchecked_apply_keystream_inout(&mut self, buffer: InOutBuf<'_, '_, u8>) {
        self.0.process_with_backend(Apply(buffer));
    }

    /// What the AEAD never calls: the keystream is what zeros are turned into.
    fn unchecked_write_keystream(&mut self, buffer: &mut [u8]) {
        buffer.fill(0);
        self.unchecked_apply_keystream_inout(buffer.into());
    }
}

impl StreamCipherSeek for Keystream {
    #[inline(always)]
    fn try_current_pos<T: SeekNum>(&self) -> Result<T, OverflowError> {
        T::from_block_byte(self.0.get_block_pos(), BLOCK_LEN_BYTE, BLOCK_LEN_BYTE)
    }

    /// To the start of a block.
    #[inline(always)]
    fn try_seek<T: SeekNum>(&mut self, position: T) -> Result<(), StreamCipherError> {
        match position.into_block_byte::<u32>(BLOCK_LEN_BYTE)? {
            (block, 0) => self.0.set_block_pos(block),
            _ => return Err(StreamCipherError),
        }
        Ok(())
    }
}

/// XORs keystream into these bytes, the last block cut off where they end.
struct Apply<'b>(InOutBuf<'b, 'b, u8>);

impl BlockSizeUser for Apply<'_> {
    type BlockSize = U64;
}

impl StreamCipherClosure for Apply<'_> {
    #[inline(always)]
    fn call<B: StreamCipherBackend<BlockSize = U64>>(self, backend: &mut B) {
        let mut rest = self.0;
        // Hosts make several blocks at a time; on microcontrollers this is compiled away.
        let at_once = B::ParBlocksSize::USIZE;
        while at_once > 1 && rest.len() >= at_once * BLOCK_LEN {
            let mut blocks = ParBlocks::<B>::default();
            backend.gen_par_ks_blocks(&mut blocks);
            let (head, tail) = rest.split_at(at_once * BLOCK_LEN);
            for (mut bytes, block) in head.into_chunks().0.into_iter().zip(&blocks) {
                bytes.xor_in2out(block);
            }
            rest = tail;
        }
        while !rest.is_empty() {
            let mut block = Block::<Self>::default();
            backend.gen_ks_block(&mut block);
            let tail = rest.len() < BLOCK_LEN;
            rest = xor(rest, &block);
            // The key of Poly1305 is such a tail. A whole block is never longer in memory than the cipher's own words.
            if tail {
                block.zeroize();
            }
        }
    }
}

/// XORs one block, or what there is room for, and gives the rest.
#[inline(always)]
fn xor<'b>(buffer: InOutBuf<'b, 'b, u8>, block: &Block<Apply<'_>>) -> InOutBuf<'b, 'b, u8> {
    let len = buffer.len().min(BLOCK_LEN);
    let (head, rest) = buffer.split_at(len);
    let (words, bytes) = head.into_chunks::<U4>();
    let (keys, _) = Array::slice_as_chunks(block);
    let mut keys = keys.iter();
    for (mut word, key) in words.into_iter().zip(keys.by_ref()) {
        word.xor_in2out(key);
    }
    for (mut byte, key) in bytes.into_iter().zip(keys.flatten()) {
        *byte.get_out() = *byte.get_in() ^ *key;
    }
    rest
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20;

    use super::*;

    /// Against the stream of the crate, for every way of cutting off blocks, and from each block that the AEAD starts at.
    #[test]
    fn the_keystream_is_that_of_the_crate() {
        let (key, nonce) = ([7; 32].into(), [9; 12].into());
        for len in (0..=600).chain([1023, 1024, 1025, 2048, 4095, 4096]) {
            for block in [0u64, 1, 2] {
                let (mut own, mut theirs) = ([0x5A; 4096], [0x5A; 4096]);
                let mut keystream = Keystream::new(&key, &nonce);
                keystream.seek(block * 64);
                keystream.apply_keystream(&mut own[..len]);
                let mut stream = ChaCha20::new(&key, &nonce);
                stream.seek(block * 64);
                stream.apply_keystream(&mut theirs[..len]);
                assert_eq!(own, theirs, "{len}, {block}");
                keystream.seek(block * 64);
                keystream.write_keystream(&mut own[..len]);
                stream.seek(block * 64);
                stream.write_keystream(&mut theirs[..len]);
                assert_eq!(own, theirs, "{len}, {block}");
            }
        }
    }

    #[test]
    fn it_starts_at_blocks_only() {
        let mut keystream = Keystream::new(&[7; 32].into(), &[9; 12].into());
        assert!(keystream.try_seek(63u64).is_err());
        assert!(keystream.try_seek(64u64 << 32).is_err());
        assert!(keystream.try_seek(128u64).is_ok());
        assert_eq!(keystream.try_current_pos::<u64>().ok(), Some(128));
    }
}
