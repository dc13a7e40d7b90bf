//! The device half as an application calls it: boot, Hello, Welcome, Floor, Data, Reset, rotation, key slots.

use moteseal::aead::Backend;
use moteseal::device::{Confirm, Event};
use moteseal::error::{ReceiveError, VerifyError};
use moteseal::number::{Epoch, Generation};

use crate::table::Table;
use crate::world::{
    Counting, Gateway, INDEX, LONGEST, Mote, boot, forgeries, payload, record, rotation_key, serve, settle,
    take, wire,
};

const RNG: Option<Counting> = Some(Counting(3));
/// Each time that a key is read from flash its check value is compared: was the write of it torn?
const WHOLE: &str = "whether a slot is whole, for each read";

/// Runs all of them with the backend `A`.
pub fn run<A: Backend>(table: &mut Table, name: &str) {
    Table::group(&format!("device: {name}"));
    opening::<A>(table, RNG, "");
    opening::<A>(table, None, ", without an RNG");
    floor::<A>(table);
    data::<A>(table);
    reset::<A>(table);
    rotation::<A>(table);
}

/// Boot, Hello and Welcome.
fn opening<A: Backend>(table: &mut Table, rng: Option<Counting>, without: &str) {
    let (mut out, early) = ([0; LONGEST], payload::<64>());
    let mut gateway = serve::<A>(record());
    let name = |what: &str| format!("{what}{without}");
    // Identity and slot A; slot B is blank.
    let mut device = table.judging(&name("boot"), 2, WHOLE, || boot::<A>(rng));
    let hello = table.judging(&name("Hello with 64 bytes"), 1, WHOLE, || {
        wire(
            device
                .send(0, &early, Confirm::Yes, &mut out)
                .expect("the hardware works")
                .datagram
                .expect("due"),
        )
    });
    // Without an RNG the salt is derived, and stands in clear in the Hello: its echo is compared.
    let why =
        if rng.is_some() { WHOLE } else { "whether a slot is whole; the echo of a salt that is public" };
    let salt = u64::from(rng.is_none());
    let welcome = take(&mut gateway, 0, hello.clone()).expect("it is fresh");
    for (what, mut forged) in forgeries(welcome.as_bytes()) {
        let error = table.judging(&name(&format!("Welcome, {what}")), 1 + salt, why, || {
            device.receive(0, &mut forged).err()
        });
        assert_eq!(error, Some(ReceiveError::Verify(VerifyError::Inauthentic)));
    }
    let received = table.judging(&name("Welcome"), 1 + salt, why, || {
        device.receive(0, &mut wire(welcome.as_bytes())).expect("it is authentic").event
    });
    assert!(matches!(received, Some(Event::SessionOpened { .. })));
    table.clean(&name("the device, dropped"), || drop(device));
}

/// A device whose server has seen later epochs.
fn floor<A: Backend>(table: &mut Table) {
    let mut out = [0; LONGEST];
    let mut gateway = serve::<A>(record().raised(9));
    let mut device = boot::<A>(RNG);
    device.connect(0);
    let hello = wire(device.poll(0, &mut out).expect("the hardware works").expect("a Hello is due"));
    let floor = take(&mut gateway, 0, hello).expect("it is stale");
    for (what, mut forged) in forgeries(floor.as_bytes()) {
        let error =
            table.judging(&format!("Floor, {what}"), 1, WHOLE, || device.receive(0, &mut forged).err());
        assert_eq!(error, Some(ReceiveError::Verify(VerifyError::Inauthentic)));
    }
    let event = table.judging("Floor", 1, WHOLE, || {
        device.receive(0, &mut wire(floor.as_bytes())).expect("it is authentic").event
    });
    assert_eq!(event, Some(Event::Stale { floor: Epoch::new(9, 0xFFFF), moved: true }));
}

/// A device and its server in a session.
pub fn session<A: Backend>() -> (Mote<A>, Gateway<A>) {
    let (mut device, mut gateway) = (boot::<A>(RNG), serve::<A>(record()));
    device.connect(0);
    settle(&mut device, &mut gateway, 0);
    assert!(device.session().is_some());
    (device, gateway)
}

fn data<A: Backend>(table: &mut Table) {
    let (mut device, mut gateway) = session::<A>();
    let mut out = [0; LONGEST];
    let up = payload::<64>();
    for confirm in [Confirm::Yes, Confirm::No] {
        table.clean(&format!("Data of 64 bytes sent, outcome wanted: {confirm:?}"), || {
            device.send(0, &up, confirm, &mut out).expect("in a session");
        });
    }
    for len in [1, 16, 64, 200] {
        let down = &payload::<200>()[..len];
        let mut room = [0; LONGEST];
        let (datagram, _) = gateway
            .send_plain(moteseal::number::DeviceId::new(*crate::world::ID.as_bytes()), down, &mut room)
            .expect("in a session");
        let datagram = wire(datagram);
        for (what, mut forged) in forgeries(&datagram) {
            let error =
                table.clean(&format!("Data of {len} bytes, {what}"), || device.receive(0, &mut forged).err());
            assert_eq!(error, Some(ReceiveError::Verify(VerifyError::Inauthentic)));
        }
        let taken = table.clean(&format!("Data of {len} bytes"), || {
            device
                .receive(0, &mut datagram.clone())
                .expect("authentic")
                .payload
                .map(|payload| payload.bytes.len())
        });
        assert_eq!(taken, Some(len));
        table.clean(&format!("Data of {len} bytes, again"), || {
            device.receive(0, &mut datagram.clone()).map(drop).expect_err("it is a repeat")
        });
    }
    table.clean("session closed", || device.close(0, &mut out).map(drop)).expect("there is room");
}

/// A server that has lost its counters.
fn reset<A: Backend>(table: &mut Table) {
    let (mut device, gateway) = session::<A>();
    let mut gateway = serve::<A>(crate::world::record_of(&gateway));
    let mut out = [0; LONGEST];
    let sent = device.send(0, &payload::<8>(), Confirm::Yes, &mut out).expect("in a session");
    let sent = wire(sent.datagram.expect("in a session"));
    let reset = take(&mut gateway, 5_000, sent).expect("a Data of a known session");
    for (what, mut forged) in forgeries(reset.as_bytes()) {
        let error = table.clean(&format!("Reset, {what}"), || device.receive(0, &mut forged).err());
        assert_eq!(error, Some(ReceiveError::Reset(moteseal::error::ResetError::Inauthentic)));
    }
    let event =
        table.clean("Reset", || device.receive(0, &mut wire(reset.as_bytes())).expect("authentic").event);
    assert_eq!(event, Some(Event::SessionLost));
}

/// A *rotate*, the Hellos under two keys, and the end of the old one.
fn rotation<A: Backend>(table: &mut Table) {
    let (mut device, mut gateway) = session::<A>();
    let begun = gateway.begin_rotation(crate::world::ID, &rotation_key());
    let (admin, change) = begun.expect("no rotation is under way");
    gateway.apply(admin, change.committed()).expect("there is one store");
    let rotate = wire(gateway.poll(0, INDEX).expect("a rotate is due").datagram);
    for (what, mut forged) in forgeries(&rotate) {
        let error = table.clean(&format!("rotate, {what}"), || device.receive(0, &mut forged).err());
        assert_eq!(error, Some(ReceiveError::Verify(VerifyError::Inauthentic)));
    }
    let why = "the identity is whole, r proves itself, the key is not there yet, written right, is there";
    let event = table.judging("rotate, a key taken", 5, why, || {
        device.receive(0, &mut rotate.clone()).expect("authentic").event
    });
    assert_eq!(event, Some(Event::KeyTaken(Generation::new(2).expect("not 0"))));
    let mut out = [0; LONGEST];
    let ack = device.poll(0, &mut out).expect("the hardware works").expect("rotate asks for it");
    take(&mut gateway, 0, wire(ack));
    let hello = table.judging("Hello under the new key", 1, WHOLE, || {
        let datagram = device.poll(0, &mut out).expect("the hardware works").expect("it is due at once");
        wire(datagram)
    });
    let welcome = take(&mut gateway, 0, hello).expect("it is fresh");
    let event = table.judging(
        "Welcome under it: the old key is erased",
        2,
        "a slot is whole; one is not blank",
        || device.receive(0, &mut wire(welcome.as_bytes())).expect("authentic").event,
    );
    assert!(matches!(event, Some(Event::SessionOpened { .. })));
    settle(&mut device, &mut gateway, 0);
}
