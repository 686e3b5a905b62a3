//! `make bench-compare`: compares Pagestone with other software in one run. Writes `benches/README.md` and its plots.
//!
//! Bursts of all contenders of a group alternate, so that other load on the machine affects all alike. Each number is
//! the median of its bursts, and each ratio is the median of the ratios of adjacent bursts.

mod causes;
mod durable;
mod load;
mod plots;
mod pmem2;
mod pool;
mod readers;
mod report;
mod versions;

use load::Load;
use pagestone::store::Store;
use pagestone::units::Durability;
use pagestone_benches::{Machine, file_system, redb, sqlite};
use readers::{
    Bare, Caches, Contender, DashMap, Foyer, Latched, Lmdb, Mapped, Moka, Optimistic, PAGE, Pages, Pread,
    QuickCache, ReadEach, Redb, Ring, write_pages,
};
use report::{Cell, Page, Row};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use versions::named;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Pages, unless the third argument says otherwise.
const PAGES: u64 = 1 << 20;
/// Bytes of a region beyond the pages.
const OVERHEAD: u64 = 256 << 20;
/// The memory that the largest group uses, in pages: three times the pages, and the bookkeeping of the caches.
const HELD: u64 = 7;

fn main() -> Outcome {
    let run = Run::read()?;
    let begun = Load::now();
    let ring = Ring::new(run.pages);
    let mut page = Page::default();
    let groups = [in_memory(&ring)?, on_file(&run.place, &ring)?, in_redb(&run.place, &ring)?];
    run.reading(&mut page, groups)?;
    run.durable(&mut page)?;
    run.databases(&mut page)?;
    let text = format!("{}\n\n{}\n", head(&begun).text(), page.text());
    fs::write(run.out.join("README.md"), &text)?;
    print!("{text}");
    Ok(())
}

/// The text above all tables.
fn head(begun: &Load) -> Page {
    let mut page = Page::default();
    page.paragraph("# Pagestone compared with other software");
    page.paragraph(
        "Written by `make bench-compare`; do not edit. Each number is the median of several bursts. The bursts of all rows \
         of a table alternate. The number in brackets is the median ratio to the adjacent bursts of Pagestone. Less is \
         better: below 1.00, Pagestone is slower. Such cells are bold, and a letter refers to the cause.",
    );
    let machine = Machine::look().to_string().replace('\n', "; ");
    page.paragraph(&format!("Machine: {machine}."));
    page.paragraph(&begun.since());
    page
}

/// The arguments that `make` passes.
struct Run {
    /// A folder on the disk.
    place: PathBuf,
    /// Where the page is written.
    out: PathBuf,
    pages: u64,
}

impl Run {
    fn read() -> Outcome<Self> {
        let mut words = std::env::args_os().skip(1).map(PathBuf::from);
        let place = words.next().filter(|place| !place.as_os_str().is_empty());
        let out = words.next().ok_or("say where the page is to be written")?;
        let pages = match words.next() {
            Some(word) => word.to_str().ok_or("a number of pages")?.parse()?,
            None => PAGES,
        };
        let text = fs::read_to_string("/proc/meminfo")?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap_or("0 kB");
        let available: u64 = line.trim().trim_end_matches(" kB").parse()?;
        let needed = pages * HELD / 2 * PAGE as u64 / 1024;
        if available < needed {
            return Err(format!("this needs {needed} kB of memory, and {available} kB are available").into());
        }
        Ok(Self { place: place.unwrap_or_else(std::env::temp_dir), out, pages })
    }

    fn picture(
        &self,
        page: &mut Page,
        name: &str,
        title: &str,
        unit: &str,
        costs: &[(String, f64)],
    ) -> Outcome {
        let path = format!("plots/{name}.svg");
        fs::create_dir_all(self.out.join("plots"))?;
        plots::bars(&self.out.join(&path), title, unit, costs)?;
        page.picture(title, &path);
        Ok(())
    }

    fn reading(&self, page: &mut Page, groups: [Vec<(String, Vec<Cell>)>; 3]) -> Outcome {
        let pages = self.pages;
        page.heading(&format!("Pin + read + unpin: a word of one of {pages} pages of {PAGE} bytes"));
        page.paragraph(&format!(
            "Nanoseconds of one thread's processor time, medians of {} bursts. Independent: random pages, known \
             in advance. Dependent: each page names the next one. Hot: one page. All pages are in memory, and every \
             read is a hit.",
            readers::BURSTS
        ));
        let media = [
            "In memory. Pagestone's frames are anonymous shared memory (memfd), the pool's are anonymous memory; \
             the caches hold the same pages, by `Arc`."
                .to_owned(),
            format!("Files on {}, read from the page cache.", file_system(&self.place)),
            format!("redb on {}, with everything in redb's own cache.", file_system(&self.place)),
        ];
        let head = ["", "independent", "dependent", "hot"];
        for (medium, group) in media.iter().zip(&groups) {
            page.paragraph(medium);
            let row = |(name, cells): &(String, Vec<Cell>)| Row {
                name: name.clone(),
                cells: cells.clone(),
                cause: causes::of_reading,
            };
            page.costs(&head, 1, &group.iter().map(row).collect::<Vec<_>>());
        }
        for (column, name) in ["independent", "dependent", "hot"].into_iter().enumerate() {
            let all = groups.iter().flatten();
            let costs: Vec<_> = all.map(|(name, cells)| (name.clone(), cells[column].cost)).collect();
            self.picture(page, name, &format!("Pin + read + unpin, {name}"), "nanoseconds", &costs)?;
        }
        Ok(())
    }

    fn durable(&self, page: &mut Page) -> Outcome {
        page.heading("Durable writes of 4 KiB");
        page.paragraph(&format!(
            "Microseconds of wall-clock time, one thread; each write overwrites a random page of 64 MiB; medians of {} bursts.",
            durable::BURSTS
        ));
        let folder = tempfile::tempdir_in(&self.place)?;
        let disk = durable::on_disk(folder.path())?;
        page.paragraph(&format!("On {}.", file_system(folder.path())));
        self.writes(page, "durable-disk", &disk, causes::of_disk)?;
        let folder = tempfile::tempdir_in("/dev/shm")?;
        let (memory, missing) = durable::in_memory(folder.path())?;
        page.paragraph(
            "In memory (tmpfs) that stands in for persistent memory: bytes count as durable once their cache lines are \
             flushed. A slower medium adds its own time to each row.",
        );
        if let Some(why) = missing {
            eprintln!("bench-compare: libpmem2 was not measured: {why}");
            page.paragraph(&format!("libpmem2 was not measured: {why}."));
        }
        self.writes(page, "durable-memory", &memory, causes::of_memory)
    }

    fn writes(
        &self,
        page: &mut Page,
        name: &str,
        contenders: &[durable::Contender],
        cause: fn(&str, usize) -> Option<&'static str>,
    ) -> Outcome {
        let ours = contenders.first().ok_or("nothing was measured")?;
        let row = |contender: &durable::Contender| Row {
            name: contender.name.to_owned(),
            cells: vec![Cell { cost: contender.median(), beside_ours: contender.beside(ours) }],
            cause,
        };
        page.costs(&["", "microseconds"], 2, &contenders.iter().map(row).collect::<Vec<_>>());
        let costs: Vec<_> = contenders.iter().map(|c| (c.name.to_owned(), c.median())).collect();
        self.picture(page, name, "A durable write of 4 KiB", "microseconds", &costs)
    }

    fn databases(&self, page: &mut Page) -> Outcome {
        page.heading("Databases on Pagestone and on their own files");
        self.sqlite(page)?;
        for (medium, folder, class) in [
            (file_system(&self.place), self.place.as_path(), None),
            ("tmpfs".to_owned(), Path::new("/dev/shm"), Some(Durability::CacheLine)),
        ] {
            let table = redb::measure(folder, class)?;
            page.paragraph(&format!(
                "{} on {medium} ({}): microseconds; above 1.00, Pagestone is faster. Medians of {} bursts.",
                named("redb"),
                table.class,
                redb::BURSTS
            ));
            let rows = table.rows.iter().map(|row| {
                let [file, ours] = [row.file, row.ours].map(|time| format!("{time:.1}"));
                vec![row.what.clone(), file, ours, marked(row.ratio)]
            });
            page.table(&["", "redb's file", "Pagestone", "ratio"], &rows.collect::<Vec<_>>());
        }
        page.paragraph(
            "Where Pagestone is slower (bold): what a commit logs is written twice, which matters for large commits. Reads from \
             a database's own cache do not reach Pagestone.",
        );
        Ok(())
    }

    fn sqlite(&self, page: &mut Page) -> Outcome {
        let (disk, memory) = (tempfile::tempdir_in(&self.place)?, tempfile::tempdir_in("/dev/shm")?);
        let commits = sqlite::Commits::measure(disk.path(), memory.path())?;
        page.paragraph(&format!(
            "SQLite, synchronous=FULL: commits per second, medians of {} bursts; then the ratios of adjacent bursts. \
             Above 1.00, Pagestone (\"ours\") is faster. On tmpfs the region is assumed to be of the class `CacheLine`.",
            sqlite::ROUNDS
        ));
        let head = ["medium", "", "1 row", "10 rows", "100 rows"];
        let rates = commits.contenders.iter().map(|contender| {
            let rates = contender.medians().map(|rate| format!("{rate:.0}"));
            [contender.place.clone(), contender.name.to_owned()].into_iter().chain(rates).collect()
        });
        page.table(&head, &rates.collect::<Vec<_>>());
        let ratios = commits.ratios().map(|(place, name, ratios)| {
            [place.to_owned(), name].into_iter().chain(ratios.map(marked)).collect()
        });
        page.table(&head, &ratios.collect::<Vec<_>>());
        Ok(())
    }
}

/// Formats a ratio; bold if Pagestone is slower.
fn marked(ratio: f64) -> String {
    if ratio < 0.98 { format!("**{ratio:.2}**") } else { format!("{ratio:.2}") }
}

/// Measures a group whose first row is Pagestone.
fn group(mut contenders: Vec<Contender<'_>>, ring: &Ring) -> Vec<(String, Vec<Cell>)> {
    readers::measure(&mut contenders, ring.pages());
    let ours = &contenders[0];
    let row = |contender: &Contender<'_>| {
        let (costs, ratios) = (contender.medians(), contender.beside(ours));
        let cells = costs.into_iter().zip(ratios).map(|(cost, beside_ours)| Cell { cost, beside_ours });
        (contender.name.clone(), cells.collect())
    };
    contenders.iter().map(row).collect()
}

fn in_memory(ring: &Ring) -> Outcome<Vec<(String, Vec<Cell>)>> {
    let store = Store::options().open_memory(ring.pages() * PAGE as u64 + OVERHEAD)?;
    let ours = Pages::make(&store, ring)?;
    let next = ring.clone();
    let pool = pool::Pool::new(ring.pages() as usize, move |page, frame| next.fill(page, frame))?;
    let caches = Caches::new(ring);
    let guarded = ours.guarded();
    let contenders = vec![
        Contender::new("Pagestone, a pin", ring, ours)?,
        Contender::new("Pagestone, a pin and a read guard", ring, guarded)?,
        Contender::new("vmcache-style pool, optimistic", ring, Optimistic(&pool))?,
        Contender::new("vmcache-style pool, shared latch", ring, Latched(&pool))?,
        Contender::new("bare read of the pool's memory", ring, Bare(&pool))?,
        Contender::new(&named("quick_cache"), ring, QuickCache::of(&caches))?,
        Contender::new(&named("moka"), ring, Moka::of(&caches))?,
        Contender::new(&named("foyer-memory"), ring, Foyer::of(&caches))?,
        Contender::new(&format!("{} + Arc", named("dashmap")), ring, DashMap::of(&caches))?,
    ];
    Ok(group(contenders, ring))
}

fn on_file(place: &Path, ring: &Ring) -> Outcome<Vec<(String, Vec<Cell>)>> {
    let folder = tempfile::tempdir_in(place)?;
    let store = Store::options().create(true).open(folder.path().join("pages.pgs"))?;
    let ours = Pages::make(&store, ring)?;
    let file = write_pages(&folder.path().join("pages"), ring)?;
    let lmdb = Lmdb::make(&folder.path().join("lmdb"), ring)?;
    let contenders = vec![
        Contender::new("Pagestone on a file, a pin", ring, ours)?,
        Contender::new("mmap", ring, Mapped::of(&file)?)?,
        Contender::new("pread", ring, Pread::of(&file))?,
        Contender::new("LMDB, one transaction", ring, &lmdb)?,
        Contender::new("LMDB, a transaction each", ring, ReadEach(&lmdb))?,
    ];
    Ok(group(contenders, ring))
}

fn in_redb(place: &Path, ring: &Ring) -> Outcome<Vec<(String, Vec<Cell>)>> {
    let folder = tempfile::tempdir_in(place)?;
    let store = Store::options().create(true).open(folder.path().join("pages.pgs"))?;
    let ours = Pages::make(&store, ring)?;
    let redb = Redb::make(&folder.path().join("pages.redb"), ring)?;
    let contenders = vec![
        Contender::new("Pagestone on a file, a pin, again", ring, ours)?,
        Contender::new("redb, one transaction", ring, &redb)?,
        Contender::new("redb, a transaction each", ring, ReadEach(&redb))?,
    ];
    Ok(group(contenders, ring))
}
