//! Kernels for measuring the executors themselves.

use std::time::{Duration, Instant};

use crate::simd::vectorised;
use crate::{
    Context, Family, Inputs, Kernel, KernelError, OutputFormat, ParamSpec, Progress, Spec,
};

pub(crate) fn kernels() -> Vec<Box<dyn Kernel>> {
    vec![Box::new(Noop), Box::new(Spin), Box::new(WaitKernel), Box::new(Touch)]
}

/// A day: long enough, and far from overflow.
const MAX_US: i64 = 86_400_000_000;

struct Noop;

impl Kernel for Noop {
    fn spec(&self) -> Spec {
        Spec::new("noop", "Does nothing: what is left is the cost of handing a job over")
            .family(Family::Measuring)
            .inputs(Inputs::between(0, 1, "any bytes; they are not looked at"))
            .output(OutputFormat::Fixed("bin"), "nothing")
    }

    fn run(&self, _: &mut Context<'_>) -> Result<Progress, KernelError> {
        Ok(Progress::Done)
    }
}

struct Spin;

/// Between two looks at the clock: a few microseconds.
const STEPS: i64 = 1000;

impl Kernel for Spin {
    fn spec(&self) -> Spec {
        Spec::new("spin", "Computes for a given time: work that only another core can speed up")
            .family(Family::Measuring)
            .details(
                "Logistic-map arithmetic in f64. The time is that of the clock, so a worker that \
                 has to share its core computes less in it, not longer; with steps it is work, \
                 which takes longer there. An input is read once.",
            )
            .param(ParamSpec::int("us", 0..=MAX_US, "how long, in microseconds").default(1000))
            .param(
                ParamSpec::int("steps", 0..=i64::MAX, "so many steps, whatever us says")
                    .default(0)
                    .default_means("us says how long", 1_000_000),
            )
            .inputs(Inputs::between(0, 1, "any bytes, if reading them is to be part of the job"))
            .output(OutputFormat::Fixed("bin"), "the time asked for: 8 bytes, little-endian, in us")
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let (us, steps) = (job.int("us"), job.int("steps"));
        let end = Instant::now() + Duration::from_micros(us.unsigned_abs());
        if let Ok(input) = job.input(0) {
            std::hint::black_box(sum(input));
        }
        let mut x = 0.4_f64;
        let mut some = |count| {
            for _ in 0..count {
                x = 3.9 * x * (1.0 - x);
            }
            std::hint::black_box(x);
        };
        if steps > 0 {
            for done in (0..steps).step_by(STEPS as usize) {
                job.check_stop()?;
                some(STEPS.min(steps - done));
            }
        } else {
            while Instant::now() < end {
                job.check_stop()?;
                some(STEPS);
            }
        }
        job.put(&us.to_le_bytes())?;
        Ok(Progress::Done)
    }
}

vectorised! {
    fn sum(bytes: &[u8]) -> u64 {
        bytes.iter().copied().map(u64::from).sum()
    }
}

struct WaitKernel;

impl Kernel for WaitKernel {
    fn spec(&self) -> Spec {
        Spec::new("wait", "Waits for a given time: what an event loop overlaps")
            .family(Family::Measuring)
            .param(ParamSpec::int("us", 0..=MAX_US, "how long, in microseconds").default(1000))
            .output(OutputFormat::Fixed("bin"), "the time asked for: 8 bytes, little-endian, in us")
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let us = job.int("us");
        if job.round() == 0 {
            return Ok(Progress::Wait(Duration::from_micros(us.unsigned_abs())));
        }
        job.put(&us.to_le_bytes())?;
        Ok(Progress::Done)
    }
}

struct Touch;

impl Kernel for Touch {
    fn spec(&self) -> Spec {
        Spec::new("touch", "Reads its input once and writes as much: the cost of moving bytes")
            .family(Family::Measuring)
            .inputs(Inputs::exactly(1, "any bytes"))
            .output(OutputFormat::Fixed("bin"), "each byte plus one (255 becomes 0)")
            .default_size("8MiB")
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let input = job.input(0)?;
        increment(input, job.output_for_overwrite(input.len())?);
        Ok(Progress::Done)
    }
}

vectorised! {
    fn increment(from: &[u8], to: &mut [u8]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = from.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Always, HeapSink, Registry};
    use brigade_proto::Params;

    fn run(name: &str, params: &Params, input: Option<&[u8]>) -> (Progress, Vec<Vec<u8>>) {
        let registry = Registry::builtin();
        let entry = registry.find(name).unwrap();
        let inputs: Vec<&[u8]> = input.into_iter().collect();
        let params = entry.resolve(params, inputs.len()).unwrap();
        let mut sink = HeapSink::default();
        let mut context = Context::new(&params, &inputs, &mut sink, &Always);
        let mut first = entry.kernel.run(&mut context).unwrap();
        if let Progress::Wait(_) = first {
            context.next_round();
            assert_eq!(entry.kernel.run(&mut context), Ok(Progress::Done));
        } else {
            first = Progress::Done;
        }
        (first, sink.into_outputs().iter().map(|output| output.to_vec()).collect())
    }

    #[test]
    fn touch_adds_one_to_every_byte() {
        let input: Vec<u8> = (0..1000).map(|i| (i % 256) as u8).collect();
        let expected: Vec<u8> = input.iter().map(|byte| byte.wrapping_add(1)).collect();
        assert_eq!(run("touch", &Params::new(), Some(&input)).1, [expected]);
    }

    #[test]
    fn spin_takes_its_time_and_wait_asks_for_it() {
        let params: Params = [("us", 3000)].into_iter().collect();
        let begin = Instant::now();
        let (_, outputs) = run("spin", &params, None);
        assert!(begin.elapsed() >= Duration::from_micros(3000));
        assert_eq!(outputs, [3000_i64.to_le_bytes().to_vec()]);
        let (progress, outputs) = run("wait", &params, None);
        assert_eq!(progress, Progress::Wait(Duration::from_micros(3000)));
        assert_eq!(outputs, [3000_i64.to_le_bytes().to_vec()]);
    }

    #[test]
    fn spin_with_steps_is_work_and_reads_what_it_is_given() {
        let params: Params = [("us", i64::from(u32::MAX)), ("steps", 2500)].into_iter().collect();
        // With the time it would take more than an hour.
        let (_, outputs) = run("spin", &params, Some(&[7; 300]));
        assert_eq!(outputs, [i64::from(u32::MAX).to_le_bytes().to_vec()]);
        assert_eq!(sum(&[255; 300]), 255 * 300);
    }

    #[test]
    fn noop_takes_anything_and_gives_nothing() {
        assert!(run("noop", &Params::new(), None).1.is_empty());
        assert!(run("noop", &Params::new(), Some(b"x")).1.is_empty());
    }
}
