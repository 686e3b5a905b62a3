//! Databases that keep a page as a value under its number. The read transaction keeps the value in place.

use super::{Reader, Ring, gone, word};
use heed::byteorder::BigEndian;
use heed::types::{Bytes, U64};
use heed::{Env, EnvOpenOptions, PutFlags, RoTxn, WithoutTls};
use redb::{Database, ReadOnlyTable, ReadableDatabase, TableDefinition};
use std::error::Error;
use std::path::Path;

/// Room for the rest of a database.
const OVERHEAD: usize = 1 << 30;
/// A value of LMDB fills one overflow page except for that page's header.
const LMDB_VALUE: usize = 4096 - 16;
/// Values that LMDB takes in one transaction: it has room for this many changed pages.
const LMDB_PUTS: u64 = 65536;
/// A value of redb fills one leaf with its key and the leaf's header.
const REDB_VALUE: usize = 4096 - 32;

/// Reads in a new transaction each time.
pub struct ReadEach<'a, T>(pub &'a T);

/// LMDB: mapped, one writer, readers that take no lock.
pub struct Lmdb {
    environment: Env<WithoutTls>,
    pages: heed::Database<U64<BigEndian>, Bytes>,
    transaction: RoTxn<'static, WithoutTls>,
}

impl Lmdb {
    /// Makes a database with a value for each page of the ring.
    ///
    /// # Errors
    /// Errors of LMDB.
    pub fn make(folder: &Path, ring: &Ring) -> Result<Self, Box<dyn Error>> {
        std::fs::create_dir(folder)?;
        // One thread has a transaction for all reads open beside one for each read.
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size((ring.pages() as usize * 4096 * 9 / 8 + OVERHEAD).next_multiple_of(1 << 20));
        // SAFETY: a folder of this run, opened once.
        let environment = unsafe { options.open(folder) }?;
        let mut change = environment.write_txn()?;
        let pages: heed::Database<U64<BigEndian>, Bytes> = environment.create_database(&mut change, None)?;
        let mut value = [0; LMDB_VALUE];
        for page in 0..ring.pages() {
            if page % LMDB_PUTS == LMDB_PUTS - 1 {
                change.commit()?;
                change = environment.write_txn()?;
            }
            ring.fill(page, &mut value);
            pages.put_with_flags(&mut change, PutFlags::APPEND, &page, &value[..])?;
        }
        change.commit()?;
        let transaction = environment.clone().static_read_txn()?;
        Ok(Self { environment, pages, transaction })
    }
}

impl Reader for Lmdb {
    #[inline(always)]
    fn read(&self, page: u64) -> u64 {
        let Ok(Some(value)) = self.pages.get(&self.transaction, &page) else { gone() };
        word(value)
    }
}

impl Reader for ReadEach<'_, Lmdb> {
    #[inline(always)]
    fn read(&self, page: u64) -> u64 {
        let Ok(transaction) = self.0.environment.read_txn() else { gone() };
        let Ok(Some(value)) = self.0.pages.get(&transaction, &page) else { gone() };
        word(value)
    }
}

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("pages");

/// redb: its own cache, values kept by reference counts.
pub struct Redb {
    database: Database,
    table: ReadOnlyTable<u64, &'static [u8]>,
}

impl Redb {
    /// Makes a database with a value for each page of the ring, and a cache that holds them all.
    ///
    /// # Errors
    /// Errors of redb.
    pub fn make(path: &Path, ring: &Ring) -> Result<Self, Box<dyn Error>> {
        let cache = ring.pages() as usize * 4096 * 3 / 2 + OVERHEAD;
        let database = Database::builder().set_cache_size(cache).create(path)?;
        let change = database.begin_write()?;
        {
            let mut table = change.open_table(TABLE)?;
            let mut value = [0; REDB_VALUE];
            for page in 0..ring.pages() {
                ring.fill(page, &mut value);
                table.insert(page, &value[..])?;
            }
        }
        change.commit()?;
        let table = database.begin_read()?.open_table(TABLE)?;
        Ok(Self { database, table })
    }
}

impl Reader for Redb {
    #[inline(always)]
    fn read(&self, page: u64) -> u64 {
        let Ok(Some(value)) = self.table.get(page) else { gone() };
        word(value.value())
    }
}

impl Reader for ReadEach<'_, Redb> {
    #[inline(always)]
    fn read(&self, page: u64) -> u64 {
        let Ok(transaction) = self.0.database.begin_read() else { gone() };
        let Ok(table) = transaction.open_table(TABLE) else { gone() };
        let Ok(Some(value)) = table.get(page) else { gone() };
        word(value.value())
    }
}
