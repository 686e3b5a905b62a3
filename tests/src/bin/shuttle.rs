//! `make shuttle`: schedules of several threads on one store, and the crash states of each. Then one rule after the other
//! is switched off, and a case must fail.
//!
//! ```text
//! shuttle [--schedules 100] [--seed 1] [--only WORDS]
//! ```

#[cfg(pagestone_shuttle)]
mod run {
    use pagestone::media::rules::Rule;
    use pagestone::units::Durability::{self, CacheLine, Fdatasync};
    use pagestone_tests::schedules::case::{Case, Seen};
    use pagestone_tests::schedules::turns::turns;
    use pagestone_tests::schedules::workloads::{cases, planted};
    use std::process::ExitCode;
    use std::sync::{Mutex, PoisonError};

    struct Options {
        schedules: usize,
        seed: u64,
        only: Option<String>,
    }

    fn options() -> Result<Options, String> {
        let mut options = Options { schedules: 100, seed: 1, only: None };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let value = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
            let number = || value.parse::<u64>().map_err(|e| format!("{arg} {value}: {e}"));
            match arg.as_str() {
                "--schedules" => options.schedules = number()? as usize,
                "--seed" => options.seed = number()?,
                "--only" => options.only = Some(value),
                _ => return Err("usage: shuttle [--schedules N] [--seed N] [--only WORDS]".into()),
            }
        }
        Ok(options)
    }

    /// A case on a medium, with all rules kept or one switched off.
    struct Job {
        case: Case,
        class: Durability,
        broken: Option<Rule>,
        schedules: usize,
    }

    impl Job {
        fn tell(&self, seen: &Seen) -> bool {
            let Seen { schedules, states, violation, elapsed } = seen;
            let good = violation.is_some() == self.broken.is_some();
            let rule = self.broken.map_or("all rules kept".to_owned(), |rule| format!("{rule:?} broken"));
            let verdict = match (good, self.broken) {
                (true, None) => "lawful".to_owned(),
                (true, Some(_)) => "noticed".to_owned(),
                (false, None) => format!("VIOLATION: {}", violation.as_deref().unwrap_or_default()),
                (false, Some(_)) => "NOT NOTICED".to_owned(),
            };
            let (name, class) = (self.case.name, self.class);
            println!(
                "{name:20} {class:10} {rule:22} {schedules:6} schedules {states:8} states {elapsed:8.1?} {verdict}"
            );
            good
        }
    }

    /// Runs the cases about turns. Returns how many there were, how many schedules, and how many cases failed.
    fn take_turns(options: &Options) -> (usize, u64, u64) {
        let mut turns = turns();
        turns.retain(|one| options.only.as_ref().is_none_or(|words| one.name.contains(words)));
        let (mut ran, mut bad) = (0, 0);
        for one in &turns {
            let start = std::time::Instant::now();
            let (schedules, most, violation) = one.explore(options.seed, options.schedules);
            let (name, elapsed) = (one.name, start.elapsed());
            let verdict = violation.as_ref().map_or("lawful".to_owned(), |why| format!("VIOLATION: {why}"));
            println!("{name:20} {schedules:6} schedules, passed by at most {most}, {elapsed:8.1?} {verdict}");
            ran += schedules as u64;
            bad += u64::from(violation.is_some());
        }
        (turns.len(), ran, bad)
    }

    pub fn main() -> ExitCode {
        let options = match options() {
            Ok(options) => options,
            Err(why) => {
                eprintln!("{why}");
                return ExitCode::from(2);
            }
        };
        std::panic::set_hook(Box::new(|_| ()));
        let (seed, schedules) = (options.seed, options.schedules);
        let mut jobs: Vec<Job> = planted()
            .into_iter()
            .map(|p| Job {
                case: p.case,
                class: p.class,
                broken: Some(p.rule),
                schedules: schedules.max(400),
            })
            .collect();
        for case in cases(seed) {
            let kept = [CacheLine, Fdatasync].map(|class| Job {
                case: case.clone(),
                class,
                broken: None,
                schedules,
            });
            jobs.extend(kept);
        }
        jobs.retain(|job| options.only.as_ref().is_none_or(|words| job.case.name.contains(words)));
        jobs.reverse();
        let (turns, ran, bad) = take_turns(&options);
        let (cases, jobs, sums) = (jobs.len() + turns, Mutex::new(jobs), Mutex::new((0, ran, bad)));
        let work = || loop {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(job) = job else { return };
            let seen = job.case.explore(job.class, job.broken, seed, job.schedules);
            let good = job.tell(&seen);
            let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
            *sums = (sums.0 + seen.states, sums.1 + seen.schedules, sums.2 + u64::from(!good));
        };
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8);
        std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
        let (states, schedules, failures) = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
        println!("summary: shuttle cases={cases} states={states} schedules={schedules} failures={failures}");
        if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

#[cfg(pagestone_shuttle)]
fn main() -> std::process::ExitCode {
    run::main()
}

#[cfg(not(pagestone_shuttle))]
fn main() -> std::process::ExitCode {
    eprintln!("this program is built with --cfg pagestone_shuttle: see `make shuttle`");
    std::process::ExitCode::from(2)
}
