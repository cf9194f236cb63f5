//! `brigade gate`: two commits of a repository that the test makes. What passes and what does not.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::schemas::Schema;
use crate::util::{Done, TestDir, finish};

/// A repository in the directory `r` with a program, `work.sh`, and `brigade-gate.toml`.
struct GateRepository {
    dir: TestDir,
}

/// Twelve blocks are enough for a verdict about sleeps that differ as much as these do.
const BENCHMARK: &str = "[[benchmark]]\nname = 'work'\ncommand = './work.sh'\nmetrics = ['wall']\n\
                         blocks = 12\nbudget = '100s'\n";
const SHORT: &str = "sleep 0.01";
const LONG: &str = "sleep 0.2";

impl GateRepository {
    fn new() -> Self {
        let repository = Self { dir: TestDir::new() };
        fs::create_dir(repository.dir.path("r")).unwrap();
        repository.git("-c init.defaultBranch=main init --quiet");
        repository.config(BENCHMARK);
        repository
    }

    /// With a commit for each of these programs.
    fn of(programs: &[&str]) -> Self {
        let repository = Self::new();
        for program in programs {
            repository.commit(program);
        }
        repository
    }

    fn config(&self, text: &str) {
        self.dir.write("r/brigade-gate.toml", text);
    }

    fn git(&self, line: &str) {
        let who = "-c user.name=test -c user.email=test@localhost -c commit.gpgsign=false";
        let child = self.dir.shell(&format!("git -C r {who} {line}")).spawn().unwrap();
        finish(child).expect(0);
    }

    fn commit(&self, program: &str) {
        self.dir.write("r/work.sh", format!("#!/bin/sh\n{program}\n"));
        let child = self.dir.shell("chmod +x r/work.sh").spawn().unwrap();
        finish(child).expect(0);
        self.git("add --all");
        self.git("commit --quiet --allow-empty -m work");
    }

    /// Something beside the checkouts, in the cache's directory of this repository.
    fn checkouts(&self, name: &str) -> String {
        let own = self.dir.list("cache").into_iter().find(|name| name.starts_with("r-"));
        format!("cache/{}/{name}", own.unwrap())
    }

    fn gate(&self, line: &str) -> Done {
        self.dir.run(&format!("gate --repository r --cache cache {line}"))
    }
}

fn verdicts(json: &Value) -> Vec<(&str, &str)> {
    let cells = json["cells"].as_array().unwrap().iter();
    cells
        .map(|cell| (cell["experiment"].as_str().unwrap(), cell["verdict"].as_str().unwrap()))
        .collect()
}

/// It compared, though a busy machine may not let it say that nothing differs.
#[track_caller]
fn answers(done: Done) -> Done {
    assert!([Some(0), Some(4)].contains(&done.code), "{done:#?}");
    done
}

#[track_caller]
fn prints(done: &Done, text: &str) {
    assert!(done.stdout.contains(text), "no {text:?} in {done:#?}");
}

#[test]
fn a_slower_commit_fails_and_a_faster_one_passes() {
    let repository = GateRepository::of(&[SHORT, LONG]);
    let done = repository.gate("HEAD~1 HEAD --format json").expect(3);
    let json = done.json();
    Schema::read("compare.v1").accepts(&json);
    assert_eq!((&json["kind"], &json["verdict"]), (&json!("gate"), &json!("worse")));
    assert_eq!(verdicts(&json), [("work", "worse")]);
    assert_eq!(json["cells"][0]["confirmed"], true);
    assert_eq!(json["head"]["commit"].as_str().unwrap().len(), 40);
    // The other way round, with the checkouts of before.
    let done = repository.gate("HEAD HEAD~1 --export markdown=-").expect(0);
    assert!(done.stderr.matches("built before").count() == 2, "{}", done.stderr);
    // What is exported to standard output has it for itself.
    assert!(done.stderr.contains("better: work wall: Head takes"), "{done:#?}");
    assert!(done.stdout.starts_with("better: "), "{done:#?}");
    prints(&done, "| better | work wall |");
    // Nothing is left in the repository but git's record of two checkouts.
    assert_eq!(fs::read_dir(repository.dir.path("r")).unwrap().count(), 3);
}

#[test]
fn each_side_is_built_and_run_in_its_own_checkout() {
    let repository = GateRepository::new();
    let benchmark = BENCHMARK.replace("./work.sh", "./built {how}");
    repository.config(&format!(
        "build = 'echo it is built; cp work.sh built'\n{benchmark}\
         parameters = {{ how = ['a', '2'] }}\nsetup = 'echo $BRIGADE_SIDE >> ../sides'\n"
    ));
    repository.commit("sleep 0.01; ! grep -q itself extra");
    repository.dir.write("r/work.sh", "#!/bin/sh\nsleep 0.011; grep -q itself extra\n");
    // Neither git nor the index knows it yet.
    repository.dir.write("r/extra", "itself");
    let done = answers(repository.gate("HEAD --format json --tolerance 99%"));
    let json = done.json();
    let cells = json["cells"].as_array().unwrap();
    assert_eq!((&cells[0]["case"], &cells[1]["case"]), (&json!({"how": "a"}), &json!({"how": 2})));
    assert!(cells.iter().all(|cell| cell["blocks"] == 12), "{json}");
    let name = json["head"]["name"].as_str().unwrap();
    assert!(name.starts_with("the working tree: ") && name.ends_with("with changes"), "{name}");
    let sides = String::from_utf8(repository.dir.read(&repository.checkouts("sides"))).unwrap();
    assert_eq!(sides, "base\nhead\nbase\nhead\n");
    // The working tree and its index are as they were.
    assert!(!repository.dir.path("r/built").exists());
    let status = repository.dir.shell("git -C r status --porcelain").spawn().unwrap();
    assert_eq!(finish(status).expect(0).stdout, " M work.sh\n?? extra\n");
    // Without changes of what git knows it is the commit.
    repository.git("checkout --quiet work.sh");
    repository.gate("HEAD").expect(2).says("are the same");
}

#[test]
fn a_gate_that_compares_nothing_is_not_green() {
    let repository = GateRepository::of(&[SHORT, "sleep 0.011"]);
    let refused = |line: &str, words: &str| {
        let done = repository.gate(line).expect(2);
        assert!(done.stderr.contains(words), "{line}: {}", done.stderr);
        assert!(done.stdout.is_empty(), "{line}: {}", done.stdout);
    };
    refused("HEAD HEAD", "are the same: nothing would be compared");
    refused("HEAD", "are the same: nothing would be compared");
    refused("nowhere HEAD", "there is no commit nowhere");
    refused("HEAD~1 HEAD --command ''", "an empty command");
    refused("HEAD~1 HEAD --command ' '", "an empty command");
    refused("HEAD~1 HEAD --command ./none", "`./none`: cannot be started");
    refused("HEAD~1 HEAD --command './work.sh | cat'", "`|` has a meaning for a shell only");
    refused("HEAD~1 HEAD --only other", "there is no such benchmark; there are work");
    refused("HEAD~1 HEAD --config none.toml", "--config none.toml");
    let here = repository.dir.path("r").canonicalize().unwrap();
    let both = format!("HEAD~1 HEAD --command {}/work.sh", here.display());
    refused(&both, "base and head would both use");
    let inside = repository.dir.run("gate --repository r --cache r/cache HEAD~1 HEAD");
    inside.expect(2).says("it is in the repository");
    refused("HEAD~1 HEAD --build '' --command ./work.sh", "--build is empty");
    for (config, words) in [
        ("", "no [[benchmark]]"),
        ("[[benchmark]]\nname = 'a'\ncommand = ''\n", "its command is empty"),
        (&format!("{BENCHMARK}blocks = 0\n").replace("blocks = 12\n", ""), "blocks = 0"),
        (&BENCHMARK.replace("'wall'", "'time'"), "there is no metric \"time\""),
        (&BENCHMARK.replace("command", "comand"), "unknown field `comand`"),
    ] {
        repository.dir.write("other.toml", config);
        refused("HEAD~1 HEAD --config other.toml", words);
    }
    repository.git("rm --quiet brigade-gate.toml");
    repository.git("commit --quiet -m without");
    refused("HEAD~1 HEAD", "there is no brigade-gate.toml in head");
    // Another commit with the same files.
    repository.git("commit --quiet --allow-empty -m again");
    refused("HEAD~1 HEAD --command ./work.sh", "are the same: nothing would be compared");
    let elsewhere = repository.dir.run("gate HEAD --repository cache").expect(2);
    elsewhere.says("--repository cache");
}

#[test]
fn a_command_or_a_build_that_fails_is_not_green() {
    let repository = GateRepository::of(&[SHORT, "exit 7", "kill -SEGV $$", SHORT]);
    let done = repository.gate("HEAD~3 HEAD~2 --policy worse --format json").expect(1);
    assert!(done.stderr.contains("`./work.sh` exited with status 7"), "{}", done.stderr);
    assert_eq!(verdicts(&done.json()), [("work", "inconclusive")]);
    let done = repository.gate("HEAD~3 HEAD~1 --policy worse").expect(1);
    assert!(done.stderr.contains("SIGSEGV"), "{}", done.stderr);
    // What base cannot build is not compared, and nothing of head stands in for it.
    repository.git("tag base");
    repository.dir.write("r/new", "");
    repository.commit("sleep 0.012");
    let build = "--build 'echo needs new; test -e new' --policy worse";
    let done = repository.gate(&format!("base HEAD {build}")).expect(1);
    assert!(done.stderr.contains("needs new"), "{}", done.stderr);
    assert!(done.stderr.contains("the build of base"), "{}", done.stderr);
    assert!(done.stdout.is_empty(), "{}", done.stdout);
    // The same again: a failed build is not taken for one that was made before.
    repository.gate(&format!("base HEAD {build}")).expect(1);
}

#[test]
fn too_few_blocks_and_a_full_disk_are_not_green() {
    let repository = GateRepository::of(&[SHORT, "sleep 0.011"]);
    let few = BENCHMARK.replace("blocks = 12", "blocks = 3");
    repository.dir.write("few.toml", few);
    let done = repository.gate("HEAD~1 HEAD --config few.toml --policy worse").expect(4);
    assert!(done.stderr.contains("would not find what takes twice as long"), "{}", done.stderr);
    prints(&done, "Inconclusive fails with exit code 4");
    let full = "HEAD~1 HEAD --policy worse --tolerance 99% --export json=/dev/full";
    let done = repository.gate(full).expect(1);
    assert!(done.stderr.contains("--export json=/dev/full"), "{}", done.stderr);
}

#[test]
fn an_interrupted_gate_is_not_green() {
    let repository = GateRepository::of(&["kill -INT $PPID; sleep 1000", SHORT]);
    let done = repository.gate("HEAD~1 HEAD --policy worse --format json").expect(130);
    assert_eq!(done.json()["interrupted"], true);
    let build = "--build 'kill -INT $PPID; sleep 1000'";
    let done = repository.gate(&format!("HEAD~1 HEAD --policy worse {build}")).expect(130);
    assert!(done.stderr.contains("interrupted while base was built"), "{}", done.stderr);
}

#[test]
fn a_changed_file_of_the_gate_is_told_and_old_checkouts_are_removed() {
    let repository = GateRepository::of(&[SHORT]);
    repository.git("worktree add --quiet ../away");
    fs::rename(repository.dir.path("away"), repository.dir.path("moved")).unwrap();
    for budget in 2..=5 {
        if budget == 3 {
            fs::create_dir(repository.dir.path(&repository.checkouts("mine"))).unwrap();
        }
        repository.config(&BENCHMARK.replace("100s", &format!("{budget}00s")));
        repository.commit("sleep 0.01");
        let done = answers(repository.gate("HEAD~1 HEAD --tolerance 99%"));
        prints(&done, "brigade-gate.toml differs between base and head");
    }
    let checkouts = fs::read_dir(repository.dir.path(&repository.checkouts(""))).unwrap();
    let names = checkouts.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    // Two in use, two more, and what is none of them.
    assert_eq!(names.count(), 5);
    // Nor are records of the user's own work trees touched, though the directory is away.
    let list = repository.dir.shell("git -C r worktree list").spawn().unwrap();
    prints(&finish(list).expect(0), "/away");
}

#[test]
fn a_crash_in_a_pipe_and_a_half_build_are_failures() {
    let repository = GateRepository::of(&[SHORT, "exit 7"]);
    let pipe = BENCHMARK.replace("./work.sh", "./work.sh | cat") + "shell = true\n";
    repository.dir.write("pipe.toml", pipe);
    let done = repository.gate("HEAD~1 HEAD --config pipe.toml --policy worse").expect(1);
    done.says("exited with status 7");
    let done = repository.gate("HEAD~1 HEAD --build 'false; true' --policy worse").expect(1);
    done.says("the build of base");
}

#[test]
fn a_gate_in_a_hook_compares_the_repository_that_it_is_told() {
    let repository = GateRepository::of(&[SHORT, LONG]);
    let brigade = repository.dir.command("gate --repository r --cache cache HEAD~1 HEAD");
    let mut hook = repository.dir.shell("exec \"$0\" \"$@\"");
    hook.arg(brigade.get_program()).args(brigade.get_args());
    hook.env("GIT_DIR", "/no/such").env("GIT_INDEX_FILE", "/no/such/index");
    finish(hook.spawn().unwrap()).expect(3);
}

#[test]
fn what_cannot_be_counted_is_not_green() {
    let repository = GateRepository::of(&[SHORT, "sleep 0.011"]);
    // Small programs need less memory than Brigade, whose memory is theirs until they start.
    let done = repository.gate("HEAD~1 HEAD --metric peak-memory --policy worse").expect(1);
    done.says("not every figure was measured");
    // Git and a shell, but no valgrind: where the processor does not count either, nothing does.
    let link = "mkdir bin; for name in git sh; do ln -s \"$(command -v $name)\" bin; done";
    finish(repository.dir.shell(link).spawn().unwrap()).expect(0);
    let line = "gate --repository r --cache cache HEAD~1 HEAD --metric instructions";
    let mut command = repository.dir.command(line);
    command.env("PATH", repository.dir.path("bin").canonicalize().unwrap());
    let done = finish(command.spawn().unwrap());
    match done.code {
        Some(2) => drop(done.says("instructions cannot be counted here")),
        // It found `sleep` nowhere, but was counted until then.
        _ => drop(done.expect(1).says("exited with status 127")),
    }
}

/// The script does not take another program for Brigade.
#[test]
fn the_script_needs_brigade_to_compare() {
    let repository = GateRepository::of(&[SHORT, LONG]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/ci_gate.sh");
    let run = |brigade: &str| {
        let line = format!("cd r && '{script}' HEAD~1 HEAD --cache ../cache");
        let mut command = repository.dir.shell(&line);
        command.env("GATE_BRIGADE", brigade);
        finish(command.stdin(Stdio::null()).spawn().unwrap())
    };
    for other in ["true", "/no/such", "echo"] {
        run(other).expect(2).says("is not Brigade");
    }
    run(env!("CARGO_BIN_EXE_brigade")).expect(3);
    // It says the right thing and compares nothing.
    repository.dir.write("mute", "#!/bin/sh\necho brigade 9.9.9\n");
    let mute = repository.dir.path("mute");
    finish(repository.dir.shell("chmod +x mute").spawn().unwrap()).expect(0);
    run(mute.to_str().unwrap()).expect(1).says("nothing was compared");
}
