//! How the ranks of a group find each other before they are connected.

use std::net::UdpSocket;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::monitor;
use super::options::GroupOptions;
use super::peer_memory::this_system;
use super::rendezvous::Rendezvous;
use super::signal::Signal;
use super::store::Store;
use crate::{Error, Result};

/// Time between two looks at the store.
const PAUSE: Duration = Duration::from_millis(50);

/// How long one attempt to connect to the store takes.
const ATTEMPT: Duration = Duration::from_secs(2);

/// Ranks of another version would send other messages.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (messages 2)");

/// A rank that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// The name of its machine.
    pub machine: String,
    pub process: u32,
    /// Its machine's address on the way to the store.
    pub address: String,
    /// As [`this_system`]; empty if other ranks must not read this one's memory.
    pub system: String,
    /// How it uses the network.
    gloo: String,
    version: String,
}

impl Member {
    pub(super) fn this_process(address: String, options: &GroupOptions) -> Self {
        let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            machine: machine.trim().to_owned(),
            process: std::process::id(),
            address,
            system: if options.peer_memory { this_system() } else { String::new() },
            gloo: options.gloo.to_string(),
            version: VERSION.into(),
        }
    }

    /// Whether one of them may know the processes of the other.
    pub fn shares_system_with(&self, other: &Self) -> bool {
        !self.system.is_empty() && self.system == other.system
    }

    fn encode(&self) -> String {
        let Self { machine, process, address, system, gloo, version } = self;
        format!("{version}\n{machine}\n{process}\n{address}\n{system}\n{gloo}")
    }

    /// Unknown fields stay empty: the version, which comes first, then differs.
    fn decode(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split('\n').map(str::to_owned);
        let mut next = || lines.next().unwrap_or_default();
        let (version, machine, process) = (next(), next(), next());
        let process = process.parse().unwrap_or(0);
        Self { machine, process, address: next(), system: next(), gloo: next(), version }
    }
}

/// A meeting at which all ranks are.
#[derive(Debug)]
pub(super) struct Meeting {
    pub store: Arc<Store>,
    /// Under which this attempt's keys lie.
    pub prefix: String,
    pub members: Vec<Member>,
    pub place: Rendezvous,
    pub timeout: Duration,
}

impl Meeting {
    /// Waits until all ranks have come.
    ///
    /// * `interrupted`: whether to stop waiting.
    ///
    /// # Errors
    /// [`Error::Group`] naming the ranks that did not come in time, or came twice, or are of another version;
    /// [`Error::Interrupted`].
    pub fn attend(
        place: &Rendezvous,
        options: GroupOptions,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Self> {
        let timeout = options.timeout;
        let deadline = Instant::now() + timeout;
        let (store, port) = connect(place, deadline, interrupted)?;
        let store = Arc::new(store);
        let place = Rendezvous { port, ..place.clone() };
        let prefix = format!("qrnn/{}", place.attempt);
        let failed = |problem: String| store_failed(&place, &problem);
        let rank = place.rank;
        let claim = format!("{prefix}/claim/{rank}");
        if store.in_time(move |store| store.count(&claim)).map_err(failed)? > 1 {
            return Err(Error::group(
                format!("rank {rank}"),
                "has come twice: two processes have this number",
                "give each process its own RANK; if an earlier group may still run at this port, end it, or set \
                 another MASTER_PORT",
            ));
        }
        let member = Member::this_process(address_towards(&place.host, place.port), &options);
        store.set(&monitor::key(&prefix, rank), &Signal::default().encode()).map_err(failed)?;
        store.set(&member_key(&prefix, rank), member.encode().as_bytes()).map_err(failed)?;
        let mut meeting = Self { store, prefix, members: vec![], place, timeout };
        let keys: Vec<_> =
            (0..meeting.place.world_size).map(|rank| member_key(&meeting.prefix, rank)).collect();
        let values = meeting.all_values(&keys, deadline, interrupted)?;
        meeting.members = values.iter().map(|bytes| Member::decode(bytes)).collect();
        meeting.check_alike()?;
        Ok(meeting)
    }

    /// Waits until the store has the values of all ranks' keys.
    fn all_values(
        &self,
        keys: &[String],
        deadline: Instant,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Vec<Vec<u8>>> {
        let get = |keys: &[String]| {
            let keys = keys.to_vec();
            let values = self.store.in_time(move |store| store.get(&keys));
            values.map_err(|problem| store_failed(&self.place, &problem))
        };
        loop {
            if let Some(values) = get(keys)? {
                return Ok(values);
            }
            if interrupted() {
                return Err(Error::Interrupted);
            }
            let gave_up = [format!("{}/gave_up", self.prefix)];
            if let Some(missing) = get(&gave_up)? {
                let missing = String::from_utf8_lossy(&missing[0]).into_owned();
                return Err(self.did_not_come(missing));
            }
            if Instant::now() > deadline {
                let mut missing = vec![];
                for (rank, key) in keys.iter().enumerate() {
                    if get(std::slice::from_ref(key))?.is_none() {
                        missing.push(rank);
                    }
                }
                let missing = ranks(&missing);
                // The others learn who is missing while the store is still there.
                let told = self.store.set(&gave_up[0], missing.as_bytes());
                told.map_err(|problem| store_failed(&self.place, &problem))?;
                if self.place.hosts_store() {
                    std::thread::sleep(6 * PAUSE);
                }
                return Err(self.did_not_come(missing));
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn did_not_come(&self, missing: String) -> Error {
        let Rendezvous { host, port, world_size, .. } = &self.place;
        Error::group(
            missing,
            format!(
                "of the group of {world_size} did not come to {host}:{port} within {}",
                seconds(self.timeout)
            ),
            "read their own output; start all processes with the same MASTER_ADDR, MASTER_PORT and WORLD_SIZE, and \
             allow more time with group.timeout if they start late",
        )
    }

    fn check_alike(&self) -> Result<()> {
        let own = self.place.rank;
        let differs = |of: fn(&Member) -> &String| {
            let ours = of(&self.members[own]);
            let mut others = self.members.iter().enumerate();
            let (rank, member) = others.find(|(_, member)| of(member) != ours)?;
            Some((rank, of(member), ours))
        };
        if let Some((rank, theirs, ours)) = differs(|member| &member.version) {
            let problem = format!("runs version {theirs} of qrnn, but rank {own} runs {ours}");
            let remedy = "start the same program on all machines";
            return Err(Error::group(format!("rank {rank}"), problem, remedy));
        }
        if let Some((rank, theirs, ours)) = differs(|member| &member.gloo) {
            let problem = format!("uses gloo with {theirs}, but rank {own} with {ours}");
            let remedy = "join all ranks with the same group.gloo";
            return Err(Error::group(format!("rank {rank}"), problem, remedy));
        }
        Ok(())
    }

    /// The address at which the other ranks reach this one; empty if GLOO_SOCKET_IFNAME names interfaces.
    ///
    /// On the host of the store its own name may mean 127.0.0.1, where ranks on other machines do not reach it.
    pub fn own_address(&self) -> String {
        if std::env::var_os("GLOO_SOCKET_IFNAME").is_some() {
            return String::new();
        }
        let own = &self.members[self.place.rank].address;
        let mut others = self.members.iter().map(|member| &member.address);
        match others.find(|address| is_loopback(own) && !is_loopback(address)) {
            Some(elsewhere) => address_towards(elsewhere, self.place.port),
            None => own.clone(),
        }
    }

    /// How many of the ranks are on this machine, and the number of this one among them.
    pub fn local(&self) -> (usize, usize) {
        let here = &self.members[self.place.rank].machine;
        let same =
            |members: &[Member]| members.iter().filter(|member| member.machine == *here).count();
        (same(&self.members), same(&self.members[..self.place.rank]))
    }
}

/// Connects to the store; tries again until the deadline, since its host may start later.
fn connect(
    place: &Rendezvous,
    deadline: Instant,
    interrupted: &dyn Fn() -> bool,
) -> Result<(Store, u16)> {
    loop {
        let problem = match open_in_time(place, deadline, interrupted)? {
            Ok(store) => return Ok(store),
            Err(problem) => problem,
        };
        if interrupted() {
            return Err(Error::Interrupted);
        }
        if place.hosts_store() {
            return Err(Error::group(
                format!("rank 0 cannot listen at port {}:", place.port),
                first_line(&problem),
                "set MASTER_PORT to a free port, and MASTER_ADDR to a name or address of the machine of rank 0",
            ));
        }
        if Instant::now() > deadline {
            let host = if place.rank_hosts_store { "rank 0" } else { "the launcher" };
            return Err(Error::group(
                host,
                format!(
                    "does not answer at {}:{}: {}",
                    place.host,
                    place.port,
                    first_line(&problem)
                ),
                "check MASTER_ADDR and MASTER_PORT, that rank 0 runs, and that no firewall closes the port",
            ));
        }
        std::thread::sleep(PAUSE);
    }
}

/// One attempt to connect. A server that takes the connection and stays silent, which is none of ours, would keep
/// [`Store::open`] for ever: its thread is then left behind.
fn open_in_time(
    place: &Rendezvous,
    deadline: Instant,
    interrupted: &dyn Fn() -> bool,
) -> Result<Result<(Store, u16), String>> {
    let (sender, receiver) = mpsc::channel();
    let of_thread = place.clone();
    let spawned = std::thread::Builder::new().name("group store".into()).spawn(move || {
        let Rendezvous { host, port, .. } = &of_thread;
        // Nobody listens any more if this took too long.
        let _ = sender.send(Store::open(host, *port, of_thread.hosts_store(), ATTEMPT));
    });
    if let Err(error) = spawned {
        return Ok(Err(format!("no thread can be started ({error})")));
    }
    // An attempt that fails may take longer than it should.
    let deadline = deadline.max(Instant::now() + ATTEMPT) + 2 * ATTEMPT;
    loop {
        match receiver.recv_timeout(PAUSE) {
            Ok(opened) => return Ok(opened),
            Err(_) if interrupted() => return Err(Error::Interrupted),
            Err(_) if Instant::now() < deadline => {}
            Err(_) => {
                return Err(Error::group(
                    format!("{}:{}", place.host, place.port),
                    "takes connections, but does not answer as the store of a group",
                    "check MASTER_ADDR and MASTER_PORT: another program listens there, or rank 0 was stopped",
                ));
            }
        }
    }
}

fn store_failed(place: &Rendezvous, problem: &str) -> Error {
    let host = if place.rank_hosts_store {
        "rank 0, which holds the group's store,"
    } else {
        "the launcher"
    };
    Error::group(
        host,
        format!("has ended or does not answer: {}", first_line(problem)),
        "its own output says why; then start all processes again",
    )
}

fn member_key(prefix: &str, rank: usize) -> String {
    format!("{prefix}/member/{rank}")
}

/// This machine's address on the way to a host; empty if there is no way. Nothing is sent.
fn address_towards(host: &str, port: u16) -> String {
    let any = [("0.0.0.0", 0), ("::", 0)];
    let addresses = any.iter().filter_map(|any| {
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect((host, port)).ok()?;
        Some(socket.local_addr().ok()?.ip().to_string())
    });
    addresses.into_iter().next().unwrap_or_default()
}

fn is_loopback(address: &str) -> bool {
    address.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// "rank 1", "ranks 1 and 3", "ranks 1, 2 and 3".
pub(super) fn ranks(ranks: &[usize]) -> String {
    let numbers: Vec<_> = ranks.iter().map(usize::to_string).collect();
    match &numbers[..] {
        [] => "a rank".into(),
        [one] => format!("rank {one}"),
        [first @ .., last] => format!("ranks {} and {last}", first.join(", ")),
    }
}

pub(super) fn seconds(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 10.0 => format!("{seconds:.1} s"),
        seconds => format!("{seconds:.0} s"),
    }
}

/// The first line of a message of c10d, which mentions its own source files after it.
pub(super) fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(milliseconds: u64) -> GroupOptions {
        GroupOptions { timeout: Duration::from_millis(milliseconds), ..GroupOptions::default() }
    }

    #[test]
    fn lists_of_ranks_are_sentences() {
        assert_eq!(
            [&[2][..], &[0, 1], &[0, 1, 2]].map(ranks),
            ["rank 2", "ranks 0 and 1", "ranks 0, 1 and 2"]
        );
    }

    #[test]
    fn members_are_read_back() {
        let member = Member::this_process("10.0.0.1".into(), &GroupOptions::default());
        assert_eq!(Member::decode(member.encode().as_bytes()), member);
        assert_ne!(Member::decode(b"an older program").version, VERSION);
    }

    #[test]
    fn the_address_on_the_way_to_this_machine_is_a_loopback_one() {
        assert_eq!(address_towards("127.0.0.1", 9), "127.0.0.1");
        assert_eq!(address_towards("no such host", 9), "");
        assert!(
            is_loopback("127.0.1.1")
                && is_loopback("::1")
                && !is_loopback("10.0.0.1")
                && !is_loopback("")
        );
    }

    #[test]
    fn missing_ranks_are_named_and_waiting_can_be_interrupted() {
        let place = Rendezvous::at("127.0.0.1", 0, 0, 3);
        let attend =
            |interrupted: &dyn Fn() -> bool| Meeting::attend(&place, within(200), interrupted);
        let error = attend(&|| false).unwrap_err().to_string();
        assert!(error.contains("ranks 1 and 2 of the group of 3 did not come"), "{error}");
        assert!(matches!(attend(&|| true), Err(Error::Interrupted)));
    }

    #[test]
    fn a_server_that_stays_silent_is_no_store() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let place = Rendezvous::at("127.0.0.1", silent.local_addr().unwrap().port(), 1, 2);
        let attend =
            |interrupted: &dyn Fn() -> bool| Meeting::attend(&place, within(100), interrupted);
        let error = attend(&|| false).unwrap_err().to_string();
        assert!(error.contains("does not answer as the store of a group"), "{error}");
        assert!(matches!(attend(&|| true), Err(Error::Interrupted)));
    }

    #[test]
    fn two_processes_of_one_number_and_other_versions_or_options_are_refused() {
        let (host, port) = Store::open("127.0.0.1", 0, true, ATTEMPT).unwrap();
        let attend = |attempt: u64| {
            let at = Rendezvous::at("127.0.0.1", port, 0, 2);
            let place = Rendezvous { rank_hosts_store: false, attempt, ..at };
            Meeting::attend(&place, within(200), &|| false).unwrap_err().to_string()
        };
        let this = || Member::this_process(String::new(), &GroupOptions::default());
        let other = Member { version: "0.0.1 (messages 0)".into(), ..this() };
        host.set(&member_key("qrnn/0", 1), other.encode().as_bytes()).unwrap();
        let error = attend(0);
        assert!(error.contains("rank 1 runs version 0.0.1 (messages 0)"), "{error}");
        let error = attend(0);
        assert!(error.contains("rank 0 has come twice"), "{error}");
        let other = Member { gloo: "1 connections and 1 pieces".into(), ..this() };
        host.set(&member_key("qrnn/1", 1), other.encode().as_bytes()).unwrap();
        let error = attend(1);
        assert!(error.contains("rank 1 uses gloo with 1 connections"), "{error}");
    }
}
