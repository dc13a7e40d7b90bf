//! Both halves and the attacker between them: which actions are possible in a state, and what each leads to.
//!
//! A state is five small numbers and what is left of the bounds: of the device, of the server, of what was sent and sealed so
//! far, of what became of the payloads. Two states are the same exactly if these are equal.
//!
//! One reduction is made, unless a scenario asks for changes under way: while a change waits for the store, nothing but its
//! own steps and a crash happens. Those steps read and write nothing that the device or the attacker has, and what they
//! send is on the air from then on for good; so what the others do could as well have been done before or after them.
//! (What another datagram does to the *server* in between is what the scenarios with changes under way are for.)

use std::collections::BTreeSet;
use std::rc::Rc;

use moteseal::wire::Header;

use crate::bounds::{Bounds, Item};
use crate::catalog::{Catalog, DatagramId, SealId, Way};
use crate::device::{self, DeviceState};
use crate::disk::RestoreCut;
use crate::emit::Emit;
use crate::halves::Halves;
use crate::intern::Intern;
use crate::judge::Fates;
use crate::scenario::Scenario;
use crate::server::{self, ServerState};
use crate::thief;

/// A state of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The device.
    pub device: u32,
    /// The server.
    pub server: u32,
    past: u32,
    fates: u32,
    left: Bounds,
}

/// What was sent, which the attacker has, and what was sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Past {
    known: Vec<DatagramId>,
    sealed: Vec<SealId>,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To the device.
    Device(device::Input),
    /// To the server.
    Server(server::Input),
}

/// Where an action leads.
pub enum Outcome {
    /// It cannot happen, or says nothing new.
    Nothing,
    /// It would take more than the bounds allow.
    Beyond,
    /// To this state.
    Next(State),
    /// A property is broken.
    Broken(String),
}

/// Everything that the exploration of one scenario has met.
pub struct World {
    /// The scenario.
    pub scenario: &'static Scenario,
    /// Datagrams and seals.
    pub catalog: Catalog,
    /// States of the device.
    pub devices: Halves<DeviceState>,
    /// States of the server.
    pub servers: Halves<ServerState>,
    /// What traces have a word for, and happened.
    pub noted: BTreeSet<&'static str>,
    initial: Bounds,
    pasts: Intern<Past>,
    fates: Intern<Fates>,
}

impl World {
    /// The world of a scenario, and its first state: everything is provisioned, the server runs, the device is off.
    pub fn new(scenario: &'static Scenario, bounds: Bounds) -> (Self, State) {
        let mut world = Self {
            scenario,
            catalog: Catalog::default(),
            devices: Halves::new(),
            servers: Halves::new(),
            noted: BTreeSet::new(),
            initial: bounds,
            pasts: Intern::new(),
            fates: Intern::new(),
        };
        let state = State {
            device: world.devices.id(DeviceState::new(scenario.rng, scenario.boots, scenario.lazy)),
            server: world.servers.id(ServerState::new()),
            past: world.pasts.id(Past::default()),
            fates: world.fates.id(Fates::default()),
            left: bounds,
        };
        (world, state)
    }

    /// What may happen in `state`, and what it takes from the bounds.
    pub fn actions(&self, state: State, into: &mut Vec<(Action, Option<Item>)>) {
        into.clear();
        let server = self.servers.state(state.server);
        for index in 0..u8::try_from(server.pending()).unwrap_or(0) {
            use server::Input::{Finish, FinishAndCrash, NoteAndCrash, Write};
            let steps = if server.is_written(index) {
                [(Finish(index), None), (FinishAndCrash(index), Some(Item::Crash))]
            } else {
                [(Write(index), None), (NoteAndCrash(index), Some(Item::Crash))]
            };
            into.extend(steps.map(|(input, item)| (Action::Server(input), item)));
        }
        into.push((Action::Server(server::Input::Crash), Some(Item::Crash)));
        if server.pending() == 0 || self.scenario.under_way {
            self.device_actions(state, into);
            self.server_actions(state, into);
        }
    }

    fn device_actions(&self, state: State, into: &mut Vec<(Action, Option<Item>)>) {
        use device::Input::{
            Boot, Burst, Close, Connect, Erase, Poll, Receive, ReceiveCut, RollBack, Send, Wait, Withdraw,
        };
        let mut add = |input, item| into.push((Action::Device(input), item));
        let device = self.devices.state(state.device);
        if !device.is_on() {
            if !device.has_refused() {
                add(Boot, None);
            }
            return;
        }
        let index = self.used(state, Item::Send) + self.used(state, Item::SendPlain);
        add(Boot, Some(Item::Boot));
        add(Send { index, confirm: true }, Some(Item::Send));
        add(Send { index, confirm: false }, Some(Item::SendPlain));
        add(Burst, Some(Item::Burst));
        add(Connect, Some(Item::Connect));
        add(Withdraw, Some(Item::Withdraw));
        add(Close, Some(Item::Close));
        add(Wait, Some(Item::DeviceWait));
        add(Erase, Some(Item::Erase));
        add(RollBack, Some(Item::RollBack));
        if self.scenario.lazy {
            add(Poll, None);
        }
        for datagram in &self.pasts.value(state.past).known {
            let datagram = *datagram;
            add(Receive(datagram), None);
            for done in [false, true] {
                add(ReceiveCut { datagram, done }, Some(Item::Cut));
            }
        }
    }

    fn server_actions(&self, state: State, into: &mut Vec<(Action, Option<Item>)>) {
        use server::Input::{
            BackUp, BeginRotation, Command, FinishRotation, Plain, Receive, Restore, Revoke, Wait,
        };
        let mut add = |input, item| into.push((Action::Server(input), item));
        let first_plain = self.initial.left(Item::Command);
        for index in 0..self.used(state, Item::Command) {
            add(Command { index, comes: false }, None);
        }
        let index = self.used(state, Item::Command);
        add(Command { index, comes: true }, Some(Item::Command));
        add(Plain { index: first_plain + self.used(state, Item::Plain) }, Some(Item::Plain));
        add(Wait, Some(Item::ServerWait));
        add(BeginRotation, Some(Item::Rotation));
        add(FinishRotation, None);
        add(Revoke, Some(Item::Revocation));
        if state.left.left(Item::Restore) > 0 {
            add(BackUp, None);
            for cut in [RestoreCut::Nowhere, RestoreCut::AfterMark, RestoreCut::AfterCopy] {
                add(Restore(cut), Some(Item::Restore));
            }
        }
        for datagram in &self.pasts.value(state.past).known {
            add(Receive(*datagram), None);
        }
    }

    fn used(&self, state: State, item: Item) -> u8 {
        self.initial.left(item) - state.left.left(item)
    }

    /// What `action` leads to.
    pub fn apply(&mut self, state: State, action: Action, item: Option<Item>) -> Outcome {
        let Some(left) = item.map_or(Some(state.left), |item| state.left.take(item)) else {
            return Outcome::Nothing;
        };
        let (next, emits, way) = match action {
            Action::Device(input) => {
                let Some((device, emits)) = self.devices.step(state.device, input, &mut self.catalog) else {
                    return Outcome::Nothing;
                };
                (State { device, left, ..state }, emits, Way::Down)
            }
            Action::Server(input) => {
                let Some((server, emits)) = self.servers.step(state.server, input, &mut self.catalog) else {
                    return Outcome::Nothing;
                };
                let waits = |id| self.servers.state(id).pending();
                let left = if self.scenario.under_way && waits(server) > waits(state.server) {
                    let Some(left) = left.take(Item::Change) else { return Outcome::Beyond };
                    left
                } else {
                    left
                };
                (State { server, left, ..state }, emits, Way::Up)
            }
        };
        if emits.is_empty() { Outcome::Next(next) } else { self.account(next, &emits, way) }
    }

    /// Judges what a step brought about, and adds it to the past.
    fn account(&mut self, mut state: State, emits: &[Emit], way: Way) -> Outcome {
        let mut fates = Fates::clone(self.fates.value(state.fates));
        let before = Rc::clone(self.pasts.value(state.past));
        let mut past = Past::clone(&before);
        for emit in emits {
            if let Err(broken) = fates.note(emit, way, self.scenario.names_repeat) {
                return Outcome::Broken(broken);
            }
            match emit {
                Emit::Sealed(seal) => {
                    let place = self.catalog.facts(*seal).place;
                    let same = |other: &&SealId| self.catalog.facts(**other).place == place && *other != seal;
                    if past.sealed.iter().find(same).is_some() {
                        return Outcome::Broken("P3: one key and nonce for two contents".to_owned());
                    }
                    let malformed = |number: &u16| *number >= thief::FIRST_NUMBER;
                    if self.scenario.thief && self.catalog.facts(*seal).acknowledges.iter().any(malformed) {
                        return Outcome::Broken("M-16: what was malformed is acknowledged".to_owned());
                    }
                    insert(&mut past.sealed, *seal);
                }
                Emit::Sent(datagram) if insert(&mut past.known, *datagram) => {
                    if let Some(Header::Hello(_)) = self.catalog.header(*datagram) {
                        let Some(left) = state.left.take(Item::Hello) else { return Outcome::Beyond };
                        state.left = left;
                    }
                    if self.scenario.thief {
                        self.forge(*datagram, &mut past.known);
                    }
                }
                Emit::Note(note) => {
                    self.noted.insert(note);
                }
                _ => {}
            }
        }
        state.fates = self.fates.id(fates);
        if past != *before {
            state.past = self.pasts.id(past);
        }
        Outcome::Next(state)
    }

    fn forge(&mut self, welcome: DatagramId, known: &mut Vec<DatagramId>) {
        for hello in known.clone() {
            for forged in thief::forge(hello, welcome, &mut self.catalog) {
                insert(known, forged);
            }
        }
    }

    /// What an action does, for people.
    pub fn describe(&self, action: Action) -> String {
        match action {
            Action::Device(device::Input::Receive(id)) => {
                format!("to the device   <- {}", self.catalog.describe(id))
            }
            Action::Device(device::Input::ReceiveCut { datagram, done }) => format!(
                "to the device   <- {}, power cut {} the flash write",
                self.catalog.describe(datagram),
                if done { "after" } else { "before" }
            ),
            Action::Device(input) => format!("device          {input:?}"),
            Action::Server(server::Input::Receive(id)) => {
                format!("to the server   <- {}", self.catalog.describe(id))
            }
            Action::Server(input) => format!("server          {input:?}"),
        }
    }

    /// What `action` brings about, for people.
    pub fn effects(&mut self, state: State, action: Action) -> Vec<String> {
        let emits = match action {
            Action::Device(input) => self.devices.step(state.device, input, &mut self.catalog).map(|it| it.1),
            Action::Server(input) => self.servers.step(state.server, input, &mut self.catalog).map(|it| it.1),
        };
        let line = |emit: &Emit| match emit {
            Emit::Sent(id) => Some(format!("sends {}", self.catalog.describe(*id))),
            Emit::Delivered(payload, name) => Some(format!(
                "DELIVERS \"{}\", epoch {}, number {:?}",
                String::from_utf8_lossy(&payload.bytes()),
                name.epoch,
                name.number.map(moteseal::number::SequenceNumber::value)
            )),
            Emit::Told(payload, outcome) => Some(format!(
                "tells of \"{}\": {}",
                String::from_utf8_lossy(&payload.bytes()),
                device::word(*outcome)
            )),
            Emit::Note(note) => Some((*note).to_owned()),
            Emit::Broken(what) => Some(format!("BROKEN: {what}")),
            Emit::Restored => Some("the store is an old one".to_owned()),
            Emit::Sealed(_) | Emit::Named(..) | Emit::Heard => None,
        };
        emits.iter().flat_map(|emits| emits.iter().filter_map(line)).collect()
    }

    /// How much there is of everything, and what happened at all.
    pub fn sizes(&self) -> String {
        let noted = self.noted.iter().copied().collect::<Vec<_>>().join("; ");
        format!(
            "{} device states, {} server states, {} runs of the real code, {} datagrams\n  happened: {noted}",
            self.devices.len(),
            self.servers.len(),
            self.devices.runs() + self.servers.runs(),
            self.catalog.len()
        )
    }
}

/// Puts `id` into a sorted list; says whether it was not there.
fn insert(list: &mut Vec<u16>, id: u16) -> bool {
    match list.binary_search(&id) {
        Ok(_) => false,
        Err(at) => {
            list.insert(at, id);
            true
        }
    }
}
