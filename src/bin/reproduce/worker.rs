//! `reproduce worker`

use clap::Args as ClapArgs;
use qrnn::Error;
use qrnn::Result;
use qrnn::command_line::Output;
use qrnn::interrupt::Interrupt;
use qrnn::train::work_for;
use serde_json::json;

use crate::group_flags::GroupFlags;
use crate::model_flags::DeviceFlags;

/// Notebooks start workers on their own machine (`LocalWorkers::start`). On others, set RANK, WORLD_SIZE, MASTER_ADDR
/// and MASTER_PORT to those of the notebook's group.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    device: DeviceFlags,
    #[command(flatten)]
    group: GroupFlags,
}

pub fn run(args: Args) -> Result<Output> {
    let interrupt = Interrupt::on_ctrl_c("finishing this step")?;
    let member = args.group.join(&interrupt)?;
    let Some(group) = member.group.clone() else {
        return Err(Error::config(
            "WORLD_SIZE",
            "",
            "is not set: a worker needs a group",
            "let LocalWorkers::start start workers, or set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT",
        ));
    };
    let worked = args.device.of_rank(member.local_rank()).and_then(|device| {
        member.connect(device, &interrupt)?;
        work_for(&group, device, &interrupt)
    });
    drop(group);
    member.end(worked.map(|()| Output::done("", json!(null))))
}
