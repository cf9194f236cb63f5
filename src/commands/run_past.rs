//! What an earlier run has made of the jobs of this one.

use std::collections::HashMap;
use std::path::Path;

use brigade_proto::JobSpec;

use crate::args::RunArgs;
use crate::exit::Failure;
use crate::journal::{self, Digest, Entry, Fate, Job, Journal};
use crate::plan::{PlannedInputs, RunPlan};
use crate::write::{self, Place, Replace};

/// The jobs of a run in its journal.
pub(super) struct Past {
    /// What had to be found out before the first job: whose files exist.
    known: HashMap<u64, (Entry, Fate)>,
    /// Synthetic jobs are all done with the same.
    same: Option<Digest>,
}

impl Past {
    /// Finds out whose the outputs are that exist.
    ///
    /// # Errors
    /// When one is nobody's here and is not to be replaced.
    pub(super) fn of(
        journal: &mut Journal,
        args: &RunArgs,
        plan: &RunPlan,
    ) -> Result<Self, Failure> {
        let mut past = Self {
            known: HashMap::new(),
            same: match plan.inputs {
                PlannedInputs::Synthetic { .. } => Some(journal::with(&plan.spec(0))),
                PlannedInputs::Files(_) => None,
            },
        };
        for job in 0..plan.len() {
            let (spec, output) = (plan.spec(job), plan.output(job));
            let name = journal.enter(&spec, output.as_deref(), None);
            let Some(output) = output
                .filter(|output| write::look(output).is_ok_and(|found| found == Place::Taken))
            else {
                continue;
            };
            let entry = past.entry(name, &spec);
            let fate = journal.fate(&entry)?;
            if journal.replace(&fate) == Replace::Never && !args.force {
                let exists = write::exists(&output);
                return Err(Failure::usage(format!("{exists}; it is not what the journal says")));
            }
            past.known.insert(job, (entry, fate));
        }
        // They are entered again, one by one: cheaper than to keep what they are called.
        journal.begin_anew();
        Ok(past)
    }

    fn entry(&self, job: Job, spec: &JobSpec) -> Entry {
        Entry { job, with: self.same.unwrap_or_else(|| journal::with(spec)) }
    }

    /// What has become of a job: asked once for each, in the order of the run.
    pub(super) fn look_up(
        &mut self,
        journal: &mut Journal,
        job: u64,
        spec: &JobSpec,
        output: Option<&Path>,
    ) -> Result<(Entry, Fate), Failure> {
        let name = journal.enter(spec, output, None);
        if let Some(known) = self.known.remove(&job) {
            return Ok(known);
        }
        let entry = self.entry(name, spec);
        Ok((entry, journal.fate(&entry)?))
    }
}
