//! A worker: trains whatever rank 0 announces.

use qrnn_ops::process_group::ProcessGroup;
use tch::{Device, Kind};

use super::job::Job;
use crate::Result;
use crate::data::Corpus;
use crate::interrupt::Interrupt;
use crate::model::QrnnLm;
use crate::progress::Silent;
use crate::train::data_parallel::is_common;
use crate::train::trainer::Trainer;

/// Trains every run that rank 0 of the group announces, until that leaves the group. The settings, the weights and
/// the corpus are rank 0's.
///
/// # Errors
/// [`crate::Error::Ops`] if rank 0 has ended without a word; the errors of a run; [`crate::Error::Interrupted`].
pub fn work_for(group: &ProcessGroup, device: Device, interrupt: &Interrupt) -> Result<()> {
    let result = train_all(group, device, interrupt);
    if let Err(error) = &result {
        group.fail(&error.to_string());
    }
    result
}

fn train_all(group: &ProcessGroup, device: Device, interrupt: &Interrupt) -> Result<()> {
    let mut known: Option<Corpus> = None;
    while let Some(text) = group.announcement(&|| interrupt.requested())? {
        let job = Job::parse(&text)?;
        let corpus = job.corpus(group, known.as_ref(), interrupt)?;
        // The weights come from rank 0.
        let mut model = QrnnLm::seeded(&job.config, (Kind::Float, device), 0)?;
        model.set_precision(job.precision);
        model.adopt_vocab(&corpus);
        let mut trainer = Trainer::new(job.recipe)
            .group(group)
            .log_every(job.log_every)
            .interrupt(interrupt.clone());
        if let Some(steps) = job.losses_at_once {
            trainer = trainer.losses_at_once(steps);
        }
        if let Some(gradual) = job.compression {
            trainer = trainer.compression(gradual);
        }
        match trainer.fit_with(&mut model, &corpus, &mut Silent) {
            Err(error) if !is_common(&error) => return Err(error),
            Ok(_) | Err(_) => known = Some(corpus),
        }
    }
    Ok(())
}
