//! Groups whose ranks are threads of this process.

use std::sync::Mutex;
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use super::backend::{Backend, Work};
use super::store::Store;
use super::{GlooOptions, GroupOptions, ProcessGroup, Rendezvous};
use crate::Error;

const SECONDS: Duration = Duration::from_secs(30);

/// As [`with_options`], with this limit.
fn with_ranks<T: Send>(
    world_size: usize,
    timeout: Duration,
    rank: impl Fn(ProcessGroup) -> T + Sync,
) -> Vec<T> {
    with_options(world_size, GroupOptions { timeout, ..GroupOptions::default() }, rank)
}

/// Runs `rank` in as many threads; returns what they return, in the order of the ranks.
fn with_options<T: Send>(
    world_size: usize,
    options: GroupOptions,
    rank: impl Fn(ProcessGroup) -> T + Sync,
) -> Vec<T> {
    let (_store, port) = Store::open("127.0.0.1", 0, true, SECONDS).unwrap();
    let results = Mutex::new((0..world_size).map(|_| None).collect::<Vec<_>>());
    std::thread::scope(|scope| {
        for number in 0..world_size {
            let (rank, results) = (&rank, &results);
            scope.spawn(move || {
                let place = Rendezvous {
                    rank_hosts_store: false,
                    ..Rendezvous::at("127.0.0.1", port, number, world_size)
                };
                let group = ProcessGroup::join(&place, options, &|| false).unwrap();
                let result = rank(group);
                results.lock().unwrap()[number] = Some(result);
            });
        }
    });
    results.into_inner().unwrap().into_iter().map(Option::unwrap).collect()
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).view(-1)).unwrap()
}

#[test]
fn operations_of_three_ranks() {
    let texts = ["a", "", "längere"];
    with_ranks(3, SECONDS, |group| {
        let rank = group.rank();
        assert_eq!((group.world_size(), group.local_size(), group.local_rank()), (3, 3, rank));
        group.self_test(Device::Cpu).unwrap();
        for kind in [Kind::Float, Kind::Double, Kind::BFloat16, Kind::Int64] {
            let tensor = Tensor::from_slice(&[1i64, 2]).to_kind(kind) * (rank as i64 + 1);
            group.all_reduce(&[&tensor]).unwrap();
            assert_eq!(numbers(&tensor), [6.0, 12.0], "{kind:?}");
        }
        let spoiled = Tensor::from_slice(&[1.0, if rank == 1 { f64::NAN } else { 2.0 }]);
        group.all_reduce(&[&spoiled]).unwrap();
        assert_eq!(numbers(&spoiled)[0], 3.0);
        assert!(numbers(&spoiled)[1].is_nan());
        let own = Tensor::from_slice(&[rank as i64, 7]).view([1, 2]);
        let all = group.all_gather(&own).unwrap();
        assert_eq!(
            (all.size(), numbers(&all)),
            (vec![3, 1, 2], vec![0.0, 7.0, 1.0, 7.0, 2.0, 7.0])
        );
        assert_eq!(group.sum_numbers([0.5, rank as f64]).unwrap(), [1.5, 3.0]);
        for bytes in [&b"settings"[..], b""] {
            let given = if rank == 0 { bytes } else { b"other" };
            assert_eq!(group.broadcast_bytes(given).unwrap(), bytes);
        }
        assert_eq!(group.exchange(texts[rank], &|| false).unwrap(), texts);
        let columns = Tensor::zeros([2, 2], (Kind::Float, Device::Cpu)).tr();
        let error = group.all_reduce(&[&columns.narrow(0, 0, 1), &columns]).map(drop);
        assert!(columns.is_contiguous() || matches!(error, Err(Error::Shape { .. })));
    });
}

/// Tensors that together are large, among them one of fewer elements than ranks, one that is no fp32, and none.
#[test]
fn large_tensors_are_summed_by_gloo_in_pieces_and_by_memory() {
    // Sums of small whole numbers are exact in fp32.
    let counted = |n: i64, kind| Tensor::arange(n, (kind, Device::Cpu)).remainder(1000);
    let summed = |ranks: usize, peer_memory: bool| {
        let options = GroupOptions { timeout: SECONDS, peer_memory, ..GroupOptions::default() };
        let all = with_options(ranks, options, |group| {
            let own = group.rank() as f64 + 1.0;
            let of = |n: i64, kind| counted(n, kind) * own;
            let large = (9 << 20) / 4 + 3;
            let tensors = [
                of(large, Kind::Float).view([1, -1]),
                of(2, Kind::Float),
                of(large, Kind::Double),
                of(0, Kind::Float),
                of(large, Kind::Float).sin(),
            ];
            for _ in 0..2 {
                group.all_reduce(&tensors.each_ref()).unwrap();
            }
            let expected = (ranks * ranks * (ranks + 1) / 2) as f64;
            let exact = |tensor: &Tensor| {
                let counted = counted(tensor.numel() as i64, tensor.kind());
                tensor.view(-1).equal(&(counted * expected))
            };
            assert!(tensors[..4].iter().all(exact));
            assert_eq!(group.sums_by_memory(&tensors.each_ref()), peer_memory);
            tensors.map(|tensor| tensor.to_kind(Kind::Float).view(-1))
        });
        // All ranks have the same bits.
        assert!(all.iter().all(|tensors| tensors[4].equal(&all[0][4])));
        let [.., sines] = &all[0];
        sines.copy()
    };
    for ranks in [2, 3, 5] {
        assert!(summed(ranks, true).allclose(&summed(ranks, false), 1e-5, 1e-4, false));
    }
}

#[test]
fn tensors_of_other_sizes_are_an_error_of_all_ranks_where_memory_is_read() {
    with_ranks(2, SECONDS, |group| {
        let tensor = Tensor::zeros([3_000_000 - group.rank() as i64], (Kind::Float, Device::Cpu));
        let error = group.all_reduce(&[&tensor]).unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error}");
        assert_eq!(group.sum_numbers([1.0]).unwrap(), [2.0]);
    });
}

#[test]
fn memory_is_read_only_where_all_ranks_permit_it_and_gloo_is_used_alike() {
    let join = |of_rank: fn(usize) -> GroupOptions| {
        let (_store, port) = Store::open("127.0.0.1", 0, true, SECONDS).unwrap();
        let join = |rank: usize| {
            let at = Rendezvous::at("127.0.0.1", port, rank, 2);
            let place = Rendezvous { rank_hosts_store: false, ..at };
            let group = ProcessGroup::join(&place, of_rank(rank), &|| false)?;
            let large = Tensor::ones([3_000_000], (Kind::Float, Device::Cpu));
            group.all_reduce(&[&large])?;
            assert_eq!(large.max().double_value(&[]), 2.0);
            Ok(group.sums_by_memory(&[&large]))
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| join(1));
            [join(0), other.join().unwrap()]
        })
    };
    let [own, other] =
        join(|rank| GroupOptions { peer_memory: rank == 0, ..GroupOptions::default() });
    assert!(!own.unwrap() && !other.unwrap());
    let [own, other] = join(|rank| {
        let gloo = GlooOptions { pieces: rank + 1, ..GlooOptions::default() };
        GroupOptions { gloo, ..GroupOptions::default() }
    });
    let errors: [Error; 2] = [own.unwrap_err(), other.unwrap_err()];
    let [own, other] = errors.map(|error| error.to_string());
    assert!(own.starts_with("rank 1 uses gloo with 4 connections and 2 pieces"), "{own}");
    assert!(other.starts_with("rank 0 uses gloo with"), "{other}");
}

#[test]
fn devices_are_compared_before_they_are_connected() {
    with_ranks(2, SECONDS, |group| {
        group.use_device(Device::Cpu, &|| false).unwrap();
        let device = if group.rank() == 0 { Device::Cpu } else { Device::Cuda(0) };
        let error = group.use_device(device, &|| false).unwrap_err().to_string();
        assert!(error.starts_with("rank 1 computes on a GPU, but rank 0 on the CPU"), "{error}");
    });
}

#[test]
fn a_group_of_one_computes_nothing_and_opens_no_socket() {
    let sockets = || {
        let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let links = links.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
    };
    // Other tests of this process open sockets meanwhile.
    let opens_none = (0..50).any(|_| {
        let before = sockets();
        let place = Rendezvous::at("no such host", 1, 0, 1);
        let group = ProcessGroup::join(&place, GroupOptions::default(), &|| false).unwrap();
        let tensor = Tensor::from_slice(&[2.5f32]);
        group.all_reduce(&[&tensor]).unwrap();
        group.broadcast(&[&tensor]).unwrap();
        group.sum_gradients(&[&tensor]).unwrap().finish().unwrap();
        group.synchronize().unwrap();
        assert_eq!(numbers(&tensor), [2.5]);
        assert_eq!(group.all_gather(&tensor).unwrap().size(), [1, 1]);
        assert_eq!(group.exchange("a", &|| true).unwrap(), ["a"]);
        assert_eq!(group.share(7), 0..7);
        sockets() == before
    });
    assert!(opens_none);
}

#[test]
fn gradients_are_summed_while_backward_makes_them() {
    with_ranks(2, SECONDS, |group| {
        let leaf = |value: f32| Tensor::from_slice(&[value, value]).set_requires_grad(true);
        let (first, second) = (leaf(3.0), leaf(5.0));
        let own = Tensor::from(group.rank() as f64 + 1.0);
        for order in [[&first, &second], [&second, &first]] {
            let sums = group.sum_gradients(&order).unwrap();
            let objective = ((&first * &second).sum(Kind::Float) + second.sum(Kind::Float)) * &own;
            let leaves = [&first, &second];
            let gradients = Tensor::run_backward(&[objective], &leaves, false, false);
            sums.finish().unwrap();
            assert_eq!(numbers(&gradients[0]), [15.0, 15.0]);
            assert_eq!(numbers(&gradients[1]), [12.0, 12.0]);
        }
        // No hook is left.
        let gradients =
            Tensor::run_backward(&[first.sum(Kind::Float) * &own], &[&first], false, false);
        assert_eq!(numbers(&gradients[0]), [group.rank() as f64 + 1.0; 2]);
        // A rank whose backward pass fails says so, and the other does not wait for it.
        if group.rank() == 0 {
            let _sums = group.sum_gradients(&[&first]).unwrap();
            group.fail("backward failed");
        } else {
            let error = group.all_reduce(&[&Tensor::from(1.0)]).unwrap_err().to_string();
            assert!(
                error.starts_with("rank 0 (process ") && error.contains(": backward failed"),
                "{error}"
            );
        }
    });
}

#[test]
fn a_rank_that_is_late_is_named_within_the_limit_and_the_group_is_then_unusable() {
    with_ranks(3, Duration::from_secs(2), |group| {
        if group.rank() == 1 {
            std::thread::sleep(Duration::from_secs(5));
            return;
        }
        let started = std::time::Instant::now();
        let sum = || group.all_reduce(&[&Tensor::from(1.0)]).unwrap_err().to_string();
        let error = sum();
        assert!(error.starts_with("rank 1 (process "), "{error}");
        assert!(error.contains("did not come to the same point within 2.0 s"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(4));
        assert_eq!(sum(), error);
        assert_eq!(group.exchange("", &|| false).unwrap_err().to_string(), error);
    });
}

#[test]
fn a_request_to_stop_reaches_the_other_ranks_in_its_call_alone() {
    with_ranks(2, SECONDS, |group| {
        let asked = |group: &ProcessGroup| {
            let flag = group.stop_elsewhere().unwrap();
            flag.load(std::sync::atomic::Ordering::Relaxed)
        };
        for call in 0..2 {
            group.begin_call();
            if group.rank() == call {
                group.request_stop();
            } else {
                let started = std::time::Instant::now();
                while !asked(&group) {
                    assert!(started.elapsed() < SECONDS);
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            group.exchange("", &|| false).unwrap();
        }
        group.begin_call();
        std::thread::sleep(Duration::from_secs(1));
        assert!(!asked(&group));
    });
}

#[test]
fn announcements_of_rank_0_are_received_in_order_until_it_leaves() {
    with_ranks(2, SECONDS, |group| {
        if group.rank() == 0 {
            group.announce("one").unwrap();
            group.announce("two").unwrap();
            return;
        }
        let mut received = vec![];
        while let Some(text) = group.announcement(&|| false).unwrap() {
            received.push(text);
        }
        assert_eq!(received, ["one", "two"]);
    });
}

/// Without a GPU, the constructor of libtorch's CUDA library is not there, or says so itself.
#[test]
fn without_a_gpu_nccl_is_an_error() {
    if crate::device::cuda().is_ok() {
        return on_a_gpu_a_group_of_one_sums_by_nccl();
    }
    let (store, _) = Store::open("127.0.0.1", 0, true, SECONDS).unwrap();
    let error = Backend::nccl(&store, "test", (0, 1), SECONDS).unwrap_err();
    let missing = error.contains("libtorch's CUDA library has no _ZN4c10d16ProcessGroupNCCL");
    assert!(missing || error.contains("no GPUs found"), "{error}");
}

#[test]
#[ignore = "needs a GPU"]
fn on_a_gpu_a_group_of_one_sums_by_nccl() {
    let device = crate::device::cuda().unwrap();
    let (store, _) = Store::open("127.0.0.1", 0, true, SECONDS).unwrap();
    let nccl = Backend::nccl(&store, "test", (0, 1), SECONDS).unwrap();
    let completes = |work: Work| {
        work.wait_on_stream().unwrap();
        while !work.poll().unwrap() {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let host = |tensor: &Tensor| numbers(&tensor.to_device(Device::Cpu));
    let tensor = Tensor::from_slice(&[1.5f32, 2.0]).to_device(device);
    completes(nccl.all_reduce(&tensor).unwrap());
    completes(nccl.broadcast(&tensor, 0).unwrap());
    assert_eq!(host(&tensor), [1.5, 2.0]);
    let all = tensor.zeros_like();
    completes(nccl.all_gather(&all, &tensor).unwrap());
    assert_eq!(host(&all), [1.5, 2.0]);
    // Sums of a group of one change nothing, also where hooks begin them on the thread of backward.
    let leaf =
        |value: f64| Tensor::full([1000], value, (Kind::Float, device)).set_requires_grad(true);
    let (first, second) = (leaf(3.0), leaf(5.0));
    for _ in 0..3 {
        let watched = nccl.watch_gradients(&[&second, &first]).unwrap();
        let objective = (&first * &second).sum(Kind::Float);
        let gradients = Tensor::run_backward(&[objective], &[&first, &second], false, false);
        completes(watched.end().unwrap());
        let means = gradients.iter().map(|gradient| gradient.mean(Kind::Double).double_value(&[]));
        assert_eq!(means.collect::<Vec<_>>(), [5.0, 3.0]);
    }
}
