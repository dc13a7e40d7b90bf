//! The thread that writes: it takes everything that waits, writes the journal and then the store, and only then
//! says so. What fails is tried again until it is known to be done, since a write that failed may have been made.
//! SPEC sections 7.2, 7.7 and 9.5.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use moteseal::server::{Admin, Change, Command, Durable, Held, RecordChange, Sending, SentMark};

use super::control::Reply;
use super::core::Input;
use super::journal::{self, Entry, Journal};
use super::requests::Intent;
use super::store::{Batch, Item, Store, Swap};

/// How many jobs become durable in one write at most.
const GROUP: usize = 1_024;
/// How long after a failure the next attempt is made.
const RETRY: Duration = Duration::from_millis(500);

/// What is to be made durable.
pub enum Job {
    /// A fresh Hello.
    Hello(Held<Vec<u8>, SocketAddr>, Change<RecordChange>),
    /// An administrative change.
    Admin(Admin, Change<RecordChange>, Intent, Reply),
    /// A command is about to be sealed: the mark, and the command as it is then.
    Mark(Sending, Change<SentMark>, Command),
    /// A new command.
    Put(Item, Reply),
    /// A command in another state, which need not wait for more than the next write.
    Update(Command),
    /// A command in another state, to be written now.
    UpdateNow(Command),
    /// A copy of the store.
    Backup(PathBuf, Reply),
    /// Write what waits and end.
    Stop,
}

/// What is durable.
pub enum Done {
    Hello(Held<Vec<u8>, SocketAddr>, Option<Durable<RecordChange>>),
    Admin(Admin, Option<Durable<RecordChange>>, Intent, Reply),
    Mark(Sending, Durable<SentMark>),
    Put(Item, Reply),
    Backup(PathBuf, Result<(), String>, Reply),
    /// The last word.
    Stopped(Result<(), String>),
}

/// The writer and its files.
pub struct Storage {
    pub journal: Journal,
    /// None after a failure: it is opened again.
    pub store: Option<Store>,
    pub path: PathBuf,
    pub jobs: Receiver<Job>,
    pub inputs: SyncSender<Input>,
    /// The gateway stops: no attempt is made after a failed one.
    pub stopping: Arc<AtomicBool>,
}

/// Says that the thread has ended where a panic ends it.
struct LastWord(SyncSender<Input>);

impl Drop for LastWord {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.send(Input::Done(Done::Stopped(Err("the writer has panicked".into()))));
        }
    }
}

impl Storage {
    /// Runs until [`Job::Stop`], or until the gateway is gone, which does not outlive this thread.
    pub fn run(mut self) {
        let _word = LastWord(self.inputs.clone());
        let mut group = Vec::new();
        while let Ok(job) = self.jobs.recv() {
            group.push(job);
            while group.len() < GROUP
                && let Ok(job) = self.jobs.try_recv()
            {
                group.push(job);
            }
            if group.iter().all(|job| matches!(job, Job::Update(_))) && group.len() < GROUP {
                continue;
            }
            let stops = group.iter().any(|job| matches!(job, Job::Stop));
            let group = std::mem::take(&mut group);
            let written = self.write_until_done(&group);
            let result = written.map(|swaps| self.tell(group, swaps));
            if stops || result.is_err() {
                // Closed in order, it needs no repair at the next start.
                self.store = None;
                let _ = self.inputs.send(Input::Done(Done::Stopped(result.map(|_| ()))));
                return;
            }
            if result == Ok(false) {
                return;
            }
        }
    }

    /// The result of each job, once all of them are durable.
    fn write_until_done(&mut self, group: &[Job]) -> Result<Vec<Swap>, String> {
        let mut failed = false;
        loop {
            match self.write(group, failed) {
                Ok(swaps) => {
                    if failed {
                        let _ = self.inputs.send(Input::Storage(Ok(())));
                    }
                    return Ok(swaps);
                }
                Err(error) => {
                    // It is not usable after an error; opened again it tells what was made of the write.
                    self.store = None;
                    if !failed {
                        let _ = self.inputs.send(Input::Storage(Err(error.clone())));
                    }
                    failed = true;
                    if self.stopping.load(Ordering::Relaxed) {
                        return Err(error);
                    }
                    thread::sleep(RETRY);
                }
            }
        }
    }

    fn write(&mut self, group: &[Job], again: bool) -> Result<Vec<Swap>, String> {
        let Self { journal, store, path, .. } = self;
        let store = match store {
            Some(store) => store,
            None => store.insert(Store::open(path).map_err(|error| error.to_string())?),
        };
        let explain = |error: redb::Error| format!("{}: cannot be written: {error}", path.display());
        let batch = store.begin().map_err(explain)?;
        let Filled { swaps, entries, is_empty } =
            fill(&batch, group, again, journal.state().written).map_err(explain)?;
        if is_empty {
            // Copies of a Hello that arrive together cost no write (P6).
            return Ok(swaps);
        }
        // After a failed append the journal counts its entries as said, and none of them is asked for again.
        if !entries.is_empty() || journal.is_torn() {
            // M-78: the journal before the store.
            journal.append(&entries).map_err(|error| format!("the journal cannot be written: {error}"))?;
            batch.set_journal(journal.number()).map_err(explain)?;
        }
        batch.commit().map_err(explain)?;
        Ok(swaps)
    }

    /// Hands out the proofs; no if nobody is there any more.
    fn tell(&self, group: Vec<Job>, swaps: Vec<Swap>) -> bool {
        let durable = |change: Change<RecordChange>, swap| (swap == Swap::Made).then(|| change.committed());
        group.into_iter().zip(swaps).all(|(job, swap)| {
            let done = match job {
                Job::Hello(held, change) => Done::Hello(held, durable(change, swap)),
                Job::Admin(admin, change, intent, reply) => {
                    Done::Admin(admin, durable(change, swap), intent, reply)
                }
                Job::Mark(sending, change, _) => Done::Mark(sending, change.committed()),
                Job::Put(item, reply) => Done::Put(item, reply),
                Job::Backup(to, reply) => return self.back_up(to, reply),
                Job::Update(_) | Job::UpdateNow(_) | Job::Stop => return true,
            };
            self.inputs.send(Input::Done(done)).is_ok()
        })
    }

    /// Copies the store beside the work; what is written meanwhile is not in the copy.
    fn back_up(&self, to: PathBuf, reply: Reply) -> bool {
        let inputs = self.inputs.clone();
        let snapshot = self.store.as_ref().map(Store::snapshot);
        thread::spawn(move || {
            let result = match snapshot {
                Some(Ok(snapshot)) => snapshot.save(&to).map_err(|error| error.to_string()),
                Some(Err(error)) => Err(error.to_string()),
                None => Err("the store is not open".into()),
            };
            let _ = inputs.send(Input::Done(Done::Backup(to, result, reply)));
        });
        true
    }
}

/// What became of a group of jobs.
struct Filled {
    /// One for each job.
    swaps: Vec<Swap>,
    /// What the journal must say first.
    entries: Vec<Entry>,
    /// Nothing is to be written.
    is_empty: bool,
}

/// Puts every job into the batch.
fn fill(batch: &Batch, group: &[Job], again: bool, mut written: bool) -> Result<Filled, redb::Error> {
    let (mut swaps, mut entries) = (Vec::with_capacity(group.len()), Vec::new());
    let mut is_empty = true;
    let mut records = batch.records()?;
    for job in group {
        let mut swap = Swap::Made;
        match job {
            Job::Hello(_, change) | Job::Admin(_, change, ..) => {
                let change = change.value();
                swap = records.swap(&change.expected, &change.record, again)?;
                if swap == Swap::Made {
                    if !std::mem::replace(&mut written, true) {
                        entries.push(Entry::Written);
                    }
                    entries.extend(journal::entries_of(change));
                }
            }
            Job::Mark(_, _, command) | Job::Update(command) | Job::UpdateNow(command) => {
                batch.put_command(command, None)?;
            }
            Job::Put(item, _) => {
                batch.put_command(&item.command, Some(&item.payload))?;
                batch.set_next_command(item.command.id.0 + 1)?;
            }
            Job::Backup(..) | Job::Stop => swap = Swap::Conflict,
        }
        is_empty &= swap == Swap::Conflict;
        swaps.push(swap);
    }
    Ok(Filled { swaps, entries, is_empty })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc;

    use moteseal::delivery::Timing;
    use moteseal::keys::{DeviceKey, RotationKey};
    use moteseal::number::{DeviceId, Generation};
    use moteseal::record::{GatewayId, Record, Status};
    use moteseal::server::Server;

    use super::*;
    use crate::random;
    use crate::serve::table::Devices;

    /// Storage with one device, and a server that knows it.
    fn with_storage(test: impl FnOnce(Storage, Server<Devices, super::super::core::Os>, DeviceId, &Path)) {
        let directory = tempfile::tempdir().unwrap();
        let (path, journal_path) = (directory.path().join("store.redb"), directory.path().join("journal"));
        let (device_id, key) = (DeviceId::new([1; 8]), DeviceKey::new([2; 32]));
        let record = Record::provisioned(device_id, Generation::FIRST, key.clone());
        let (store, mut journal) = (Store::create(&path).unwrap(), Journal::create(&journal_path).unwrap());
        journal.append(&[Entry::Provisioned(device_id, Generation::FIRST, key)]).unwrap();
        let batch = store.begin().unwrap();
        batch.records().unwrap().put(&record).unwrap();
        batch.commit().unwrap();

        let mut devices = Devices::new();
        devices.insert(record).unwrap();
        let server = Server::new(devices, random::os(), GatewayId(0), Timing::DEFAULT, 0).unwrap();
        let ((_, jobs), (inputs, _)) = (mpsc::channel(), mpsc::sync_channel(1));
        let stopping = Arc::new(AtomicBool::new(false));
        let storage = Storage { journal, store: Some(store), path, jobs, inputs, stopping };
        test(storage, server, device_id, &journal_path);
    }

    #[test]
    fn m_80_that_a_record_was_written_is_in_the_journal_after_a_failure_too() {
        with_storage(|mut storage, mut server, device_id, journal| {
            // A change that says nothing to the journal but that there was one, as most Hellos do.
            let (admin, change) = server.set_status(device_id, Status::Active).unwrap();
            let intent = Intent::Status(device_id, Status::Active);
            let group = [Job::Admin(admin, change, intent, Reply::Stdout)];
            storage.journal.fail_once();
            assert!(storage.write(&group, false).is_err());
            assert_eq!(storage.write(&group, true), Ok(vec![Swap::Made]));
            assert!(Journal::open(journal).unwrap().state().written);
        });
    }

    /// The device makes its key from the secret in the store. With the other one in the journal the next start would
    /// strand it.
    #[test]
    fn m_132_of_a_rotation_that_is_refused_the_journal_holds_nothing() {
        with_storage(|mut storage, mut server, device_id, journal| {
            let key = RotationKey::new([3; 32]);
            let mut begin = || server.begin_rotation(device_id, &key).unwrap();
            let ((made, change), (refused, other)) = (begin(), begin());
            let secret = change.value().record.rotation().unwrap().secret.clone();
            assert!(other.value().record.rotation().unwrap().secret != secret);
            let intent = || Intent::Rotate(device_id, key.clone());
            let job = |admin, change| Job::Admin(admin, change, intent(), Reply::Stdout);
            let group = [job(made, change), job(refused, other)];
            assert_eq!(storage.write(&group, false), Ok(vec![Swap::Made, Swap::Conflict]));
            let journal = Journal::open(journal).unwrap();
            let (kept, _) = journal.state().devices[&device_id].rotation.as_ref().unwrap();
            assert!(*kept == secret);
        });
    }
}
