//! The files of a SQLite database: the lock by which one server has them, and whether they are still where they were.
//!
//! A server locks a file beside the database, so that there is one server for one database. It is an ordinary lock of
//! the operating system, which is released when its process ends, however it does. The database file itself is never
//! opened here: closing it would release the locks that SQLite holds on it for this process.
//!
//! SQLite goes on writing into a file that was deleted or replaced, and reports success. So the files at these paths
//! are compared with those that were opened: before each commit, before each acknowledgement, and twice a second.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Where SQLite keeps commits before they are in the database file, and its index of them.
const SIDE_FILES: [&str; 2] = ["-wal", "-shm"];

/// The file that is locked.
const LOCK_FILE: &str = "-lock";

/// A database file and those that belong to it, locked.
#[derive(Debug)]
pub struct DatabaseFiles {
    /// The path as it was given.
    path: PathBuf,
    /// The same path without links.
    real_path: PathBuf,
    lock: Mutex<Option<LockedFile>>,
    /// Which files were opened: the database, then [`SIDE_FILES`].
    opened: OnceLock<[FileId; 3]>,
}

/// A locked file.
#[derive(Debug)]
struct LockedFile {
    id: FileId,
    _file: File,
}

/// Identifies a file, whatever its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

/// Why files cannot be locked.
#[derive(Debug)]
pub enum LockError {
    /// Another process has locked them.
    InUse,
    /// The file has further names, by which another server could open it.
    SeveralNames,
    /// The operating system refuses.
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

/// What a check of the files found.
#[derive(Debug)]
pub enum FileCheckError {
    /// They are not where they were.
    Moved(FileMoved),
    /// They cannot be looked at.
    Unknown(io::Error),
}

impl DatabaseFiles {
    /// Locks the database file at this path, and creates it before if it does not exist and `may_create`. None if it
    /// cannot be found or created: SQLite has an error of its own for that.
    pub fn lock(path: &Path, may_create: bool) -> Result<Option<Self>, LockError> {
        // A link may point to a file that is still to be created, so the file is looked for and not the path.
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

    /// Takes the files at these paths for those that SQLite has opened. It is called when SQLite has.
    pub fn remember(&self) -> io::Result<()> {
        let [wal, shm] = SIDE_FILES.map(|name| FileId::of(&beside(&self.real_path, name)));
        let _ = self.opened.set([FileId::of(&self.path)?, wal?, shm?]);
        Ok(())
    }

    /// Succeeds if the files are still those that were opened.
    pub fn check(&self) -> Result<(), FileCheckError> {
        let Some([database, side @ ..]) = self.opened.get() else { return Ok(()) };
        is_still(&self.path, database)?;
        for (name, file) in SIDE_FILES.iter().zip(side) {
            is_still(&beside(&self.real_path, name), file)?;
        }
        self.keep_lock()
    }

    /// Creates and locks the lock file again if it was removed, before another server does.
    fn keep_lock(&self) -> Result<(), FileCheckError> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(locked) = &*lock else { return Ok(()) };
        let path = beside(&self.real_path, LOCK_FILE);
        match is_still(&path, &locked.id) {
            Err(FileCheckError::Moved(moved)) => {
                *lock = Some(lock_beside(&self.real_path).map_err(|error| match error {
                    LockError::Failed(_, error) => FileCheckError::Unknown(error),
                    LockError::InUse | LockError::SeveralNames => FileCheckError::Moved(moved),
                })?);
                Ok(())
            }
            other => other,
        }
    }

    /// Releases the lock.
    pub fn unlock(&self) {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl FileId {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

fn is_still(path: &Path, file: &FileId) -> Result<(), FileCheckError> {
    match FileId::of(path) {
        Ok(found) if found == *file => Ok(()),
        Ok(_) => Err(FileCheckError::Moved(FileMoved { path: path.to_owned() })),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(FileCheckError::Moved(FileMoved { path: path.to_owned() }))
        }
        Err(error) => Err(FileCheckError::Unknown(error)),
    }
}

/// Locks the file that stands for the database. The file is never removed: another process might have opened it just
/// before.
fn lock_beside(database: &Path) -> Result<LockedFile, LockError> {
    let path = beside(database, LOCK_FILE);
    let failed = |error| LockError::Failed(path.clone(), error);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {
            let metadata = file.metadata().map_err(failed)?;
            Ok(LockedFile { id: FileId { device: metadata.dev(), inode: metadata.ino() }, _file: file })
        }
        Err(TryLockError::WouldBlock) => Err(LockError::InUse),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The file whose name is the database's with this appended.
fn beside(database: &Path, name: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(name);
    path.into()
}
