//! What an attacker's datagram costs the device that drops it: at the first byte, and at the tag, wherever it is wrong.

use core::hint::black_box;

use moteseal::device::Hardware;
use moteseal::error::{ReceiveError, VerifyError};
use moteseal_cortex_m::host;

use crate::life::{LONGEST, Mote, plain};
use crate::measure::{measure, once};
use crate::world::{Gateway, NOW};

const LEN: usize = 64;
/// Header, acknowledgement block, payload, tag.
const DATAGRAM_LEN: usize = 3 + 3 + LEN + 16;

/// Counts one datagram for each stage, made from a real one with 64 bytes.
#[inline(never)]
pub fn run<H: Hardware>(device: &mut Mote<H>, gateway: &mut Gateway, buffer: &mut [u8; LONGEST]) {
    let made = plain(gateway, LEN, buffer);
    let genuine: [u8; DATAGRAM_LEN] = buffer[..made].try_into().expect("as long as it must be");
    let dropped = |device: &mut Mote<H>, name: &str, datagram: &mut [u8]| {
        let datagram = black_box(datagram);
        measure(name, || device.receive(NOW, datagram).err()).expect("it is dropped")
    };
    let changed = |at: usize, mask: u8| {
        let mut datagram = genuine;
        datagram[at] ^= mask;
        datagram
    };
    dropped(device, "reject/version", &mut changed(0, 0x80));
    dropped(device, "reject/short", &mut [genuine[0], genuine[1], genuine[2]]);
    let error = dropped(device, "reject/connection", &mut changed(1, 1));
    assert_eq!(error, ReceiveError::UnknownConnection);
    let error = dropped(device, "reject/tag", &mut changed(DATAGRAM_LEN - 16, 1));
    assert_eq!(error, ReceiveError::Verify(VerifyError::Inauthentic));
    everywhere(device, &genuine);
    device.receive(NOW, &mut { genuine }).expect("nothing was held against the genuine one");
    let error = dropped(device, "reject/replay", &mut { genuine });
    assert_eq!(error, ReceiveError::Verify(VerifyError::Replayed));
}

/// The fewest and the most instructions, whichever byte of the ciphertext or the tag is wrong.
fn everywhere<H: Hardware>(device: &mut Mote<H>, genuine: &[u8; DATAGRAM_LEN]) {
    let (mut fewest, mut most) = (u32::MAX, 0);
    for at in 3..genuine.len() {
        let mut forged = *genuine;
        forged[at] ^= 0x40;
        let datagram = black_box(&mut forged);
        let (error, ticks, _) = once(|| device.receive(NOW, datagram).err());
        assert_eq!(error, Some(ReceiveError::Verify(VerifyError::Inauthentic)));
        (fewest, most) = (fewest.min(ticks), most.max(ticks));
    }
    host::line("forged/fewest", &[fewest]);
    host::line("forged/most", &[most]);
}
