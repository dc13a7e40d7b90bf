//! What an operator has sent to a device, and what comes of it (SPEC 9.5, 7.4).

use moteseal::number::Epoch;
use moteseal::record::Status;
use moteseal::server::CommandId;

use super::super::fleet::Fleet;
use super::Model;

impl Model {
    /// Whether the device has a session to send a command in.
    pub fn can_command(&self, device: u8) -> bool {
        let peer = &self.peers[usize::from(device)];
        peer.status == Status::Active && peer.active.is_some()
    }

    /// A command was sealed, under the next number.
    pub fn sealed(&mut self, device: u8, command: CommandId, epoch: Epoch) {
        let live = self.active(device);
        assert_eq!(live.entry.epoch, epoch, "M-106: marked for another session");
        let number = u16::try_from(live.slow.next).expect("M-50");
        live.slow.next += 1;
        live.command = Some((command, number));
        live.sealed = (number, live.slow.window.block(None).is_some());
    }

    /// A Data leaves for a device, for the first time or again.
    pub fn transmitted(&mut self, fleet: &Fleet, device: u8, to: u8, bytes: &[u8], payload: &[u8]) {
        assert!(!self.is_silent(device), "P7");
        let Self { peers, down, .. } = self;
        let live = peers[usize::from(device)].active.as_mut().expect("M-73: no counters");
        assert!(live.heard_from.contains(&to), "M-69");
        if !live.sent.insert(bytes.to_vec()) {
            return;
        }
        let (number, has_block) = live.sealed;
        let (data, text) = down.command(&fleet.sessions[live.entry.session], number, bytes);
        assert!(data.confirm && !data.control, "M-108");
        assert_eq!(data.ack, has_block, "M-110");
        assert!(text.len() <= payload.len() + 3);
    }

    /// A device is taken out of service, or back. Gives the command that must be told as *unknown*.
    pub fn status_set(&mut self, device: u8, status: Status) -> Option<CommandId> {
        let peer = self.peer(device);
        if peer.status != Status::Revoked {
            peer.status = status;
        }
        if peer.status != Status::Revoked {
            return None;
        }
        peer.candidate = None;
        peer.active.take().and_then(|live| live.command).map(|(command, _)| command)
    }

    /// Whether it was revoked.
    pub fn is_revoked(&self, device: u8) -> bool {
        self.peers[usize::from(device)].status == Status::Revoked
    }

    /// Whether it is out of service.
    pub fn is_silent(&self, device: u8) -> bool {
        self.peers[usize::from(device)].status != Status::Active
    }
}
