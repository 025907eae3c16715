//! A second thread, which does ahead what the one that answers will want.
//!
//! A first answer needs the modules of all crates and the `impl`s in them. rust-analyzer goes through the
//! crates one after the other, as names in one depend on another; but the files of all can be parsed at
//! once, and the `impl`s of one listed while the names of the next are found.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;

use ra_ap_hir::attach_db;
use ra_ap_hir_def::item_tree::file_item_tree;
use ra_ap_hir_ty::method_resolution::{InherentImpls, TraitImpls};
use ra_ap_ide::{FileId, RootDatabase};
use ra_ap_ide_db::base_db::{EditionedFileId, all_crates};

use crate::rust_analyzer::database::Host;
use crate::rust_analyzer::server::STACK;

/// A crate's root, and files of the crate.
pub type Files = (FileId, Vec<FileId>);

/// Does some work, and has the other thread prepare the crates whose files are unread until that is
/// done. What both want is done by one, and the other waits.
pub fn beside<T>(host: &mut Host, work: impl FnOnce(&mut Host) -> T) -> T {
    let unread = host.unread();
    if unread.is_empty() {
        return work(host);
    }
    let (database, stop) = (host.database(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        // It unwinds where the work changes a text.
        let ahead = || catch_unwind(AssertUnwindSafe(|| prepare(database, &unread, &stop)));
        // Without this thread the other does it all.
        let _ = Builder::new().stack_size(STACK).spawn_scoped(scope, ahead);
        let _stop = Stop(&stop);
        work(host)
    })
}

/// Says so at the end, also where the work unwinds.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn prepare(database: RootDatabase, unread: &[Files], stop: &AtomicBool) {
    let crates = all_crates(&database);
    for (root, files) in unread {
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
