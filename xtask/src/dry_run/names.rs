//! What an event is called in the breakdown: short enough to read, long enough to tell from others.

use super::log::{Event, Kind};

/// The longest name of a kernel that is shown whole.
const LONGEST: usize = 110;

/// The row of the breakdown that an event counts in.
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

/// A kernel's name without what all of libtorch's share: return type, namespaces, parameters.
fn kernel(name: &str) -> String {
    let mut short = name.strip_prefix("void ").unwrap_or(name).to_owned();
    for common in ["at::native::", "(anonymous namespace)::", "at::cuda::", "cuda::detail::"] {
        short = short.replace(common, "");
    }
    let parameters = outermost_parenthesis(&short).unwrap_or(short.len());
    short.truncate(parameters);
    match short.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &short[..end]),
        None => short,
    }
}

/// Where the parameter list begins: the first parenthesis outside of template arguments.
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
        let long = row_of(&format!("LAUNCH\tvoid f<{}>(int)\tby=runtime", "x".repeat(300)));
        assert_eq!(long.len(), LONGEST + 3);
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
}
