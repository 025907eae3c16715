//! Where the ranks of a group meet, as launchers tell them: torchrun, Slurm's srun, Open MPI's mpirun, or RANK and
//! WORLD_SIZE set by hand.

use super::slurm;
use crate::{Error, Result};

/// The port of `torch.distributed`.
const DEFAULT_PORT: u16 = 29500;

/// Where a process finds the others of its group, and which of them it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendezvous {
    /// The host of the store where all ranks meet.
    pub host: String,
    /// The port of the store.
    pub port: u16,
    /// The number of this process, from 0.
    pub rank: usize,
    /// The number of processes.
    pub world_size: usize,
    /// The number of this process among those of its machine, from 0, if the launcher says it.
    pub local_rank: Option<usize>,
    /// Whether rank 0 hosts the store. Under torchrun, its agent does.
    pub rank_hosts_store: bool,
    /// How often the launcher has restarted the group: the ranks of one attempt must not meet those of another.
    pub attempt: u64,
}

impl Rendezvous {
    /// A group whose rank 0 hosts the store at this address, without restarts.
    pub fn at(host: impl Into<String>, port: u16, rank: usize, world_size: usize) -> Self {
        Self {
            host: host.into(),
            port,
            rank,
            world_size,
            local_rank: None,
            rank_hosts_store: true,
            attempt: 0,
        }
    }

    /// What the launcher of this process says in the environment; `None` if there is no launcher, or only one process.
    ///
    /// # Errors
    /// [`Error::Group`] naming the variable that is missing or invalid.
    pub fn from_env() -> Result<Option<Self>> {
        Self::from_variables(&|name| {
            std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
        })
    }

    fn from_variables(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let variables = Variables(variable);
        let Some(launcher) = Launcher::of(&variables) else { return Ok(None) };
        let world_size = variables.number(launcher.size)?;
        if world_size <= 1 {
            return Ok(None);
        }
        let rank = variables.number(launcher.rank)?;
        if rank >= world_size {
            return Err(invalid(
                launcher.rank,
                format!("is {rank}, but {} is {world_size}", launcher.size),
                format!("give each process its own number from 0 to {}", world_size - 1),
            ));
        }
        let (host, port) = launcher.address(&variables, world_size)?;
        let agent = variables.get("TORCHELASTIC_USE_AGENT_STORE").as_deref() == Some("True");
        Ok(Some(Self {
            host,
            port,
            rank,
            world_size,
            local_rank: variables.optional_number(launcher.local_rank)?,
            rank_hosts_store: !agent,
            attempt: variables.optional_number("TORCHELASTIC_RESTART_COUNT")?.unwrap_or(0) as u64,
        }))
    }

    /// Whether this process hosts the store.
    pub fn hosts_store(&self) -> bool {
        self.rank == 0 && self.rank_hosts_store
    }
}

/// The variables of a kind of launcher.
struct Launcher {
    rank: &'static str,
    size: &'static str,
    local_rank: &'static str,
    /// What follows if MASTER_ADDR is not set.
    default_address: DefaultAddress,
}

enum DefaultAddress {
    None,
    /// The first host of the step, and a port by the number of the job.
    Slurm,
    /// This machine, if all processes are on it.
    Local {
        local_size: &'static str,
    },
}

impl Launcher {
    /// The launcher that started this process, if any.
    fn of(variables: &Variables<'_>) -> Option<Self> {
        let set = |name| variables.get(name).is_some();
        if set("WORLD_SIZE") {
            return Some(Self {
                rank: "RANK",
                size: "WORLD_SIZE",
                local_rank: "LOCAL_RANK",
                default_address: DefaultAddress::None,
            });
        }
        if set("OMPI_COMM_WORLD_SIZE") {
            return Some(Self {
                rank: "OMPI_COMM_WORLD_RANK",
                size: "OMPI_COMM_WORLD_SIZE",
                local_rank: "OMPI_COMM_WORLD_LOCAL_RANK",
                default_address: DefaultAddress::Local { local_size: "OMPI_COMM_WORLD_LOCAL_SIZE" },
            });
        }
        // A batch script has SLURM_NTASKS, too, but starts one process; only srun sets the numbers of a step.
        let step = set("SLURM_STEP_NUM_TASKS");
        (set("SLURM_PROCID") && (step || set("SLURM_NTASKS") && set("MASTER_ADDR"))).then_some(
            Self {
                rank: "SLURM_PROCID",
                size: if step { "SLURM_STEP_NUM_TASKS" } else { "SLURM_NTASKS" },
                local_rank: "SLURM_LOCALID",
                default_address: DefaultAddress::Slurm,
            },
        )
    }

    fn address(&self, variables: &Variables<'_>, world_size: usize) -> Result<(String, u16)> {
        let port = variables.optional_number("MASTER_PORT")?;
        let port = port.map(|port| port_of(port, "MASTER_PORT")).transpose()?;
        if let Some(host) = variables.get("MASTER_ADDR") {
            return Ok((host, port.unwrap_or(DEFAULT_PORT)));
        }
        match self.default_address {
            DefaultAddress::Slurm => {
                let lists = ["SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"];
                let list = lists.iter().find_map(|name| variables.get(name));
                if let Some(host) = list.as_deref().and_then(slurm::first_host) {
                    let job = variables.optional_number("SLURM_JOB_ID")?.unwrap_or(0);
                    return Ok((host, port.unwrap_or(slurm::port_of_job(job))));
                }
            }
            DefaultAddress::Local { local_size } => {
                if variables.optional_number(local_size)? == Some(world_size) {
                    return Ok(("127.0.0.1".into(), port.unwrap_or(DEFAULT_PORT)));
                }
            }
            DefaultAddress::None => {}
        }
        Err(invalid(
            "MASTER_ADDR",
            format!("is not set, so that the {world_size} processes do not know where to meet"),
            "set MASTER_ADDR to the host of rank 0 and MASTER_PORT to a free port of it, for all processes \
             (with mpirun: -x MASTER_ADDR -x MASTER_PORT)",
        ))
    }
}

fn port_of(number: usize, name: &str) -> Result<u16> {
    u16::try_from(number).ok().filter(|port| *port > 0).ok_or_else(|| {
        invalid(
            name,
            format!("is {number}"),
            "give a port from 1 to 65535 that is free on the host of rank 0",
        )
    })
}

struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    /// A variable that is set and not empty.
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn optional_number(&self, name: &str) -> Result<Option<usize>> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let number = text.parse().map_err(|_| {
            invalid(
                name,
                format!("is '{text}', which is not a number"),
                "launchers set it to an integer",
            )
        })?;
        Ok(Some(number))
    }

    fn number(&self, name: &str) -> Result<usize> {
        self.optional_number(name)?.ok_or_else(|| {
            invalid(
                name,
                "is not set, but the environment says that there are several processes",
                "let torchrun, srun or mpirun start the processes, or set RANK, WORLD_SIZE, MASTER_ADDR and \
                 MASTER_PORT for each of them",
            )
        })
    }
}

fn invalid(variable: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::group(format!("the environment variable {variable}"), problem, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Rendezvous>> {
        Rendezvous::from_variables(&|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn no_launcher_and_one_process_are_no_group() {
        for alone in [
            &[][..],
            &[("RANK", "3")],
            &[("RANK", "0"), ("WORLD_SIZE", "1")],
            &[("RANK", "0"), ("WORLD_SIZE", "")],
            // A batch script of Slurm, outside of srun.
            &[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8"), ("SLURM_JOB_NODELIST", "n[1-8]")],
            &[("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "1")],
            &[("OMPI_COMM_WORLD_SIZE", "1"), ("OMPI_COMM_WORLD_RANK", "0")],
        ] {
            assert_eq!(of(alone).unwrap(), None, "{alone:?}");
        }
    }

    #[test]
    fn torchrun_hosts_the_store_itself_and_counts_restarts() {
        let place = of(&[
            ("MASTER_ADDR", "node7"),
            ("MASTER_PORT", "41000"),
            ("RANK", "5"),
            ("WORLD_SIZE", "8"),
            ("LOCAL_RANK", "1"),
            ("LOCAL_WORLD_SIZE", "4"),
            ("TORCHELASTIC_USE_AGENT_STORE", "True"),
            ("TORCHELASTIC_RESTART_COUNT", "2"),
        ]);
        let expected = Rendezvous {
            host: "node7".into(),
            port: 41000,
            rank: 5,
            world_size: 8,
            local_rank: Some(1),
            rank_hosts_store: false,
            attempt: 2,
        };
        assert_eq!(place.unwrap(), Some(expected));
    }

    #[test]
    fn a_shell_loop_and_pytorch_jobs_meet_at_rank_0() {
        let variables = [
            ("MASTER_ADDR", "10.0.0.1"),
            ("RANK", "0"),
            ("WORLD_SIZE", "2"),
            ("MASTER_PORT", "2000"),
        ];
        let place = of(&variables).unwrap().unwrap();
        assert_eq!(place, Rendezvous::at("10.0.0.1", 2000, 0, 2));
        assert!(place.hosts_store());
        assert_eq!(of(&variables[..3]).unwrap().unwrap().port, DEFAULT_PORT);
    }

    #[test]
    fn srun_needs_no_further_variable() {
        let step = [
            ("SLURM_PROCID", "3"),
            ("SLURM_STEP_NUM_TASKS", "4"),
            ("SLURM_NTASKS", "4"),
            ("SLURM_LOCALID", "1"),
            ("SLURM_JOB_ID", "123456"),
            ("SLURM_STEP_NODELIST", "gpu[07-08]"),
        ];
        let place = of(&step).unwrap().unwrap();
        assert_eq!((place.host.as_str(), place.rank, place.local_rank), ("gpu07", 3, Some(1)));
        assert_eq!(place.port, slurm::port_of_job(123_456));
        let exported = [
            ("SLURM_PROCID", "1"),
            ("SLURM_NTASKS", "2"),
            ("MASTER_ADDR", "gpu07"),
            ("MASTER_PORT", "29511"),
        ];
        assert_eq!(of(&exported).unwrap(), Some(Rendezvous::at("gpu07", 29511, 1, 2)));
    }

    #[test]
    fn mpirun_needs_an_address_only_for_several_machines() {
        let variables = |local_size| {
            [
                ("OMPI_COMM_WORLD_RANK", "1"),
                ("OMPI_COMM_WORLD_SIZE", "2"),
                ("OMPI_COMM_WORLD_LOCAL_RANK", "0"),
                ("OMPI_COMM_WORLD_LOCAL_SIZE", local_size),
            ]
        };
        assert_eq!(of(&variables("2")).unwrap().unwrap().host, "127.0.0.1");
        let error = of(&variables("1")).unwrap_err().to_string();
        assert!(
            error.contains("MASTER_ADDR is not set") && error.contains("-x MASTER_ADDR"),
            "{error}"
        );
    }

    #[test]
    fn errors_name_the_variable() {
        let complete =
            [("MASTER_ADDR", "a"), ("MASTER_PORT", "2000"), ("RANK", "1"), ("WORLD_SIZE", "2")];
        for (name, value, problem) in [
            ("RANK", "", "RANK is not set"),
            ("RANK", "2", "RANK is 2, but WORLD_SIZE is 2"),
            ("RANK", "one", "RANK is 'one'"),
            ("WORLD_SIZE", "-1", "WORLD_SIZE is '-1'"),
            ("MASTER_ADDR", " ", "MASTER_ADDR is not set"),
            ("MASTER_PORT", "65536", "MASTER_PORT is 65536"),
            ("MASTER_PORT", "0", "MASTER_PORT is 0"),
        ] {
            let variables = complete.map(|(n, v)| (n, if n == name { value } else { v }));
            let error = of(&variables).unwrap_err().to_string();
            assert!(error.contains(&format!("variable {problem}")), "{error}");
        }
    }
}
