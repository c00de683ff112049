//! What systems do differently with names and folders: exchanging, locking, moving what others look at, syncing.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
#[cfg(windows)]
use std::{thread, time::Duration};

// Numbers of winerror.h.
const ACCESS_DENIED: i32 = 5;
const SHARING_VIOLATION: i32 = 32;

/// Exchanges two names in one step.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
pub(super) fn exchange(one: &Path, two: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, two, RenameFlags::EXCHANGE)?)
}

/// Windows and the BSDs have no such call.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
pub(super) fn exchange(_: &Path, _: &Path) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

/// Kernels without the call answer ENOSYS, file systems without the flag EINVAL or ENOTSUP.
pub(super) fn cannot_exchange(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::InvalidInput)
}

/// A lock on a file or folder that ends with the process; `None` where the file system has none. Fails when it is held.
#[cfg(not(windows))]
pub(super) fn try_lock(path: &Path) -> Result<Option<File>, TryLockError> {
    let Ok(file) = File::open(path) else { return Ok(None) };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// The same by what the handle shares: Windows locks no folders, and its locks of files stop every other handle. Who
/// holds this one may write and lets nobody else do so, which only another call of this function asks of a folder.
/// Everybody may list, rename and remove. Nothing in a locked folder may be renamed: Windows then opens the folder for
/// writing.
#[cfg(windows)]
pub(super) fn try_lock(path: &Path) -> Result<Option<File>, TryLockError> {
    use std::os::windows::fs::OpenOptionsExt;
    const SHARE_READ: u32 = 1;
    const SHARE_DELETE: u32 = 4;
    /// Without it no folder is opened.
    const BACKUP_SEMANTICS: u32 = 0x0200_0000;
    let opened = File::options()
        .read(true)
        .write(true)
        .share_mode(SHARE_READ | SHARE_DELETE)
        .custom_flags(BACKUP_SEMANTICS)
        .open(path);
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.raw_os_error() == Some(SHARING_VIOLATION) => Err(TryLockError::WouldBlock),
        Err(_) => Ok(None),
    }
}

/// Waits for who holds the lock on `path`. Fails when it cannot be locked, with `NotFound` when it is gone.
#[cfg(not(windows))]
pub(super) fn lock(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    file.lock()?;
    Ok(file)
}

/// The same, by asking again.
#[cfg(windows)]
pub(super) fn lock(path: &Path) -> io::Result<File> {
    loop {
        match try_lock(path) {
            Ok(Some(file)) => return Ok(file),
            Ok(None) => return Err(fs::symlink_metadata(path).err().unwrap_or(ErrorKind::Unsupported.into())),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Moves a folder, whatever is open in it.
#[cfg(not(windows))]
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// The same, where nothing in the folder may be open. Scanners and indexers open new files for a moment: waits for them,
/// a second at most.
#[cfg(windows)]
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    for attempt in 1..=10 {
        match fs::rename(from, to) {
            Err(e) if in_use(&e) => thread::sleep(Duration::from_millis(18 * attempt)),
            done => return done,
        }
    }
    fs::rename(from, to)
}

/// Whether it was refused because something is open, which elsewhere is no reason.
pub(super) fn in_use(error: &io::Error) -> bool {
    cfg!(windows) && matches!(error.raw_os_error(), Some(ACCESS_DENIED | SHARING_VIOLATION))
}

/// A path that is there, in full and with its links followed.
#[cfg(not(windows))]
pub(super) fn whole(path: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(path)
}

/// The same; the form that the system has for followed links, `\\?\C:\…`, only where there is a link.
#[cfg(windows)]
pub(super) fn whole(path: &Path) -> io::Result<PathBuf> {
    if fs::symlink_metadata(path)?.is_symlink() { fs::canonicalize(path) } else { std::path::absolute(path) }
}

/// The contents of a file are on the disk. Windows flushes only what may be written.
pub(super) fn sync_file(path: &Path) -> io::Result<()> {
    File::options().read(true).write(cfg!(windows)).open(path)?.sync_all()
}

/// The names in a folder are on the disk. Only Unix lets a folder be opened for that.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
