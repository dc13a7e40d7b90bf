//! Somebody who has a device key: one that was stolen before it was rotated away, or the one in service of a device that
//! was taken apart. He speaks in its name to the gateways, and in the gateways' name to it. Nobody else may notice (P7).

use crate::auditor::crypto::{self, Key, epoch_bytes};
use crate::auditor::{Kind, Origin, Way, up_payload};
use crate::network::{self, Datagram};
use crate::world::World;

impl World {
    /// A Hello under a key that a rotation has erased (P8). Nothing may come of it.
    pub fn replay_erased_key(&mut self, device: usize) {
        let Some((generation, key)) = self.auditor.erased_key(device) else { return };
        self.coverage.hit("thief: hello under an erased key");
        let epoch = self.random.below(1 << 40);
        let bytes = self.forge_hello(device, generation, &key, epoch);
        self.send_to_gateway(device, bytes, None);
    }

    /// The thief of the key in service acts.
    pub fn thieve(&mut self) {
        let Some((victim, generation, key)) = self.stolen else { return };
        match self.random.below(6) {
            0 | 1 => self.hello_of_thief(victim, generation, &key),
            2 | 3 => self.answer_of_thief(victim, &key),
            4 => self.reset_of_thief(victim),
            _ => self.data_of_thief(victim),
        }
    }

    fn hello_of_thief(&mut self, victim: usize, generation: u8, key: &Key) {
        let newest = self.disk.known(victim).map_or(0, |record| record.newest().value());
        let ahead = self.random.pick(&[0, 1, 2, 40, 1 << 16, self.thief_reach]);
        let epoch =
            self.random.pick(&[newest.saturating_add(ahead), newest.saturating_add(ahead), 0xFF00_0000_0000]);
        let bytes = self.forge_hello(victim, generation, key, epoch & 0xFFFF_FFFF_FFFF);
        let salt = bytes[15..21].try_into().unwrap();
        let kind = Kind::Hello { epoch: epoch & 0xFFFF_FFFF_FFFF, salt, generation, payload_len: 9 };
        self.coverage.hit("thief: hello under the key in service");
        self.send_to_gateway(victim, bytes, Some(kind));
    }

    fn forge_hello(&mut self, device: usize, generation: u8, key: &Key, epoch: u64) -> Vec<u8> {
        self.next_payload += 1;
        let id = *self.id_of(device).as_bytes();
        let salt: [u8; 6] = self.random.array();
        let aad = [&[0x40 | (generation & 3) << 2][..], &id].concat();
        let payload = up_payload(self.next_payload, b"thief");
        let nonce = crypto::hello_nonce(epoch, salt);
        let sealed = crypto::seal(&crypto::hello_key(key, id), nonce, &aad, &payload);
        [&aad[..], &epoch_bytes(epoch), &salt, &sealed].concat()
    }

    /// A Floor or a Welcome for the Hello that the victim sent last.
    fn answer_of_thief(&mut self, victim: usize, key: &Key) {
        let is_hello = |datagram: &Datagram| {
            let kind = datagram.origin.filter(|origin| origin.device == victim && !origin.by_thief);
            matches!(kind.map(|origin| origin.kind), Some(Kind::Hello { .. }))
        };
        let Some(hello) = self.network.archive().latest(is_hello) else { return };
        let Some(Kind::Hello { epoch, salt, generation, .. }) = hello.origin.map(|origin| origin.kind) else {
            return;
        };
        let id = *self.id_of(victim).as_bytes();
        let (bytes, kind) = if self.random.chance(500) {
            let near = epoch + self.random.pick(&[0, 1, 1 << 17]);
            let floor = self.random.pick(&[near, 0xFFFF_FFFF_FFFF, 0xFEFF_FFFF_0000]);
            let aad = [&[0x54][..], &salt[..2], &epoch_bytes(floor)].concat();
            let nonce = crypto::hello_nonce(epoch, salt);
            let tag = crypto::seal(&crypto::floor_key(key, id, floor), nonce, &aad, &[]);
            self.coverage.hit("thief: floor");
            ([aad, tag].concat(), Kind::Floor { floor })
        } else {
            let server_salt: [u8; 8] = self.random.array();
            let keys = crypto::session_keys(key, id, epoch, salt, server_salt);
            let aad = [&[0x50][..], &salt[..2], &server_salt].concat();
            let cid: &[u8] = if self.random.chance(500) { &[0x7F, 0xFF] } else { &[0x40] };
            let bytes = [&aad[..], &crypto::seal(&keys.1, crypto::nonce(1, 0), &aad, cid)].concat();
            let salts = (salt, server_salt);
            self.auditor.forged_welcome(victim, keys, (epoch, generation), salts, &bytes);
            self.coverage.hit("thief: welcome");
            (bytes, Kind::Welcome { epoch })
        };
        self.send_to_device(victim, bytes, kind);
    }

    /// Data in the session that the victim has with a gateway: to the victim a *rotate* that proves nothing (M-115), to
    /// the gateway one that is malformed.
    fn data_of_thief(&mut self, victim: usize) {
        let Some(session) = self.auditor.latest_session(victim) else { return };
        let way = if self.random.chance(500) { Way::Up } else { Way::Down };
        let number = u16::try_from((session.next(way) + self.random.place(3)).min(0xFFFF)).unwrap();
        let (key, epoch, cid) = (*session.key(way), session.epoch, session.cid);
        let next = session.generation.wrapping_add(1);
        let header = [&[0x69 | u8::from(way == Way::Up) << 1][..], &cid.0[..cid.1], &number.to_be_bytes()];
        let aad = header.concat();
        let plaintext =
            if way == Way::Up { vec![0xFF; 2] } else { [&[1, next][..], &self.random.bytes(32)].concat() };
        let sealed = crypto::seal(&key, crypto::nonce(2, number), &aad, &plaintext);
        let bytes = [aad, sealed].concat();
        if way == Way::Up {
            self.coverage.hit("thief: malformed data");
            self.send_to_gateway(victim, bytes, Some(Kind::Up { epoch, number, block: None }));
        } else {
            self.coverage.hit("thief: rotate without a proof");
            self.send_to_device(victim, bytes, Kind::Down { epoch, number, block: None, control: true });
        }
    }

    /// A Reset for a number that the victim has sent, or for one that it has not (M-46).
    fn reset_of_thief(&mut self, victim: usize) {
        let Some(session) = self.auditor.latest_session(victim) else { return };
        let next = session.next(Way::Up).saturating_sub(3) + self.random.place(6);
        let number = u16::try_from(next.min(0xFFFF)).unwrap();
        let (key, epoch, cid) = (*session.key(Way::Down), session.epoch, session.cid);
        let aad = [&[0x78][..], &cid.0[..cid.1], &number.to_be_bytes()].concat();
        let tag = crypto::seal(&key, crypto::nonce(3, number), &aad, &[]);
        self.coverage.hit("thief: reset");
        self.send_to_device(victim, [aad, tag].concat(), Kind::Reset { epoch, number });
    }

    fn send_to_gateway(&mut self, device: usize, bytes: Vec<u8>, kind: Option<Kind>) {
        let origin = kind.map(|kind| Origin { device, kind, by_thief: true });
        let to = network::gateway(self.random.place(self.sites.len()));
        let datagram = Datagram { from: self.motes[device].address, to, bytes, origin };
        self.network.inject(self.now, datagram, &mut self.agenda);
    }

    fn send_to_device(&mut self, device: usize, bytes: Vec<u8>, kind: Kind) {
        let origin = Some(Origin { device, kind, by_thief: true });
        let from = network::gateway(self.random.place(self.sites.len()));
        let datagram = Datagram { from, to: self.motes[device].address, bytes, origin };
        self.network.inject(self.now, datagram, &mut self.agenda);
    }
}
