use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_file_is_kept_unless_it_may_be_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    atomically(&path, b"one", false).unwrap();
    assert!(atomically(&path, b"two", false).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"one");
    atomically(&path, b"three", true).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"three");
    assert!(atomically(&dir.path().join("no/x"), b"", true).is_err());
    let mut dropped = Draft::of(&path).unwrap();
    dropped.write_all(b"four").unwrap();
    drop(dropped);
    assert_eq!(fs::read(&path).unwrap(), b"three");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn what_was_replaced_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let draft = |name: &str| {
        let mut draft = Draft::of(&dir.path().join(name)).unwrap();
        draft.write_all(b"new").unwrap();
        draft
    };
    fs::write(dir.path().join("old"), "old").unwrap();
    let placed = [draft("old").place(true).unwrap(), draft("none").place(true).unwrap()];
    for name in ["old", "none"] {
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), b"new");
    }
    assert!(draft("old").place(false).is_err());
    placed.into_iter().for_each(Placed::undo);
    assert_eq!(fs::read(dir.path().join("old")).unwrap(), b"old");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    drop(draft("old").place(true).unwrap());
    assert_eq!(fs::read(dir.path().join("old")).unwrap(), b"new");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nor what was replaced");
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
    atomically(device, b"x", false).unwrap();
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
            let mut draft = Draft::of(&at(name))?;
            draft.write_all(b"new")?;
            if in_steps { draft.place(replace).map(drop) } else { draft.publish(replace) }
        };
        let said = put("second", false).unwrap_err().to_string();
        assert!(said.contains("second is a link to") && said.contains("d/file"), "{said}");
        put("second", true).unwrap();
        assert_eq!(fs::read(at("d/file")).unwrap(), b"new");
        // Nothing is replaced there.
        put("dangling", false).unwrap();
        assert_eq!(fs::read(at("d/new")).unwrap(), b"new");
        for (wrong, said) in
            [("nowhere", "No such file"), ("directory", "a directory"), ("a", "symbolic links")]
        {
            let error = put(wrong, true).unwrap_err().to_string();
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
        // Only root may give a file away.
        let is_root = rustix::process::geteuid().is_root();
        let owner = if is_root { 65_534 } else { path.metadata().unwrap().uid() };
        std::os::unix::fs::chown(&path, Some(owner), None).unwrap();
        let mut draft = Draft::of(&path).unwrap();
        let parts = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap());
        for part in parts.filter(|entry| entry.file_name() != "x") {
            assert_eq!(part.metadata().unwrap().mode() & 0o077, 0, "open while it is written");
        }
        draft.write_all(b"new").unwrap();
        draft.publish(true).unwrap();
        let found = path.metadata().unwrap();
        assert_eq!((found.mode() & 0o777, found.uid()), (mode, owner));
        assert_eq!(fs::read(&path).unwrap(), b"new");
        fs::remove_file(&path).unwrap();
    }
    // A new one is as any other program would make it.
    atomically(&path, b"x", false).unwrap();
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
    atomically(&at("link"), b"through", false).unwrap();
    assert_eq!(reader.join().unwrap(), b"through");
    atomically(&at("socket"), b"there", false).unwrap();
    let mut got = Vec::new();
    listener.accept().unwrap().0.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"there");
    assert!(at("link").is_symlink() && look(&at("socket")).unwrap() == Place::Special);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing else is left");
}
