use tempfile::{TempDir, tempdir};

use super::*;
use crate::weights::Weights;
use crate::weights::testing::Builder;

/// A folder with a model folder `model` of one file.
fn with_model(value: f32) -> (TempDir, PathBuf) {
    let root = tempdir().unwrap();
    let target = root.path().join("model");
    fs::create_dir(&target).unwrap();
    fill(&target, value);
    (root, target)
}

fn fill(folder: &Path, value: f32) {
    fs::write(folder.join("model.safetensors"), Builder::default().f32("a", &[1], &[value]).build()).unwrap();
}

#[track_caller]
fn holds(folder: &Path, value: f32) {
    assert_eq!(Weights::open(folder).unwrap().take("a", &[1]).unwrap().to_f32(), [value]);
}

/// Names in the folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>, status: Status, words: &[&str]) {
    let error = result.expect_err("an error was expected");
    assert_eq!(error.status(), status, "{error}");
    for word in words {
        assert!(error.message().contains(word), "{error:?} does not say {word:?}");
    }
}

#[test]
fn a_new_folder_appears_whole_with_the_folders_above_it() {
    let root = tempdir().unwrap();
    let target = root.path().join("runs/1/model");
    let new = NewFolder::begin(&target).unwrap();
    fs::create_dir(new.path().join("1_Pooling")).unwrap();
    fs::write(new.path().join("1_Pooling/config.json"), "{}").unwrap();
    assert!(!target.exists());
    new.commit().unwrap();
    assert_eq!(fs::read(target.join("1_Pooling/config.json")).unwrap(), b"{}");
    assert_eq!(names(target.parent().unwrap()), ["model"]);
}

/// Windows replaces no folder with mapped files.
#[cfg(not(windows))]
#[test]
fn an_old_folder_is_replaced_and_its_maps_stay() {
    let (root, target) = with_model(1.0);
    fs::write(target.join("stale"), "").unwrap();
    let mut old = Weights::open(&target).unwrap();
    let new = NewFolder::begin(&target).unwrap();
    fill(new.path(), 2.0);
    holds(&target, 1.0);
    new.commit().unwrap();
    holds(&target, 2.0);
    assert_eq!(names(&target), ["model.safetensors"]);
    assert_eq!(names(root.path()), ["model"]);
    assert_eq!(old.take("a", &[1]).unwrap().to_f32(), [1.0]);
}

#[test]
fn without_commit_nothing_happens() {
    let (root, target) = with_model(1.0);
    let new = NewFolder::begin(&target).unwrap();
    fill(new.path(), 2.0);
    drop(new);
    holds(&target, 1.0);
    assert_eq!(names(root.path()), ["model"]);
}

/// The way of systems that cannot exchange names.
#[test]
fn two_steps_lead_to_the_same() {
    let (root, target) = with_model(1.0);
    let new = NewFolder::begin(&target).unwrap();
    fill(new.path(), 2.0);
    new.target.swap_in_two_steps(&new.temporary).unwrap();
    drop(new);
    holds(&target, 2.0);
    assert_eq!(names(root.path()), ["model"]);
}

/// A handle that lets nobody rename or remove stands for a model that is open.
#[cfg(windows)]
#[test]
fn what_was_to_replace_a_folder_in_use_is_kept() {
    use std::os::windows::fs::OpenOptionsExt;
    let (root, target) = with_model(1.0);
    let reader = File::options().read(true).share_mode(1).custom_flags(0x0200_0000).open(&target).unwrap();
    let new = NewFolder::begin(&target).unwrap();
    fill(new.path(), 2.0);
    let error = new.commit().expect_err("the folder is in use");
    assert_eq!(error.status(), Status::Io);
    let kept = names(root.path()).into_iter().find(|name| name.starts_with("model.new-")).unwrap();
    assert!(error.message().contains("in use") && error.message().ends_with(&kept), "{error}");
    assert_eq!(names(root.path()), ["model", &kept]);
    holds(&target, 1.0);
    holds(&root.path().join(&kept), 2.0);
    remove_folder(&target).unwrap(); // it stays, which is no error
    holds(&target, 1.0);
    drop(reader);
    drop(NewFolder::begin(&target).unwrap());
    assert_eq!(names(root.path()), ["model", &kept]);
    remove_folder(&target).unwrap();
    assert_eq!(names(root.path()), [kept]);
}

/// A concurrent call has the folder while it exchanges it.
#[test]
fn what_was_to_replace_a_locked_folder_is_kept() {
    let (root, target) = with_model(1.0);
    let lock = try_lock(&target).unwrap().unwrap();
    let new = NewFolder::begin(&target).unwrap();
    fill(new.path(), 2.0);
    refused(new.target.swap_in_two_steps(&new.temporary), Status::Io, &["in use", "model.new-"]);
    drop((new, lock));
    holds(&target, 1.0);
    let kept = names(root.path()).into_iter().find(|name| name != "model").unwrap();
    holds(&root.path().join(kept), 2.0);
}

#[test]
fn when_the_second_step_fails_the_old_folder_comes_back() {
    let (root, target) = with_model(1.0);
    let found = Target::find(&target).unwrap();
    refused(found.swap_in_two_steps(&root.path().join("absent")), Status::Io, &["model"]);
    holds(&target, 1.0);
    assert_eq!(names(root.path()), ["model"]);
}

#[test]
fn a_run_killed_between_the_steps_is_recovered() {
    let (root, target) = with_model(1.0);
    let old = root.path().join(".model.old-1-0");
    fs::rename(&target, &old).unwrap();
    fs::create_dir(root.path().join(".model.tmp-1-1")).unwrap();
    fs::create_dir(root.path().join(".other.old-1-0")).unwrap();
    recover(&target).unwrap();
    holds(&target, 1.0);
    assert_eq!(names(root.path()), [".model.tmp-1-1", ".other.old-1-0", "model"]);
    recover(&target).unwrap();

    fs::rename(&target, &old).unwrap();
    drop(NewFolder::begin(&target).unwrap());
    holds(&target, 1.0);
    assert_eq!(names(root.path()), [".other.old-1-0", "model"]);
}

#[test]
fn nothing_is_recovered_over_a_target_or_from_nothing() {
    let (root, target) = with_model(2.0);
    let old = root.path().join(".model.old-1-0");
    fs::create_dir(&old).unwrap();
    fill(&old, 1.0);
    recover(&target).unwrap();
    Target::find(&target).unwrap().recover().unwrap(); // as after waiting for a replacement
    holds(&target, 2.0);
    holds(&old, 1.0);
    recover(&root.path().join("absent")).unwrap();
    recover(&root.path().join("absent/below")).unwrap();
    recover(Path::new("")).unwrap();
    assert_eq!(names(root.path()), [".model.old-1-0", "model"]);
}

#[test]
fn recovery_waits_for_a_replacement_under_way() {
    let (root, target) = with_model(1.0);
    let old = root.path().join(".model.old-1-0");
    let lock = try_lock(&target).unwrap().unwrap();
    fs::rename(&target, &old).unwrap();
    std::thread::scope(|scope| {
        let recovery = scope.spawn(|| recover(&target));
        fs::create_dir(&target).unwrap();
        fill(&target, 2.0);
        drop(lock);
        recovery.join().unwrap().unwrap();
    });
    holds(&target, 2.0);
    holds(&old, 1.0);
}

#[test]
fn left_over_folders_go_and_those_in_use_stay() {
    let (root, target) = with_model(1.0);
    let running = NewFolder::begin(&target).unwrap();
    fill(running.path(), 2.0);
    for name in [".model.tmp-9-0", ".model.old-9-1", ".model.tmpx", ".models.tmp-9-0"] {
        fs::create_dir_all(root.path().join(name).join("below")).unwrap();
    }
    fs::write(root.path().join(".model.tmp-9-2"), "").unwrap();
    let second = NewFolder::begin(&target).unwrap();
    assert_ne!(running.path(), second.path());
    fill(second.path(), 3.0);
    running.commit().unwrap();
    holds(&target, 2.0);
    second.commit().unwrap();
    holds(&target, 3.0);
    assert_eq!(names(root.path()), [".model.tmpx", ".models.tmp-9-0", "model"]);
}

#[test]
fn folders_of_something_else_are_not_replaced() {
    let (root, target) = with_model(1.0);
    let foreign = root.path().join("documents");
    fs::create_dir(&foreign).unwrap();
    fs::create_dir(foreign.join(".hidden")).unwrap();
    refused(NewFolder::begin(&foreign), Status::InvalidArgument, &["documents", "no model"]);
    fs::write(foreign.join("config.json"), r#"{"compilerOptions": {}}"#).unwrap();
    refused(NewFolder::begin(&foreign), Status::InvalidArgument, &["documents", "no model"]);
    fs::write(foreign.join("config.json"), r#"{"model_type": "bert"}"#).unwrap();
    NewFolder::begin(&foreign).unwrap();

    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    refused(NewFolder::begin(&file), Status::InvalidArgument, &["file", "expected a folder"]);
    // Windows resolves `..` before it looks
    for nameless in ["", "/", "absent/.."].into_iter().take(if cfg!(windows) { 2 } else { 3 }) {
        refused(NewFolder::begin(Path::new(nameless)), Status::InvalidArgument, &[nameless, "no name"]);
    }
    fs::create_dir(target.join(".git")).unwrap();
    refused(NewFolder::begin(&target), Status::InvalidArgument, &["git repository"]);
    assert_eq!(names(root.path()), ["documents", "file", "model"]);
}

#[test]
fn what_moved_in_meanwhile_is_not_replaced() {
    let root = tempdir().unwrap();
    let target = root.path().join("model");
    let new = NewFolder::begin(&target).unwrap();
    fs::create_dir(&target).unwrap();
    fs::write(target.join("letter"), "").unwrap();
    refused(new.commit(), Status::InvalidArgument, &["no model"]);
    assert_eq!(names(&target), ["letter"]);
    assert_eq!(names(root.path()), ["model"]);
}

#[test]
fn an_empty_folder_may_be_replaced() {
    let root = tempdir().unwrap();
    let new = NewFolder::begin(root.path()).unwrap();
    fill(new.path(), 1.0);
    new.commit().unwrap();
    holds(root.path(), 1.0);
}

#[test]
#[cfg(unix)]
fn a_link_stays_and_what_it_leads_to_is_replaced() {
    let (root, target) = with_model(1.0);
    let link = root.path().join("link");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let new = NewFolder::begin(&link).unwrap();
    fill(new.path(), 2.0);
    new.commit().unwrap();
    assert!(link.is_symlink());
    holds(&target, 2.0);
    std::os::unix::fs::symlink(root.path().join("absent"), root.path().join("dangling")).unwrap();
    refused(NewFolder::begin(&root.path().join("dangling")), Status::Io, &["dangling"]);
}

#[test]
fn a_file_is_replaced_whole() {
    let root = tempdir().unwrap();
    let path = root.path().join("state.json");
    for contents in [&b"one"[..], b"", b"three"] {
        fs::write(root.path().join(".state.json.tmp-1-1"), "half").unwrap();
        replace_file(&path, contents).unwrap();
        assert_eq!(fs::read(&path).unwrap(), contents);
        assert_eq!(names(root.path()), ["state.json"]);
    }
    refused(replace_file(root.path(), b""), Status::InvalidArgument, &["a folder, expected a file"]);
    refused(replace_file(&root.path().join("absent/file"), b""), Status::Io, &["absent"]);
}

#[test]
fn a_removed_folder_is_gone_and_what_killed_runs_left_is_swept() {
    let (root, target) = with_model(1.0);
    fs::create_dir(root.path().join(".model.tmp-1-1")).unwrap();
    fs::create_dir(root.path().join(".other.tmp-1-1")).unwrap();
    fs::create_dir(root.path().join(".model-like")).unwrap();
    let (busy, _lock) = Target::find(&target).unwrap().claim(|path| fs::create_dir(path)).unwrap();
    sweep(root.path(), "model").unwrap();
    let busy_name = busy.file_name().unwrap().to_str().unwrap();
    assert_eq!(names(root.path()), [".model-like", busy_name, ".other.tmp-1-1", "model"]);
    remove_folder(&target).unwrap();
    assert_eq!(names(root.path()), [".model-like", busy_name, ".other.tmp-1-1"]);
    refused(remove_folder(&target), Status::Io, &["model"]);
}
