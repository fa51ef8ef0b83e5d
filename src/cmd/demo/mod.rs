//! x
use super::{Done, Failure};
use crate::cli::{Demo, Global};
pub(super) fn demo(_g: &Global, _a: &Demo) -> Done {
    Err(Failure::new("x"))
}
