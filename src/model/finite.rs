//! Checks that all parameters are finite.

use tch::{Kind, Tensor};

use crate::{Error, Result};

/// # Errors
/// [`Error::NotFinite`] naming the first parameter that holds a NaN or an infinity.
pub(super) fn check<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    for (name, tensor) in parameters {
        // A finite sum implies finite terms. The sum is cheap and nearly always decides.
        if tensor.f_sum(Kind::Float)?.f_double_value(&[])?.is_finite() {
            continue;
        }
        let count = tensor.f_isfinite()?.f_logical_not()?.f_sum(Kind::Int64)?;
        match count.f_int64_value(&[])? {
            0 => {}
            count => return Err(not_finite(name, count)),
        }
    }
    Ok(())
}

fn not_finite(tensor: &str, count: i64) -> Error {
    let values = if count == 1 { "non-finite value" } else { "non-finite values" };
    Error::NotFinite {
        what: format!("the model's {tensor}"),
        problem: format!("holds {count} {values} (NaN or infinite)"),
        remedy: "use an earlier checkpoint of the run, or train again with a lower learning rate"
            .into(),
    }
}
