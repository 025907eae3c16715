//! A second thread that computes ahead what the first answer needs.
//!
//! The first answer needs the modules of all crates and their impls. rust-analyzer goes through the
//! crates in order, because names depend on earlier crates; but files can be parsed in any order,
//! and the impls of one crate can be listed while the names of the next are resolved.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;

use ra_ap_hir::attach_db;
use ra_ap_hir_def::item_tree::file_item_tree;
use ra_ap_hir_ty::method_resolution::{InherentImpls, TraitImpls};
use ra_ap_ide::RootDatabase;
use ra_ap_ide_db::base_db::{EditionedFileId, all_crates};

use crate::rust_analyzer::database::{CrateFiles, Database, STACK_SIZE};

/// Runs `work`. Meanwhile the other thread prepares the crates whose files are not parsed yet. If
/// both need the same result, one computes it and the other waits.
pub fn during<T>(database: &mut Database, work: impl FnOnce(&mut Database) -> T) -> T {
    let unparsed = database.take_unparsed();
    if unparsed.is_empty() {
        return work(database);
    }
    let (snapshot, stop) = (database.snapshot(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        // rust-analyzer cancels it by unwinding when the work changes a text.
        let prepare = || catch_unwind(AssertUnwindSafe(|| prepare(snapshot, &unparsed, &stop)));
        // Without this thread, the work takes longer.
        let _ = Builder::new().stack_size(STACK_SIZE).spawn_scoped(scope, prepare);
        let _stop = StopOnDrop(&stop);
        work(database)
    })
}

/// Stops the other thread, also if the work unwinds.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn prepare(database: RootDatabase, unparsed: &[CrateFiles], stop: &AtomicBool) {
    let crates = all_crates(&database);
    for (root, files) in unparsed {
        let mut known = crates.iter().map(|krate| (*krate, krate.data(&database)));
        let Some((krate, data)) = known.find(|(_, data)| data.root_file_id == *root) else {
            continue;
        };
        for file in files {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let file = EditionedFileId::new(&database, *file, data.edition);
            file_item_tree(&database, file.into(), krate);
        }
    }
    attach_db(&database, || {
        for krate in crates.iter().take_while(|_| !stop.load(Ordering::Relaxed)) {
            TraitImpls::for_crate(&database, *krate);
            InherentImpls::for_crate(&database, *krate);
        }
    });
}
