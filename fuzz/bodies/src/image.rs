//! The factory image and the key slots: any bytes give an image or a typed error, and a slot survives power cuts and
//! flash that does not work as it was, as it is to be, or absent. SPEC 3.1 and 10.2 (M-3, M-118, M-120).

use moteseal::identity::{FactoryImage, Identity, KeySlot, PART_LEN};
use moteseal::key_slots::{KeySlots, NorKeySlots, Slot};
use moteseal::keys::{DeviceKey, RotationKey};
use moteseal::number::{DeviceId, Generation};
use moteseal_sim::nor::{Fault, Nor, Tear};
use sha2::{Digest as _, Sha256};

use crate::tape::Tape;

const PAGE: usize = 64;
type Flash = Nor<8, PAGE>;

/// Bytes as an image, or a life of two slots.
pub fn run(bytes: &[u8]) {
    let mut tape = Tape::new(bytes);
    if tape.flag() { parse(&mut tape) } else { slots(&mut tape) }
}

/// Puts the right check value behind a part, so that a fuzzer gets past it.
fn seal(part: &mut [u8]) {
    if part.len() == PART_LEN {
        let (body, check) = part.split_at_mut(PART_LEN - 8);
        check.copy_from_slice(&Sha256::digest(body)[..8]);
    }
}

fn parse(tape: &mut Tape<'_>) {
    let sealed = tape.u8();
    let mut bytes = tape.rest().to_vec();
    for (at, part) in bytes.chunks_mut(PART_LEN).enumerate().take(3) {
        if sealed >> at & 1 == 1 {
            seal(part);
        }
    }
    let Ok(image) = FactoryImage::parse(&bytes) else { return };
    assert_eq!(bytes.len(), FactoryImage::LEN);
    let encoded = image.encode();
    assert_eq!(FactoryImage::parse(encoded.expose()).as_ref(), Ok(&image), "two images of one encoding");
    // The identity is as it was, and so is each slot that is not absent.
    for ((part, again), there) in bytes
        .chunks(PART_LEN)
        .zip(encoded.expose().chunks(PART_LEN))
        .zip([true].into_iter().chain(image.slots.iter().map(Option::is_some)))
    {
        assert!(if there { part == again } else { again.iter().all(|byte| *byte == 0xFF) });
    }
    let generations: Vec<u8> = image.slots.iter().flatten().map(|slot| slot.generation.number()).collect();
    let follow = matches!(generations[..], [_]) || matches!(generations[..], [a, b] if a.abs_diff(b) == 1);
    assert!(follow, "slots of generations {generations:?}");
    assert_eq!(&bytes[..6], b"MSid\x01\x01", "M-3");
    let text = format!("{image:?}");
    assert!(!text.contains(&format!("{:?}", image.identity.rotation_key.expose())), "a key in a text");
}

/// What a slot may hold.
#[derive(Clone, Debug)]
struct Model {
    slot: Slot,
    may_be: Vec<Option<KeySlot>>,
}

fn slots(tape: &mut Tape<'_>) {
    let identity = Identity { device_id: DeviceId::new([9; 8]), rotation_key: RotationKey::new([8; 32]) };
    let image = FactoryImage::new(identity.clone(), DeviceKey::new([1; 32]));
    let mut flash = Flash::new(3 * PAGE);
    for (offset, part) in image.parts(64) {
        flash.put(offset as usize, part.expose()).expect("in memory");
    }
    let [a, b] = image.slots;
    let mut models = [Model { slot: Slot::A, may_be: vec![a] }, Model { slot: Slot::B, may_be: vec![b] }];
    let mut clean = true;
    while !tape.is_empty() {
        flash.power_on();
        flash.clear_faults();
        let faulty = disturb(&mut flash, tape, &mut clean);
        let at = usize::from(tape.flag());
        let writes = tape.flag();
        let key = KeySlot {
            generation: Generation::new(tape.u8().max(1)).expect("not 0"),
            device_key: DeviceKey::new([tape.u8(); 32]),
        };
        let wear = flash.total_wear();
        let mut keys = NorKeySlots::new(flash, 0).expect("it fits");
        let slot = models[at].slot;
        let result = if writes { keys.write(slot, &key) } else { keys.erase(slot) };
        flash = keys.into_flash();
        let wanted = writes.then(|| key.clone());
        if result.is_ok() {
            // What is told as done is there, whatever the flash did.
            models[at].may_be = vec![wanted];
            let spent = (flash.total_wear().writes - wear.writes, flash.total_wear().erases - wear.erases);
            assert!(faulty || spent.0 == u64::from(writes) && spent.1 <= 1, "worn by {spent:?}");
        } else {
            models[at].may_be.push(wanted);
            models[at].may_be.push(None);
        }
        let ok = result.is_ok();
        flash = check(flash, &mut models, &identity, clean);
        assert!(ok || faulty, "it failed without a fault");
    }
}

/// A power cut at one of the next words, or a page that does not work. Garbage makes what is read unknown.
fn disturb(flash: &mut Flash, tape: &mut Tape<'_>, clean: &mut bool) -> bool {
    let (kind, after, seed) = (tape.below(12), tape.below(12), tape.u64());
    let page = usize::from(tape.below(2) + 1) * PAGE;
    let fault = match kind {
        0 => return cut(flash, after, Tear::Bits(seed)),
        1 => return cut(flash, after, Tear::Random(seed)),
        2 => {
            // Random bytes have the right check value once in 2^64.
            *clean = false;
            return cut(flash, after, Tear::Garbage(seed));
        }
        3 => Fault::ReadFails,
        4 => Fault::WriteFails,
        5 => Fault::WriteIgnored,
        6 => Fault::EraseFails,
        7 => Fault::EraseIgnored,
        _ => return false,
    };
    flash.set_fault(page..page + PAGE, fault);
    true
}

fn cut(flash: &mut Flash, after: u8, tear: Tear) -> bool {
    flash.cut_power(after.into(), tear);
    true
}

/// Power is back, and everything is what it may be.
fn check(mut flash: Flash, models: &mut [Model; 2], identity: &Identity, clean: bool) -> Flash {
    flash.power_on();
    flash.clear_faults();
    let mut keys = NorKeySlots::new(flash, 0).expect("it fits");
    assert_eq!(keys.identity().as_ref(), Ok(identity), "the identity was touched");
    for Model { slot, may_be } in models {
        match keys.read(*slot) {
            Ok(found) => {
                assert!(may_be.contains(&found), "{slot:?} holds {found:?}");
                *may_be = vec![found];
            }
            Err(error) => assert!(!clean, "{error}"),
        }
    }
    keys.into_flash()
}
