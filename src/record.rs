//! What a server must remember of one device, durably: keys, status, the newest epochs, two sessions' entries.
//! It knows how a record looks as bytes and how it is raised after a restore; not where it lies.
//! SPEC sections 3.2, 7.2 and 7.7.

use crate::error::RecordError;
use crate::keys::{DeviceKey, RotationSecret};
use crate::number::{ConnectionId, DeviceId, Epoch, Generation, Salt, ServerSalt};
use crate::replay::EpochWindow;

/// The boot count from which on a Hello is refused: the device must be provisioned anew (M-52).
pub const BOOT_LIMIT: u32 = 0xFF00_0000;
/// The boot count from which on a floor is neither sent nor accepted (M-39).
pub const FLOOR_LIMIT: u32 = 0xFEFF_FFFF;
/// The highest high-water mark (M-80).
pub const MARK_MAX: u32 = 0xFEFF_FFFE;
/// How far a raise takes the mark past every boot count that is known (M-80).
pub const RAISE: u32 = 1 << 20;

/// The high-water mark after a raise, from the mark before and the highest boot count in any record.
pub fn raised_mark(mark: u32, newest_boot: u32) -> u32 {
    mark.max(newest_boot).saturating_add(RAISE).min(MARK_MAX)
}

/// Whether a device may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It may.
    Active,
    /// Never again under these keys (M-5).
    Revoked,
    /// Not until somebody has looked at it.
    Quarantined,
}

/// A gateway among those that share records: an entry names the one that has its counters (M-89), and so does a
/// command that was sent (M-94).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct GatewayId(pub u16);

/// A session as far as it is durable: enough to derive its keys, and to answer Reset without its counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub struct Entry {
    /// The generation of the device key that it was made under.
    pub generation: Generation,
    /// The epoch of its Hello.
    pub epoch: Epoch,
    /// The device's salt.
    pub salt: Salt,
    /// The server's salt, random, drawn once.
    pub server_salt: ServerSalt,
    /// Its connection id.
    pub cid: ConnectionId,
    /// The gateway that has its counters.
    pub gateway: GatewayId,
}

/// A rotation that has begun: the next key, and the secret that tells the device to make it too.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub struct Rotation {
    /// What *rotate* carries.
    pub secret: RotationSecret,
    /// The key of the next generation.
    pub key: DeviceKey,
}

impl Rotation {
    /// Room for one, with none in it.
    pub(crate) const fn blank() -> Self {
        Self { secret: RotationSecret::blank(), key: DeviceKey::blank() }
    }
}

/// The durable state of one device. Keys in it are compared in constant time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub struct Record {
    pub(crate) device_id: DeviceId,
    pub(crate) status: Status,
    pub(crate) generation: Generation,
    pub(crate) key: DeviceKey,
    pub(crate) rotation: Option<Rotation>,
    pub(crate) window: EpochWindow,
    pub(crate) confirmed: Option<Entry>,
    pub(crate) candidate: Option<Entry>,
    /// A *moved* that comes now was caused by a restore or a first sight (M-86).
    pub(crate) excused: bool,
    /// How many *moved* nothing on the server's side caused.
    pub(crate) clones: u32,
}

/// Length of an encoded record in bytes.
pub const RECORD_LEN: usize = 200;
const RECORD_VERSION: u8 = 1;
const ENTRY_LEN: usize = 28;

impl Record {
    /// The record of a device that has just been provisioned into this very store: its history is known, and
    /// it is empty.
    pub fn provisioned(device_id: DeviceId, generation: Generation, key: DeviceKey) -> Self {
        Self {
            device_id,
            status: Status::Active,
            generation,
            key,
            rotation: None,
            window: EpochWindow::new(),
            confirmed: None,
            candidate: None,
            excused: false,
            clones: 0,
        }
    }

    /// The record as it must be after the mark was raised, or from the start if its history is not known: all
    /// epochs up to the mark count as seen, and a newest epoch never goes down (M-6, M-81).
    #[must_use]
    pub fn raised(mut self, mark: u32) -> Self {
        self.window = EpochWindow::raised(self.window.newest().max(Epoch::new(mark, u16::MAX)));
        self.excused = true;
        self
    }

    /// The device.
    pub const fn device_id(&self) -> DeviceId {
        self.device_id
    }

    /// Whether the device may speak.
    pub const fn status(&self) -> Status {
        self.status
    }

    /// The same record with another status. *Revoked* is final for its keys: it stays.
    #[must_use]
    pub fn with_status(mut self, status: Status) -> Self {
        if self.status != Status::Revoked {
            self.status = status;
        }
        self
    }

    /// The generation of the key that is in service.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// The device key of that generation.
    pub const fn key(&self) -> &DeviceKey {
        &self.key
    }

    /// The rotation that has begun.
    pub const fn rotation(&self) -> Option<&Rotation> {
        self.rotation.as_ref()
    }

    /// The same record with a rotation to the next generation begun, in place of one begun before.
    ///
    /// # Errors
    /// [`RecordError::LastGeneration`] at generation 255.
    pub fn with_rotation(mut self, rotation: Rotation) -> Result<Self, RecordError> {
        self.generation.next().ok_or(RecordError::LastGeneration)?;
        self.rotation = Some(rotation);
        Ok(self)
    }

    /// The same record with the rotation finished: the old key is gone, and the entries made under it.
    #[must_use]
    pub fn with_rotation_finished(mut self) -> Self {
        if let (Some(rotation), Some(next)) = (&self.rotation, self.generation.next()) {
            self.generation = next;
            self.key.clone_from(&rotation.key);
            // Assigned rather than taken: so its keys are wiped where they lie.
            self.rotation = None;
            self.confirmed = self.confirmed.filter(|entry| entry.generation == next);
            self.candidate = self.candidate.filter(|entry| entry.generation == next);
        }
        self
    }

    /// The same record with another key in service, as a journal knows it: no rotation is under way then, and
    /// the entries made under any other generation are gone.
    #[must_use]
    pub fn with_key(mut self, generation: Generation, key: DeviceKey) -> Self {
        (self.generation, self.key, self.rotation) = (generation, key, None);
        self.confirmed = self.confirmed.filter(|entry| entry.generation == generation);
        self.candidate = self.candidate.filter(|entry| entry.generation == generation);
        self
    }

    /// The newest accepted epoch.
    pub const fn newest(&self) -> Epoch {
        self.window.newest()
    }

    /// The entry of the session that was last known to be confirmed.
    pub const fn confirmed(&self) -> Option<&Entry> {
        self.confirmed.as_ref()
    }

    /// The entry of the session that was last offered.
    pub const fn candidate(&self) -> Option<&Entry> {
        self.candidate.as_ref()
    }

    /// How many times the device reported a jump of its counter that nothing on this side caused: erased or
    /// rolled back flash, or a clone.
    pub const fn clones(&self) -> u32 {
        self.clones
    }

    /// The key and generation that the two generation bits of a Hello name.
    pub(crate) fn key_by_bits(&self, bits: u8) -> Option<(Generation, &DeviceKey)> {
        self.keys().find(|(generation, _)| generation.low_bits() == bits)
    }

    /// The key that an entry was made under.
    pub(crate) fn key_of(&self, entry: &Entry) -> Option<&DeviceKey> {
        self.keys().find(|(generation, _)| *generation == entry.generation).map(|(_, key)| key)
    }

    fn keys(&self) -> impl Iterator<Item = (Generation, &DeviceKey)> {
        let next = self.rotation.as_ref().and_then(|rotation| Some((self.generation.next()?, &rotation.key)));
        core::iter::once((self.generation, &self.key)).chain(next)
    }

    /// Whether this is one of the entries.
    pub(crate) fn names(&self, entry: &Entry) -> bool {
        self.entries().any(|named| named == entry)
    }

    /// The entries, the confirmed one first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.confirmed.iter().chain(&self.candidate)
    }

    /// Whether this record was written before `other`, as far as that can be seen: something is missing here that
    /// nothing but a restore takes away.
    pub(crate) fn precedes(&self, other: &Self) -> bool {
        let rotations = |record: &Self| (record.generation, record.rotation.is_some());
        let confirmed = |record: &Self| record.confirmed.map(|entry| entry.epoch);
        self.window.precedes(&other.window)
            || rotations(self) < rotations(other)
            // A rotation that finishes takes the entries of the old key along.
            || self.generation == other.generation && confirmed(self) < confirmed(other)
            || self.clones < other.clones
            || self.status != Status::Revoked && other.status == Status::Revoked
    }

    /// The record as bytes, for a store. They hold keys.
    pub fn encode(&self) -> EncodedRecord {
        let mut encoded = EncodedRecord([0; RECORD_LEN]);
        let mut writer = Writer { bytes: &mut encoded.0, at: 0 };
        let status = match self.status {
            Status::Active => 0,
            Status::Revoked => 1,
            Status::Quarantined => 2,
        };
        writer.put(&[RECORD_VERSION, status, self.generation.number(), u8::from(self.excused)]);
        writer.put(self.device_id.as_bytes());
        writer.put(&self.clones.to_be_bytes());
        writer.put(self.window.newest().as_bytes());
        writer.put(&self.window.seen().to_be_bytes());
        writer.put(self.key.expose());
        for entry in [&self.confirmed, &self.candidate] {
            writer.put(&entry.as_ref().map_or([0; ENTRY_LEN], encode_entry));
        }
        writer.put(&[u8::from(self.rotation.is_some())]);
        if let Some(rotation) = &self.rotation {
            writer.put(rotation.secret.expose());
            writer.put(rotation.key.expose());
        }
        encoded
    }

    /// Reads what [`Record::encode`] wrote.
    ///
    /// # Errors
    /// [`RecordError`] for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader(bytes);
        if bytes.len() != RECORD_LEN {
            return Err(RecordError::Length);
        }
        let [version, status, generation, excused] = reader.take()?;
        if version != RECORD_VERSION {
            return Err(RecordError::Version);
        }
        let status = match status {
            0 => Status::Active,
            1 => Status::Revoked,
            2 => Status::Quarantined,
            _ => return Err(RecordError::Field),
        };
        let device_id = DeviceId::new(reader.take()?);
        let generation = Generation::new(generation).ok_or(RecordError::Field)?;
        // Keys are read into their places: of one that is moved a copy stays behind.
        let mut record = Self::provisioned(device_id, generation, DeviceKey::blank());
        (record.status, record.excused) = (status, flag(excused)?);
        record.clones = u32::from_be_bytes(reader.take()?);
        record.window = decode_window(&mut reader)?;
        record.key.copy_from(reader.borrow()?);
        (record.confirmed, record.candidate) = (decode_entry(reader.take()?)?, decode_entry(reader.take()?)?);
        let [is_rotating] = reader.take()?;
        if flag(is_rotating)? {
            let rotation = record.rotation.insert(Rotation::blank());
            rotation.secret.copy_from(reader.borrow()?);
            rotation.key.copy_from(reader.borrow()?);
        }
        let unused = reader.0.iter().all(|byte| *byte == 0);
        if unused { Ok(record) } else { Err(RecordError::Field) }
    }
}

/// A record as bytes, wiped when dropped.
#[derive(Clone, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct EncodedRecord([u8; RECORD_LEN]);

impl EncodedRecord {
    /// The bytes, for a store.
    pub const fn expose(&self) -> &[u8; RECORD_LEN] {
        &self.0
    }
}

impl core::fmt::Debug for EncodedRecord {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("EncodedRecord(..)")
    }
}

/// `1 | generation | epoch 6 | salt 6 | server salt 8 | cid 4, padded | gateway 2`; no entry is all zeros.
fn encode_entry(entry: &Entry) -> [u8; ENTRY_LEN] {
    let mut bytes = [0; ENTRY_LEN];
    let gateway = entry.gateway.0.to_be_bytes();
    let mut padded = [0; ConnectionId::MAX_LEN];
    for (to, from) in padded.iter_mut().zip(entry.cid.as_bytes()) {
        *to = *from;
    }
    let head = [1, entry.generation.number()];
    let parts: [&[u8]; 6] =
        [&head, entry.epoch.as_bytes(), &entry.salt.0, &entry.server_salt.0, &padded, &gateway];
    for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    bytes
}

fn decode_entry(bytes: [u8; ENTRY_LEN]) -> Result<Option<Entry>, RecordError> {
    let mut reader = Reader(&bytes);
    let [present, generation] = reader.take()?;
    if !flag(present)? {
        return if bytes == [0; ENTRY_LEN] { Ok(None) } else { Err(RecordError::Field) };
    }
    let generation = Generation::new(generation).ok_or(RecordError::Field)?;
    let epoch = Epoch::from_bytes(reader.take()?);
    let (salt, server_salt) = (Salt(reader.take()?), ServerSalt(reader.take()?));
    let padded: [u8; ConnectionId::MAX_LEN] = reader.take()?;
    let (cid, padding) =
        padded.split_at_checked(ConnectionId::len_from(padded[0])).ok_or(RecordError::Field)?;
    let cid = ConnectionId::from_bytes(cid).ok_or(RecordError::Field)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(RecordError::Field);
    }
    let gateway = GatewayId(u16::from_be_bytes(reader.take()?));
    Ok(Some(Entry { generation, epoch, salt, server_salt, cid, gateway }))
}

/// The newest epoch is always seen; a window that says otherwise would let its Hello in again.
fn decode_window(reader: &mut Reader<'_>) -> Result<EpochWindow, RecordError> {
    let newest = Epoch::from_bytes(reader.take()?);
    let seen = u32::from_be_bytes(reader.take()?);
    if seen & 1 == 1 { Ok(EpochWindow::from_parts(newest, seen)) } else { Err(RecordError::Field) }
}

fn flag(byte: u8) -> Result<bool, RecordError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(RecordError::Field),
    }
}

struct Writer<'b> {
    bytes: &'b mut [u8; RECORD_LEN],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, part: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(self.at).zip(part) {
            *to = *from;
        }
        self.at += part.len();
    }
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take<const L: usize>(&mut self) -> Result<[u8; L], RecordError> {
        self.borrow().copied()
    }

    fn borrow<const L: usize>(&mut self) -> Result<&'b [u8; L], RecordError> {
        let (taken, rest) = self.0.split_first_chunk::<L>().ok_or(RecordError::Length)?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KEY_LEN;

    fn id(byte: u8) -> DeviceId {
        DeviceId::new([byte; 8])
    }

    fn key(byte: u8) -> DeviceKey {
        DeviceKey::new([byte; KEY_LEN])
    }

    fn entry(generation: u8, cid: ConnectionId) -> Entry {
        Entry {
            generation: Generation::new(generation).unwrap(),
            epoch: Epoch::new(7, 8),
            salt: Salt([1, 2, 3, 4, 5, 6]),
            server_salt: ServerSalt([9; 8]),
            cid,
            gateway: GatewayId(0x0203),
        }
    }

    fn full_record() -> Record {
        let mut record = Record::provisioned(id(5), Generation::FIRST, DeviceKey::new([7; KEY_LEN]));
        record.confirmed = Some(entry(1, ConnectionId::new(1, 0).unwrap()));
        record.candidate = Some(entry(2, ConnectionId::new(4, 0x3FFF_FFFF).unwrap()));
        record.clones = 3;
        let rotation =
            Rotation { secret: RotationSecret::from_bytes([8; KEY_LEN]), key: DeviceKey::new([9; KEY_LEN]) };
        record.with_rotation(rotation).unwrap()
    }

    #[test]
    fn a_record_fits_256_bytes() {
        assert!(size_of::<Record>() <= 256, "{}", size_of::<Record>());
    }

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        let bytes = full_record().encode();
        let read = Record::decode(bytes.expose()).unwrap();
        assert_eq!(read.encode().expose(), bytes.expose());
        assert_eq!(read.confirmed, full_record().confirmed);
        assert_eq!(read.candidate, full_record().candidate);
        let empty = Record::provisioned(id(5), Generation::FIRST, DeviceKey::new([7; KEY_LEN]));
        for status in [Status::Active, Status::Revoked, Status::Quarantined] {
            for record in [empty.clone(), full_record(), full_record().raised(9)] {
                let record = record.with_status(status);
                assert_eq!(Record::decode(record.encode().expose()), Ok(record));
            }
        }
    }

    #[test]
    fn a_record_tells_what_it_holds() {
        let record = full_record();
        assert_eq!((record.device_id(), record.generation(), record.clones()), (id(5), Generation::FIRST, 3));
        let rotation = record.rotation().unwrap();
        assert_eq!((record.key(), &rotation.key), (&key(7), &key(9)));
        let (confirmed, candidate) = (record.confirmed().unwrap(), record.candidate().unwrap());
        assert_eq!((confirmed.generation.number(), candidate.generation.number()), (1, 2));
        assert!(record.entries().eq([confirmed, candidate]));
        assert!(record.names(confirmed) && record.names(candidate));
        assert!(!record.names(&Entry { gateway: GatewayId(1), ..*confirmed }));
    }

    /// Of two keys one is in service and the next begun; a Hello names either by two bits (M-119).
    #[test]
    fn a_key_is_found_by_its_generation() {
        let record = full_record();
        for (bits, generation) in [(0, None), (1, Some(1)), (2, Some(2)), (3, None)] {
            let found = record.key_by_bits(bits).map(|(generation, _)| generation.number());
            assert_eq!(found, generation, "{bits}");
        }
        let of = |generation| record.key_of(&entry(generation, ConnectionId::new(1, 0).unwrap()));
        assert_eq!((of(1), of(2), of(3), of(5)), (Some(&key(7)), Some(&key(9)), None, None));
        assert_eq!(record.key_by_bits(2).map(|(_, key)| key), Some(&key(9)));
        assert!(record.clone().with_rotation_finished().key_by_bits(1).is_none());
    }

    /// M-130, M-131: what only a restore takes away is missing, and nothing else counts.
    #[test]
    fn a_record_precedes_what_it_knows_less_than() {
        let before = Record { rotation: None, ..full_record() };
        let newer = |entry: Entry| Entry { epoch: Epoch::new(7, 9), ..entry };
        for after in [
            Record { window: EpochWindow::raised(Epoch::new(9, 9)), ..before.clone() },
            full_record(),
            full_record().with_rotation_finished(),
            Record { confirmed: before.confirmed.map(newer), ..before.clone() },
            Record { clones: 4, ..before.clone() },
            before.clone().with_status(Status::Revoked),
        ] {
            assert!(before.precedes(&after) && !after.precedes(&before), "{after:?}");
            assert!(!after.precedes(&after));
        }
        assert!(!before.precedes(&before));
        // A rotation that is through has taken the entries of the old key along.
        let finished = Record { candidate: None, ..full_record() }.with_rotation_finished();
        assert!(finished.confirmed.is_none() && !finished.precedes(&full_record()));
        // Neither a candidate nor a status that can be taken back tells which came first.
        let other = Record { candidate: None, ..before.clone() }.with_status(Status::Quarantined);
        assert!(!before.precedes(&other) && !other.precedes(&before));
    }

    #[test]
    fn foreign_bytes_are_no_record() {
        let bytes = *full_record().encode().expose();
        for len in (0..RECORD_LEN).chain([RECORD_LEN + 1]) {
            let mut other = [0; RECORD_LEN + 1];
            other[..RECORD_LEN].copy_from_slice(&bytes);
            assert_eq!(Record::decode(&other[..len]).err(), Some(RecordError::Length));
        }
        // (offset, value, error): version, status, generation, flags, window, entry, padding of a cid, tail
        for (offset, value, error) in [
            (0, 2, RecordError::Version),
            (1, 3, RecordError::Field),
            (2, 0, RecordError::Field),
            (3, 2, RecordError::Field),
            (25, 0xFE, RecordError::Field),
            (58, 2, RecordError::Field),
            (59, 0, RecordError::Field),
            (81, 1, RecordError::Field),
            (RECORD_LEN - 1, 1, RecordError::Field),
        ] {
            let mut other = bytes;
            other[offset] = value;
            assert_eq!(Record::decode(&other).err(), Some(error), "{offset}");
        }
    }

    #[test]
    fn a_raise_never_lowers_a_newest_epoch() {
        let record = full_record();
        assert_eq!(record.clone().raised(0x10).newest(), Epoch::new(0x10, u16::MAX));
        let high = Record { window: EpochWindow::raised(Epoch::new(0x20, 1)), ..record };
        assert_eq!(high.raised(0x10).newest(), Epoch::new(0x20, 1));
        assert_eq!((raised_mark(5, 9), raised_mark(9, 5)), (0x0010_0009, 0x0010_0009));
        assert_eq!(raised_mark(MARK_MAX - 1, 5), MARK_MAX);
    }

    #[test]
    fn a_finished_rotation_leaves_nothing_of_the_old_key() {
        let record = full_record().with_rotation_finished();
        assert_eq!(record.generation.number(), 2);
        assert_eq!(record.key, DeviceKey::new([9; KEY_LEN]));
        assert!(record.rotation.is_none() && record.confirmed.is_none() && record.candidate.is_some());
        assert!(!record.encode().expose().windows(4).any(|bytes| bytes == [7; 4] || bytes == [8; 4]));
    }

    #[test]
    fn another_key_takes_the_entries_of_its_generation_alone() {
        let key = DeviceKey::new([3; KEY_LEN]);
        let record = full_record().with_key(Generation::new(2).unwrap(), key.clone());
        assert_eq!((record.generation.number(), record.key()), (2, &key));
        assert!(record.rotation.is_none() && record.confirmed.is_none() && record.candidate.is_some());
    }

    #[test]
    fn revoked_is_final() {
        let record = full_record().with_status(Status::Revoked).with_status(Status::Active);
        assert_eq!(record.status(), Status::Revoked);
    }
}
