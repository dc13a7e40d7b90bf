//! The firmware with the whole server half on a table of fixed size: every function of it is reachable, with arguments
//! from outside. A gateway of four devices that keeps their records wherever `port` leads.

#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use cortex_m_rt::entry;
use moteseal::delivery::Timing;
use moteseal::keys::RotationKey;
use moteseal::number::DeviceId;
use moteseal::record::{GatewayId, RECORD_LEN, Record, Status};
use moteseal::server::{
    Admin, Answer, Change, CommandId, DataReceived, FixedTable, Held, Index, Received, RecordChange, Sending,
    SentMark, Server,
};
use moteseal_cortex_m::chip::Rng;
use moteseal_cortex_m::port::{self, Register};

moteseal_cortex_m::forbid_panics!();

type Gateway = Server<FixedTable<u32, 4, 64>, Rng>;

#[entry]
fn main() -> ! {
    static mut SERVER: MaybeUninit<Gateway> = MaybeUninit::uninit();
    let mark = port::read(Register::Argument);
    if let Ok(server) = Server::new(FixedTable::new(), Rng, GatewayId(1), Timing::DEFAULT, mark) {
        run(SERVER.write(server));
    }
    loop {
        port::tell(0);
    }
}

fn run(server: &mut Gateway) -> ! {
    let mut buffer = [0; 128];
    loop {
        match port::read(Register::Command) {
            0 => add(server),
            1 => receive(server, port::take(&mut buffer)),
            2 => poll(server),
            3 => command(server, port::take(&mut buffer)),
            4 => {
                let mut out = [0; 128];
                if let Ok((datagram, to)) = server.send_plain(device_id(), port::take(&mut buffer), &mut out)
                {
                    port::give(datagram);
                    port::tell(to);
                }
            }
            5 => rotate(server),
            6 => administer(server, |server| server.finish_rotation(index()).ok()),
            7 => administer(server, |server| server.set_status(device_id(), Status::Active).ok()),
            8 => administer(server, |server| server.set_status(device_id(), Status::Revoked).ok()),
            9 => administer(server, |server| server.set_status(device_id(), Status::Quarantined).ok()),
            _ => port::tell(server.deadline(index()).unwrap_or_default() as u32),
        }
    }
}

fn index() -> Index {
    Index(port::read(Register::Argument))
}

fn device_id() -> DeviceId {
    let mut id = [0; 8];
    port::take(&mut id);
    DeviceId::new(id)
}

fn add(server: &mut Gateway) {
    let mut bytes = [0; RECORD_LEN];
    let record = Record::decode(port::take(&mut bytes));
    let mark = port::read(Register::Argument);
    port::tell(record.is_ok_and(|record| server.table_mut().insert(record.raised(mark)).is_ok()).into());
}

/// The store: says whether the record is durable.
fn store(change: &RecordChange) -> bool {
    port::tell(change.note_boot.unwrap_or_default());
    port::give(change.expected.encode().expose());
    port::give(change.record.encode().expose());
    port::argument() == 1
}

fn receive(server: &mut Gateway, datagram: &mut [u8]) {
    let from = port::read(Register::Argument);
    match server.receive(port::now(), from, datagram) {
        Received::Rejected { device_id, .. } => {
            port::give(device_id.as_ref().map_or(&[], |id| id.as_bytes()));
        }
        Received::Answered { answer, to, .. } => answered(Some((answer, to))),
        Received::Pending(held, change) => commit(server, held, change),
        Received::Data(data) => tell(&data),
    }
}

fn answered(answer: Option<(Answer, u32)>) {
    if let Some((answer, to)) = answer {
        port::give(answer.as_bytes());
        port::tell(to);
    }
}

fn commit(server: &mut Gateway, held: Held<&mut [u8], u32>, change: Change<RecordChange>) {
    if !store(change.value()) {
        return;
    }
    if let Ok(committed) = server.commit(held, change.committed()) {
        port::give(committed.payload.as_ref().map_or(&[], |payload| payload.as_bytes()));
        port::give(committed.epoch.as_bytes());
        port::tell(committed.unknown.map_or(0, |command| command.0 as u32));
        answered(committed.welcome);
    }
}

fn tell(data: &DataReceived<&mut [u8], u32>) {
    port::give(data.payload.as_ref().map_or(&[], |payload| payload.as_bytes()));
    port::give(data.epoch.as_bytes());
    port::tell(data.number.value().into());
    port::tell(data.acknowledged.map_or(0, |command| command.0 as u32));
    port::tell(data.unknown.map_or(0, |command| command.0 as u32));
    port::tell(
        u32::from(data.malformed.is_some())
            | u32::from(data.confirmed) << 1
            | u32::from(data.control.is_some()) << 2,
    );
    answered(data.answer);
}

fn poll(server: &mut Gateway) {
    let index = index();
    while let Some(transmit) = server.poll(port::now(), index) {
        port::give(transmit.datagram);
        port::tell(transmit.to);
    }
}

fn command(server: &mut Gateway, payload: &[u8]) {
    let begun = server.begin_command(device_id(), CommandId(port::now()), payload.len());
    let Ok((sending, mark)): Result<(Sending, Change<SentMark>), _> = begun else { return };
    port::give(mark.value().epoch.as_bytes());
    if port::argument() == 0 {
        server.give_up(&sending);
        return;
    }
    if let Ok(Some(transmit)) = server.seal_command(port::now(), sending, &mark.committed(), payload) {
        port::give(transmit.datagram);
        port::tell(transmit.to);
    }
}

fn rotate(server: &mut Gateway) {
    let mut key = [0; 32];
    port::take(&mut key);
    let key = RotationKey::new(key);
    administer(server, |server| server.begin_rotation(device_id(), &key).ok());
}

fn administer(
    server: &mut Gateway,
    begin: impl FnOnce(&mut Gateway) -> Option<(Admin, Change<RecordChange>)>,
) {
    let Some((admin, change)) = begin(server) else { return };
    if store(change.value())
        && let Ok(unknown) = server.apply(admin, change.committed())
    {
        port::tell(unknown.map_or(0, |command| command.0 as u32));
    }
}
