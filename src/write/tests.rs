use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::Replace::{Always, Never, Remains};
use super::*;

fn put(path: &Path, bytes: &[u8], replace: Replace) -> io::Result<()> {
    let mut draft = Draft::of(path, replace)?;
    draft.write_all(bytes)?;
    draft.finish()?.publish()
}

/// Runs a test with files without names, and without such files.
fn on_both(test: impl Fn()) {
    test();
    disk::record::with_names(test);
}

#[test]
fn a_file_is_kept_unless_it_may_be_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    put(&path, b"one", Never).unwrap();
    assert!(put(&path, b"two", Never).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"one");
    atomically(&path, b"three").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"three");
    assert!(atomically(&dir.path().join("no/x"), b"").is_err());
    let mut dropped = Draft::of(&path, Always).unwrap();
    dropped.write_all(b"four").unwrap();
    drop(dropped);
    assert_eq!(fs::read(&path).unwrap(), b"three");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn what_was_replaced_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str, replace| {
        let mut draft = Draft::of(&dir.path().join(name), replace).unwrap();
        draft.write_all(b"new").unwrap();
        draft.finish()?.place()
    };
    fs::write(dir.path().join("old"), "old").unwrap();
    let placed = [place("old", Always).unwrap(), place("none", Always).unwrap()];
    for name in ["old", "none"] {
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"new");
    }
    assert!(place("old", Never).is_err());
    placed.into_iter().for_each(Placed::undo);
    assert_eq!(fs::read(dir.path().join("old")).unwrap(), b"old");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    drop(place("old", Always).unwrap());
    assert_eq!(fs::read(dir.path().join("old")).unwrap(), b"new");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nor what was replaced");
}

#[test]
fn what_a_loss_of_power_left_is_replaced_and_another_file_is_not() {
    on_both(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        put(&path, b"result", Remains).unwrap();
        for left in [&b""[..], b"res", b"\0\0\0ult", b"result"] {
            fs::write(&path, left).unwrap();
            put(&path, b"result", Remains).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"result");
        }
        for other in [&b"results"[..], b"mine"] {
            fs::write(&path, other).unwrap();
            let said = put(&path, b"result", Remains).unwrap_err().to_string();
            assert!(said.contains("not what this job computes"), "{said}");
            assert_eq!(fs::read(&path).unwrap(), other);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    });
}

/// A kill or a power failure before the end leaves nothing that someone would have to remove.
#[test]
fn a_file_has_no_name_before_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    for old in [None, Some("old")] {
        if let Some(old) = old {
            fs::write(&path, old).unwrap();
        }
        let before = fs::read_dir(dir.path()).unwrap().count();
        let mut draft = Draft::of(&path, Always).unwrap();
        draft.write_all(b"new").unwrap();
        let finished = draft.finish().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), before, "{old:?}");
        finished.publish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}

#[test]
fn trying_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let (new, old) = (dir.path().join("new"), dir.path().join("old"));
    fs::write(&old, "kept").unwrap();
    for path in [&new, &old] {
        try_in_place(path).unwrap();
        try_to_replace(path).unwrap();
    }
    assert_eq!(fs::read(&old).unwrap(), b"kept");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    for wrong in [dir.path(), &dir.path().join("no/x"), &old.join("x")] {
        assert!(try_in_place(wrong).is_err() && try_to_replace(wrong).is_err());
    }
    let device = Path::new("/dev/null");
    assert!(try_in_place(device).is_ok() && try_to_replace(device).is_ok());
    put(device, b"x", Never).unwrap();
    assert!(!device.metadata().unwrap().is_file());
}

#[test]
fn one_file_has_one_identity() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    let plain = identity(&dir.path().join("x"));
    assert_eq!(identity(&dir.path().join("sub/../x")), plain);
    assert_eq!(identity(&dir.path().join("./x")), plain);
    assert_ne!(identity(&dir.path().join("sub/x")), plain);
}

/// A file, and links to it, to nothing, to a directory, and to each other.
fn links() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(dir.path().join("d/file"), "old").unwrap();
    for (target, link) in [
        ("d/file", "link"),
        ("link", "second"),
        ("d/new", "dangling"),
        ("no/new", "nowhere"),
        ("d", "directory"),
        ("b", "a"),
        ("a", "b"),
    ] {
        symlink(target, dir.path().join(link)).unwrap();
    }
    dir
}

#[test]
fn links_are_followed_and_stay() {
    for in_steps in [false, true] {
        let dir = links();
        let at = |name: &str| dir.path().join(name);
        let put = |name: &str, replace| {
            let mut draft = Draft::of(&at(name), replace)?;
            draft.write_all(b"new")?;
            let finished = draft.finish()?;
            if in_steps { finished.place().map(drop) } else { finished.publish() }
        };
        let said = put("second", Never).unwrap_err().to_string();
        assert!(said.contains("second is a link to") && said.contains("d/file"), "{said}");
        put("second", Always).unwrap();
        assert_eq!(fs::read(at("d/file")).unwrap(), b"new");
        // Nothing is there to be replaced.
        put("dangling", Never).unwrap();
        assert_eq!(fs::read(at("d/new")).unwrap(), b"new");
        for (wrong, said) in
            [("nowhere", "No such file"), ("directory", "a directory"), ("a", "symbolic links")]
        {
            let error = put(wrong, Always).unwrap_err().to_string();
            assert!(error.contains(said), "{wrong}: {error}");
        }
        for link in ["link", "second", "dangling", "nowhere", "directory", "a", "b"] {
            assert!(at(link).is_symlink(), "{link}");
        }
        let mut names: Vec<_> = fs::read_dir(at("d"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["file", "new"], "nothing else is left");
        assert_eq!(identity(&at("second")), identity(&at("d/file")));
        assert_eq!(identity(&at("dangling")), identity(&at("d/new")));
    }
}

#[test]
fn what_is_replaced_hands_on_its_mode_and_owner() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    for mode in [0o600, 0o640, 0o444, 0o666, 0o755] {
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        // Only root may change the owner of a file.
        let is_root = rustix::process::geteuid().is_root();
        let owner = if is_root { 65_534 } else { path.metadata().unwrap().uid() };
        std::os::unix::fs::chown(&path, Some(owner), None).unwrap();
        let mut draft = Draft::of(&path, Always).unwrap();
        let parts = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap());
        for part in parts.filter(|entry| entry.file_name() != "x") {
            assert_eq!(part.metadata().unwrap().mode() & 0o077, 0, "open while it is written");
        }
        draft.write_all(b"new").unwrap();
        draft.finish().unwrap().publish().unwrap();
        let found = path.metadata().unwrap();
        assert_eq!((found.mode() & 0o777, found.uid()), (mode, owner));
        assert_eq!(fs::read(&path).unwrap(), b"new");
        fs::remove_file(&path).unwrap();
    }
    // A new file has the mode that any other program would give it.
    put(&path, b"x", Never).unwrap();
    let plain = dir.path().join("plain");
    fs::write(&plain, "x").unwrap();
    assert_eq!(path.metadata().unwrap().mode(), plain.metadata().unwrap().mode());
}

#[test]
fn what_is_no_file_is_written_as_it_is() {
    use std::io::Read;
    use std::os::unix::net::UnixListener;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    symlink("pipe", at("link")).unwrap();
    let listener = UnixListener::bind(at("socket")).unwrap();
    let pipe = at("pipe");
    let reader = std::thread::spawn(move || fs::read(pipe).unwrap());
    put(&at("link"), b"through", Never).unwrap();
    assert_eq!(reader.join().unwrap(), b"through");
    put(&at("socket"), b"there", Never).unwrap();
    let mut got = Vec::new();
    listener.accept().unwrap().0.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"there");
    assert!(at("link").is_symlink() && look(&at("socket")).unwrap() == TargetKind::Special);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing else is left");
}
