//! Where a training writes, checked before it begins.

use std::fs;
use std::path::{Path, PathBuf};

use cloze::engine::NewFolder;
use cloze::error::{Error, Status};

use crate::stop::Stop;

/// Fails when a model could not be saved as `folder`: what lies there is no model, or nothing can be written.
pub fn check_folder(folder: &Path) -> Result<(), Error> {
    NewFolder::begin(folder).map(drop)
}

/// Fails when no file could be written at `path`.
pub fn check_file(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Err(Error::argument(format!("{}: is a folder, expected a file", path.display())));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let about = fs::metadata(parent).map_err(|error| Error::io(parent, &error))?;
    // the attribute means nothing on a folder of Windows
    match about.is_dir() && (cfg!(windows) || !about.permissions().readonly()) {
        true => Ok(()),
        false => Err(Error::new(Status::Io, format!("{}: no folder that can be written", parent.display()))),
    }
}

/// Fails when `inner` is `outer` or lies in it: what is saved as `outer` takes the place of all that is there.
pub fn check_apart((option, inner): (&str, &Path), (other, outer): (&str, &Path)) -> Result<(), Stop> {
    match whole(inner)?.starts_with(whole(outer)?) {
        true => Err(Stop::usage(format!(
            "{option} {} lies in {other} {}, which is replaced as a whole",
            inner.display(),
            outer.display()
        ))),
        false => Ok(()),
    }
}

/// The path in the system's own form, as far as it is there: paths of one form can be compared, and links are followed.
fn whole(path: &Path) -> Result<PathBuf, Error> {
    let absolute = std::path::absolute(path).map_err(|error| Error::io(path, &error))?;
    let found = absolute.ancestors().find_map(|above| Some((above, fs::canonicalize(above).ok()?)));
    Ok(match found.and_then(|(above, found)| Some(found.join(absolute.strip_prefix(above).ok()?))) {
        Some(whole) => whole,
        None => absolute,
    })
}

/// The checkpoint to go on from, if any. A folder that has checkpoints is not begun anew without being asked.
pub fn checkpoint(folder: &Path, resume: bool) -> Result<Option<PathBuf>, Stop> {
    let newest = newest(folder)?;
    match &newest {
        Some(found) if !resume => Err(Stop::usage(format!(
            "--checkpoints: {} is from another run; --resume goes on from it, another folder begins anew",
            found.display()
        ))),
        _ => Ok(newest),
    }
}

/// The checkpoint with the most steps.
pub fn newest(folder: &Path) -> Result<Option<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(|error| Error::io(folder, &error))?,
    };
    let mut newest: Option<(u64, PathBuf)> = None;
    for entry in entries {
        let entry = entry.map_err(|error| Error::io(folder, &error))?;
        let name = entry.file_name();
        let steps = name.to_str().and_then(|name| name.strip_prefix("checkpoint-")?.parse::<u64>().ok());
        if let Some(steps) = steps
            && newest.as_ref().is_none_or(|(most, _)| steps > *most)
        {
            newest = Some((steps, entry.path()));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_lies_in_one_that_is() {
        let place = tempfile::tempdir().unwrap();
        let (out, below) = (place.path().join("out"), place.path().join("out").join("a").join("b"));
        let apart = |inner: &Path, outer: &Path| check_apart(("--checkpoints", inner), ("--out", outer));
        for made in [false, true] {
            if made {
                fs::create_dir(&out).unwrap();
            }
            assert!(matches!(apart(&below, &out), Err(Stop::Usage(_))), "{made}");
            assert!(matches!(apart(&out, &out), Err(Stop::Usage(_))), "{made}");
            assert!(apart(&place.path().join("other"), &out).is_ok());
            assert!(apart(&place.path().join("out2"), &out).is_ok());
            assert!(apart(&out, &below).is_ok());
        }
    }

    #[test]
    fn the_newest_checkpoint_has_the_most_steps() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(newest(&place.path().join("nowhere")).unwrap(), None);
        for name in ["checkpoint-9", "checkpoint-10", "checkpoint-x", "other-99", ".checkpoint-11.tmp-1"] {
            fs::create_dir(place.path().join(name)).unwrap();
        }
        assert_eq!(newest(place.path()).unwrap(), Some(place.path().join("checkpoint-10")));
        assert!(matches!(checkpoint(place.path(), false), Err(Stop::Usage(_))));
        assert!(matches!(checkpoint(place.path(), true), Ok(Some(_))));
    }
}
