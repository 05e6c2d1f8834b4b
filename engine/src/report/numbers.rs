//! Numbers as people read them.

use std::time::Duration;

/// `1,234,567`
///
/// ```
/// assert_eq!(unroll::report::count(1_234_567), "1,234,567");
/// ```
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in bytes with a unit of powers of 1,024, as Keras' table has it: `938.75 KB`.
///
/// ```
/// assert_eq!(unroll::report::bytes(961_280), "938.75 KB");
/// ```
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["KB", "MB", "GB", "TB", "PB", "EB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut scaled = number as f64 / 1024.0;
    let mut unit = 0;
    // 1023.995 and more would be printed as 1024.00.
    while scaled >= 1023.995 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.2} {}", UNITS[unit])
}

/// A time in its two largest units: `2.5s`, `41s`, `3m 07s`, `2h 05m`, `4d 03h`.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(unroll::report::duration(Duration::from_secs(187)), "3m 07s");
/// ```
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 9.95 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds.round() as u64;
    let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86_400);
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{minutes}m {:02}s", whole % 60),
        3600..86_400 => format!("{hours}h {:02}m", minutes % 60),
        _ => format!("{days}d {:02}h", hours % 24),
    }
}

/// A rate with three figures or more: `0.52`, `9.41`, `812`, `61,234`.
///
/// ```
/// assert_eq!(unroll::report::per_second(61_234.4), "61,234");
/// ```
pub fn per_second(rate: f64) -> String {
    if !rate.is_finite() {
        return "?".to_owned();
    }
    if rate < 99.95 { format!("{rate:.2}") } else { count(rate.round() as u64) }
}

/// A number without needless digits: `0.002`, `0.00194`, `1`, `1.5e-7`.
///
/// ```
/// assert_eq!(unroll::report::short_float(0.002f32.into()), "0.002");
/// ```
pub fn short_float(number: f64) -> String {
    if number != 0.0 && !(1e-4..1e6).contains(&number.abs()) {
        return format!("{number:.3e}").replace(".000e", "e");
    }
    // Four significant digits, then no zeros at the end.
    let before = if number == 0.0 { 1 } else { number.abs().log10().floor() as i32 + 1 };
    let decimals = (4 - before).clamp(0, 8) as usize;
    let text = format!("{number:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_commas() {
        let numbers = [0, 999, 1000, 12_345, 999_999, 1_000_000];
        assert_eq!(numbers.map(count).join(" "), "0 999 1,000 12,345 999,999 1,000,000");
    }

    #[test]
    fn bytes_have_the_unit_that_fits() {
        let numbers = [0, 1023, 1024, 1_048_575, 1_048_576, 3 << 30, u64::MAX];
        assert_eq!(numbers.map(bytes).join(", "), "0 B, 1023 B, 1.00 KB, 1.00 MB, 1.00 MB, 3.00 GB, 16.00 EB");
    }

    #[test]
    fn durations_have_two_units() {
        let seconds = [0.0, 2.54, 9.94, 9.96, 59.4, 59.6, 61.0, 3599.6, 7500.0, 86_400.0];
        let text = seconds.map(|seconds| duration(Duration::from_secs_f64(seconds))).join(", ");
        assert_eq!(text, "0.0s, 2.5s, 9.9s, 10s, 59s, 1m 00s, 1m 01s, 1h 00m, 2h 05m, 1d 00h");
    }

    #[test]
    fn rates_and_floats_are_short() {
        assert_eq!([0.517, 9.4, 99.96, 1234.5].map(per_second).join(" "), "0.52 9.40 100 1,235");
        assert_eq!(per_second(f64::INFINITY), "?");
        let numbers = [0.0, 1.0, 0.002, 0.001_944_4, 20.0, 5e-7, 1234.5678, -0.5];
        assert_eq!(numbers.map(short_float).join(" "), "0 1 0.002 0.001944 20 5e-7 1235 -0.5");
    }
}
