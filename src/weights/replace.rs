//! Replacing a folder or a file in one step.
//!
//! A new folder grows beside its target as `.NAME.tmp-…` and takes the target's name when it is complete. Where the
//! system can exchange two names, the target is whole at every moment, old or new. Where it cannot, the old folder is
//! called `.NAME.old-…` between two renamings; whoever finds the target missing then calls [`recover`]. Windows moves no
//! folder in which something is open: what was to replace a model in use is then kept as `NAME.new-…`, and the error says so.
//!
//! A `.NAME.old-…` is therefore always whole, and a `.NAME.tmp-…` never counts. Whoever works on either holds a lock on
//! it, which ends with the process: what is not locked was left over by a run that was killed.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};

use crate::error::{Error, Result, Status};

mod system;

use system::{cannot_exchange, exchange, in_use, lock, rename, try_lock};

/// A folder in the making beside its target; nothing of the target changes until [`commit`](Self::commit). Dropped
/// without it, the folder is removed.
///
/// Whoever mapped files of the old folder keeps them: a removed file lives as long as its maps. On Windows a folder with
/// mapped files cannot be replaced.
#[derive(Debug)]
pub struct NewFolder {
    target: Target,
    temporary: PathBuf,
    /// Held open for its lock.
    _lock: Option<File>,
}

impl NewFolder {
    /// Makes an empty folder beside `target`, and the folders above it that are missing. What killed runs left over for
    /// the same target is put back or removed.
    ///
    /// Fails with `InvalidArgument` when the target has no name of its own (empty, a root), is a file, is a git
    /// repository, or is a folder that holds something and yet no model: replacing it would remove what is in it.
    pub fn begin(target: &Path) -> Result<Self> {
        let target = Target::find(target)?;
        fs::create_dir_all(&target.parent).map_err(|e| Error::io(&target.parent, &e))?;
        target.recover()?;
        target.check_replaceable()?;
        target.sweep()?;
        let (temporary, lock) = target.claim(|path| fs::create_dir(path))?;
        Ok(Self { target, temporary, _lock: lock })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Waits until the disk has every file, then gives the folder the target's name and removes the old one.
    ///
    /// On an error the target is as it was, or, where the disk fails at the very last, the new folder. Where the old one
    /// cannot be moved because it is in use, the error names what the new one is called from then on. An old folder that
    /// cannot be removed is no error: it stays beside the target under a temporary name, and the next
    /// [`begin`](Self::begin) tries again.
    pub fn commit(self) -> Result<()> {
        sync_tree(&self.temporary)?;
        let path = self.target.path();
        if fs::symlink_metadata(&path).is_err_and(|e| e.kind() == ErrorKind::NotFound) {
            rename(&self.temporary, &path).map_err(|e| Error::io(&path, &e))?;
            return sync_folder(&self.target.parent);
        }
        self.target.check_replaceable()?;
        match exchange(&self.temporary, &path) {
            Ok(()) => {}
            Err(e) if cannot_exchange(&e) => return self.target.swap_in_two_steps(&self.temporary),
            Err(e) => return Err(Error::io(&path, &e)),
        }
        sync_folder(&self.target.parent)
        // dropping `self` removes the old folder, which now has the temporary name
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.temporary); // what stays is swept by the next `begin`
    }
}

/// Puts back the folder `target` when a run was killed between the two renamings of a replacement. Does nothing when
/// the target is there or nothing is to be put back; to say that a folder is missing is left to who opens it. Waits for
/// a run that is between the two.
pub fn recover(target: &Path) -> Result<()> {
    match (fs::symlink_metadata(target), Target::find(target)) {
        (Err(e), Ok(found)) if e.kind() == ErrorKind::NotFound => found.recover(),
        _ => Ok(()),
    }
}

/// Removes the folder `target`, which until then is whole: killed half way, it leaves what [`sweep`] removes. A folder in
/// use stays where the system removes none.
pub fn remove_folder(target: &Path) -> Result<()> {
    let target = Target::find(target)?;
    let (path, doomed) = (target.path(), target.unused(TEMPORARY));
    match rename(&path, &doomed).and_then(|()| fs::remove_dir_all(&doomed)) {
        Err(e) if !in_use(&e) => Err(Error::io(&path, &e)),
        _ => Ok(()),
    }
}

/// Removes what killed runs left over in `folder` for targets whose names begin with `prefix`.
pub fn sweep(folder: &Path, prefix: &str) -> Result<()> {
    let failed = |e: io::Error| Error::io(folder, &e);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let left = name.to_str().and_then(|name| name.strip_prefix('.')).filter(|name| name.starts_with(prefix));
        if left.is_some_and(|name| name.contains(TEMPORARY)) {
            remove_unlocked(&entry.path());
        }
    }
    Ok(())
}

/// Removes what nobody works on; what stays is swept another time.
fn remove_unlocked(temporary: &Path) {
    if let Ok(Some(_lock)) = try_lock(temporary) {
        let _ = if temporary.is_dir() { fs::remove_dir_all(temporary) } else { fs::remove_file(temporary) };
    }
}

/// Writes `bytes` to the file `path`, which at every moment holds all of the old contents or all of the new ones.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let target = Target::find(path)?;
    let path = target.path();
    if path.is_dir() {
        return Err(Error::argument(format!("{}: a folder, expected a file", path.display())));
    }
    target.sweep()?;
    let (temporary, lock) = target.claim(|path| File::create_new(path).map(drop))?;
    let written = (|| {
        // what is locked on Windows is written by who locked it; elsewhere the lock is not for writing
        let mut file = match &lock {
            Some(locked) if cfg!(windows) => locked.try_clone()?,
            _ => File::options().write(true).open(&temporary)?,
        };
        file.write_all(bytes)?;
        file.sync_all()?;
        rename(&temporary, &path)
    })();
    written.map_err(|e| {
        let _ = fs::remove_file(&temporary); // what stays is swept by the next call
        Error::io(&path, &e)
    })?;
    sync_folder(&target.parent)
}

/// A name in a folder. What a link leads to, not the link.
#[derive(Debug)]
struct Target {
    parent: PathBuf,
    name: OsString,
}

/// Ends a name that no other run and no other call gives.
fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

impl Target {
    fn find(path: &Path) -> Result<Self> {
        let full = match system::whole(path) {
            Ok(full) => full,
            Err(e) if e.kind() == ErrorKind::NotFound && !path.is_symlink() => path.to_owned(),
            Err(e) => return Err(Error::io(path, &e)),
        };
        let Some(name) = full.file_name() else {
            return Err(Error::argument(format!("{:?}: no name that a folder could have, expected one", path)));
        };
        let parent = match full.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok(Self { name: name.to_owned(), parent })
    }

    fn path(&self) -> PathBuf {
        self.parent.join(&self.name)
    }

    /// `.NAME.` and the kind of what lies beside the target.
    fn prefix(&self, kind: &str) -> OsString {
        let mut prefix = OsString::from(".");
        prefix.push(&self.name);
        prefix.push(kind);
        prefix
    }

    fn unused(&self, kind: &str) -> PathBuf {
        let mut name = self.prefix(kind);
        name.push(unique());
        self.parent.join(name)
    }

    /// Makes something of a temporary name and locks it. Another process may sweep it away in between; then again.
    fn claim(&self, make: impl Fn(&Path) -> io::Result<()>) -> Result<(PathBuf, Option<File>)> {
        loop {
            let path = self.unused(TEMPORARY);
            match make(&path) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
                made => made.map_err(|e| Error::io(&path, &e))?,
            }
            let lock = match try_lock(&path) {
                Ok(lock) => lock,
                Err(_) => continue,
            };
            if fs::symlink_metadata(&path).is_ok() {
                return Ok((path, lock));
            }
        }
    }

    /// What lies beside the target under names of this kind, sorted.
    fn beside(&self, kind: &str) -> Result<Vec<PathBuf>> {
        let prefix = self.prefix(kind);
        let listed = match fs::read_dir(&self.parent) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.and_then(Iterator::collect::<io::Result<Vec<_>>>),
        };
        let mut found: Vec<PathBuf> = listed
            .map_err(|e| Error::io(&self.parent, &e))?
            .into_iter()
            .filter(|entry| starts_with(&entry.file_name(), &prefix))
            .map(|entry| entry.path())
            .collect();
        found.sort();
        Ok(found)
    }

    /// Puts `.NAME.old-…` back where the target is missing.
    fn recover(&self) -> Result<()> {
        let path = self.path();
        for old in self.beside(OLD)? {
            // waits for a replacement that is under way
            let lock = lock(&old);
            if path.exists() {
                break;
            }
            if lock.is_err_and(|e| e.kind() == ErrorKind::NotFound) {
                continue;
            }
            rename(&old, &path).map_err(|e| Error::io(&path, &e))?;
            return sync_folder(&self.parent);
        }
        Ok(())
    }

    /// Removes what killed runs left over. The target is there, or nothing of it is.
    fn sweep(&self) -> Result<()> {
        for old in self.beside(OLD)? {
            if let Ok(Some(_lock)) = try_lock(&old) {
                // under a temporary name first: a half-removed folder must not be put back
                let _ = fs::rename(&old, self.unused(TEMPORARY));
            }
        }
        for temporary in self.beside(TEMPORARY)? {
            remove_unlocked(&temporary);
        }
        Ok(())
    }

    /// The target as a folder may be replaced: it is not there, is empty, or holds a model, an adapter or a run.
    fn check_replaceable(&self) -> Result<()> {
        let path = self.path();
        let refuse = |what: &str| Err(Error::argument(format!("{}: {what}", path.display())));
        let entries = match fs::read_dir(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            // what systems say of listing a file differs
            Err(_) if path.is_file() => return refuse("a file, expected a folder to write"),
            entries => entries.and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(|e| Error::io(&path, &e))?,
        };
        let holds = |name: &str| entries.iter().any(|entry| entry.file_name() == name);
        if holds(".git") {
            return refuse("a git repository, expected a folder that may be replaced; write beside it");
        }
        if entries.is_empty() || MARKS.iter().any(|name| holds(name)) || describes_a_model(&path.join("config.json")) {
            return Ok(());
        }
        refuse("holds files, but no model that may be replaced; expected an empty or a new folder")
    }

    /// Old to `.NAME.old-…`, new to the target's name; the old one back when the second step fails.
    fn swap_in_two_steps(&self, temporary: &Path) -> Result<()> {
        let (path, old) = (self.path(), self.unused(OLD));
        let failed = |e: io::Error| Error::io(&path, &e);
        let lock = try_lock(&path).map_err(|e| self.keep(temporary, e.into()))?;
        rename(&path, &old).map_err(|e| self.keep(temporary, e))?;
        if let Err(e) = rename(temporary, &path) {
            rename(&old, &path).map_err(failed)?;
            return Err(self.keep(temporary, e));
        }
        sync_folder(&self.parent)?;
        let doomed = self.unused(TEMPORARY);
        if fs::rename(&old, &doomed).is_ok() {
            let _ = fs::remove_dir_all(&doomed); // what stays is swept by the next `begin`
        }
        drop(lock);
        Ok(())
    }

    /// The error of a replacement that failed. What could not be put in place because something is in use stays, under a
    /// name that is never swept.
    fn keep(&self, temporary: &Path, why: io::Error) -> Error {
        let (path, mut name) = (self.path(), self.name.clone());
        name.push(NEW);
        name.push(unique());
        let kept = self.parent.join(name);
        if (in_use(&why) || why.kind() == ErrorKind::WouldBlock) && rename(temporary, &kept).is_ok() {
            let (path, kept) = (path.display(), kept.display());
            return Error::new(Status::Io, format!("{path}: in use ({why}); what was to replace it is {kept}"));
        }
        Error::io(&path, &why)
    }
}

const TEMPORARY: &str = ".tmp-";

const OLD: &str = ".old-";

const NEW: &str = ".new-";

/// Files that only a model, an adapter or a training run has.
const MARKS: [&str; 6] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "adapter_config.json",
    "trainer_state.json",
    "modules.json",
];

/// Whether this is a `config.json` of HuggingFace: many other programs have a file of that name.
fn describes_a_model(config: &Path) -> bool {
    let parsed = fs::read(config).ok().and_then(|bytes| serde_json::from_slice::<Map<String, Value>>(&bytes).ok());
    parsed.is_some_and(|object| object.contains_key("model_type") || object.contains_key("architectures"))
}

fn starts_with(name: &OsStr, prefix: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(prefix.as_encoded_bytes())
}

/// Every file and folder of the tree is on the disk.
fn sync_tree(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    for entry in entries.map_err(|e| Error::io(folder, &e))? {
        let path = entry.path();
        let kind = entry.file_type().map_err(|e| Error::io(&path, &e))?;
        if kind.is_dir() {
            sync_tree(&path)?;
        } else if kind.is_file() {
            system::sync_file(&path).map_err(|e| Error::io(&path, &e))?;
        }
    }
    sync_folder(folder)
}

/// The names in a folder are on the disk, where the system can be asked for that.
fn sync_folder(folder: &Path) -> Result<()> {
    system::sync_folder(folder).map_err(|e| Error::io(folder, &e))
}

#[cfg(test)]
mod tests;
