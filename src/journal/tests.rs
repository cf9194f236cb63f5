use proptest::prelude::*;

use super::record::{Chain, TAKEN, UNSYNCED_SCHEMA};
use super::*;

fn digest(seed: u8) -> Digest {
    Digest::from(blake3::hash(&[seed]))
}

fn done(seed: u8) -> DoneRecord {
    DoneRecord {
        job: digest(seed),
        with: digest(seed.wrapping_add(1)),
        outputs: vec![FileName::from(Path::new("/tmp/a \"b\".png"))],
        digest: "ab".repeat(32),
        bytes_in: seed.into(),
        bytes_out: u64::MAX,
        attempts: 1,
    }
}

fn records(seeds: &[u8]) -> Vec<JournalRecord> {
    let first = JournalRecord::Journal { schema: SCHEMA.to_owned() };
    let rest = seeds.iter().map(|&seed| match seed % 4 {
        0 => JournalRecord::Session { pid: seed.into(), run: RunId(seed.into()), base: None },
        1 => JournalRecord::Accepted {
            job: digest(seed),
            with: (seed % 8 == 1).then(|| digest(0)),
            output: None,
        },
        2 => JournalRecord::Failed { job: digest(seed), status: "crashed".to_owned() },
        _ => JournalRecord::Done(done(seed)),
    });
    std::iter::once(first).chain(rest).collect()
}

fn written(records: &[JournalRecord]) -> Vec<Vec<u8>> {
    let mut chain = Chain::START;
    records.iter().map(|record| chain.line(record)).collect()
}

/// The same, with a line after every `each` records that says that all before it is on the disk.
fn synced(records: &[JournalRecord], each: usize) -> Vec<Vec<u8>> {
    let mut chain = Chain::START;
    let mut bytes = 0;
    let mut lines = Vec::new();
    for (number, record) in records.iter().enumerate() {
        lines.push(chain.line(record));
        bytes += lines[lines.len() - 1].len() as u64;
        if number % each == each - 1 {
            let line = chain.line(&JournalRecord::Synced { bytes, after: chain, ended: false });
            bytes += line.len() as u64;
            lines.push(line);
        }
    }
    lines
}

fn says_synced(line: &[u8]) -> bool {
    record::synced(line.strip_suffix(b"\n").unwrap()).is_some()
}

fn scanned(bytes: &[u8]) -> Result<(Vec<JournalRecord>, JournalEnd), Unreadable> {
    let mut found = Vec::new();
    let end = scan(bytes, |_, record| found.push(record))?;
    Ok((found, end))
}

proptest! {
    #[test]
    fn what_is_written_is_read(seeds: Vec<u8>) {
        let records = records(&seeds);
        let bytes = written(&records).concat();
        let (found, end) = scanned(&bytes).unwrap();
        prop_assert_eq!(&found[..], &records[1..]);
        prop_assert_eq!((end.good, end.torn), (bytes.len() as u64, 0));
    }

    /// Wherever the coordinator is killed, the whole records before that are read.
    #[test]
    fn a_torn_end_costs_one_record(seeds in prop::collection::vec(0_u8.., 0..8), at: prop::sample::Index) {
        let lines = written(&records(&seeds));
        let bytes = lines.concat();
        let cut = at.index(bytes.len() + 1);
        let (found, end) = scanned(&bytes[..cut]).unwrap();
        let mut whole = 0;
        let mut good = 0;
        for line in &lines {
            if good + line.len() > cut { break; }
            good += line.len();
            whole += 1;
        }
        prop_assert_eq!(found.len(), usize::saturating_sub(whole, 1));
        prop_assert_eq!((end.good, end.torn), (good as u64, (cut - good) as u64));
    }

    /// Whatever part of the unsynced bytes is lost: what comes before it is read.
    #[test]
    fn lost_blocks_at_the_end_cost_what_is_after_them(
        seeds in prop::collection::vec(0_u8.., 1..8),
        each in 1_usize..4,
        from: prop::sample::Index,
        len: prop::sample::Index,
    ) {
        let lines = synced(&records(&seeds), each);
        let synced = lines.iter().rposition(|line| says_synced(line));
        let mut bytes = lines.concat();
        let on_disk: usize = lines[..synced.unwrap_or(1)].iter().map(Vec::len).sum();
        let from = on_disk + from.index(bytes.len() - on_disk + 1);
        let to = from + len.index(bytes.len() - from + 1);
        bytes[from..to].fill(0);
        let (_, end) = scanned(&bytes).unwrap();
        prop_assert!(end.good as usize >= on_disk && (end.good as usize <= from || end.torn == 0));
        prop_assert_eq!(end.good + end.torn, bytes.len() as u64);
    }

    /// A changed byte is never read as something else. If it was synced, it is damage.
    #[test]
    fn a_changed_byte_is_noticed(
        seeds in prop::collection::vec(0_u8.., 1..8),
        each in 1_usize..4,
        at: prop::sample::Index,
        by in 1_u8..,
    ) {
        let lines = synced(&records(&seeds), each);
        let mut bytes = lines.concat();
        let place = at.index(bytes.len());
        bytes[place] ^= by;
        let before = lines.iter().scan(0, |sum, line| { *sum += line.len(); Some(*sum) });
        let line = before.take_while(|&end| end <= place).count();
        match scanned(&bytes) {
            Err(Unreadable::Damaged(number)) => prop_assert_eq!(number as usize, line + 1),
            Err(Unreadable::NoJournal | Unreadable::Version(_)) => prop_assert_eq!(line, 0),
            Err(Unreadable::Io(error)) => panic!("{error}"),
            // Only a line of which no later line says that it is on the disk can pass for lost.
            Ok((found, _)) => {
                // If the change is in a line feed, the next line is lost, too.
                let sure = lines.iter().skip(line + 2).any(|line| says_synced(line));
                prop_assert!(!sure, "line {line}");
                prop_assert_eq!(found.len(), usize::saturating_sub(line, 1));
            }
        }
    }

    #[test]
    fn nonsense_is_refused(bytes: Vec<u8>) {
        scan_bytes(&bytes);
    }
}

#[test]
fn a_line_that_is_moved_or_repeated_is_noticed() {
    let lines = synced(&records(&[1, 2, 3]), 4);
    let order = |order: &[usize]| order.iter().flat_map(|&i| lines[i].clone()).collect::<Vec<_>>();
    for wrong in [&[0, 2, 1, 3, 4][..], &[0, 1, 1, 2, 3, 4], &[0, 2, 3, 4]] {
        assert!(matches!(scanned(&order(wrong)), Err(Unreadable::Damaged(2 | 3))), "{wrong:?}");
    }
}

#[test]
fn another_version_is_named() {
    let other = JournalRecord::Journal { schema: "brigade.journal.v4".to_owned() };
    let bytes = written(&[other]).concat();
    let error = scanned(&bytes).unwrap_err();
    assert!(error.to_string().contains("`brigade.journal.v4`"), "{error}");
    assert!(matches!(scanned(b"{\"id\": 1}\n"), Err(Unreadable::NoJournal)));
}

#[test]
fn names_that_are_no_text_survive() {
    use std::os::unix::ffi::OsStrExt;
    let odd = Path::new(std::ffi::OsStr::from_bytes(b"a\xffb"));
    let name = FileName::from(odd);
    let json = serde_json::to_string(&name).unwrap();
    assert_eq!(serde_json::from_str::<FileName>(&json).unwrap().path(), odd);
}

#[test]
fn one_job_is_another_by_its_place_among_equals_and_its_files() {
    let mut namer = JobNamer::default();
    let spec = JobSpec::new("noop");
    let mut enter = |spec: &JobSpec, output: Option<&str>, id: Option<&Id>| {
        namer.enter(&Base::None, spec, output.map(Path::new), id).0
    };
    let id = |text: &str| serde_json::from_str::<Id>(text).unwrap();
    let all = [
        enter(&spec, None, None),
        enter(&spec, None, None),
        enter(&spec, Some("a"), None),
        enter(&spec, None, Some(&id(r#"{"a": 1}"#))),
        enter(&spec, None, Some(&id(r#"{"a": 1.0}"#))),
        enter(&spec, None, Some(&id("340282366920938463463374607431768211455"))),
        enter(&spec, None, Some(&id("340282366920938463463374607431768211454"))),
        enter(&JobSpec::new("touch"), None, None),
        enter(&JobSpec::new("noop").input(PathBuf::from("a")), None, None),
    ];
    let different: HashSet<_> = all.into_iter().collect();
    assert_eq!(different.len(), all.len());
    assert_eq!(
        JobNamer::default().enter(&Base::None, &spec, None, None).0,
        all[0],
        "and the same in each run"
    );
    assert_eq!(
        JobNamer::default().enter(&Base::None, &spec, None, Some(&id("{\"a\":\t1}"))).0,
        all[3],
        "however it is spaced"
    );
    let with = |spec: &JobSpec| With::of(spec).now();
    assert_ne!(with(&spec), with(&JobSpec::new("noop").param("us", 1)));
}

fn job(seed: u8) -> JobIdentity {
    JobIdentity { digest: digest(seed), earlier: None }
}

/// In a container every coordinator has the same process id.
#[test]
fn drafts_of_dead_runs_go_and_those_of_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("j"), dir.path().join("out"));
    std::fs::create_dir(&out).unwrap();
    let name = FileName::from(&*out.join("a.png"));
    let dead = [
        JournalRecord::Journal { schema: SCHEMA.to_owned() },
        JournalRecord::Session { pid: std::process::id(), run: RunId(7), base: None },
        JournalRecord::Accepted { job: digest(1), with: Some(digest(0)), output: Some(name) },
    ];
    std::fs::write(&path, written(&dead).concat()).unwrap();
    let part = |run: u64| out.join(format!(".brigade-{}-0.part", RunId(run)));
    for run in [7, 8] {
        std::fs::write(part(run), "half").unwrap();
    }
    let journal = Journal::open_at(&path, true).unwrap();
    assert!(!part(7).exists(), "its run had the lock, and has it no more");
    assert!(part(8).exists(), "this one may be at work, with another journal");
    drop(journal);
}

/// A run that resumes after a kill searches for drafts in the directories of accepted outputs.
#[test]
fn a_directory_is_on_file_before_a_draft_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j");
    let mut journal = Journal::open_at(&path, false).unwrap();
    journal.begin().unwrap();
    let on_file = || std::fs::read_to_string(&path).unwrap();
    for (seed, output) in [(1, "/one/a"), (2, "/one/b"), (3, "/two/a")] {
        journal.accept(job(seed), Some(Path::new(output)));
        let before = on_file();
        journal.expect_drafts(Path::new(output)).unwrap();
        let directory = Path::new(output).parent().unwrap().to_str().unwrap();
        assert!(on_file().contains(&format!("{directory}/")), "{output}");
        // Once per directory: another write per job would cost too much.
        assert_eq!(on_file() != before, output != "/one/b", "{output}");
    }
}

#[test]
fn of_several_ends_of_a_job_the_last_counts() {
    let mut resume_index = ResumeIndex::default();
    let failed = |seed| JournalRecord::Failed { job: digest(seed), status: "crashed".to_owned() };
    let ends = [
        (10, JournalRecord::Done(done(1))),
        (20, JournalRecord::Done(done(2))),
        (30, failed(3)),
        (40, failed(1)),
        (50, JournalRecord::Done(done(2))),
        (60, JournalRecord::Done(done(3))),
    ];
    for (line, record) in ends {
        resume_index.learn(line, record);
    }
    let results = resume_index.results();
    assert_eq!(results.len(), 2);
    let lines = [1, 2, 3, 4].map(|seed| results.of(digest(seed)).map(|known| known.line));
    assert_eq!(lines, [None, Some(50), Some(60), None]);
}

/// The files that a job wrote before it failed are its own. A file that has taken their place is
/// not.
#[test]
fn a_job_that_failed_later_is_known_by_what_it_had() {
    let failed = |status: &str| JournalRecord::Failed { job: digest(1), status: status.to_owned() };
    for (records, expected) in [
        (vec![failed("crashed")], Some(10)),
        (vec![failed("crashed"), failed("timed-out")], Some(10)),
        (vec![failed(TAKEN)], None),
        (vec![failed("crashed"), failed(TAKEN)], None),
    ] {
        let mut resume_index = ResumeIndex::default();
        resume_index.tells_taken(true);
        resume_index.learn(10, JournalRecord::Done(done(1)));
        records.into_iter().for_each(|record| resume_index.learn(20, record));
        let results = resume_index.results();
        assert_eq!(results.len(), 0);
        let known = results.of(digest(1));
        assert_eq!(
            known.map(|known| (known.line, known.has_failed)),
            expected.map(|at| (at, true))
        );
    }
}

/// A lost beginning is emptied. No other file must be taken for one.
#[test]
fn a_beginning_that_was_lost_is_told_from_other_files() {
    let first = &written(&records(&[]))[0];
    for cut in 0..first.len() {
        let mut bytes = first[..cut].to_vec();
        assert_eq!(scanned(&bytes).unwrap().1.torn, cut as u64);
        bytes.extend([0; 600]);
        assert_eq!(scanned(&bytes).unwrap().1.torn, cut as u64 + 600);
        bytes.extend(b"\nx");
        assert!(matches!(scanned(&bytes), Err(Unreadable::NoJournal)), "{cut}");
    }
    for other in [&b"\n"[..], b"\0\0\n", b"x", &vec![0; (1 << 20) + 1]] {
        assert!(matches!(scanned(other), Err(Unreadable::NoJournal)));
    }
}

/// Older journals do not say what is on the disk: damage cannot be distinguished from loss.
#[test]
fn older_journals_are_refused_where_more_than_the_last_line_is_wrong() {
    let mut old = records(&[1, 2, 3]);
    old[0] = JournalRecord::Journal { schema: UNSYNCED_SCHEMA.to_owned() };
    let lines = written(&old);
    let mut bytes = lines.concat();
    bytes[lines[0].len() + 3] ^= 1;
    assert!(matches!(scanned(&bytes), Err(Unreadable::Damaged(2))));
    let whole: usize = lines[..3].iter().map(Vec::len).sum();
    assert_eq!(scanned(&lines.concat()[..whole + 5]).unwrap().1.torn, 5);
}

#[test]
fn a_journal_of_the_first_version_is_gone_on_with_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (path, output) = (dir.path().join("j"), dir.path().join("out.bin"));
    std::fs::write(&output, "result").unwrap();
    let spec = JobSpec::new("noop");
    let (job, _) = JobNamer::default().enter(&Base::None, &spec, Some(&output), None);
    let old = [
        JournalRecord::Journal { schema: record::ABSOLUTE_SCHEMA.to_owned() },
        JournalRecord::Session { pid: 1, run: RunId(7), base: None },
        JournalRecord::Done(DoneRecord {
            job,
            with: With::of(&spec).now(),
            outputs: vec![FileName::from(&*output)],
            digest: blake3::hash(b"result").to_string(),
            ..done(1)
        }),
    ];
    std::fs::write(&path, written(&old).concat()).unwrap();
    let mut journal = Journal::open_at(&path, true).unwrap();
    let job = journal.enter(&spec, Some(&output), None);
    let decision = journal.decision(job, &With::of(&spec)).unwrap();
    assert!(matches!(decision, ResumeDecision::Done(_, files) if files == [output.clone()]));
    journal.accept(job, Some(&output));
    journal.begin().unwrap();
    // The new records are in the format of that version.
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("base") && text.contains(&format!("\"{}\"", output.display())));
}

#[test]
fn drafts_are_removed_where_the_directory_is_now() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let killed = [
        JournalRecord::Journal { schema: SCHEMA.to_owned() },
        JournalRecord::Session {
            pid: 1,
            run: RunId(7),
            base: Some(FileName::from(Path::new("/where/it/was"))),
        },
        JournalRecord::Accepted {
            job: digest(1),
            with: Some(digest(0)),
            output: Some(FileName::from(Path::new("out/a.png"))),
        },
    ];
    std::fs::write(dir.path().join("j"), written(&killed).concat()).unwrap();
    let part = out.join(format!(".brigade-{}-0.part", RunId(7)));
    std::fs::write(&part, "half").unwrap();
    drop(Journal::open_at(&dir.path().join("j"), true).unwrap());
    assert!(!part.exists());
}
