//! The names of operations in the breakdown, and which of them share a row.

use std::collections::BTreeMap;

use super::log::{Event, Kind};

/// The name of the event's row in the breakdown.
pub fn row(event: &Event) -> String {
    let detail = |key| event.detail(key).unwrap_or("?");
    match event.kind {
        Kind::Launch => kernel(&event.name),
        Kind::Product => {
            let mut name = format!("{} {}", event.name, detail("types"));
            for (key, nothing) in [("epilogue", "none"), ("adds", "no")] {
                if let Some(value) = event.detail(key).filter(|value| *value != nothing) {
                    name += &format!(" {key}={value}");
                }
            }
            name
        }
        Kind::Copy => format!("copy, {}, {}", event.name, detail("memory")),
        _ => event.name.clone(),
    }
}

/// A kernel's name without return type, parameters and libtorch's namespaces.
fn kernel(name: &str) -> String {
    let mut short = name.strip_prefix("void ").unwrap_or(name).to_owned();
    for common in COMMON {
        short = short.replace(common, "");
    }
    let parameters = outermost_parenthesis(&short).unwrap_or(short.len());
    short.truncate(parameters);
    short
}

const COMMON: [&str; 7] = [
    "at::native::",
    "(anonymous namespace)::",
    "at::cuda::",
    "cuda::detail::",
    "c10::",
    "(at::TensorIteratorBase&)",
    "::operator()() const",
];

/// The first parenthesis outside template arguments, where the parameters begin.
fn outermost_parenthesis(name: &str) -> Option<usize> {
    let mut depth = 0;
    name.char_indices().find_map(|(place, letter)| {
        match letter {
            '<' => depth += 1,
            '>' => depth -= 1,
            '(' if depth == 0 => return Some(place),
            _ => {}
        }
        None
    })
}

/// The names with their counts. Products that occur less than `often` times and differ in one dimension are
/// merged into a row with the range of that dimension: the sizes of the softmax's tails vary by step.
pub fn merged(counts: &BTreeMap<String, usize>, often: usize) -> Vec<(String, usize)> {
    let is_rare = |name: &str, count| count < often && masked(name, "k=").is_some();
    let rare = counts.iter().filter(|(name, count)| is_rare(name, **count));
    let masks = |name: &str| DIMENSIONS.map(|key| masked(name, key)).into_iter().flatten();
    let mut alike: BTreeMap<String, usize> = BTreeMap::new();
    for (mask, _) in rare.clone().flat_map(|(name, _)| masks(name)) {
        *alike.entry(mask).or_default() += 1;
    }
    // The count of each row, and the least and the greatest value of its dimension.
    let mut rows: BTreeMap<String, (usize, u64, u64)> = BTreeMap::new();
    for (name, count) in rare {
        let best = masks(name).max_by_key(|(mask, _)| alike[mask]);
        let Some((mask, value)) = best else { continue };
        let (all, least, most) = rows.entry(mask).or_insert((0, value, value));
        *all += count;
        (*least, *most) = (value.min(*least), value.max(*most));
    }
    let common = counts.iter().filter(|(name, count)| !is_rare(name, **count));
    let common = common.map(|(name, count)| (name.clone(), *count));
    let rare = rows.into_iter().map(|(mask, (count, least, most))| {
        let range = if least == most { least.to_string() } else { format!("{least}..{most}") };
        (mask.replace('*', &range), count)
    });
    common.chain(rare).collect()
}

const DIMENSIONS: [&str; 3] = ["m=", "n=", "k="];

/// The name with `*` for the value after `key`, and the value.
fn masked(name: &str, key: &str) -> Option<(String, u64)> {
    let value = name.split(' ').find_map(|word| word.strip_prefix(key)?.parse().ok())?;
    Some((name.replacen(&format!(" {key}{value}"), &format!(" {key}*"), 1), value))
}

#[cfg(test)]
mod tests {
    use super::super::log::parse;
    use super::*;

    fn row_of(line: &str) -> String {
        row(&parse(&format!("1\t2\t{line}\n")).unwrap()[0])
    }

    #[test]
    fn kernels_are_told_apart_by_what_differs() {
        assert_eq!(row_of("LAUNCH\tfo_pool_forward_bf16\tby=driver"), "fo_pool_forward_bf16");
        assert_eq!(
            row_of(
                "LAUNCH\tvoid at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor\
                 <float>, std::array<char*, 1ul> >(int, at::native::FillFunctor<float>)\tby=runtime"
            ),
            "vectorized_elementwise_kernel<4, FillFunctor<float>, std::array<char*, 1ul> >"
        );
        assert_eq!(
            row_of(
                "LAUNCH\tvoid at::native::(anonymous namespace)::f<int, (mode)0>(int)\tby=runtime"
            ),
            "f<int, (mode)0>"
        );
    }

    #[test]
    fn products_show_shape_types_and_what_they_do_beside() {
        assert_eq!(
            row_of("PRODUCT\tcublasGemmEx TN m=3 n=4 k=5\ttypes=bf16,f32 epilogue=none adds=yes"),
            "cublasGemmEx TN m=3 n=4 k=5 bf16,f32 adds=yes"
        );
        assert_eq!(
            row_of("PRODUCT\tcublasLtMatmul TN m=3 n=4 k=5\ttypes=bf16,bf16 epilogue=bias adds=no"),
            "cublasLtMatmul TN m=3 n=4 k=5 bf16,bf16 epilogue=bias"
        );
        assert_eq!(
            row_of("COPY\thost to device\tbytes=9 memory=pinned"),
            "copy, host to device, pinned"
        );
    }

    #[test]
    fn products_of_the_tails_are_one_row() {
        let counts = [
            ("cublasGemmEx NN m=300 n=124 k=560 bf16,f32", 3),
            ("cublasGemmEx NN m=300 n=130 k=560 bf16,f32", 2),
            ("cublasGemmEx NT m=300 n=560 k=124 bf16,f32", 3),
            ("cublasGemmEx NT m=300 n=560 k=130 bf16,f32", 2),
            ("cublasGemmEx TN m=7 n=8 k=9 bf16,f32", 1),
            ("cublasGemmEx NN m=300 n=500 k=560 bf16,f32", 16),
            ("some_kernel", 1),
        ];
        let counts = counts.map(|(name, n)| (name.to_owned(), n)).into();
        let mut rows = merged(&counts, 16);
        rows.sort();
        let expected = [
            ("cublasGemmEx NN m=300 n=124..130 k=560 bf16,f32", 5),
            ("cublasGemmEx NN m=300 n=500 k=560 bf16,f32", 16),
            ("cublasGemmEx NT m=300 n=560 k=124..130 bf16,f32", 5),
            ("cublasGemmEx TN m=7 n=8 k=9 bf16,f32", 1),
            ("some_kernel", 1),
        ];
        assert_eq!(rows, expected.map(|(name, n)| (name.to_owned(), n)));
    }
}
