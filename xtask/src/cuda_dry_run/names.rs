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
    let is_rare = |name: &str, count| count < often && dimension(name, "k=").is_some();
    let rare = counts.iter().filter(|(name, count)| is_rare(name, **count));
    let mut alike: BTreeMap<String, usize> = BTreeMap::new();
    for (name, _) in rare.clone() {
        for masked in DIMENSIONS.iter().filter_map(|key| masked(name, key)) {
            *alike.entry(masked).or_default() += 1;
        }
    }
    // Row -> its count and the values of the dimension.
    let mut rows: BTreeMap<String, (usize, Vec<u64>)> = BTreeMap::new();
    for (name, count) in rare {
        let keys = DIMENSIONS.iter().filter_map(|key| Some((masked(name, key)?, *key)));
        let most = keys.max_by_key(|(masked, _)| alike.get(masked).copied().unwrap_or(0));
        let Some((masked, key)) = most else { continue };
        let (all, values) = rows.entry(masked).or_default();
        *all += count;
        values.extend(dimension(name, key));
    }
    let common = counts.iter().filter(|(name, count)| !is_rare(name, **count));
    let common = common.map(|(name, count)| (name.clone(), *count));
    let rare = rows.into_iter().map(|(masked, (count, values))| {
        let (least, most) = (values.iter().min(), values.iter().max());
        let (least, most) = (least.copied().unwrap_or(0), most.copied().unwrap_or(0));
        let range = if least == most { least.to_string() } else { format!("{least}..{most}") };
        (masked.replace('*', &range), count)
    });
    common.chain(rare).collect()
}

const DIMENSIONS: [&str; 3] = ["m=", "n=", "k="];

/// The value after `key`: 4 in `n=4`.
fn dimension(name: &str, key: &str) -> Option<u64> {
    name.split(' ').find_map(|word| word.strip_prefix(key)?.parse().ok())
}

/// The name with `*` for the value after `key`.
fn masked(name: &str, key: &str) -> Option<String> {
    let value = dimension(name, key)?;
    Some(name.replacen(&format!(" {key}{value}"), &format!(" {key}*"), 1))
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
