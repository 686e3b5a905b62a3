//! The whole run, on the host: media, their cases, the suites, the power cuts.

use crate::cases::{CASES, Place};
use crate::cuts;
use crate::machine::{self, Ended, Machine};
use pagestone_kit::random::{fresh_seed, mix};
use std::path::Path;
use std::process::Command;

/// Suites that run on DAX as they do on a disk, without their tests about the class of the disk itself.
const SUITES: &[(&str, &[&str])] = &[
    (
        "store",
        &[
            // A DAX file loses blocks 2 MiB at a time, and these count the blocks of shorter runs.
            "space::a_compact_gives_all_free_space_back",
            "space::a_disk_that_has_room_again",
            "laws::a_sync_gives_back_a_part",
            // It asks for dirty pages by `cachestat`, at which Linux 6.12 dies on a DAX file.
            "laws::a_growth_waits_for_no_dirt",
        ],
    ),
    // The last one takes looks that are short, which those of an emulated processor are not.
    ("region", &["medium::", "probe::", "waiting::a_short_look"]),
];
/// Printed where the run is not possible.
const SKIPPED: &str = "SKIPPED: make test-dax";

/// What the persistent memory is made into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Medium {
    Ext4,
    Xfs,
    DevDax,
    Virtio,
    CpuCache,
    /// A file system with a page cache, of which a power cut leaves nothing.
    PageCache,
}

impl Medium {
    const ALL: [Self; 6] =
        [Self::Ext4, Self::Xfs, Self::DevDax, Self::Virtio, Self::CpuCache, Self::PageCache];
    /// The media whose power is cut. The last one is no persistent memory; its cuts come on top of the others'.
    const CUT: [Self; 4] = [Self::Ext4, Self::DevDax, Self::Xfs, Self::PageCache];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::DevDax => "devdax",
            Self::Virtio => "virtio-pmem",
            Self::CpuCache => "cpu-cache",
            Self::PageCache => "page-cache",
        }
    }

    /// What `guest.sh` calls the memory.
    pub fn memory(self) -> &'static str {
        match self {
            Self::Ext4 | Self::Xfs | Self::DevDax | Self::PageCache => "nvdimm",
            Self::Virtio => "virtio",
            Self::CpuCache => "cpu-cache",
        }
    }

    fn place(self) -> Place {
        match self {
            Self::Ext4 | Self::Xfs => Place::Directory,
            Self::DevDax => Place::Device,
            Self::Virtio => Place::Virtio,
            Self::CpuCache => Place::CpuCache,
            Self::PageCache => Place::PageCache,
        }
    }

    /// The commands that make it, once.
    pub fn make(self) -> String {
        let namespace =
            |mode| format!("ndctl create-namespace -f -e namespace0.0 -m {mode} -M mem -a 2M >/dev/null");
        // With this stride the file system gives files 2 MiB at a time, which can then be mapped as one.
        let ext4 = "mkfs.ext4 -q -b 4096 -E stride=512,stripe_width=512 /dev/pmem0";
        match self {
            Self::Ext4 | Self::CpuCache | Self::PageCache => format!("{} && {ext4}", namespace("fsdax")),
            Self::Xfs => {
                format!(
                    "{} && mkfs.xfs -q -f -l size=64m -d agcount=2,su=2m,sw=1 /dev/pmem0",
                    namespace("fsdax")
                )
            }
            Self::DevDax => namespace("devdax"),
            Self::Virtio => ext4.into(),
        }
    }

    /// The commands that make it accessible, at each boot.
    pub fn mount(self) -> &'static str {
        match self {
            Self::Ext4 | Self::Virtio | Self::CpuCache => "mount -t ext4 -o dax=always /dev/pmem0 /mnt",
            Self::Xfs => "mount -t xfs -o dax=always /dev/pmem0 /mnt",
            Self::PageCache => "mount -t ext4 -o dax=never /dev/pmem0 /mnt",
            Self::DevDax => "test -c /dev/dax0.0",
        }
    }

    /// Both commands.
    pub fn prepare(self) -> String {
        format!("{} && {}", self.make(), self.mount())
    }

    /// The command that removes what a case left.
    fn clean(self) -> &'static str {
        if self == Self::DevDax { "dax part zero /dev/dax0.0" } else { "rm -rf /mnt/*" }
    }

    fn path(self) -> &'static str {
        if self == Self::DevDax { "/dev/dax0.0" } else { "/mnt" }
    }

    pub fn region(self) -> &'static str {
        if self == Self::DevDax { "/dev/dax0.0" } else { "/mnt/region" }
    }
}

/// What happened so far.
#[derive(Default)]
pub struct Tally {
    pub cases: u32,
    pub cuts: u32,
    pub failures: u32,
    pub acknowledged: u64,
}

/// Runs everything whose name has `only` in it. `false`: something failed.
pub fn run(cuts: u32, seed: Option<u64>, only: Option<&str>) -> Result<bool, String> {
    if let Err(why) = machine::set_up() {
        println!("{SKIPPED}: {why}");
        println!("summary: dax cases=0 states=0 schedules=0 failures=0");
        return Ok(true);
    }
    let wanted = |name: &str| only.is_none_or(|only| name.contains(only));
    let program = std::env::current_exe().map_err(|error| format!("finding this program: {error}"))?;
    let mut tally = Tally::default();
    for medium in Medium::ALL {
        let here = |case: &&(_, &[Place], _)| case.1.contains(&medium.place());
        let names: Vec<_> = CASES.iter().filter(here).map(|case| case.0).collect();
        let names: Vec<_> =
            names.into_iter().filter(|name| wanted(&format!("{} {name}", medium.name()))).collect();
        if !names.is_empty() {
            run_cases(medium, &names, &program, 3, &mut tally)?;
        }
    }
    for (suite, skipped) in SUITES {
        if wanted(&format!("suite {suite}")) {
            run_suite(suite, skipped, &program, &mut tally)?;
        }
    }
    let seed = seed.unwrap_or_else(fresh_seed);
    for (n, medium) in (0..).zip(Medium::CUT) {
        if wanted(&format!("{} cut", medium.name())) {
            println!("power cuts: {}, seed {seed}", medium.name());
            // The remainder goes to the first media.
            let share = if medium == Medium::PageCache { cuts.div_ceil(4) } else { (cuts + 2 - n) / 3 };
            cuts::cut_power(medium, share, seed ^ mix(u64::from(n)), &program, &mut tally)?;
        }
    }
    let Tally { cases, cuts, failures, acknowledged } = tally;
    if cases + cuts + failures == 0 {
        return Err(format!("nothing has {:?} in its name", only.unwrap_or_default()));
    }
    println!("{acknowledged} acknowledged operations survived {cuts} power cuts");
    println!("summary: dax cases={cases} states={cuts} schedules=0 failures={failures}");
    Ok(failures == 0)
}

/// One boot: each case in a process of its own, on a clean medium.
fn run_cases(
    medium: Medium,
    names: &[&str],
    program: &Path,
    tries: u32,
    tally: &mut Tally,
) -> Result<(), String> {
    let mut task = format!("{} || exit 1\n", medium.prepare());
    for name in names {
        let (path, clean) = (medium.path(), medium.clean());
        task +=
            &format!("{clean}\ndax case {name} {path} && echo '@@passed {name}' || echo '@@failed {name}'\n");
    }
    let mut passed = Vec::new();
    let mut console = Vec::new();
    let ended = Machine::new(medium.memory(), &[program])?.run(&task, |line| {
        if let Some(name) = line.strip_prefix("@@passed ") {
            println!("ok      {:12} {name}", medium.name());
            passed.push(name.to_owned());
            console.clear();
        } else if let Some(note) = line.strip_prefix("@@note ") {
            println!("        {:12} {note}", medium.name());
        } else if let Some(name) = line.strip_prefix("@@failed ") {
            println!("FAILED  {:12} {name}", medium.name());
            console.drain(..).for_each(|line: String| println!("        | {line}"));
        } else {
            console.push(line.to_owned());
        }
    })?;
    tally.cases += passed.len() as u32;
    let missing: Vec<_> =
        names.iter().filter(|name| !passed.iter().any(|one| one == *name)).copied().collect();
    if let (Ended::EmulatorDied(how), true) = (&ended, tries > 1) {
        println!("        {:12} {how}: not a fault of the project, runs once more", medium.name());
        return run_cases(medium, &missing, program, tries - 1, tally);
    }
    tally.cases += missing.len() as u32;
    tally.failures += missing.len() as u32;
    if ended != Ended::Well {
        println!("FAILED  {:12} the guest: {ended:?}", medium.name());
        console.iter().for_each(|line| println!("        | {line}"));
        tally.failures += u32::from(missing.is_empty());
    }
    Ok(())
}

/// One of the project's suites, started by cargo with this program as its runner.
fn run_suite(suite: &str, skipped: &[&str], program: &Path, tally: &mut Tally) -> Result<(), String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Not with `--quiet`: a guest that prints nothing for long counts as hanging.
    command.args(["test", "--locked", "-p", "pagestone-tests", "--test", suite, "--"]);
    command.args(skipped.iter().flat_map(|name| ["--skip", name]));
    command.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", format!("{} suite", program.display()));
    let output = command.output().map_err(|error| format!("starting cargo: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    // The last line: a test that starts this program again, to be alone, prints a result before.
    let result = said.lines().rfind(|line| line.starts_with("test result:"));
    let count = |word: &str| {
        let words: Vec<_> = result.unwrap_or_default().split_whitespace().collect();
        words
            .windows(2)
            .find(|pair| pair[1].trim_end_matches(';') == word)
            .and_then(|pair| pair[0].parse().ok())
    };
    let (passed, failed): (u32, u32) = (count("passed").unwrap_or(0), count("failed").unwrap_or(0));
    tally.cases += passed + failed;
    if output.status.success() && passed > 0 {
        println!("ok      {:12} suite {suite}: {passed} tests", "ext4");
    } else {
        println!("FAILED  {:12} suite {suite}: {passed} tests passed, {failed} failed", "ext4");
        println!("{said}{}", String::from_utf8_lossy(&output.stderr));
        tally.failures += failed.max(1);
    }
    Ok(())
}
