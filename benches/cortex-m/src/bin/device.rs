//! The firmware with the whole device half: every function of it is reachable, with arguments from outside.

#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use cortex_m_rt::entry;
use moteseal::boot_counter::NorBootCounter;
use moteseal::device::{CommandAge, Config, Confirm, Device, Event, Parts, Received, Settled, Ticket};
use moteseal::key_slots::NorKeySlots;
use moteseal_cortex_m::chip::{Flash, Rng};
use moteseal_cortex_m::port::{self, Register};

moteseal_cortex_m::forbid_panics!();

type Board = Parts<NorBootCounter<Flash>, NorKeySlots<Flash>, Rng>;
type Mote = Device<Board, 128>;

#[entry]
fn main() -> ! {
    static mut DEVICE: MaybeUninit<Mote> = MaybeUninit::uninit();
    if let Some(device) = boot() {
        run(DEVICE.write(device));
    }
    loop {
        port::tell(0);
    }
}

fn boot() -> Option<Mote> {
    let keys = NorKeySlots::new(Flash, 0).ok()?;
    let counter = NorBootCounter::new(Flash, NorKeySlots::<Flash>::LEN).ok()?;
    let bound_ms = port::read(Register::Argument);
    let command_age = match port::read(Register::Argument) {
        0 => CommandAge::Report { bound_ms },
        _ => CommandAge::Refuse { bound_ms },
    };
    Device::boot(Parts::new(counter, keys, Rng), Config { command_age, ..Config::default() }).ok()
}

fn run(device: &mut Mote) -> ! {
    let (mut buffer, mut out) = ([0; 128], [0; 128]);
    let mut ticket = None;
    loop {
        let command = port::read(Register::Command);
        match command {
            0 | 1 => {
                let payload = port::take(&mut buffer);
                let confirm = if command == 0 { Confirm::Yes } else { Confirm::No };
                if let Ok(sent) = device.send(port::now(), payload, confirm, &mut out) {
                    ticket = sent.ticket.or(ticket);
                    port::give(sent.datagram.unwrap_or_default());
                }
            }
            2 => match device.receive(port::now(), port::take(&mut buffer)) {
                Ok(received) => tell(&received),
                Err(_) => port::tell(0),
            },
            3 => {
                while let Ok(Some(datagram)) = device.poll(port::now(), &mut out) {
                    port::give(datagram);
                }
            }
            4 => port::tell(device.deadline().unwrap_or_default() as u32),
            5 => device.connect(port::now()),
            6 => {
                port::tell(ticket.and_then(|ticket| device.withdraw(port::now(), ticket)).map_or(9, outcome));
            }
            7 => {
                if let Ok(closed) = device.close(port::now(), &mut out) {
                    port::give(closed.datagram.unwrap_or_default());
                    closed.settled.iter().copied().for_each(tell_settled);
                }
            }
            8 => port::give(device.device_id().as_bytes()),
            _ => {
                if let Some(epoch) = device.session() {
                    port::give(epoch.as_bytes());
                }
            }
        }
    }
}

fn outcome(outcome: moteseal::device::Outcome) -> u32 {
    outcome as u32
}

fn tell_settled(settled: Settled) {
    let ticket: Ticket = settled.ticket;
    port::tell(u32::from(ticket.number()) << 8 | outcome(settled.outcome));
}

fn tell(received: &Received<'_>) {
    if let Some(payload) = &received.payload {
        port::give(payload.bytes);
        port::tell(u32::from(payload.number.value()));
        port::tell(payload.age_ms.unwrap_or_default() as u32);
    }
    received.settled.iter().copied().for_each(tell_settled);
    match received.event {
        Some(Event::SessionOpened { epoch, .. } | Event::Stale { floor: epoch, .. }) => {
            port::give(epoch.as_bytes());
        }
        Some(Event::CommandRefused { number, .. }) => port::tell(u32::from(number.value())),
        Some(Event::KeyTaken(generation)) => port::tell(u32::from(generation.number())),
        Some(_) => port::tell(1),
        None => {}
    }
}
