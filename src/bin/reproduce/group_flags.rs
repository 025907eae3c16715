//! Commands that several processes run together, as a launcher started them.

use std::time::Duration;

use clap::Args as ClapArgs;
use qrnn::command_line::{Output, parsers, share_processors};
use qrnn::interrupt::Interrupt;
use qrnn::{Result, terminal};
use qrnn_ops::process_group::{GroupOptions, ProcessGroup, Rendezvous};
use tch::Device;

#[derive(Debug, ClapArgs)]
pub struct GroupFlags {
    /// Seconds that a process waits for the others of its group (torchrun, srun, mpirun): to come, and in each
    /// operation. More than the longest time between two steps, evaluations and checkpoints included
    #[arg(long, value_parser = parsers::positive::<u32>, value_name = "SECONDS", default_value_t = 600)]
    group_timeout: u32,
}

/// A group that this process belongs to.
pub struct Member {
    pub group: Option<ProcessGroup>,
}

impl GroupFlags {
    /// Joins the group that a launcher names in the environment, if there is one. All but rank 0 are silent from then
    /// on, except for errors.
    ///
    /// # Errors
    /// [`qrnn_ops::Error::Group`] naming the variable that is missing, or the ranks that did not come in time.
    pub fn join(&self, interrupt: &Interrupt) -> Result<Member> {
        let Some(place) = Rendezvous::from_env()? else { return Ok(Member { group: None }) };
        terminal::speak_as_rank(place.rank);
        let timeout = Duration::from_secs(self.group_timeout.into());
        let options = GroupOptions { timeout, ..GroupOptions::default() };
        let group = ProcessGroup::join(&place, options, &|| interrupt.requested())?;
        share_processors(group.local_size());
        Ok(Member { group: Some(group) })
    }
}

impl Member {
    /// Whether this process reads and writes files, and shows results.
    pub fn is_main(&self) -> bool {
        self.group.as_ref().is_none_or(|group| group.rank() == 0)
    }

    /// The number of columns of a batch that this process trains.
    pub fn columns(&self, batch: usize) -> usize {
        self.group.as_ref().map_or(batch, |group| group.share(batch).len().max(1))
    }

    /// The number of the GPU that this process uses, if it is in a group.
    pub fn local_rank(&self) -> Option<usize> {
        self.group.as_ref().map(ProcessGroup::local_rank)
    }

    /// Connects the group for this device, and says who belongs to it.
    ///
    /// # Errors
    /// [`qrnn_ops::Error::Unavailable`] if NCCL is not; [`qrnn_ops::Error::Group`] if others use another kind of device.
    pub fn connect(&self, device: Device, interrupt: &Interrupt) -> Result<()> {
        let Some(group) = &self.group else { return Ok(()) };
        group.use_device(device, &|| interrupt.requested())?;
        let (rank, size, backend) = (group.rank(), group.world_size(), group.backend());
        terminal::note(format_args!("rank {rank} of {size} ({backend})"));
        Ok(())
    }

    /// Ends the work: tells the others of an error, and shows results at rank 0 alone.
    ///
    /// # Errors
    /// That of the work.
    pub fn end(self, result: Result<Output>) -> Result<Output> {
        if let (Some(group), Err(error)) = (&self.group, &result) {
            group.fail(&error.to_string());
        }
        let is_main = self.is_main();
        result.map(|output| if is_main { output } else { output.silent() })
    }
}
