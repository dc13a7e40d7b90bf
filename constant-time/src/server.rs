//! The server half: Hellos of every kind, Data, commands, rotations, and how a device is found, which is by public names.

use moteseal::aead::Backend;
use moteseal::device::Confirm;
use moteseal::number::ConnectionId;
use moteseal::server::{CommandId, Table as _};

use crate::device::session;
use crate::table::Table;
use crate::world::{
    Counting, ID, INDEX, LONGEST, boot, forgeries, payload, record, rotation_key, serve, settle, take, wire,
};

/// A store and a server compare whole records, keys included, before they replace one (M-88).
const RECORDS: &str = "whether a record is the expected one: its key, the keys of a rotation";

/// Runs all of them with the backend `A`.
pub fn run<A: Backend>(table: &mut Table, name: &str) {
    Table::group(&format!("server: {name}"));
    hellos::<A>(table);
    data::<A>(table);
    rotation::<A>(table);
}

fn hellos<A: Backend>(table: &mut Table) {
    let mut gateway = serve::<A>(record());
    let (mut device, mut out) = (boot::<A>(Some(Counting(5))), [0; LONGEST]);
    table.clean("a device found by its id, and none by another", || {
        (gateway.table().find(ID), gateway.table().find(moteseal::number::DeviceId::new([9; 8])))
    });
    let early = payload::<64>();
    let hello =
        wire(device.send(0, &early, Confirm::Yes, &mut out).expect("it works").datagram.expect("a Hello"));
    for (what, forged) in forgeries(&hello) {
        let answer = table.clean(&format!("Hello, {what}"), || take(&mut gateway, 0, forged));
        assert!(answer.is_none());
    }
    let welcome = table.judging("Hello, fresh: committed, and welcomed", 1, RECORDS, || {
        take(&mut gateway, 0, hello.clone())
    });
    let welcome = welcome.expect("it is fresh");
    let again = table.clean("the same Hello again: the tag of the candidate is compared", || {
        take(&mut gateway, 0, hello.clone())
    });
    assert!(again.is_some_and(|again| wire(again.as_bytes()) == wire(welcome.as_bytes())));
    for (what, forged) in forgeries(&hello) {
        let answer = table.clean(&format!("the same Hello again, {what}"), || take(&mut gateway, 0, forged));
        assert!(answer.is_none());
    }
    let mut stale = serve::<A>(record().raised(9));
    let floor = table.clean("Hello, stale: answered by a Floor", || take(&mut stale, 0, hello.clone()));
    assert_eq!(floor.map(|floor| floor.as_bytes().len()), Some(25));
}

fn data<A: Backend>(table: &mut Table) {
    let (mut gateway, mut device, mut out) =
        (serve::<A>(record()), boot::<A>(Some(Counting(5))), [0; LONGEST]);
    device.connect(0);
    let hello = wire(device.poll(0, &mut out).expect("it works").expect("a Hello is due"));
    let welcome = take(&mut gateway, 0, hello).expect("it is fresh");
    device.receive(0, &mut wire(welcome.as_bytes())).expect("authentic");
    let first = wire(device.poll(0, &mut out).expect("it works").expect("the first Data is due"));
    for (what, forged) in forgeries(&first) {
        let answer =
            table.clean(&format!("first Data of a candidate, {what}"), || take(&mut gateway, 0, forged));
        assert!(answer.is_none());
    }
    table
        .clean("first Data of a candidate: confirmed, and acknowledged", || {
            take(&mut gateway, 0, first.clone())
        })
        .expect("C");
    settle(&mut device, &mut gateway, 0);
    let cid = gateway.table().peer(INDEX).and_then(|peer| peer.cids().next()).expect("in a session");
    table.clean("a device found by its connection id, and none by another", || {
        (gateway.table().owner(cid), gateway.table().owner(ConnectionId::new(4, 7).expect("it fits")))
    });
    for len in [1, 64, 200] {
        let sent = device.send(0, &payload::<200>()[..len], Confirm::No, &mut out).expect("in a session");
        let sent = wire(sent.datagram.expect("in a session"));
        for (what, forged) in forgeries(&sent) {
            let answer =
                table.clean(&format!("Data of {len} bytes, {what}"), || take(&mut gateway, 0, forged));
            assert!(answer.is_none());
        }
        table.clean(&format!("Data of {len} bytes"), || take(&mut gateway, 0, sent.clone()));
        table.clean(&format!("Data of {len} bytes, again"), || take(&mut gateway, 0, sent.clone()));
    }
    let command = payload::<32>();
    let sealed = table.clean("a command of 32 bytes sealed", || {
        let (sending, mark) = gateway.begin_command(ID, CommandId(1), command.len()).expect("in a session");
        let transmit = gateway.seal_command(0, sending, &mark.committed(), &command).expect("in a session");
        wire(transmit.expect("its address is free").datagram)
    });
    assert!(sealed.len() > command.len());
    without_counters::<A>(table, &mut device, crate::world::record_of(&gateway));
}

fn without_counters<A: Backend>(
    table: &mut Table,
    device: &mut crate::world::Mote<A>,
    record: moteseal::record::Record,
) {
    let (mut gateway, mut out) = (serve::<A>(record), [0; LONGEST]);
    let sent = device.send(0, &payload::<8>(), Confirm::No, &mut out).expect("in a session");
    let sent = wire(sent.datagram.expect("in a session"));
    for (what, forged) in forgeries(&sent) {
        let answer = table.clean(&format!("Data without counters, {what}"), || take(&mut gateway, 0, forged));
        assert!(answer.is_none());
    }
    let reset = table.clean("Data without counters: answered by a Reset", || take(&mut gateway, 5_000, sent));
    assert!(reset.is_some());
}

fn rotation<A: Backend>(table: &mut Table) {
    let (mut device, mut gateway) = session::<A>();
    let key = rotation_key();
    table.judging("a rotation begun", 3, RECORDS, || {
        let (admin, change) = gateway.begin_rotation(ID, &key).expect("none is under way");
        gateway.apply(admin, change.committed()).expect("there is one store");
    });
    let rotate = table.clean("rotate sealed", || wire(gateway.poll(0, INDEX).expect("it is due").datagram));
    device.receive(0, &mut rotate.clone()).expect("authentic");
    settle(&mut device, &mut gateway, 0);
    assert!(gateway.rotation_to_finish(INDEX).is_some());
    table.judging("a rotation finished", 4, RECORDS, || {
        let (admin, change) = gateway.finish_rotation(INDEX).expect("a session under the new key");
        gateway.apply(admin, change.committed()).expect("there is one store");
    });
}
