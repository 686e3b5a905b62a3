//! `make bench-tantivy`: one index, in tantivy's own directory of mapped files and in Pagestone's, in one run.
//!
//! One thread builds both from the same documents; bursts of searches alternate. At the end come the bytes that
//! tantivy read from the region, and how many of them were copied.

use pagestone::Store;
use pagestone_benches::{Machine, Random, medians::median};
use pagestone_tantivy::PagestoneDirectory;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;
use tantivy::collector::{Count, TopDocs};
use tantivy::directory::MmapDirectory;
use tantivy::query::{BooleanQuery, Occur, Query, TermQuery};
use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, STORED, Schema, TEXT};
use tantivy::{Index, IndexSettings, IndexWriter, ReloadPolicy, Searcher, TantivyDocument, Term, doc};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Documents, unless the first argument says otherwise.
const DOCUMENTS: u64 = 100_000;
/// Words of the vocabulary; the n-th is as frequent as 1/n, roughly.
const WORDS: u64 = 20_000;
const BURSTS: usize = 9;

fn main() -> Outcome {
    let documents = std::env::args().nth(1).map_or(Ok(DOCUMENTS), |n| n.parse())?;
    let folder = std::env::args().nth(2).map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(folder)?;
    let files = folder.path().join("files");
    std::fs::create_dir(&files)?;
    let store = Store::options().create(true).open(folder.path().join("index.pgs"))?;
    let directory = PagestoneDirectory::open(&store, "index")?;
    let mapped = Side::new(Index::create(MmapDirectory::open(&files)?, schema(), IndexSettings::default())?)?;
    let ours = Side::new(Index::create(directory.clone(), schema(), IndexSettings::default())?)?;
    println!("{}", Machine::look());
    println!(
        "{documents} documents in a file system ({}), medians of {BURSTS} bursts",
        store.info().durability
    );
    println!("{:<44} {:>12} {:>12} {:>7}", "time of one", "mapped files", "Pagestone", "ratio");
    let built = [mapped.build(documents)?, ours.build(documents)?];
    row("build, per document", built[0], built[1], built[0] / built[1]);
    let built = directory.reads();
    let sides = [&mapped, &ours];
    compare("commit of one document", 10, sides, |side, _| side.add(1))?;
    compare("opening a reader", 50, sides, |side, _| {
        black_box(side.searcher()?);
        Ok(())
    })?;
    let searchers = [mapped.searcher()?, ours.searcher()?];
    let looks = [&searchers[0], &searchers[1]];
    let before = directory.reads();
    compare("count of a term", 2_000, looks, |searcher, random| {
        black_box(searcher.search(&mapped.term(random.below(WORDS)), &Count)?);
        Ok(())
    })?;
    compare("best 10 of two frequent terms", 200, looks, |searcher, random| {
        let query = mapped.both(random.below(50), random.below(50));
        black_box(searcher.search(&query, &TopDocs::with_limit(10).order_by_score())?);
        Ok(())
    })?;
    compare("fetch of a stored document", 2_000, looks, |searcher, random| {
        let address =
            tantivy::DocAddress::new(0, random.below(u64::from(searcher.segment_reader(0).max_doc())) as u32);
        let document: TantivyDocument = searcher.doc(address)?;
        if document.get_first(mapped.number).is_none() { Err("a document is empty".into()) } else { Ok(()) }
    })?;
    println!();
    println!("read from the region                         bytes pinned   bytes copied");
    let searched = directory.reads();
    let of = |what: &str, pinned: u64, copied: u64| println!("  {what:<40} {pinned:>14} {copied:>14}");
    of("while building", built.pinned_bytes, built.copied_bytes);
    of(
        "while searching",
        searched.pinned_bytes - before.pinned_bytes,
        searched.copied_bytes - before.copied_bytes,
    );
    of("in all", searched.pinned_bytes, searched.copied_bytes);
    Ok(())
}

fn schema() -> Schema {
    let mut schema = Schema::builder();
    schema.add_u64_field("number", INDEXED | FAST | STORED);
    schema.add_text_field("text", TEXT | STORED);
    schema.build()
}

struct Side {
    index: Index,
    number: Field,
    text: Field,
}

impl Side {
    fn new(index: Index) -> Outcome<Self> {
        let (number, text) = (index.schema().get_field("number")?, index.schema().get_field("text")?);
        Ok(Self { index, number, text })
    }

    /// Adds documents and merges them into one segment. Returns microseconds per document.
    fn build(&self, documents: u64) -> Outcome<f64> {
        let begun = Instant::now();
        let mut writer: IndexWriter = self.index.writer_with_num_threads(1, 60_000_000)?;
        let mut random = Random::new(5);
        for n in 0..documents {
            writer.add_document(doc!(self.number => n, self.text => text(&mut random)))?;
        }
        writer.commit()?;
        let segments = self.index.searchable_segment_ids()?;
        writer.merge(&segments).wait()?;
        writer.wait_merging_threads()?;
        Ok(begun.elapsed().as_secs_f64() * 1e6 / documents as f64)
    }

    fn add(&self, documents: u64) -> Outcome {
        let mut writer: IndexWriter = self.index.writer_with_num_threads(1, 15_000_000)?;
        writer.set_merge_policy(Box::new(tantivy::merge_policy::NoMergePolicy));
        for n in 0..documents {
            writer.add_document(doc!(self.number => n, self.text => "another one"))?;
        }
        writer.commit()?;
        Ok(())
    }

    fn searcher(&self) -> Outcome<Searcher> {
        let reader = self.index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        Ok(reader.searcher())
    }

    fn term(&self, word: u64) -> TermQuery {
        TermQuery::new(Term::from_field_text(self.text, &format!("w{word}")), IndexRecordOption::WithFreqs)
    }

    fn both(&self, one: u64, other: u64) -> BooleanQuery {
        let must = |word| (Occur::Must, Box::new(self.term(word)) as Box<dyn Query>);
        BooleanQuery::new(vec![must(one), must(other)])
    }
}

/// Fifty words; frequent ones come more often.
fn text(random: &mut Random) -> String {
    let mut word = || {
        let limit = WORDS >> random.below(14);
        format!("w{} ", random.below(limit))
    };
    (0..50).map(|_| word()).collect()
}

fn compare<T: ?Sized>(
    what: &str,
    count: u64,
    sides: [&T; 2],
    mut work: impl FnMut(&T, &mut Random) -> Outcome,
) -> Outcome {
    let (mut times, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
    for burst in 0..BURSTS {
        let mut pair = [0.0; 2];
        // The two alternate in going first; both do the same.
        for n in [burst % 2, (burst + 1) % 2] {
            let mut random = Random::new(burst as u64);
            let begun = Instant::now();
            for _ in 0..count {
                work(sides[n], &mut random)?;
            }
            pair[n] = begun.elapsed().as_secs_f64() * 1e6 / count as f64;
            times[n].push(pair[n]);
        }
        ratios.push(pair[0] / pair[1]);
    }
    let [mapped, ours] = times.each_mut().map(|times| median(times));
    row(what, mapped, ours, median(&mut ratios));
    Ok(())
}

fn row(what: &str, mapped: f64, ours: f64, ratio: f64) {
    println!("{what:<44} {mapped:>9.1} us {ours:>9.1} us {ratio:>7.2}");
}
