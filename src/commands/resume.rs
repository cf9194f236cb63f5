//! What earlier runs have made of the jobs of this run.

use std::collections::HashMap;
use std::path::Path;

use brigade_proto::JobSpec;

use crate::args::RunArgs;
use crate::exit::Failure;
use crate::journal::{Journal, JournaledJob, ResumeDecision, With};
use crate::plan::{PlannedInputs, RunPlan};
use crate::write::{self, Replace, TargetKind};

/// The jobs of a run, as its journal knows them.
pub(super) struct Resume {
    /// Decisions made before the first job: for the jobs whose outputs exist.
    known: HashMap<u64, ResumeDecision>,
    /// For synthetic jobs, which all have the same inputs and parameters.
    same: Option<With>,
}

impl Resume {
    /// Finds out which of the existing outputs belong to jobs of this run.
    ///
    /// # Errors
    /// When an output exists that belongs to no job here and must not be replaced.
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
                .filter(|output| write::look(output).is_ok_and(|found| found == TargetKind::Taken))
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
        // The jobs are entered again later, one by one: that is cheaper than keeping their digests.
        journal.begin_anew();
        Ok(past)
    }

    fn with(&self, spec: &JobSpec) -> With {
        self.same.clone().unwrap_or_else(|| With::of(spec))
    }

    /// What has become of a job. Must be called once for each job, in the order of the run.
    pub(super) fn look_up(
        &mut self,
        journal: &mut Journal,
        job: u64,
        spec: &JobSpec,
        output: Option<&Path>,
    ) -> Result<(JournaledJob, ResumeDecision), Failure> {
        let name = journal.enter(spec, output, None);
        let entry = JournaledJob { job: name, with: self.with(spec) };
        let decision = match self.known.remove(&job) {
            Some(known) => known,
            None => journal.decision(name, &entry.with)?,
        };
        Ok((entry, decision))
    }
}
