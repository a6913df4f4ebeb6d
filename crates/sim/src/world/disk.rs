//! Pretends to be the disk of one journal, shared by all engines: full, read-only, torn, forgetful and flipped, as told.
//! Keeps the promise of a `Disk` otherwise; checks nothing.

use engine::journal::{Damage, Disk, DiskError, StoredRow};
use engine::lease::Lease;
use rollout::names::Millis;
use std::cell::RefCell;
use std::rc::Rc;

/// When an engine dies, seen from one append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    Before,
    /// The row is half written, and nobody will ever read it.
    Torn,
    After,
}

/// What lies on the disk, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Platter {
    pub rows: Vec<StoredRow>,
    pub lease: Option<Lease>,
    pub full: bool,
    pub read_only: bool,
    /// After so many appends whoever appends dies.
    pub death: Option<(u32, Death)>,
    /// The engine that has died so.
    pub died: Option<usize>,
    /// Rows accepted: the writer, the epoch it wrote under, and the lease at that moment.
    pub accepted: Vec<(usize, u64, Option<u64>)>,
}

/// One engine's way to the disk.
#[derive(Debug, Clone)]
pub struct Memory {
    pub platter: Rc<RefCell<Platter>>,
    pub engine: usize,
}

impl Platter {
    fn writable(&self) -> Result<(), DiskError> {
        if self.full {
            return Err(DiskError::Full("simulated".to_owned()));
        }
        if self.read_only {
            return Err(DiskError::ReadOnly("simulated".to_owned()));
        }
        Ok(())
    }

    /// Tells whether the writer dies in this append, and how.
    fn dies(&mut self, engine: usize) -> Option<Death> {
        let (left, death) = self.death?;
        if left > 0 {
            self.death = Some((left - 1, death));
            return None;
        }
        self.death = None;
        self.died = Some(engine);
        Some(death)
    }

    fn place_is_free(&self, row: &StoredRow) -> bool {
        row.seq == self.rows.last().map_or(0, |last| last.seq) + 1
    }

    fn write(
        &mut self,
        row: &StoredRow,
        engine: usize,
        epoch: u64,
        lease: Option<Lease>,
    ) -> Result<(), DiskError> {
        let death = self.dies(engine);
        if matches!(death, Some(Death::Before | Death::Torn)) {
            return Err(DiskError::Other("killed".to_owned()));
        }
        if let Some(lease) = lease {
            self.lease = Some(lease);
        }
        self.accepted.push((engine, epoch, self.lease.as_ref().map(|lease| lease.epoch)));
        self.rows.push(row.clone());
        if death.is_some() { Err(DiskError::Other("killed".to_owned())) } else { Ok(()) }
    }
}

impl Disk for Memory {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn rows(&self, after: u64, each: &mut dyn FnMut(StoredRow) -> Result<(), Damage>) -> Result<(), Damage> {
        let platter = self.platter.borrow();
        let known = platter.rows.partition_point(|row| row.seq <= after);
        platter.rows[known..].iter().try_for_each(|row| each(row.clone()))
    }

    fn insert(&mut self, row: &StoredRow, epoch: u64) -> Result<(), DiskError> {
        let mut platter = self.platter.borrow_mut();
        platter.writable()?;
        if let Some(lease) = platter.lease.as_ref().filter(|lease| lease.epoch != epoch) {
            return Err(DiskError::Lost(Some(lease.clone())));
        }
        if !platter.place_is_free(row) {
            return Err(DiskError::Moved);
        }
        platter.write(row, self.engine, epoch, None)
    }

    fn lease(&self) -> Result<Option<Lease>, DiskError> {
        Ok(self.platter.borrow().lease.clone())
    }

    fn take(&mut self, seen: Option<&Lease>, lease: &Lease, row: &StoredRow) -> Result<(), DiskError> {
        let mut platter = self.platter.borrow_mut();
        platter.writable()?;
        if platter.lease.as_ref() != seen || !platter.place_is_free(row) {
            return Err(DiskError::Moved);
        }
        platter.write(row, self.engine, lease.epoch, Some(lease.clone()))
    }

    fn renew(&mut self, epoch: u64, until: Millis) -> Result<bool, DiskError> {
        let mut platter = self.platter.borrow_mut();
        platter.writable()?;
        let mine = platter.lease.as_mut().filter(|lease| lease.epoch == epoch);
        Ok(mine.map(|lease| lease.until = until).is_some())
    }

    fn release(&mut self, epoch: u64) -> Result<(), DiskError> {
        self.renew(epoch, Millis(0)).map(|_| ())
    }
}
