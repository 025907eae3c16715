//! Slurm's host lists and job numbers.

/// The first host of a list such as `gpu[03-07,9],cpu1`; `None` if there is none.
pub(super) fn first_host(list: &str) -> Option<String> {
    let end = list.find([',', '[']).unwrap_or(list.len());
    let (prefix, rest) = list.split_at(end);
    let first = match rest.strip_prefix('[') {
        None => prefix.to_owned(),
        Some(rest) => {
            let (ranges, suffix) = rest.split_once(']')?;
            let number = ranges.split([',', '-']).next()?;
            // After the brackets a host's name may go on, even with other brackets.
            let suffix = &suffix[..suffix.find(',').unwrap_or(suffix.len())];
            let suffix = if suffix.is_empty() { String::new() } else { first_host(suffix)? };
            format!("{prefix}{number}{suffix}")
        }
    };
    Some(first.trim().to_owned()).filter(|host| !host.is_empty())
}

/// A port for the ranks of a job, from 15000 to 24999: jobs that share a machine have different numbers.
pub(super) fn port_of_job(job: usize) -> u16 {
    15_000 + (job % 10_000) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_host_of_a_list() {
        for (list, host) in [
            ("node1", "node1"),
            ("node1,node2", "node1"),
            ("gpu[03-07,9],cpu1", "gpu03"),
            ("gpu[9,3-7]", "gpu9"),
            ("rack[1-2]-node[005-008]", "rack1-node005"),
            ("n[1-2].local,m3", "n1.local"),
            ("a-b.example.org", "a-b.example.org"),
        ] {
            assert_eq!(first_host(list).as_deref(), Some(host), "{list}");
        }
        for list in ["", " ", ",", "n[1-2"] {
            assert_eq!(first_host(list), None, "{list}");
        }
    }

    #[test]
    fn ports_are_in_range() {
        assert_eq!([0, 9_999, 10_000, usize::MAX].map(port_of_job)[..3], [15_000, 24_999, 15_000]);
        assert!((15_000..25_000).contains(&port_of_job(usize::MAX)));
    }
}
