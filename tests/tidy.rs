//! The invariants of ARCHITECTURE.md, checked over the source tree.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const CRATES: &[&str] = &["proto", "sys", "kernels", "ipc", "exec", "brigade", "measure", "report"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

/// Lines of code, without comments, of a crate; `None` is the root package.
fn code(name: Option<&str>) -> Vec<(String, String)> {
    let directory = name.map_or_else(|| root().join("src"), source_directory);
    let files = sources(&directory);
    assert!(!files.is_empty(), "{} has no source", directory.display());
    files
        .into_iter()
        .flat_map(|(path, text)| {
            let lines = text.lines().enumerate().map(|(number, line)| {
                let code = line.split("//").next().unwrap_or_default().to_owned();
                (format!("{}:{}", path.display(), number + 1), code)
            });
            lines.collect::<Vec<_>>()
        })
        .collect()
}

fn source_directory(name: &str) -> PathBuf {
    root().join("crates").join(name).join("src")
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

#[track_caller]
fn assert_absent(crates: impl IntoIterator<Item = Option<&'static str>>, word: &str, why: &str) {
    for name in crates {
        for (place, line) in code(name) {
            assert!(!has_word(&line, word), "{place}: `{word}`, but {why}");
        }
    }
}

fn all_but(name: &'static str) -> impl Iterator<Item = Option<&'static str>> {
    let others = CRATES.iter().copied().filter(move |other| *other != name).map(Some);
    others.chain([None])
}

/// What a crate's manifest depends on among Brigade's own.
fn dependencies(name: &str) -> Vec<&'static str> {
    let manifest = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).unwrap();
    let names = |line: &str, other: &str| match other {
        "brigade" => line.starts_with("brigade.") || line.starts_with("brigade ="),
        other => line.contains(&format!("brigade-{other}")),
    };
    let own = |other: &&&str| manifest.lines().any(|line| names(line, other));
    let listed = CRATES.iter().filter(|other| **other != name).filter(own);
    listed.copied().collect()
}

#[test]
fn unsafe_code_is_in_sys_alone() {
    assert_absent(all_but("sys"), "unsafe", "only crates/sys contains unsafe code");
    let used = code(Some("sys")).iter().any(|(_, line)| has_word(line, "unsafe"));
    assert!(used, "this check sees no unsafe code even in crates/sys");
}

#[test]
fn ipc_channel_is_named_in_ipc_alone() {
    assert_absent(all_but("ipc"), "ipc_channel", "only crates/ipc names it");
    let used = code(Some("ipc")).iter().any(|(_, line)| has_word(line, "ipc_channel"));
    assert!(used, "this check does not even see it in crates/ipc");
}

#[test]
fn crates_depend_downwards_only() {
    for (name, below) in [
        ("proto", &[][..]),
        ("sys", &["proto"]),
        // libjpeg is C, and unsafe code is in `sys` alone.
        ("kernels", &["proto", "sys"]),
        ("ipc", &["proto", "sys"]),
        ("exec", &["proto", "sys", "kernels", "ipc"]),
        ("brigade", &["proto", "kernels", "exec"]),
        ("measure", &["proto", "sys", "kernels", "ipc", "exec"]),
        ("report", &["proto", "sys", "kernels", "ipc", "exec", "measure"]),
    ] {
        for dependency in dependencies(name) {
            assert!(below.contains(&dependency), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn kernels_do_no_input_or_output() {
    let why = "kernels are pure computations";
    // Tests read files whose values they know.
    let is_test = |place: &str| place.contains("tests.rs:");
    for (place, line) in code(Some("kernels")).iter().filter(|(place, _)| !is_test(place)) {
        for word in ["fs", "File", "TcpStream", "UnixStream", "Command", "println", "eprintln"] {
            assert!(!has_word(line, word), "{place}: `{word}`, but {why}");
        }
        // `sys` has files and processes as well.
        let other = line.replace("brigade_sys::libjpeg", "");
        assert!(!has_word(&other, "brigade_sys"), "{place}: more of sys than libjpeg, but {why}");
        // A kernel is one thread's work.
        assert!(!line.contains("thread::spawn"), "{place}: a thread, but {why}");
    }
}

#[test]
fn only_the_binary_prints_and_exits() {
    for name in CRATES {
        for (place, line) in code(Some(name)) {
            assert!(!has_word(&line, "println"), "{place} prints to standard output");
            let fault = place.contains("kernels/src/faults.rs");
            assert!(fault || !line.contains("process::exit"), "{place} exits");
        }
    }
}

#[test]
fn formats_are_reports_business() {
    for name in ["proto", "sys", "kernels", "ipc", "exec"] {
        assert_absent([Some(name)], "serde_json", "only report and the binary know formats");
    }
}

/// What SECURITY.md says is shown by tests, and these are there.
#[test]
fn security_md_names_tests_that_exist() {
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let mut names = 0;
    for name in text.split('`').skip(1).step_by(2).filter(|name| name.contains(".rs#")) {
        let (file, test) = name.split_once('#').unwrap();
        let source = fs::read_to_string(root().join(file)).unwrap_or_default();
        assert!(source.contains(test), "SECURITY.md: there is no `{test}` in `{file}`");
        names += 1;
    }
    assert!(names > 20, "this check sees {names} names");
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| --- "));
    for row in rows.filter(|row| !row.contains("| shown by |")) {
        assert!(row.contains(".rs#") || row.contains("to be named"), "no test for: {row}");
    }
}

#[test]
fn files_can_be_read_in_one_sitting() {
    let directories = CRATES.iter().map(|name| source_directory(name)).chain([root().join("src")]);
    for (path, text) in directories.flat_map(|directory| sources(&directory)) {
        let lines = text.lines().count();
        assert!(lines <= 600, "{} has {lines} lines: two ideas in one room?", path.display());
    }
}

/// Words of an earlier language of this project. docs/glossary.md has those that took their place.
#[test]
fn no_word_of_the_private_language_is_left() {
    const WORDS: &[&str] = &[
        "basket",
        "belongings",
        "census",
        "chore",
        "clerk",
        "contender",
        "crew",
        "duel",
        "entrant",
        "errand",
        "keeper",
        "kid",
        "tenure",
        "tether",
    ];
    let is_one = |word: &str| {
        let word = word.to_lowercase();
        WORDS.contains(&word.as_str()) || WORDS.contains(&word.trim_end_matches('s'))
    };
    // A name is as many words as it has capitals and underscores.
    let words = |text: &str| -> Vec<String> {
        let mut words = vec![String::new()];
        for letter in text.chars() {
            if letter.is_uppercase() || !letter.is_alphabetic() {
                words.push(String::new());
            }
            if letter.is_alphabetic() {
                words.last_mut().unwrap().push(letter);
            }
        }
        words
    };
    let mut files: Vec<(PathBuf, String)> = ["src", "crates", "tests", "examples"]
        .iter()
        .flat_map(|name| sources(&root().join(name)))
        .collect();
    for page in pages(&root()) {
        files.push((page.clone(), fs::read_to_string(page).unwrap()));
    }
    for (path, text) in files {
        if path.ends_with("tests/tidy.rs") || path.ends_with("CHANGELOG.md") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let found = words(line).into_iter().find(|word| is_one(word));
            assert!(found.is_none(), "{}:{}: {found:?}", path.display(), number + 1);
        }
    }
}

/// Links from page to page and to files lead somewhere.
#[test]
fn links_in_pages_lead_to_files_that_exist() {
    for page in pages(&root()) {
        let text = fs::read_to_string(&page).unwrap();
        for rest in text.split("](").skip(1) {
            let Some((target, _)) = rest.split_once(')') else { continue };
            let file = target.split('#').next().unwrap_or_default();
            let is_elsewhere = file.contains("://") || file.starts_with("mailto:");
            if file.is_empty() || is_elsewhere || file.contains(char::is_whitespace) {
                continue;
            }
            let place = page.parent().unwrap().join(file);
            assert!(place.exists(), "{}: there is no {target}", page.display());
        }
    }
}

/// All pages of prose.
fn pages(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_ours = !name.to_string_lossy().starts_with('.') && name != "target";
        if path.is_dir() && is_ours {
            found.extend(pages(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found
}

/// A newcomer, a reviewer and the continuous integration run the same tests.
#[test]
fn the_command_for_all_tests_is_the_same_everywhere() {
    const COMMAND: &str = "cargo test --workspace --locked --no-fail-fast";
    for name in ["README.md", "CONTRIBUTING.md", ".ci/run", "scripts/repeat_tests.sh"] {
        let text = fs::read_to_string(root().join(name)).unwrap();
        let found: Vec<_> =
            text.lines().filter(|line| line.contains("cargo test --workspace")).collect();
        assert!(!found.is_empty(), "{name} names no command");
        for line in found {
            assert!(line.contains(COMMAND), "{name}: {line}");
        }
    }
}

/// Programs that tests start have a private runtime directory (`TestDir::program`).
#[test]
fn tests_of_the_command_line_start_programs_in_one_place() {
    for (path, text) in sources(&root().join("tests/cli")) {
        let starts = text.contains("Command::new");
        assert!(!starts || path.ends_with("util.rs"), "{} starts a program", path.display());
    }
}

/// The types that a file declares, with their lines.
fn declared_types(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(number, line)| {
        // An associated type is indented, and has the name that its trait gives it.
        let is_associated = line.trim_start().starts_with("type ") && !line.starts_with("type ");
        // `pub(in super::super)` is two words.
        let is_before =
            |word: &&str| word.starts_with("pub") || word.ends_with(')') || *word == "unsafe";
        let mut words = line.split_whitespace().skip_while(is_before);
        let keyword = words.next()?;
        let is_type = ["struct", "enum", "trait", "union", "type"].contains(&keyword);
        let name = words.next()?.split(|c: char| !c.is_alphanumeric()).next()?;
        (is_type && !is_associated && name.starts_with(char::is_uppercase))
            .then_some((number + 1, name))
    })
}

#[test]
fn no_type_name_has_two_meanings() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for directory in ["src", "crates", "tests", "examples", "fuzz"] {
        for (path, text) in sources(&root().join(directory)) {
            for (line, name) in declared_types(&text) {
                let place = format!("{}:{line}", path.display());
                places.entry(name.to_owned()).or_default().push(place);
            }
        }
    }
    assert!(places.len() > 500, "this check sees {} types only", places.len());
    places.retain(|_, places| places.len() > 1);
    assert!(places.is_empty(), "{places:#?}");
}
