//! The command that Prometheus calls, by `GET /metrics`.

use super::{Builtin, Outcome, Run, Server};
use crate::{
    commands::{Access, Kind, Param, Spec},
    server::metrics::{STREAMS, STREAMS_MAX, metrics},
};

/// The commands of this subject.
pub(super) fn commands() -> Vec<Builtin> {
    vec![Builtin::gathering(
        Spec::new(
            "metrics",
            Access::Read,
            &[Param::optional("streams", Kind::Whole, STREAMS, "how many streams are named, at most 1000")],
            "Returns metrics as one text in the form of OpenMetrics (docs/metrics.md).",
        ),
        page,
    )]
}

fn page(server: &mut Server, run: &Run<'_>) -> Outcome {
    let streams = run.params.whole("streams").unwrap_or_default();
    match usize::try_from(streams) {
        Ok(streams) if streams as u64 <= STREAMS_MAX => {
            Outcome::Data(metrics(server, run.reports, streams).into())
        }
        _ => Outcome::Fail(format!("`streams` of `metrics` must be from 0 to {STREAMS_MAX}, not {streams}")),
    }
}
