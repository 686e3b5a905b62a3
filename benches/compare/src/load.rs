//! How loaded the machine was: the processor time of other processes during the run.

use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::time::Instant;

/// Ticks of `/proc/stat` per second: a constant of the kernel's interface.
const TICKS: f64 = 100.0;
/// The most per cent of the processors' time that other processes may use on a machine that counts as quiet.
const QUIET: f64 = 5.0;

/// The processor time and load at one moment.
pub struct Load {
    at: Instant,
    busy: f64,
    own: f64,
    average: String,
}

impl Load {
    /// The load at this moment.
    pub fn now() -> Self {
        let own = clock_gettime(ClockId::ProcessCPUTime);
        let average = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            at: Instant::now(),
            busy: busy(&fs::read_to_string("/proc/stat").unwrap_or_default()),
            own: own.tv_sec as f64 + own.tv_nsec as f64 / 1e9,
            average: average.split(' ').take(3).collect::<Vec<_>>().join(" "),
        }
    }

    /// Describes how quiet the machine was since then.
    pub fn since(&self) -> String {
        let now = Self::now();
        let seconds = now.at.duration_since(self.at).as_secs_f64();
        let processors = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let others = (now.busy - self.busy) - (now.own - self.own);
        let percent = (others / (seconds * processors) * 100.0).max(0.0);
        let verdict = if percent > QUIET {
            "**The machine was not quiet: the figures are for orientation, those of the disk above all.**"
        } else {
            "The machine was quiet."
        };
        format!(
            "{verdict} Of the {seconds:.0} s that the run took, other processes had {percent:.0} % of the processors' time; \
             the load average was {} before and {} after.",
            self.average, now.average
        )
    }
}

/// The busy seconds of all processors since the boot, including those taken by the host.
fn busy(stat: &str) -> f64 {
    // user nice system idle iowait irq softirq steal
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> =
        line.split_ascii_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    [0, 1, 2, 5, 6, 7].iter().filter_map(|at| ticks.get(*at)).sum::<f64>() / TICKS
}

#[test]
fn what_is_busy_is_neither_idle_nor_waiting() {
    assert_eq!(busy("cpu  100 200 300 9999 8888 10 20 70 5 5\ncpu0 1"), 7.0);
    assert_eq!(busy(""), 0.0);
}
