//! What an earlier run has made of the jobs of this one.

use std::collections::HashMap;
use std::path::Path;

use brigade_proto::JobSpec;

use crate::args::RunArgs;
use crate::exit::Failure;
use crate::journal::{Entry, Journal, ResumeDecision, With};
use crate::plan::{PlannedInputs, RunPlan};
use crate::write::{self, Place, Replace};

/// The jobs of a run in its journal.
pub(super) struct Resume {
    /// What had to be found out before the first job: whose files exist.
    known: HashMap<u64, ResumeDecision>,
    /// Synthetic jobs are all done with the same.
    same: Option<With>,
}

impl Resume {
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
                PlannedInputs::Synthetic { .. } => Some(With::of(&plan.spec(0))),
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
            let decision = journal.decision(name, &past.with(&spec))?;
            if journal.replace(&decision) == Replace::Never && !args.force {
                let exists = write::exists(&output);
                return Err(Failure::usage(format!("{exists}; it is not what the journal says")));
            }
            past.known.insert(job, decision);
        }
        // They are entered again, one by one: cheaper than to keep what they are called.
        journal.begin_anew();
        Ok(past)
    }

    fn with(&self, spec: &JobSpec) -> With {
        self.same.clone().unwrap_or_else(|| With::of(spec))
    }

    /// What has become of a job: asked once for each, in the order of the run.
    pub(super) fn look_up(
        &mut self,
        journal: &mut Journal,
        job: u64,
        spec: &JobSpec,
        output: Option<&Path>,
    ) -> Result<(Entry, ResumeDecision), Failure> {
        let name = journal.enter(spec, output, None);
        let entry = Entry { job: name, with: self.with(spec) };
        let decision = match self.known.remove(&job) {
            Some(known) => known,
            None => journal.decision(name, &entry.with)?,
        };
        Ok((entry, decision))
    }
}
