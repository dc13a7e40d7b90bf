//! A backup put in the place of the store. The mark rises first, in the journal and for good; the rest of a
//! restore that was cut short is done by the next start. SPEC section 7.7 (M-80 to M-84).

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::journal::Journal;
use super::recovery::{self, Paths};
use super::store::Store;
use crate::files::FileError;

/// Restores the store of a directory from a backup. Nothing is changed before the backup is known to be good.
pub fn restore(paths: &Paths, from: &Path, confirms_raise: bool) -> Result<(), FileError> {
    let _lock = recovery::lock(paths)?;
    let draft = paths.store.with_extension("new");
    let _ = fs::remove_file(&draft);
    let result = restore_locked(paths, from, &draft, confirms_raise);
    if result.is_err() {
        let _ = fs::remove_file(&draft);
    }
    result
}

fn restore_locked(paths: &Paths, from: &Path, draft: &Path, confirms_raise: bool) -> Result<(), FileError> {
    if !fs::exists(&paths.journal).map_err(|error| FileError::new(&paths.journal, error))? {
        return Err(recovery::no_journal(paths));
    }
    let mut journal = Journal::open(&paths.journal)?;
    copy(from, draft).map_err(|error| FileError::new(from, format_args!("cannot be copied: {error}")))?;
    // The copy is checked, under the name of the backup.
    let backup = Store::look_at(draft).map_err(|error| {
        FileError::new(from, format_args!("is not a backup, or damaged; nothing was changed ({error})"))
    })?;
    if let Some(record) =
        backup.records.iter().find(|r| !journal.state().devices.contains_key(&r.device_id()))
    {
        let what = format!(
            "holds device {}, which the journal does not know; nothing was changed. The backup belongs to another \
             gateway, or the journal does",
            record.device_id()
        );
        return Err(FileError::new(from, what));
    }
    // What the store in place still knows makes the mark higher; where it is damaged, the journal's notes do.
    let current = Store::look_at(&paths.store).unwrap_or_default();
    for (path, meta) in [(from, backup.meta), (&paths.store, current.meta)] {
        if meta.journal > journal.number() || meta.mark > journal.state().mark {
            let what = "is newer than the journal, which was rolled back; nothing was changed. Put the newest copy of \
                        the journal in its place";
            return Err(FileError::new(path, what));
        }
    }
    recovery::raise(&mut journal, paths, backup.records.iter().chain(&current.records), confirms_raise)?;
    Store::adopt(draft)?;
    put_in_place(draft, &paths.store).map_err(|error| FileError::new(&paths.store, error))?;
    // The start finds the store's mark behind the journal's, and raises every record.
    recovery::open(paths, confirms_raise).map(|_| ())
}

fn put_in_place(draft: &Path, store: &Path) -> io::Result<()> {
    fs::rename(draft, store)?;
    super::sync_directory_of(store)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = fs::File::open(from)?;
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut source, &mut copy)?;
    copy.sync_all()
}
