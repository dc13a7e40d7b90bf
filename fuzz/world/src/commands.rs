//! The queue of commands in a world: marked *sent* before they are sealed, and one word each. SPEC section 9.5.

use moteseal::error::CommandError;
use moteseal::number::DeviceId;
use moteseal::server::{Change, Command, CommandId, CommandState, Durable, Sending, SentMark};

use crate::auditor::Down;
use crate::gateway::Pending;
use crate::world::World;

impl World {
    /// The application queues a command.
    pub fn order(&mut self, device: usize) {
        self.next_command += 1;
        let down = Down { id: self.next_command, idempotent: self.random.chance(400) };
        let len = self.random.pick(&[0, 3, 40, 90]);
        let payload = down.write(&self.random.bytes(len));
        let expires = self.random.chance(300).then(|| self.now + self.random.pick(&[1_000, 30_000, 600_000]));
        let id = CommandId(down.id);
        let (device_id, idempotent) = (self.motes[device].id, down.idempotent);
        let command = Command { id, device_id, idempotent, expires, state: CommandState::Queued };
        self.disk.enqueue(command, payload);
        self.pump(device);
    }

    pub fn send_plain(&mut self, device: usize) {
        let Some(gateway) = &mut self.gateway else { return };
        self.next_command += 1;
        let payload = Down { id: self.next_command, idempotent: false }.write(&[]);
        let mut out = [0; 128];
        let sent = gateway.half.send_plain(self.motes[device].id, &payload, &mut out);
        let Ok((bytes, to)) = sent.map(|(bytes, to)| (bytes.to_vec(), to)) else { return };
        self.coverage.hit("server: plain data");
        self.server_sends(to, bytes);
    }

    /// Offers the oldest queued command of a device to its session.
    pub fn pump(&mut self, device: usize) {
        let id = self.motes.get(device).map(|mote| mote.id);
        let commands = self.disk.store.commands.values();
        let queued: Vec<_> = commands
            .filter(|queued| {
                Some(queued.command.device_id) == id && queued.command.state == CommandState::Queued
            })
            .map(|queued| (queued.command, queued.payload.len()))
            .collect();
        for (command, len) in queued {
            if command.is_expired(self.now) {
                self.change(command.id, |command| Command { state: CommandState::Expired, ..command });
                continue;
            }
            let Some(gateway) = &mut self.gateway else { return };
            match gateway.half.begin_command(command.device_id, command.id, len) {
                Ok((sending, change)) => gateway.pending.push(Pending::Command(sending, change)),
                Err(CommandError::Busy | CommandError::NoSession | CommandError::NotActive) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub fn mark_sent(&mut self, sending: Sending, change: Change<SentMark>) {
        let SentMark { command, gateway, epoch } = *change.value();
        let Some(queued) = self.disk.store.commands.get(&command.0) else { panic!("a command is gone") };
        match queued.command.sent(self.now, gateway, epoch) {
            Ok(_) if self.crashes("server: crash before the write") => {}
            Ok(sent) => {
                self.disk.update(command, |_| sent);
                if !self.crashes("server: crash after the write") {
                    self.push(Pending::DurableCommand(sending, change.committed()));
                }
            }
            Err(error) => {
                self.gateway.as_mut().unwrap().half.give_up(&sending);
                if error == CommandError::Expired {
                    self.change(command, |command| Command { state: CommandState::Expired, ..command });
                }
            }
        }
    }

    pub fn seal(&mut self, sending: Sending, durable: &Durable<SentMark>) {
        let (command, device) = (sending.command(), usize::try_from(sending.index().0).unwrap());
        let payload = self.disk.store.commands[&command.0].payload.clone();
        let gateway = self.gateway.as_mut().unwrap();
        let sealed = gateway.half.seal_command(self.now, sending, durable, &payload);
        match sealed.map(|transmit| transmit.map(|transmit| (transmit.to, transmit.datagram.to_vec()))) {
            Ok(Some((to, bytes))) => self.server_sends(to, bytes),
            Ok(None) => {}
            Err(CommandError::NoSession | CommandError::NotActive) => {
                self.coverage.hit("command: never sealed");
                self.disk.update(command, Command::never_sealed);
                self.pump(device);
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Writes down what was acknowledged since the last write.
    pub fn write_acknowledged(&mut self) {
        let Some(gateway) = &mut self.gateway else { return };
        for id in std::mem::take(&mut gateway.acknowledged) {
            self.change(id, Command::acknowledged);
        }
    }

    /// A session has ended without a word on this command.
    pub fn end(&mut self, unknown: Option<CommandId>) {
        let now = self.now;
        if let Some(id) = unknown {
            self.change(id, |command| command.unknown(now));
        }
    }

    fn change(&mut self, id: CommandId, change: impl FnOnce(Command) -> Command) {
        if let Some(state) = self.disk.update(id, change) {
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
        assert!(before.is_none(), "a second word for one command: {before:?}, {state:?}");
    }

    pub fn unfinished_command(&self, id: DeviceId) -> Option<Command> {
        let mut commands = self.disk.store.commands.values().map(|queued| queued.command);
        commands.find(|command| {
            let open = matches!(command.state, CommandState::Queued | CommandState::Sent { .. });
            assert!(open || self.words.get(&command.id.0) == Some(&command.state), "no word, or another");
            command.device_id == id && open
        })
    }
}
