//! Files that hold secrets: read into memory that is wiped, created with mode 0600, never overwritten, made
//! whole or not at all.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use zeroize::Zeroizing;

/// What is wrong with a file, and where in it. Never shows what the file holds.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    line: Option<usize>,
    what: String,
}

impl FileError {
    /// Something about the whole file.
    pub fn new(path: &Path, what: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), line: None, what: what.to_string() }
    }

    /// Something about one line, counted from 1.
    pub fn in_line(path: &Path, line: usize, what: impl fmt::Display) -> Self {
        Self { line: Some(line), ..Self::new(path, what) }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, what) = (self.path.display(), &self.what);
        match self.line {
            Some(line) => write!(f, "{path}, line {line}: {what}"),
            None => write!(f, "{path}: {what}"),
        }
    }
}

impl std::error::Error for FileError {}

impl From<FileError> for String {
    fn from(error: FileError) -> Self {
        error.to_string()
    }
}

/// Reads a file of at most `max_len` bytes.
pub fn read(path: &Path, max_len: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let fail = |error: io::Error| FileError::new(path, format_args!("cannot be read: {error}"));
    let file = File::open(path).map_err(fail)?;
    let len = file.metadata().map_err(fail)?.len().min(max_len);
    // In one piece: a vector that grows leaves copies of secrets behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(len).unwrap_or(0) + 1));
    file.take(max_len + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > max_len {
        return Err(FileError::new(
            path,
            format_args!("is longer than {max_len} bytes; this is another file"),
        ));
    }
    Ok(bytes)
}

/// The longest text file that is read, in bytes: a registry of over ten million devices.
const MAX_TEXT_LEN: u64 = 1 << 30;

/// A text file of one fact a line.
#[derive(Debug)]
pub struct TextFile {
    path: PathBuf,
    text: Zeroizing<Vec<u8>>,
}

impl TextFile {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let text = read(path, MAX_TEXT_LEN)?;
        if std::str::from_utf8(&text).is_err() {
            return Err(FileError::new(path, "is not a text file"));
        }
        Ok(Self { path: path.to_owned(), text })
    }

    /// The lines that say something, each with its number from 1: without blank lines, lines that begin with
    /// `#`, and what spreadsheets put around lines (a byte order mark, blanks, carriage returns).
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let text = std::str::from_utf8(&self.text).unwrap_or_default();
        let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
        (1..).zip(lines).filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    }

    /// An error about the whole file.
    pub fn error(&self, what: impl fmt::Display) -> FileError {
        FileError::new(&self.path, what)
    }

    /// An error about one line.
    pub fn error_in(&self, line: usize, what: impl fmt::Display) -> FileError {
        FileError::in_line(&self.path, line, what)
    }
}

/// Makes a file with mode 0600 where there is none: whole or not at all.
pub fn create(path: &Path, contents: &[u8]) -> Result<(), FileError> {
    refuse_existing(path)?;
    let create = || {
        let mut draft = tempfile::Builder::new().prefix(".moteseal-").tempfile_in(parent(path))?;
        draft.write_all(contents)?;
        draft.as_file().sync_all()?;
        draft.persist_noclobber(path)?;
        File::open(parent(path))?.sync_all()
    };
    create().map_err(|error: io::Error| FileError::new(path, format_args!("cannot be created: {error}")))
}

/// A directory that is filled out of sight, and removed again unless it is published.
#[derive(Debug)]
pub struct NewDirectory {
    draft: TempDir,
    path: PathBuf,
}

impl NewDirectory {
    /// Begins a directory (mode 0700) that is to stand at `path`, where there must be nothing.
    pub fn begin(path: &Path) -> Result<Self, FileError> {
        refuse_existing(path)?;
        let beside = parent(path);
        let mode = Permissions::from_mode(0o700);
        let draft = tempfile::Builder::new().prefix(".moteseal-").permissions(mode).tempdir_in(beside);
        let draft = draft.map_err(|error| {
            FileError::new(path, format_args!("nothing can be created in {}: {error}", beside.display()))
        })?;
        Ok(Self { draft, path: path.to_owned() })
    }

    /// Adds a directory inside, with mode 0700.
    pub fn add_directory(&self, name: &str) -> Result<(), FileError> {
        let made = DirBuilder::new().mode(0o700).create(self.draft.path().join(name));
        made.map_err(|error| self.cannot_create(name, &error))
    }

    /// Adds a file inside, with mode 0600.
    pub fn add(&self, name: &str, contents: &[u8]) -> Result<(), FileError> {
        let write = || {
            let path = self.draft.path().join(name);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(contents)?;
            file.sync_all()
        };
        write().map_err(|error| self.cannot_create(name, &error))
    }

    /// Puts the directory in its place, complete.
    pub fn publish(self) -> Result<(), FileError> {
        refuse_existing(&self.path)?;
        let publish = || {
            sync_directories(self.draft.path())?;
            fs::rename(self.draft.path(), &self.path)?;
            File::open(parent(&self.path))?.sync_all()
        };
        publish().map_err(|error| FileError::new(&self.path, format_args!("cannot be created: {error}")))
    }

    fn cannot_create(&self, name: &str, error: &io::Error) -> FileError {
        FileError::new(&self.path.join(name), format_args!("cannot be created: {error}"))
    }
}

fn refuse_existing(path: &Path) -> Result<(), FileError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FileError::new(path, format_args!("cannot be created: {error}"))),
        Ok(_) => Err(FileError::new(path, "exists, and nothing is overwritten; give a new name")),
    }
}

fn sync_directories(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(directory)?.sync_all()
}

/// The directory that `path` stands in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
