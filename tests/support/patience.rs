//! Calls that may meet another operation: tried again as the answer says, until a deadline.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use super::adapter::reason;

/// How long a call may keep meeting another operation.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the answer says that another operation holds the deployment, and when to come back.
///
/// Panics when such an answer has no RetryInfo.
pub fn in_progress(status: &Status) -> Option<Duration> {
    if status.code() != Code::Aborted || reason(status) != "OPERATION_IN_PROGRESS" {
        return None;
    }
    let details = status.get_error_details();
    let delay = details.retry_info().and_then(|info| info.retry_delay);
    Some(delay.unwrap_or_else(|| panic!("ABORTED without RetryInfo: {status:?}")))
}

/// Makes a call until its answer is another than OPERATION_IN_PROGRESS; returns it and the number of calls.
pub async fn retried<T, F, Fut>(mut call: F) -> (Result<T, Status>, usize)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Response<T>, Status>>,
{
    let until = Instant::now() + PATIENCE;
    let mut calls = 1;
    loop {
        match call().await {
            Ok(answer) => return (Ok(answer.into_inner()), calls),
            Err(status) => match in_progress(&status) {
                Some(delay) if Instant::now() + delay < until => tokio::time::sleep(delay).await,
                _ => return (Err(status), calls),
            },
        }
        calls += 1;
    }
}

/// Random numbers that are the same in every run.
pub struct Seeded(u64);

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number from 0 up to 1 (splitmix64).
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or_default()) / f64::from(u32::MAX)
    }
}
