//! Both halves in one process, without a network: a device on simulated NOR flash says hello, sends telemetry and takes
//! a command; its power is cut; the server crashes; both are back.
//!
//! `cargo run --example loopback --features embedded-storage`

use std::cell::RefCell;
use std::error::Error;

use moteseal::boot_counter::{NorBootCounter, entry};
use moteseal::delivery::{Millis, Timing};
use moteseal::device::{Config, Confirm, Device, Hardware, Parts};
use moteseal::entropy::{Entropy, FromFn};
use moteseal::error::EntropyError;
use moteseal::flash::SharedFlash;
use moteseal::identity::{FactoryImage, Identity};
use moteseal::key_slots::NorKeySlots;
use moteseal::keys::{FleetKey, RotationRoot};
use moteseal::number::{DeviceId, Generation};
use moteseal::record::{GatewayId, Record};
use moteseal::server::{CommandId, FixedTable, Index, Received, Server};
use moteseal_sim::nor::Nor;

const PAGE: usize = 1024;
type Flash = Nor<4, PAGE>;
type Gateway<E> = Server<FixedTable<&'static str, 8, 128>, E>;

/// The system's generator.
fn rng() -> impl Entropy {
    FromFn(|bytes: &mut [u8]| getrandom::fill(bytes).map_err(|_| EntropyError::Failed))
}

/// What the factory does: keys, an image for the device's flash, a record for the server.
fn provision() -> Result<(Flash, Record), Box<dyn Error>> {
    let (mut fleet, mut root) = ([0; 32], [0; 32]);
    rng().fill(&mut fleet)?;
    rng().fill(&mut root)?;
    let device_id = DeviceId::new(*b"\x02door\x00\x00\x01");
    let device_key = FleetKey::new(fleet).device_key(Generation::FIRST, device_id);
    let rotation_key = RotationRoot::new(root).rotation_key(device_id);
    let image = FactoryImage::new(Identity { device_id, rotation_key }, device_key.clone());
    let mut flash = Flash::new(5 * PAGE);
    for (offset, part) in image.parts(PAGE.try_into()?) {
        flash.put(offset.try_into()?, part.expose()).map_err(|_| "the image does not fit")?;
    }
    // The boot counter starts at 0.
    flash.put(3 * PAGE, &entry(0)).map_err(|_| "the counter does not fit")?;
    Ok((flash, Record::provisioned(device_id, Generation::FIRST, device_key)))
}

/// The device's hardware: one flash for the keys and the boot counter.
fn board(flash: &RefCell<Flash>) -> Result<impl Hardware, Box<dyn Error>> {
    let keys = NorKeySlots::new(SharedFlash::new(flash), 0)?;
    let counter = NorBootCounter::new(SharedFlash::new(flash), NorKeySlots::<Flash>::LEN)?;
    Ok(Parts::new(counter, keys, rng()))
}

fn server(record: &Record) -> Result<Gateway<impl Entropy + use<>>, Box<dyn Error>> {
    let mut table = FixedTable::new();
    table.insert(record.clone())?;
    Ok(Server::new(table, rng(), GatewayId(0), Timing::DEFAULT, 0)?)
}

/// Hands one datagram to the server, which writes what must be durable into `record`, and gives its answer.
fn deliver(
    server: &mut Gateway<impl Entropy>,
    record: &mut Record,
    now: Millis,
    datagram: &[u8],
) -> Result<Option<Vec<u8>>, Box<dyn Error>> {
    let answer = match server.receive(now, "the device", datagram.to_vec()) {
        Received::Rejected { reason, .. } => {
            println!("  server: rejected, {reason}");
            None
        }
        Received::Answered { kind, answer, .. } => {
            println!("  server: {kind:?}");
            Some(answer)
        }
        Received::Pending(held, change) => {
            // A real store compares, sets and syncs before it says so.
            *record = change.value().record.clone();
            let committed = server.commit(held, change.committed())?;
            let early =
                committed.payload.as_ref().map(|p| String::from_utf8_lossy(p.as_bytes()).into_owned());
            println!("  server: hello {}, early data {early:?}", committed.epoch);
            committed.welcome.map(|(welcome, _)| welcome)
        }
        Received::Data(data) => {
            if let Some(payload) = &data.payload {
                let text = String::from_utf8_lossy(payload.as_bytes()).into_owned();
                println!("  server: data {} {}: {text}", data.epoch, data.number.value());
            }
            if let Some(command) = data.acknowledged {
                println!("  server: command {} acknowledged", command.0);
            }
            data.answer.map(|(answer, _)| answer)
        }
    };
    Ok(answer.map(|answer| answer.as_bytes().to_vec()))
}

/// Carries datagrams back and forth until neither side has anything to say.
fn settle<H: Hardware>(
    device: &mut Device<H, 128>,
    server: &mut Gateway<impl Entropy>,
    record: &mut Record,
    now: Millis,
    first: Option<Vec<u8>>,
) -> Result<(), Box<dyn Error>> {
    let mut out = [0; 128];
    let mut up: Vec<Vec<u8>> = first.into_iter().collect();
    loop {
        while let Some(datagram) = device.poll(now, &mut out)? {
            up.push(datagram.to_vec());
        }
        let mut down = Vec::new();
        for datagram in up.drain(..) {
            down.extend(deliver(server, record, now, &datagram)?);
        }
        while let Some(transmit) = server.poll(now, Index(0)) {
            down.push(transmit.datagram.to_vec());
        }
        if down.is_empty() {
            return Ok(());
        }
        for mut datagram in down {
            match device.receive(now, &mut datagram) {
                Ok(received) => {
                    received.event.inspect(|event| println!("  device: {event:?}"));
                    received.settled.iter().for_each(|settled| println!("  device: {settled:?}"));
                    received.payload.inspect(|command| {
                        println!("  device: command {:?}", String::from_utf8_lossy(command.bytes));
                    });
                }
                Err(error) => println!("  device: dropped, {error}"),
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (flash, mut record) = provision()?;
    let flash = RefCell::new(flash);
    let mut gateway = server(&record)?;
    let mut out = [0; 128];

    println!("The device boots and sends its first payload in a Hello.");
    let mut device: Device<_, 128> = Device::boot(board(&flash)?, Config::default())?;
    let sent = device.send(0, b"21.5 C", Confirm::Yes, &mut out)?;
    let first = sent.datagram.map(<[u8]>::to_vec);
    settle(&mut device, &mut gateway, &mut record, 100, first)?;

    println!("The server sends a command: marked as sent, then sealed.");
    let command = b"open";
    let (sending, mark) = gateway.begin_command(device.device_id(), CommandId(1), command.len())?;
    let transmit = gateway.seal_command(1_000, sending, &mark.committed(), command)?;
    let mut datagram = transmit.map(|transmit| transmit.datagram.to_vec()).unwrap_or_default();
    let received = device.receive(1_050, &mut datagram)?;
    received.payload.inspect(|command| println!("  device: at most {:?} ms old", command.age_ms));
    settle(&mut device, &mut gateway, &mut record, 1_100, None)?;

    println!("The device's power is cut. It boots again, with its flash as it was.");
    drop(device);
    let mut device: Device<_, 128> = Device::boot(board(&flash)?, Config::default())?;
    let sent = device.send(2_000, b"21.7 C", Confirm::Yes, &mut out)?;
    let first = sent.datagram.map(<[u8]>::to_vec);
    settle(&mut device, &mut gateway, &mut record, 2_100, first)?;

    println!("The server crashes. It starts again from the record that it wrote.");
    let mut gateway = server(&record)?;
    let sent = device.send(3_000, b"21.9 C", Confirm::Yes, &mut out)?;
    let first = sent.datagram.map(<[u8]>::to_vec);
    settle(&mut device, &mut gateway, &mut record, 3_100, first)?;
    Ok(())
}
