//! What operators want: commands through the durable queue, and changes of records. Each is durable before it is
//! answered. SPEC sections 9.5, 10.2 and 7.7.

use std::io;
use std::path::Path;

use moteseal::error::AdminError;
use moteseal::keys::RotationKey;
use moteseal::number::{DeviceId, Generation};
use moteseal::record::Status;
use moteseal::server::{
    Admin, Change, Command, CommandId, CommandState, Durable, Index, Peer, RecordChange, Sending, SentMark,
    Table as _,
};

use super::REVOKED;
use super::control::{self, Reply, Request};
use super::core::Core;
use super::events::{self, DeviceState, Event, Text, wall_clock};
use super::network::send;
use super::queue::MAX_WAITING;
use super::storage::Job;
use super::store::Item;
use crate::shown;

/// What an administrative change is for, so that it can be made again from a record that has changed.
#[derive(Clone, Debug)]
pub enum Intent {
    Status(DeviceId, Status),
    Rotate(DeviceId, RotationKey),
    Finish(Index),
}

impl Core {
    /// Does what a line asks for.
    pub(super) fn obey(&mut self, line: &str, reply: Reply) -> io::Result<()> {
        if line.trim().is_empty() {
            return Ok(());
        }
        match control::parse(line) {
            Err(reason) => self.refuse(&reply, None, None, &reason),
            Ok(Request::Send { device, payload, idempotent, expires }) => {
                let expires = expires.map(|after| {
                    wall_clock().saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX))
                });
                self.enqueue(device, payload, idempotent, expires, reply)
            }
            Ok(Request::SetStatus(device, status)) => self.change(Intent::Status(device, status), reply),
            Ok(Request::Rotate(device, key)) => {
                match key.or_else(|| self.rotation_keys.get(&device).cloned()) {
                    Some(key) => self.change(Intent::Rotate(device, key), reply),
                    None => self.refuse(&reply, Some(device), None, NO_ROTATION_KEY),
                }
            }
            Ok(Request::Devices) => self.list_devices(&reply),
            Ok(Request::Backup(to)) => {
                let _ = self.jobs.send(Job::Backup(to, reply));
                Ok(())
            }
        }
    }

    /// Tells an event, and whoever asked for it through the socket.
    fn answer(&mut self, reply: &Reply, event: &Event<'_>) -> io::Result<()> {
        let line = events::line(event);
        self.events.tell_line(&line)?;
        if let Reply::Socket(client) = reply {
            // Whoever asked may be gone.
            let _ = client.send(line);
        }
        Ok(())
    }

    fn refuse(
        &mut self,
        reply: &Reply,
        device: Option<DeviceId>,
        command: Option<CommandId>,
        reason: &str,
    ) -> io::Result<()> {
        let (device, command) = (device.map(Text), command.map(|CommandId(id)| id));
        // The name of a file that cannot be written is in it, as it was given.
        let reason = &shown::without_keys(reason);
        self.answer(reply, &Event::Refused { device, command, reason })
    }

    // Commands.

    fn enqueue(
        &mut self,
        device_id: DeviceId,
        payload: Vec<u8>,
        idempotent: bool,
        expires: Option<u64>,
        reply: Reply,
    ) -> io::Result<()> {
        let table = self.server.table();
        let peer = table.find(device_id).and_then(|index| table.peer(index));
        let reason = match peer {
            None => "no device of this id is known",
            Some(peer) if peer.record().status() == Status::Revoked => REVOKED,
            Some(_) if self.queue.waiting(device_id) >= MAX_WAITING => {
                "too many commands wait for this device"
            }
            Some(_) if !self.storage_works => "the store cannot be written; see the log",
            Some(_) => {
                let id = CommandId(self.next_command);
                self.next_command += 1;
                let command = Command { id, device_id, idempotent, expires, state: CommandState::Queued };
                let _ = self.jobs.send(Job::Put(Item { command, payload }, reply));
                return Ok(());
            }
        };
        self.refuse(&reply, Some(device_id), None, reason)
    }

    /// A command is in the durable queue.
    pub(super) fn queued(&mut self, item: Item, reply: &Reply) -> io::Result<()> {
        let Command { id: CommandId(command), device_id, .. } = item.command;
        self.queue.insert(item);
        self.answer(reply, &Event::Queued { device: Text(device_id), command })?;
        self.send_next_command(device_id)
    }

    /// Asks for the mark of the next command, if the device can take one now (M-106).
    pub(super) fn send_next_command(&mut self, device_id: DeviceId) -> io::Result<()> {
        if !self.storage_works {
            return Ok(());
        }
        self.expire_commands()?;
        let Some(Item { command, payload }) = self.queue.next(device_id) else { return Ok(()) };
        let Ok((sending, change)) = self.server.begin_command(device_id, command.id, payload.len()) else {
            return Ok(());
        };
        let SentMark { gateway, epoch, .. } = *change.value();
        match command.sent(wall_clock(), gateway, epoch) {
            Ok(sent) => {
                self.queue.set(sent);
                let _ = self.jobs.send(Job::Mark(sending, change, sent));
            }
            // It expired in this very moment; the next look at the clock says so.
            Err(_) => self.server.give_up(&sending),
        }
        Ok(())
    }

    /// The mark is durable: the command is sealed and sent, unless its session or its time is over.
    pub(super) fn seal(&mut self, sending: Sending, durable: &Durable<SentMark>) -> io::Result<()> {
        let (id, index, now) = (sending.command(), sending.index(), self.now());
        let Some(Item { command, payload }) = self.queue.item(id) else { return Ok(()) };
        let command = *command;
        if command.is_expired(wall_clock()) {
            self.server.give_up(&sending);
            self.queue.set(command.never_sealed());
            return self.expire_commands();
        }
        match self.server.seal_command(now, sending, durable, payload) {
            Ok(transmit) => {
                if let Some(transmit) = transmit {
                    send(&self.socket, transmit.datagram, transmit.to);
                }
                let epoch = Text(durable.value().epoch);
                self.events.tell(&Event::Sent { device: Text(command.device_id), command: id.0, epoch })?;
            }
            Err(error) => {
                tracing::debug!("command {} goes back into the queue: {error}", id.0);
                let back = command.never_sealed();
                self.queue.set(back);
                let _ = self.jobs.send(Job::Update(back));
            }
        }
        self.wake(index, self.server.deadline(index));
        Ok(())
    }

    /// The device has recorded it. Its removal rides on the next write (M-109).
    pub(super) fn outcome_acknowledged(&mut self, id: CommandId) -> io::Result<()> {
        let Some(Item { command, .. }) = self.queue.item(id) else { return Ok(()) };
        let acknowledged = command.acknowledged();
        self.queue.set(acknowledged);
        let _ = self.jobs.send(Job::Update(acknowledged));
        self.events.tell(&Event::Acknowledged { device: Text(acknowledged.device_id), command: id.0 })
    }

    /// Its session ended without a word, or it was given up (M-107, M-128).
    pub(super) fn outcome_unknown(&mut self, id: CommandId) -> io::Result<()> {
        let Some(Item { command, .. }) = self.queue.item(id) else { return Ok(()) };
        let after = command.unknown(wall_clock());
        self.queue.set(after);
        let requeued = after.state == CommandState::Queued;
        let _ = self.jobs.send(if requeued { Job::Update(after) } else { Job::UpdateNow(after) });
        self.events.tell(&Event::Unknown { device: Text(after.device_id), command: id.0, requeued })
    }

    /// M-108: what is past its time is told and removed.
    pub(super) fn expire_commands(&mut self) -> io::Result<()> {
        while let Some(command) = self.queue.expired(wall_clock()) {
            let expired = Command { state: CommandState::Expired, ..command };
            self.queue.set(expired);
            let _ = self.jobs.send(Job::UpdateNow(expired));
            self.events.tell(&Event::Expired { device: Text(command.device_id), command: command.id.0 })?;
        }
        Ok(())
    }

    // Records.

    /// Asks for a change of a record. A device that is taken out of service is silent from now on.
    fn change(&mut self, intent: Intent, reply: Reply) -> io::Result<()> {
        match self.begin_change(&intent) {
            Ok((admin, change)) => {
                let _ = self.jobs.send(Job::Admin(admin, change, intent, reply));
                Ok(())
            }
            Err(error) => match intent {
                Intent::Status(device, _) | Intent::Rotate(device, _) => {
                    self.refuse(&reply, Some(device), None, &error.to_string())
                }
                Intent::Finish(index) => {
                    self.finishing.remove(&index);
                    Ok(())
                }
            },
        }
    }

    fn begin_change(&mut self, intent: &Intent) -> Result<(Admin, Change<RecordChange>), AdminError> {
        match intent {
            Intent::Status(device, status) => self.server.set_status(*device, *status),
            Intent::Rotate(device, key) => self.server.begin_rotation(*device, key),
            Intent::Finish(index) => self.server.finish_rotation(*index),
        }
    }

    /// A change of a record is durable; or the record has changed meanwhile, and it is made again.
    pub(super) fn applied(
        &mut self,
        admin: Admin,
        durable: Option<Durable<RecordChange>>,
        intent: Intent,
        reply: &Reply,
    ) -> io::Result<()> {
        let generation = durable.as_ref().map(|durable| durable.value().record.generation());
        let Some(Ok(unknown)) = durable.map(|durable| self.server.apply(admin, durable)) else {
            return self.change(intent, reply.clone());
        };
        if let Some(command) = unknown {
            self.outcome_unknown(command)?;
        }
        let number = |generation: Option<Generation>| generation.map_or(0, Generation::number);
        match intent {
            Intent::Status(device_id, status) => self.status_set(device_id, status, reply),
            Intent::Rotate(device_id, _) => {
                let (device, generation) = (Text(device_id), number(generation.and_then(Generation::next)));
                self.answer(reply, &Event::RotationBegun { device, generation })?;
                if let Some(index) = self.server.table().find(device_id) {
                    self.send_to_device(index);
                }
                Ok(())
            }
            Intent::Finish(index) => {
                self.finishing.remove(&index);
                let device = self.server.table().peer(index).map(|peer| peer.record().device_id());
                let (device, generation) = (device.map(Text), number(generation));
                device.map_or(Ok(()), |device| {
                    self.events.tell(&Event::RotationFinished { device, generation })
                })
            }
        }
    }

    fn status_set(&mut self, device_id: DeviceId, status: Status, reply: &Reply) -> io::Result<()> {
        let device = Text(device_id);
        let event = match status {
            Status::Active => Event::Readmitted { device },
            Status::Quarantined => Event::Quarantined { device },
            Status::Revoked => Event::Revoked { device },
        };
        self.answer(reply, &event)?;
        if status != Status::Revoked {
            return Ok(());
        }
        for command in self.queue.waiting_for(device_id) {
            // It never ran and never will.
            let ended = Command { state: CommandState::Expired, ..command };
            self.queue.set(ended);
            let _ = self.jobs.send(Job::UpdateNow(ended));
            self.refuse(&Reply::Stdout, Some(device_id), Some(command.id), REVOKED)?;
        }
        Ok(())
    }

    /// M-123: a session under the next generation is confirmed, so the old key goes.
    pub(super) fn finish_rotation(&mut self, index: Index) {
        if self.server.rotation_to_finish(index).is_some() && self.finishing.insert(index) {
            let _ = self.change(Intent::Finish(index), Reply::Stdout);
        }
    }

    // Other requests.

    pub(super) fn backed_up(
        &mut self,
        to: &Path,
        result: Result<(), String>,
        reply: &Reply,
    ) -> io::Result<()> {
        match result {
            Ok(()) => self.answer(reply, &Event::Backup { path: &to.to_string_lossy() }),
            Err(reason) => self.refuse(reply, None, None, &reason),
        }
    }

    fn list_devices(&mut self, reply: &Reply) -> io::Result<()> {
        for peer in self.server.table().iter() {
            let device = peer.record().device_id();
            let line = events::line(&Event::Device(state(peer, self.queue.waiting(device))));
            match reply {
                Reply::Stdout => self.events.tell_line(&line)?,
                Reply::Socket(client) => {
                    let _ = client.send(line);
                }
            }
        }
        Ok(())
    }
}

const NO_ROTATION_KEY: &str = "the rotation key of this device is not known; start the gateway with \
                               --rotation-keys FILE, or give the file to `moteseal rotate`";

fn state<A, O, B: moteseal::aead::Backend>(peer: &Peer<A, O, B>, queued: usize) -> DeviceState {
    let record = peer.record();
    DeviceState {
        device: Text(record.device_id()),
        status: match record.status() {
            Status::Active => "active",
            Status::Revoked => "revoked",
            Status::Quarantined => "quarantined",
        },
        generation: record.generation().number(),
        rotating: record.rotation().is_some(),
        epoch: Text(record.newest()),
        session: peer.has_session(),
        queued,
        clones: record.clones(),
    }
}
