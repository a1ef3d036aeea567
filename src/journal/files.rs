//! The files of a SQLite database: whose they are, and whether they are still there.
//!
//! A server holds a lock on a file beside the database, so that there is one server for one database. It is an ordinary
//! lock of the system, which is gone when its process is, however that ended. The database file itself is never opened
//! here: to close it would release the locks that SQLite holds on it for this process.
//!
//! SQLite goes on writing into a file that was deleted or replaced, and says that all is well. So the places are compared
//! with the files that were opened: before each commit, before each acknowledgement, and twice a second.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Where SQLite keeps commits before they are in the database file, and its index of them.
const SIDE_FILES: [&str; 2] = ["-wal", "-shm"];

/// What the lock is on.
const LOCK_FILE: &str = "-lock";

/// A database file and those that belong to it, locked.
#[derive(Debug)]
pub(super) struct DatabaseFiles {
    /// As it was given.
    path: PathBuf,
    /// The same without links.
    real_path: PathBuf,
    lock: Mutex<Option<Locked>>,
    /// Which files were opened: the database, then [`SIDE_FILES`].
    opened: OnceLock<[FileId; 3]>,
}

/// A locked file.
#[derive(Debug)]
struct Locked {
    id: FileId,
    _file: File,
}

/// What tells a file from all others, wherever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

/// Why files cannot be had.
#[derive(Debug)]
pub(super) enum LockError {
    /// Another process has them.
    InUse,
    /// The file has further names, by which another server could open it.
    SeveralNames,
    /// They cannot be locked.
    Failed(PathBuf, io::Error),
}

/// A file of the database is not where it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "The file {} was deleted, moved or replaced while the server was running, so what is committed to the database could \
     not be found again: put the file back, or start the server anew with what is there now.",
    .path.display()
)]
pub struct FileMoved {
    /// Which of the files.
    pub path: PathBuf,
}

/// What came of a look.
#[derive(Debug)]
pub(super) enum LookError {
    /// They are not there any more.
    Moved(FileMoved),
    /// That cannot be told.
    Unknown(io::Error),
}

impl DatabaseFiles {
    /// Locks the database file at this path, made if it is not there and may be; none if it cannot be found or made, which
    /// SQLite has words for.
    pub(super) fn lock(path: &Path, may_create: bool) -> Result<Option<Self>, LockError> {
        // A link may point to a file that is still to be made, so this is asked of the system and not of the path.
        if may_create && matches!(fs::metadata(path), Err(error) if error.kind() == ErrorKind::NotFound) {
            let _ = OpenOptions::new().append(true).create(true).mode(0o644).open(path);
        }
        let (Ok(path), Ok(real_path)) = (std::path::absolute(path), fs::canonicalize(path)) else { return Ok(None) };
        let failed = |error| LockError::Failed(beside(&real_path, LOCK_FILE), error);
        if fs::metadata(&real_path).map_err(failed)?.nlink() > 1 {
            return Err(LockError::SeveralNames);
        }
        let lock = Mutex::new(Some(lock_beside(&real_path)?));
        Ok(Some(Self { path, real_path, lock, opened: OnceLock::new() }))
    }

    /// Takes what is there now for what SQLite has opened. To be called when it has.
    pub(super) fn remember(&self) -> io::Result<()> {
        let [wal, shm] = SIDE_FILES.map(|name| FileId::of(&beside(&self.real_path, name)));
        let _ = self.opened.set([FileId::of(&self.path)?, wal?, shm?]);
        Ok(())
    }

    /// Succeeds if the files are still those that were opened.
    pub(super) fn check(&self) -> Result<(), LookError> {
        let Some([database, side @ ..]) = self.opened.get() else { return Ok(()) };
        is_still(&self.path, database)?;
        for (name, file) in SIDE_FILES.iter().zip(side) {
            is_still(&beside(&self.real_path, name), file)?;
        }
        self.keep_lock()
    }

    /// Locks the place of the lock anew if somebody has tidied its file away, before somebody else does.
    fn keep_lock(&self) -> Result<(), LookError> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(locked) = &*lock else { return Ok(()) };
        let path = beside(&self.real_path, LOCK_FILE);
        match is_still(&path, &locked.id) {
            Err(LookError::Moved(moved)) => {
                *lock = Some(lock_beside(&self.real_path).map_err(|error| match error {
                    LockError::Failed(_, error) => LookError::Unknown(error),
                    LockError::InUse | LockError::SeveralNames => LookError::Moved(moved),
                })?);
                Ok(())
            }
            other => other,
        }
    }

    /// Lets others have them.
    pub(super) fn unlock(&self) {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl FileId {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

fn is_still(path: &Path, file: &FileId) -> Result<(), LookError> {
    match FileId::of(path) {
        Ok(found) if found == *file => Ok(()),
        Ok(_) => Err(LookError::Moved(FileMoved { path: path.to_owned() })),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(LookError::Moved(FileMoved { path: path.to_owned() }))
        }
        Err(error) => Err(LookError::Unknown(error)),
    }
}

/// Locks the file that stands for the database. It is never removed: who removed it could not know whether somebody had
/// just opened it.
fn lock_beside(database: &Path) -> Result<Locked, LockError> {
    let path = beside(database, LOCK_FILE);
    let failed = |error| LockError::Failed(path.clone(), error);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {
            let metadata = file.metadata().map_err(failed)?;
            Ok(Locked { id: FileId { device: metadata.dev(), inode: metadata.ino() }, _file: file })
        }
        Err(TryLockError::WouldBlock) => Err(LockError::InUse),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// A file whose name is the database's and this.
fn beside(database: &Path, name: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(name);
    path.into()
}
