//! Tells the time as objects carry it.

/// The time as objects carry it.
pub fn now() -> String {
    after(0)
}

/// The time in so many seconds.
pub fn after(seconds: i64) -> String {
    let second = jiff::Timestamp::now().as_second().saturating_add(seconds);
    jiff::Timestamp::from_second(second).unwrap_or_default().to_string()
}
