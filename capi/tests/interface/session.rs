//! A device and its server, datagram by datagram: each field of each result says what happened.

use moteseal_capi::error::Error;
use moteseal_capi::sizes::{DATAGRAM_MAX, FLASH_PAGE};
use moteseal_capi::types::{Epoch, Event, OldKey, Outcome, Received, Settled};

use crate::board::{Mote, blank, booted};
use crate::site::{ID, Site, provision};

/// A booted device and its server, and a clock that both read.
struct World {
    mote: Mote,
    site: Site,
    now: u64,
}

/// What the device saw while datagrams went to and fro.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    events: Vec<Event>,
    settled: Vec<Settled>,
    commands: Vec<Vec<u8>>,
}

fn world() -> World {
    let (flash, site) = provision(FLASH_PAGE as usize);
    World { mote: booted(flash), site, now: 10_000 }
}

fn epoch(boot: u32, count: u16) -> Epoch {
    Epoch { boot, count }
}

fn outcomes(received: &Received) -> &[Settled] {
    &received.settled[..received.settled_count.into()]
}

const fn acknowledged(ticket: u16) -> Settled {
    Settled { ticket, outcome: Outcome::Acknowledged }
}

impl World {
    /// Carries datagrams until nobody has more to say.
    fn carry(&mut self, first: Vec<u8>) -> Seen {
        let (mut seen, mut up) = (Seen::default(), vec![first]);
        up.retain(|datagram| !datagram.is_empty());
        loop {
            up.extend(self.mote.drain(self.now));
            let mut down = self.site.poll(self.now);
            up.drain(..).for_each(|datagram| down.extend(self.site.receive(self.now, &datagram)));
            if down.is_empty() {
                return seen;
            }
            self.now += 100;
            for datagram in down {
                let (error, received, command) = self.mote.receive(self.now, &datagram);
                assert_eq!(error, Error::Ok);
                seen.events.extend(Some(received.event).filter(|event| *event != Event::None));
                seen.settled.extend(outcomes(&received));
                seen.commands.extend(command);
            }
        }
    }

    /// Hands a payload over and carries.
    fn send(&mut self, payload: &str) -> (u16, Seen) {
        let (ticket, datagram) = self.mote.send(self.now, payload.as_bytes(), true).unwrap();
        (ticket, self.carry(datagram))
    }

    fn connected() -> Self {
        let mut world = world();
        let (ticket, seen) = world.send("21.5 C");
        assert_eq!((ticket, seen.settled), (1, vec![acknowledged(1)]));
        world.site.payloads.clear();
        world
    }
}

#[test]
fn the_first_payload_travels_in_the_hello() {
    let mut world = world();
    let (ticket, hello) = world.mote.send(world.now, b"21.5 C", true).unwrap();
    assert_eq!((ticket, hello.len()), (1, 37 + 6));
    // A second one has to wait, and says so.
    assert_eq!(world.mote.send(world.now, b"21.6 C", true), Err(Error::Busy));
    let [welcome] = <[_; 1]>::try_from(world.site.receive(world.now, &hello)).unwrap();
    let (error, received, payload) = world.mote.receive(world.now + 50, &welcome);
    assert_eq!((error, payload), (Error::Ok, None));
    assert_eq!((received.event, received.epoch), (Event::SessionOpened, epoch(1, 0)));
    assert_eq!((outcomes(&received), received.old_key), (&[acknowledged(1)][..], OldKey::Untouched));
    assert_eq!(world.mote.session(), Ok(Some(epoch(1, 0))));
    assert_eq!(world.site.payloads, ["21.5 C"]);
}

#[test]
fn data_is_confirmed_repeated_and_settled_once() {
    let mut world = World::connected();
    let (ticket, data) = world.mote.send(world.now, b"21.6 C", true).unwrap();
    assert!(ticket == 2 && !data.is_empty());
    // It is lost; at the deadline the same bytes go out again.
    let deadline = world.mote.deadline().unwrap();
    assert!(deadline > world.now);
    assert_eq!(world.mote.poll(deadline - 1), Ok(vec![]));
    world.now = deadline;
    assert_eq!(world.mote.poll(deadline), Ok(data.clone()));
    assert_eq!(world.carry(data).settled, [acknowledged(2)]);
    assert_eq!(world.site.payloads, ["21.6 C"]);
    assert_eq!(world.mote.withdraw(world.now, 2), Ok(Outcome::None));
}

#[test]
fn a_clock_that_fails_does_not_send_without_end() {
    // What a C program may hand on: -1 as the time.
    let mut world = world();
    world.mote.connect(u64::MAX).unwrap();
    assert_eq!(world.mote.poll(u64::MAX).unwrap().len(), 37);
    assert_eq!(world.mote.poll(u64::MAX), Ok(vec![]));
    let mut world = World::connected();
    world.mote.send(u64::MAX, b"21.6 C", true).unwrap();
    assert_eq!(world.mote.poll(u64::MAX), Ok(vec![]));
}

#[test]
fn data_without_confirmation_has_no_ticket() {
    let mut world = World::connected();
    let (ticket, data) = world.mote.send(world.now, b"21.6 C", false).unwrap();
    assert_eq!(ticket, 0);
    assert_eq!(data.len(), 19 + 6);
    assert_eq!(world.carry(data), Seen::default());
    assert_eq!(world.site.payloads, ["21.6 C"]);
}

#[test]
fn the_longest_payload_fits_and_one_byte_more_does_not() {
    let longest = vec![b'x'; DATAGRAM_MAX - 37];
    let mut world = world();
    assert_eq!(world.mote.send(0, &vec![b'x'; DATAGRAM_MAX - 36], true), Err(Error::TooLong));
    assert_eq!(world.mote.send(0, &[], true), Err(Error::Empty));
    let (_, hello) = world.mote.send(world.now, &longest, true).unwrap();
    assert_eq!(hello.len(), DATAGRAM_MAX);
    assert_eq!(world.carry(hello).settled, [acknowledged(1)]);
    let (_, seen) = world.send(&"y".repeat(longest.len()));
    assert_eq!(seen.settled, [acknowledged(2)]);
    assert_eq!(world.site.payloads.len(), 2);
}

#[test]
fn a_command_comes_with_its_name_and_its_age() {
    let mut world = World::connected();
    let command = world.site.command(world.now, 7, b"open");
    world.now += 1_000;
    let (error, received, payload) = world.mote.receive(world.now, &command);
    assert_eq!((error, payload), (Error::Ok, Some(b"open".to_vec())));
    // It is measured in quarters of ten minutes, never too young.
    assert!((1_000..=151_000).contains(&received.age_ms), "{}", received.age_ms);
    assert_eq!((received.epoch, received.event), (epoch(1, 0), Event::None));
    assert!(received.seq > 0 && received.payload_len == 4);
    // Replayed, it is nothing; and its acknowledgement goes out.
    let (error, received, payload) = world.mote.receive(world.now, &command);
    assert_eq!((error, payload, received.settled_count), (Error::Ok, None, 0));
    world.carry(vec![]);
    assert_eq!(world.site.commands.get(&7), Some(&"acknowledged"));
}

/// Telemetry that nobody hears, for so long that the device does not know any more when it sent what came before.
fn speak_into_the_void(world: &mut World) {
    for _ in 0..6 {
        world.now += 200_000;
        world.mote.send(world.now, b"?", false).unwrap();
    }
}

#[test]
fn a_command_that_was_held_back_for_long_is_of_unknown_age() {
    let mut world = World::connected();
    let command = world.site.command(world.now, 7, b"open");
    speak_into_the_void(&mut world);
    let (error, received, payload) = world.mote.receive(world.now, &command);
    assert_eq!((error, payload, received.age_ms), (Error::Ok, Some(b"open".to_vec()), u64::MAX));
}

#[test]
fn a_command_that_is_too_old_is_refused_where_that_is_asked_for() {
    let (flash, site) = provision(FLASH_PAGE as usize);
    let mut world = World { mote: blank(flash), site, now: 10_000 };
    let mut config = world.mote.hardware.config();
    (config.refuse_old, config.command_age_ms) = (1, 60_000);
    world.mote.boot_with(&config).unwrap();
    world.send("21.5 C");
    let command = world.site.command(world.now, 7, b"open");
    let (error, received, payload) = world.mote.receive(world.now + 200_000, &command);
    assert_eq!((error, payload, received.event), (Error::Ok, None, Event::CommandRefused));
    assert!(received.seq == 1 && received.age_ms > 200_000, "{}", received.age_ms);
    world.carry(vec![]);
    let command = world.site.command(world.now, 8, b"open");
    speak_into_the_void(&mut world);
    let (error, received, payload) = world.mote.receive(world.now, &command);
    assert_eq!((error, payload, received.event), (Error::Ok, None, Event::CommandRefused));
    assert_eq!(received.age_ms, u64::MAX);
}

#[test]
fn forgeries_and_noise_change_nothing() {
    let mut world = World::connected();
    let command = world.site.command(world.now, 7, b"open");
    for bit in 0..8 * command.len() {
        let mut forged = command.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let (error, received, payload) = world.mote.receive(world.now, &forged);
        assert!(error as u8 >= 64, "bit {bit}: {error:?}");
        assert_eq!((payload, received.settled_count, received.event), (None, 0, Event::None));
    }
    for len in 0..command.len() {
        let (error, ..) = world.mote.receive(world.now, &command[..len]);
        assert!(matches!(error, Error::NotMoteseal | Error::Inauthentic), "{len}: {error:?}");
    }
    let (hello, (_, sent)) = (booted(provision(FLASH_PAGE as usize).0).send(0, b"x", true), (0, 0));
    assert_eq!((world.mote.receive(world.now, &hello.unwrap().1).0, sent), (Error::Unexpected, 0));
    assert_eq!(world.mote.receive(world.now, &command).2, Some(b"open".to_vec()));
}

#[test]
fn an_old_welcome_is_not_waited_for() {
    let mut world = world();
    let (_, hello) = world.mote.send(world.now, b"x", true).unwrap();
    let welcome = world.site.receive(world.now, &hello).remove(0);
    assert_eq!(world.mote.receive(world.now, &welcome).0, Error::Ok);
    assert_eq!(world.mote.receive(world.now, &welcome).0, Error::Unexpected);
}

#[test]
fn a_waiting_payload_is_withdrawn() {
    let mut world = world();
    let (ticket, _) = world.mote.send(world.now, b"21.5 C", true).unwrap();
    assert_eq!(world.mote.withdraw(world.now, 0), Ok(Outcome::None));
    assert_eq!(world.mote.withdraw(world.now, ticket + 1), Ok(Outcome::None));
    assert_eq!(world.mote.withdraw(world.now, ticket), Ok(Outcome::Unknown), "it was in a Hello");
    // While a Hello without a payload is outstanding, the next one waits.
    world.mote.drain(world.now);
    let (ticket, datagram) = world.mote.send(world.now, b"21.6 C", true).unwrap();
    assert_eq!((datagram, world.mote.withdraw(world.now, ticket)), (vec![], Ok(Outcome::Unsent)));
}

#[test]
fn connect_opens_a_session_and_asks_for_a_sign_of_life() {
    let mut world = world();
    world.mote.connect(world.now).unwrap();
    assert_eq!(world.mote.deadline(), Ok(world.now));
    assert_eq!(world.carry(vec![]).events, [Event::SessionOpened]);
    world.mote.connect(world.now).unwrap();
    assert_eq!(world.mote.deadline(), Ok(0));
    assert_eq!(world.mote.drain(world.now).len(), 1);
}

#[test]
fn close_tells_the_server_and_settles() {
    let mut world = World::connected();
    let (ticket, _) = world.mote.send(world.now, b"21.6 C", true).unwrap();
    let (closed, datagram) = world.mote.close(world.now).unwrap();
    assert_eq!(closed.settled_count, 1);
    assert_eq!(closed.settled[0], Settled { ticket, outcome: Outcome::Unknown });
    world.site.receive(world.now, &datagram);
    assert_eq!((world.site.closed, world.mote.session()), (1, Ok(None)));
    let (closed, datagram) = world.mote.close(world.now).unwrap();
    assert_eq!((closed.settled_count, datagram), (0, vec![]));
    // And on it goes.
    assert_eq!(world.send("21.7 C").1.settled, [acknowledged(3)]);
}

#[test]
fn a_server_that_lost_the_session_is_told() {
    let mut world = World::connected();
    world.site.restart();
    let (ticket, seen) = world.send("21.6 C");
    assert_eq!(seen.events, [Event::SessionLost, Event::SessionOpened]);
    assert_eq!(seen.settled, [Settled { ticket, outcome: Outcome::Unknown }]);
    assert_eq!(world.mote.session(), Ok(Some(epoch(1, 1))));
}

#[test]
fn an_erased_counter_is_moved_past_what_the_server_has_seen() {
    let mut world = World::connected();
    world.mote.reboot().unwrap();
    world.send("21.5 C");
    let page = FLASH_PAGE as usize;
    world.mote.hardware.flash.borrow_mut().put(3 * page, &vec![0xFF; 2 * page]).unwrap();
    world.mote.reboot().unwrap();
    world.site.restart();
    // The counter starts over, at an epoch that has been.
    let (_, datagram) = world.mote.send(world.now, b"21.6 C", true).unwrap();
    let floor = world.site.receive(world.now, &datagram).remove(0);
    let (error, received, _) = world.mote.receive(world.now, &floor);
    assert_eq!((error, received.event), (Error::Ok, Event::Stale));
    assert_eq!((received.epoch, received.moved), (epoch(2, 0), 1));
    let seen = world.carry(vec![]);
    assert_eq!(seen.events, [Event::SessionOpened]);
    assert_eq!((seen.settled, world.mote.boot_count()), (vec![acknowledged(1)], Ok(3)));
}

#[test]
fn a_rotation_takes_a_key_and_erases_the_old_one() {
    let mut world = World::connected();
    world.site.begin_rotation().unwrap();
    let rotate = world.site.poll(world.now).remove(0);
    let (error, received, _) = world.mote.receive(world.now, &rotate);
    assert_eq!((error, received.event, received.generation), (Error::Ok, Event::KeyTaken, 2));
    // The acknowledgement, and a Hello under the new key.
    let [_, hello] = <[_; 2]>::try_from(world.mote.drain(world.now)).unwrap();
    let welcome = world.site.receive(world.now, &hello).remove(0);
    let (error, received, _) = world.mote.receive(world.now, &welcome);
    assert_eq!((error, received.event, received.old_key), (Error::Ok, Event::SessionOpened, OldKey::Erased));
    world.carry(vec![]);
    world.site.finish_rotation().unwrap();
    world.mote.reboot().unwrap();
    assert_eq!(world.send("21.7 C").1.settled, [acknowledged(1)]);
    assert_eq!(world.mote.check(), Ok(*ID.as_bytes()));
}

#[test]
fn a_key_that_cannot_be_written_is_not_acknowledged() {
    use moteseal_sim::nor::Fault;
    let mut world = World::connected();
    let page = FLASH_PAGE as usize;
    world.site.begin_rotation().unwrap();
    let rotate = world.site.poll(world.now).remove(0);
    world.mote.hardware.flash.borrow_mut().set_fault(2 * page..3 * page, Fault::WriteFails);
    assert_eq!(world.mote.receive(world.now, &rotate).0, Error::FlashWrite);
    world.mote.hardware.flash.borrow_mut().clear_faults();
    assert_eq!(world.mote.drain(world.now), Vec::<Vec<u8>>::new(), "nothing is acknowledged");
    // In the next session the server offers it anew.
    world.mote.reboot().unwrap();
    assert!(world.send("21.6 C").1.events.contains(&Event::KeyTaken));
}

#[test]
fn many_devices_live_side_by_side() {
    let mut worlds: Vec<World> = (0..5).map(|_| world()).collect();
    for round in 0..3 {
        for world in &mut worlds {
            let (ticket, seen) = world.send("21.5 C");
            assert_eq!((ticket, seen.settled), (round + 1, vec![acknowledged(round + 1)]));
        }
    }
    assert!(worlds.iter().all(|world| world.site.payloads.len() == 3));
}
