//! Single events of the Trace Event Format, written as they come.

use std::io::{self, Write};

use brigade_proto::Nanos;
use serde::Serialize;

use crate::run::Micros;

/// The process of all tracks. Readers give 0 a meaning of its own.
const PROCESS: u32 = 1;

/// One event; the names are the format's.
#[derive(Serialize)]
struct TraceEvent<'a, A> {
    ph: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cat: Option<&'a str>,
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    tid: Option<u64>,
    ts: Micros,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<Micros>,
    /// Scope of an instant: `t`, its track.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'static str>,
    args: &'a A,
}

/// The object with all events; their order in it does not matter.
#[derive(Debug)]
pub(super) struct Events<W> {
    out: W,
    begin: Nanos,
    is_first: bool,
}

impl<W: Write> Events<W> {
    pub(super) fn start(mut out: W, begin: Nanos) -> io::Result<Self> {
        out.write_all(b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n")?;
        Ok(Self { out, begin, is_first: true })
    }

    pub(super) fn end(mut self) -> io::Result<W> {
        self.out.write_all(b"\n]}\n")?;
        self.out.flush()?;
        Ok(self.out)
    }

    pub(super) fn begin(&self) -> Nanos {
        self.begin
    }

    /// Time stamps count from the begin: an absolute one has more digits than a
    /// reader's `f64` keeps exactly.
    pub(super) fn since_begin(&self, at: Nanos) -> Nanos {
        at.saturating_sub(self.begin)
    }

    /// Something that lasted.
    ///
    /// Its duration is written one nanosecond short. Readers turn microseconds into
    /// nanoseconds by way of an `f64`, older ones of Perfetto cut off what is then
    /// 0.9999, and drop a slice of which they find that it begins before the one
    /// before it on its track has ended.
    pub(super) fn slice(
        &mut self,
        tid: u64,
        cat: &str,
        name: &str,
        (from, to): (Nanos, Nanos),
        args: &impl Serialize,
    ) -> io::Result<()> {
        let (from, to) = (self.since_begin(from), self.since_begin(to));
        if to <= from + 1 {
            return Ok(());
        }
        let dur = Some(Micros(to - from - 1));
        let (cat, tid) = (Some(cat), Some(tid));
        self.write(&TraceEvent {
            ph: "X",
            name,
            cat,
            pid: PROCESS,
            tid,
            ts: Micros(from),
            dur,
            s: None,
            args,
        })
    }

    /// Something that happened on a track.
    pub(super) fn instant(
        &mut self,
        tid: u64,
        name: &str,
        at: Nanos,
        args: &impl Serialize,
    ) -> io::Result<()> {
        let ts = Micros(self.since_begin(at));
        let (cat, tid, s) = (Some("event"), Some(tid), Some("t"));
        self.write(&TraceEvent { ph: "i", name, cat, pid: PROCESS, tid, ts, dur: None, s, args })
    }

    /// What a counter is at from `at` on, counted from the begin.
    pub(super) fn counter(
        &mut self,
        name: &str,
        at: Nanos,
        args: &impl Serialize,
    ) -> io::Result<()> {
        let ts = Micros(at);
        self.write(&TraceEvent {
            ph: "C",
            name,
            cat: None,
            pid: PROCESS,
            tid: None,
            ts,
            dur: None,
            s: None,
            args,
        })
    }

    /// A name or a place of a track, or of the process.
    pub(super) fn metadata(
        &mut self,
        tid: u64,
        what: &str,
        args: &impl Serialize,
    ) -> io::Result<()> {
        let (tid, ts) = (Some(tid), Micros(0));
        self.write(&TraceEvent {
            ph: "M",
            name: what,
            cat: None,
            pid: PROCESS,
            tid,
            ts,
            dur: None,
            s: None,
            args,
        })
    }

    fn write(&mut self, event: &TraceEvent<'_, impl Serialize>) -> io::Result<()> {
        if !std::mem::take(&mut self.is_first) {
            self.out.write_all(b",\n")?;
        }
        serde_json::to_writer(&mut self.out, event)?;
        Ok(())
    }
}
