//! Whether a model's numbers are numbers.

use tch::{Kind, Tensor};

use crate::{Error, Result};

/// # Errors
/// [`Error::NotFinite`] naming the first of the parameters that holds a NaN or an infinity.
pub(super) fn check<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    for (name, tensor) in parameters {
        // A sum is finite only where all of its terms are; it is quickly made, and tells nearly always.
        if tensor.f_sum(Kind::Float)?.f_double_value(&[])?.is_finite() {
            continue;
        }
        let wrong = tensor.f_isfinite()?.f_logical_not()?.f_sum(Kind::Int64)?;
        match wrong.f_int64_value(&[])? {
            0 => {}
            count => return Err(not_finite(name, count)),
        }
    }
    Ok(())
}

fn not_finite(tensor: &str, count: i64) -> Error {
    let numbers = if count == 1 { "number" } else { "numbers" };
    Error::NotFinite {
        what: format!("the model's {tensor}"),
        problem: format!(
            "holds {count} {numbers} that are NaN or infinite, so nothing follows from it"
        ),
        remedy: "use the weights of an earlier checkpoint of the run, or train anew with a lower \
                 learning rate"
            .into(),
    }
}
