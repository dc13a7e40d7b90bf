//! The queue of commands in a world: shared by the gateways, marked *sent* before they are sealed, and one word each.
//! SPEC sections 8 and 9.5.

use moteseal::error::CommandError;
use moteseal::server::{Change, Command, CommandId, CommandState, Durable, Sending, SentMark};

use crate::agenda::Due;
use crate::auditor::Down;
use crate::gateway;
use crate::steps::Pending;
use crate::world::World;

impl World {
    /// The application queues a command.
    pub fn order(&mut self, device: usize) {
        self.next_command += 1;
        let down = Down { id: self.next_command, idempotent: self.random.chance(400) };
        let len = self.random.pick(&[0, 3, 40, 90]);
        let payload = down.write(&self.random.bytes(len));
        let expires = self.random.chance(300).then(|| self.now + self.random.pick(&[1_000, 30_000, 600_000]));
        let (id, device_id) = (CommandId(down.id), self.id_of(device));
        let command =
            Command { id, device_id, idempotent: down.idempotent, expires, state: CommandState::Queued };
        self.disk.enqueue(device, command, payload);
        self.pump(device);
    }

    pub fn send_plain(&mut self, device: usize) {
        for site in self.holders(device) {
            let id = self.id_of(device);
            let Some(gateway) = &mut self.sites[site].gateway else { continue };
            self.next_command += 1;
            let payload = Down { id: self.next_command, idempotent: false }.write(&[]);
            let mut out = [0; 128];
            let sent = gateway.half.send_plain(id, &payload, &mut out);
            let Ok((bytes, to)) = sent.map(|(bytes, to)| (bytes.to_vec(), to)) else { continue };
            self.coverage.hit("gateway: plain data");
            self.gateway_sends(site, device, None, to, bytes);
        }
    }

    /// The gateways that the record of a device names: one of them may have its session (M-94).
    fn holders(&self, device: usize) -> Vec<usize> {
        let Some(record) = self.disk.known(device) else { return Vec::new() };
        let entries = [record.candidate(), record.confirmed()].into_iter().flatten();
        let mut sites: Vec<usize> = entries.map(|entry| usize::from(entry.gateway.0)).collect();
        sites.dedup();
        sites
    }

    /// Offers the oldest queued command of a device to the gateways that its record names.
    pub fn pump(&mut self, device: usize) {
        let Some(queued) = self.first_queued(device) else { return };
        for site in self.holders(device) {
            if let Some((command, len)) = self.first_queued(device).or(Some(queued)) {
                self.offer(site, device, command, len);
            }
        }
    }

    /// The oldest command in the queue. Those whose time has passed leave it.
    fn first_queued(&mut self, device: usize) -> Option<(Command, usize)> {
        loop {
            let queued = self.disk.commands(device);
            let queued = queued.filter(|queued| queued.command.state == CommandState::Queued);
            let (command, len) = queued.map(|queued| (queued.command, queued.payload.len())).next()?;
            if !command.is_expired(self.now) {
                return Some((command, len));
            }
            self.change(device, command.id, |command| Command { state: CommandState::Expired, ..command });
        }
    }

    fn offer(&mut self, site: usize, device: usize, command: Command, len: usize) {
        let Some(gateway) = self.gateway(site) else { return };
        match gateway.half.begin_command(command.device_id, command.id, len) {
            Ok((sending, change)) => self.push(site, device, Pending::Command(sending, change)),
            Err(CommandError::Busy | CommandError::NoSession | CommandError::NotActive) => {}
            Err(error) => panic!("{error}"),
        }
    }

    pub fn mark_sent(&mut self, site: usize, sending: Sending, change: Change<SentMark>) {
        let SentMark { command, gateway, epoch } = *change.value();
        assert_eq!(gateway, gateway::id(site), "M-94");
        let device = sending.index().0 as usize;
        let sent = match self.disk.command(device, command) {
            _ if self.disk.refuses => Err(CommandError::NotQueued),
            Some(queued) => queued.command.sent(self.now, gateway, epoch),
            None => Err(CommandError::NotQueued),
        };
        match sent {
            Ok(_) if self.crashes(site, "gateway: crash before the write") => {}
            Ok(sent) => {
                self.disk.update(device, command, |_| sent);
                if !self.crashes(site, "gateway: crash after the write") {
                    self.push(site, device, Pending::DurableCommand(sending, change.committed()));
                }
            }
            Err(error) => {
                self.gateway(site).unwrap().half.give_up(&sending);
                self.coverage.hit("command: could not be marked");
                if error == CommandError::Expired {
                    self.change(device, command, |command| Command {
                        state: CommandState::Expired,
                        ..command
                    });
                }
            }
        }
    }

    pub fn seal(&mut self, site: usize, sending: Sending, durable: &Durable<SentMark>) {
        let (command, device) = (sending.command(), sending.index().0 as usize);
        let Some(queued) = self.disk.command(device, command) else { panic!("a command is gone") };
        let (payload, state) = (queued.payload.clone(), queued.command.state);
        let is_own = matches!(state, CommandState::Sent { gateway, .. } if gateway == gateway::id(site));
        assert!(is_own, "M-106: about to be sealed, and {state:?}");
        let now = self.time_at(site);
        let sealed = self.gateway(site).unwrap().half.seal_command(now, sending, durable, &payload);
        match sealed.map(|transmit| transmit.map(|transmit| (transmit.to, transmit.datagram.to_vec()))) {
            Ok(Some((to, bytes))) => self.gateway_sends(site, device, None, to, bytes),
            Ok(None) => {}
            Err(CommandError::NoSession | CommandError::NotActive) => {
                self.coverage.hit("command: never sealed");
                self.disk.update(device, command, Command::never_sealed);
                self.pump(device);
            }
            Err(error) => panic!("{error}"),
        }
        self.schedule_gateway(site, device);
    }

    /// A device has acknowledged a command; that is written down a little later (M-109).
    pub fn note_acknowledged(&mut self, site: usize, device: usize, id: CommandId) {
        let run = self.sites[site].runs;
        let acknowledged = &mut self.gateway(site).unwrap().acknowledged;
        acknowledged.push((device, id));
        let is_first = acknowledged.len() == 1;
        if is_first {
            let later = self.now + self.random.below(500);
            self.agenda.note(later, Due::Flush { site, run });
        }
    }

    /// Writes down what was acknowledged since the last write.
    pub fn flush(&mut self, site: usize, run: u32) {
        if self.sites[site].runs != run {
            return;
        }
        let Some(gateway) = self.gateway(site) else { return };
        for (device, id) in std::mem::take(&mut gateway.acknowledged) {
            self.change(device, id, Command::acknowledged);
            self.pump(device);
        }
    }

    /// A session has ended without a word on this command.
    pub fn end(&mut self, device: usize, unknown: Option<CommandId>) {
        let now = self.now;
        if let Some(id) = unknown {
            self.change(device, id, |command| command.unknown(now));
        }
    }

    fn change(&mut self, device: usize, id: CommandId, change: impl FnOnce(Command) -> Command) {
        if let Some(state) = self.disk.update(device, id, change) {
            self.word(id, state);
        }
    }

    /// The application learns what became of a command: one word each.
    pub fn word(&mut self, id: CommandId, state: CommandState) {
        self.coverage.hit(match state {
            CommandState::Acknowledged => "command: acknowledged",
            CommandState::Unknown => "command: unknown",
            CommandState::Expired => "command: expired",
            _ => return self.coverage.hit("command: back in the queue"),
        });
        let before = self.words.insert(id.0, state);
        assert!(before.is_none(), "M-102: a second word for one command: {before:?}, {state:?}");
    }

    pub fn unfinished_command(&self, device: usize) -> Option<Command> {
        self.disk.commands(device).map(|queued| queued.command).next()
    }
}
