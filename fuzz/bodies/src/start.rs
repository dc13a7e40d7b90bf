//! The start of a gateway on a directory that may hold anything: a journal and a store of any contents that a crash, an
//! old backup or a defect leaves. It refuses and leaves both as they were, or it starts, and the next start finds the
//! same. SPEC 7.7.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use moteseal::number::{DeviceId, Epoch, Generation};
use moteseal::record::{Record, Status, raised_mark};
use moteseal_gateway::inputs::{self, Started};
use redb::{Database, TableDefinition};

use crate::facts;
use crate::gateway::{journal_bytes, with_directory};
use crate::tape::Tape;

const RECORDS: TableDefinition<&[u8; 8], &[u8; 200]> = TableDefinition::new("records");
const COMMANDS: TableDefinition<u64, &[u8]> = TableDefinition::new("commands");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// One directory.
pub fn run(bytes: &[u8]) {
    let mut tape = Tape::new(bytes);
    with_directory(|directory| {
        let store = directory.join("store.redb");
        let kind = tape.u8();
        let mut raised_to = None;
        if kind & 3 != 0 {
            fs::write(&store, empty()).expect("a file");
            raised_to = fill(&store, &mut tape);
        }
        if kind & 4 != 0 {
            damage(&store, &mut tape);
        }
        let journal = directory.join("journal");
        if kind & 0x18 != 0 {
            fs::write(&journal, journal_bytes(&mut tape)).expect("a file");
        }
        let before = (fs::read(&store).ok(), fs::read(&journal).ok());
        let confirm = kind & 0x20 != 0;
        match inputs::start(directory, confirm) {
            // M-78: where it refuses, it has written nothing but a raise of the mark.
            Err(error) => {
                assert!(!error.is_empty());
                assert_eq!(fs::read(&store).ok(), before.0, "refused, and the store is another: {error}");
                let grown = fs::read(&journal).unwrap_or_default();
                let kept = before.1.unwrap_or_default();
                assert!(grown == kept || grown.len() > kept.len() || before.0.is_none(), "{error}");
            }
            Ok(started) => {
                if raised_to.is_some_and(|mark| mark != u64::from(started.mark)) {
                    is_raised(&started);
                }
                keeps_statuses(&started, before.1.as_deref());
                started_well(directory, &started, confirm);
            }
        }
        for name in ["store.redb", "journal", "lock", "journal.new", "store.new"] {
            let _ = fs::remove_file(directory.join(name));
        }
    });
}

/// M-81: the store is older than the last raise, so every record starts at the mark.
fn is_raised(started: &Started) {
    for bytes in &started.records {
        let record = Record::decode(bytes).expect("a record");
        assert!(record.newest() >= Epoch::new(started.mark, u16::MAX), "M-81: {}", record.newest());
    }
}

/// M-5, M-78: what the journal says of a device's status holds, whatever the store says.
fn keeps_statuses(started: &Started, journal: Option<&[u8]>) {
    let Some(facts) = journal.and_then(facts::journal) else { return };
    for bytes in &started.records {
        let record = Record::decode(bytes).expect("a record");
        let status =
            facts.statuses.get(record.device_id().as_bytes()).map(|status| STATUSES[usize::from(*status)]);
        assert_eq!(Some(record.status()), status, "M-78: {}", record.device_id());
    }
}

/// By their numbers in a journal.
const STATUSES: [Status; 3] = [Status::Active, Status::Revoked, Status::Quarantined];

/// Everything that is started with is good, and the next start finds the same.
fn started_well(directory: &Path, started: &Started, confirm: bool) {
    for bytes in &started.records {
        let record = Record::decode(bytes).expect("a record");
        assert_eq!(record.encode().expose().as_slice(), bytes);
    }
    let again =
        inputs::start(directory, confirm).unwrap_or_else(|error| panic!("started once, then: {error}"));
    assert_eq!(again.records, started.records, "the second start finds other records");
    assert_eq!(again.mark, started.mark, "M-83: the mark is raised twice");
    assert_eq!(
        inputs::store(&directory.join("store.redb")).map(|(records, _)| records),
        Ok(started.records.len())
    );
    let journal = inputs::journal(&directory.join("journal"), false).expect("a journal");
    assert_eq!(journal.mark, started.mark);
}

/// The file of a store with nothing in it.
fn empty() -> &'static [u8] {
    static EMPTY: OnceLock<Vec<u8>> = OnceLock::new();
    EMPTY.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.redb");
        drop(Database::create(&path).expect("a database"));
        fs::read(path).expect("it is there")
    })
}

/// Rows of any contents, mostly such as a gateway writes. Gives the mark that the records were raised to.
fn fill(path: &Path, tape: &mut Tape<'_>) -> Option<u64> {
    let database = Database::open(path).expect("a database");
    let mut batch = database.begin_write().expect("a batch");
    // Nothing here need be durable.
    let _ = batch.set_durability(redb::Durability::None);
    let (bits, mut raised_to) = (tape.u8(), None);
    if bits & 0x0F != 0x0F {
        let mut records = batch.open_table(RECORDS).expect("a table");
        for _ in 0..bits & 3 {
            let (id, bytes) = record(tape);
            records.insert(&id, &bytes).expect("a row");
        }
        let mut commands = batch.open_table(COMMANDS).expect("a table");
        if bits & 8 != 0 {
            let mut command = vec![1];
            command.extend([tape.below(4); 8]);
            command.extend(tape.bytes(60));
            commands.insert(tape.u64(), command.as_slice()).expect("a row");
        }
    }
    if bits & 0x30 != 0x30 {
        let mut meta = batch.open_table(META).expect("a table");
        meta.insert("format", if bits & 0x40 == 0 { 1 } else { tape.u64() }).expect("a row");
        let mark = tape.pick(&[0, 1, 1 << 20, 0xFEFF_FFFE, u64::MAX]);
        meta.insert("mark", mark).expect("a row");
        raised_to = Some(mark);
        meta.insert("journal", u64::from(tape.u8())).expect("a row");
        meta.insert("next_command", u64::from(tape.u32())).expect("a row");
        if bits & 0x80 != 0 && tape.flag() {
            meta.insert("backup", u64::from(tape.u8())).expect("a row");
        }
    }
    batch.commit().expect("in memory");
    // The last commit of a file must be durable for its head to be good.
    database.begin_write().expect("a batch").commit().expect("in memory");
    raised_to
}

/// A record of one of the journal's devices, or any bytes.
fn record(tape: &mut Tape<'_>) -> ([u8; 8], [u8; 200]) {
    let (id, bits) = ([tape.below(4); 8], tape.u8());
    let generation = Generation::new((bits & 3).max(1)).expect("not 0");
    let key = moteseal::keys::DeviceKey::new([tape.u8(); 32]);
    let mut record = Record::provisioned(DeviceId::new(id), generation, key);
    if bits & 4 != 0 {
        let newest = Epoch::new(tape.u32(), 0).boot();
        record = record.raised(raised_mark(0, newest));
    }
    let mut bytes = *record.encode().expose();
    if bits & 0x18 == 0x18 {
        let at = tape.place(bytes.len());
        bytes[at] ^= tape.u8();
    }
    (id, bytes)
}

/// Bytes of the file that are not what was written.
fn damage(path: &Path, tape: &mut Tape<'_>) {
    let Ok(mut bytes) = fs::read(path) else { return };
    for _ in 0..=tape.below(4) {
        let at = (tape.u32() as usize) % bytes.len().max(1);
        let part = tape.bytes(16);
        let end = (at + part.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&part[..end - at]);
    }
    if tape.below(8) == 0 {
        bytes.truncate((tape.u32() as usize) % bytes.len().max(1));
    }
    fs::write(path, bytes).expect("a file");
}
