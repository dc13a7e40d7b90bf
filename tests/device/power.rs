//! Power cuts at every write of the flash: SPEC 2.2 (P2, P4, P8) and M-26.

use moteseal::boot_counter::Stored;
use moteseal::control::Control;
use moteseal::device::{Config, Device};
use moteseal::error::BootError;
use moteseal::identity::KeySlot;
use moteseal::key_slots::Slot;
use moteseal::keys::DeviceKey;
use moteseal::number::Epoch;

use crate::board::{Board, Convenient, Effect, Fault, Mote, boot, device_key, generation};
use crate::rotation::rotation_to;
use crate::server::{Hello, Peer, open_hello_under};

const EFFECTS: [Effect; 3] = [Effect::None, Effect::Torn, Effect::Whole];

/// What a server that has begun the rotation to generation 2 opens a Hello with.
fn open(datagram: &[u8], new: &DeviceKey) -> (Hello, DeviceKey) {
    let key = |bits| if bits == 2 { new.clone() } else { device_key(bits) };
    let hello = open_hello_under(datagram, &key);
    let key = key(hello.generation_bits);
    (hello, key)
}

/// One boot of a life: a Hello, a Floor if the server has seen later, a session, a rotation if it is under the old key.
/// Whatever fails because the power does, ends the boot. Tells the epoch of each Hello.
fn live(board: &mut Board, seen: &mut Vec<Epoch>, new: &DeviceKey) -> Result<(), BootError> {
    let mut device: Mote<'_> = Device::boot(board, Config::default())?;
    let mut out = [0; crate::board::N];
    device.connect(0);
    let (mut now, mut sessions) = (0, 0);
    while sessions < 2 {
        let Ok(Some(datagram)) = device.poll(now, &mut out) else { return Ok(()) };
        let (hello, key) = open(datagram, new);
        // P2, P3: no epoch is used twice, whatever happened.
        assert!(!seen.contains(&hello.epoch), "{} again", hello.epoch);
        let newest = seen.iter().max().copied();
        seen.push(hello.epoch);
        assert!(seen.len() < 100, "no Hello is ever good enough");
        let answer = match newest {
            Some(newest) if newest >= hello.epoch => hello.floor(&key, newest),
            _ => {
                let (mut peer, welcome) = Peer::answer_under(&hello, &key);
                if device.receive(now, &mut welcome.clone()).is_err() {
                    return Ok(());
                }
                sessions += 1;
                let Ok(Some(first)) = device.poll(now, &mut out) else { return Ok(()) };
                peer.hear(first);
                let (secret, _) = rotation_to(2, 1);
                peer.control(&Control::Rotate { generation: generation(2), secret }, false)
            }
        };
        if device.receive(now, &mut answer.clone()).is_err() {
            return Ok(());
        }
        if sessions < 2 && device.deadline().is_none_or(|deadline| deadline > now) {
            now = device.deadline().unwrap_or(now);
        }
    }
    Ok(())
}

#[test]
fn a_power_cut_at_any_write_of_a_life_strands_nobody() {
    let (_, new) = rotation_to(2, 1);
    let mut cuts = 0;
    let without_rng = Board { counter: Stored::Intact(7), ..Board::without_rng() };
    for fresh in [Board::with_counter(Stored::Intact(7)), Board::with_counter(Stored::Blank), without_rng] {
        for first in 0..5 {
            for second in 0..5 {
                for effects in EFFECTS.iter().flat_map(|one| EFFECTS.map(|two| (*one, two))) {
                    let mut board = fresh.clone();
                    // The server has seen later epochs: a Floor comes, and moves the counter.
                    let mut seen = vec![Epoch::new(30, 2)];
                    let fault = |at, effect| Some(Fault { at, effect, power_cut: true });
                    board.fault = fault(first, effects.0);
                    let _ = live(&mut board, &mut seen, &new);
                    cuts += usize::from(board.ops.len() == first + 1);
                    board.repair();
                    board.fault = fault(board.ops.len() + second, effects.1);
                    let _ = live(&mut board, &mut seen, &new);
                    board.repair();
                    // Power is good from here on: one boot, and the rotation is through.
                    live(&mut board, &mut seen, &new).unwrap();
                    let mut device = boot(&mut board);
                    device.connect(0);
                    let (hello, key) = open(&device.one(0), &new);
                    assert_eq!(hello.generation_bits, 2, "{first} {second} {effects:?}");
                    device.hear(0, &Peer::answer_under(&hello, &key).1);
                    assert_eq!((board.generation(Slot::A), board.generation(Slot::B)), (None, Some(2)));
                }
            }
        }
    }
    // The boot, the floor, the slot, the erase: each was cut.
    assert!(cuts == 3 * 4 * 5 * 9, "{cuts}");
}

/// The server that lost the new key, or never had it: the device finds its way under the old one.
#[test]
fn a_device_with_two_keys_reaches_a_server_with_either() {
    let (_, new) = rotation_to(2, 1);
    for held in [1, 2] {
        let mut board = Board::new();
        board.image.slots[1] = Some(KeySlot { generation: generation(2), device_key: new.clone() });
        let mut device = boot(&mut board);
        device.connect(0);
        let mut now = 0;
        let (mut hello, mut key) = open(&device.one(now), &new);
        if hello.generation_bits != held {
            now = device.deadline().unwrap();
            (hello, key) = open(&device.one(now), &new);
        }
        assert_eq!(hello.generation_bits, held);
        device.hear(now, &Peer::answer_under(&hello, &key).1);
        assert_eq!(board.generation(Slot::A), if held == 2 { None } else { Some(1) });
    }
}

#[test]
fn p4_one_write_a_boot_and_none_a_datagram() {
    let mut board = Board::new();
    for _ in 0..20 {
        let mut device = boot(&mut board);
        let mut peer = Peer::connected(&mut device, 0);
        for _ in 0..50 {
            peer.hear(&device.say(1, b"x", moteseal::device::Confirm::No).datagram.unwrap());
            device.hear(1, &peer.command(b"on"));
            device.drain(1);
        }
    }
    assert_eq!(board.ops.len(), 20);
}
