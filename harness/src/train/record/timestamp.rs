//! The time in the names of run folders.

use std::time::{SystemTime, UNIX_EPOCH};

/// The time now in UTC as `yyyymmdd-hhmmss`, for the names of run folders.
pub fn timestamp() -> String {
    // Before 1970 only if the clock is wrong; then any name will do.
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    format_timestamp(seconds)
}

/// Days to civil date after Howard Hinnant's "chrono-compatible low-level date algorithms".
fn format_timestamp(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}{month:02}{day:02}-{:02}{:02}{:02}",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_utc_dates() {
        assert_eq!(format_timestamp(0), "19700101-000000");
        assert_eq!(format_timestamp(951_827_696), "20000229-123456");
        assert_eq!(format_timestamp(1_735_689_599), "20241231-235959");
        assert_eq!(timestamp().len(), 15);
    }
}
