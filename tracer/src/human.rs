//! Numbers and foreign text as people read them: with a unit, with at most three significant digits, and
//! without anything a terminal would obey.
//!
//! Pure functions shared by the screen and the text report. Exact numbers belong into the JSON report.

mod place;
mod task;

use std::borrow::Cow;

pub use crate::symbol::name::short as short_function;
pub use place::{function, in_javascript, js_function, place};
pub use task::{not_charged, not_watched, poll_parts, poll_shares, poll_split, source, task_type};
use tracer_common::{Nanos, State, table::MemoryCall};

use crate::record::SymbolMeta;

/// Stands where there is no number: nothing was measured, or a ratio has no denominator.
pub const NONE: &str = "–";

/// A duration: `412 ns`, `1.24 ms`, `2.0 s`; from a minute on as [`elapsed`] says it.
#[must_use]
pub fn duration(time: Nanos) -> String {
    match time.0 {
        0 => "0 s".to_owned(),
        ns @ 1..1_000 => format!("{ns} ns"),
        // Rounding to three digits must not end in `60.0 s`.
        ns @ 1_000..59_950_000_000 => scaled(ns as f64 / 1e3, 1e3, &["µs", "ms", "s"]),
        _ => elapsed(Nanos(time.0.saturating_add(500_000_000))),
    }
}

/// The same of what was seen so often: [`NONE`] when it never was.
#[must_use]
pub fn duration_of(count: u64, time: Nanos) -> String {
    if count == 0 {
        NONE.to_owned()
    } else {
        duration(time)
    }
}

/// A long time in its two largest units: `7s`, `3m12s`, `2h04m`, `3d05h`. Rounds down, so that a clock that
/// shows it never runs ahead.
#[must_use]
pub fn elapsed(time: Nanos) -> String {
    let seconds = time.0 / 1_000_000_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    if days > 0 {
        format!("{days}d{:02}h", hours % 24)
    } else if hours > 0 {
        format!("{hours}h{:02}m", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes}m{:02}s", seconds % 60)
    } else {
        format!("{seconds}s")
    }
}

/// A size in binary units: `512 B`, `1.5 KiB`, `212 MiB`.
#[must_use]
pub fn bytes(size: u64) -> String {
    match size {
        0..1_000 => format!("{size} B"),
        _ => scaled(
            size as f64 / 1024.0,
            1024.0,
            &["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"],
        ),
    }
}

/// Size of a heap and of what it holds outside: `74 MiB used of 96 MiB (limit 4.05 GiB), 21 MiB external`.
#[must_use]
pub fn heap(used: u64, committed: u64, limit: Option<u64>, external: Option<u64>) -> String {
    let limit = limit.map(|limit| format!(" (limit {})", bytes(limit)));
    let external = external.map(|external| format!(", {} external", bytes(external)));
    format!(
        "{} used of {}{}{}",
        bytes(used),
        bytes(committed),
        limit.unwrap_or_default(),
        external.unwrap_or_default()
    )
}

/// A count: `412`, `1.24 k`, `12.4 M`.
#[must_use]
pub fn count(count: u64) -> String {
    match count {
        0..1_000 => count.to_string(),
        _ => scaled(count as f64 / 1e3, 1e3, &["k", "M", "G", "T", "P", "E"]),
    }
}

/// So many per second: `0.4/s`, `412/s`, `1.24 k/s`; [`NONE`] when no time passed.
#[must_use]
pub fn rate(count: u64, over: Nanos) -> String {
    per_second(count as f64 / (over.0 as f64 / 1e9))
}

/// A rate that is known already, as [`rate`] says it.
#[must_use]
pub fn per_second(rate: f64) -> String {
    if !rate.is_finite() {
        NONE.to_owned()
    } else if rate <= 0.0 {
        "0/s".to_owned()
    } else if rate < 0.005 {
        "<0.01/s".to_owned()
    } else if rate < 999.5 {
        format!("{}/s", three_digits(rate))
    } else {
        format!(
            "{}/s",
            scaled(rate / 1e3, 1e3, &["k", "M", "G", "T", "P", "E"])
        )
    }
}

/// A ratio in percent: `0.04 %`, `0.4 %`, `1.4 %`, `18 %`, `250 %`; [`NONE`] when it is not a number.
#[must_use]
pub fn ratio(ratio: f64) -> String {
    let percent = ratio * 100.0;
    if !percent.is_finite() {
        NONE.to_owned()
    } else if percent <= 0.0 {
        "0 %".to_owned()
    } else if percent < 0.005 {
        "<0.01 %".to_owned()
    } else if percent < 0.095 {
        format!("{percent:.2} %")
    } else if percent < 9.95 {
        let text = format!("{percent:.1}");
        format!("{} %", text.strip_suffix(".0").unwrap_or(&text))
    } else {
        format!("{} %", significant(percent))
    }
}

/// A ratio in whole percent, for places where numbers stand side by side and change often: `<1 %`, `18 %`.
#[must_use]
pub fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    if !percent.is_finite() {
        NONE.to_owned()
    } else if percent > 0.0 && percent < 0.5 {
        "<1 %".to_owned()
    } else {
        format!("{} %", significant(percent.max(0.0)))
    }
}

/// `part` of `whole` as a ratio; not a number when `whole` is nothing, which the functions above show as
/// [`NONE`].
#[must_use]
pub fn share(part: Nanos, whole: Nanos) -> f64 {
    if whole.0 == 0 {
        f64::NAN
    } else {
        part.0 as f64 / whole.0 as f64
    }
}

/// How a process ended, from the status `wait` reports: `code 0`, `killed by SIGKILL`.
#[must_use]
pub fn exit_status(status: u32) -> String {
    match status & 0x7f {
        0 => format!("code {}", (status >> 8) & 0xff),
        signal => match signal_name(signal) {
            Some(name) => format!("killed by {name}"),
            None => format!("killed by signal {signal}"),
        },
    }
}

/// Names of the signals that end processes; their numbers are the same on x86-64 and arm64 (`signal(7)`).
fn signal_name(signal: u32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}

/// Foreign text (thread names, command lines, paths) made safe to print: what moves the cursor, changes
/// colours, reverses the reading direction or hides is replaced; a line break or a tab becomes a space.
#[must_use]
pub fn sanitise(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c.is_control() || is_invisible(c)) {
        return Cow::Borrowed(text);
    }
    let visible = |c: char| match c {
        '\t' | '\n' | '\r' => ' ',
        _ if c.is_control() || is_invisible(c) => char::REPLACEMENT_CHARACTER,
        _ => c,
    };
    Cow::Owned(text.chars().map(visible).collect())
}

/// `text` in at most `width` characters; what is cut off shows as `…`.
#[must_use]
pub fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if text.chars().count() <= width {
        return Cow::Borrowed(text);
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    Cow::Owned(cut)
}

/// Characters that print nothing and yet change what is read: direction overrides and isolates (UAX 9), zero
/// width, line and paragraph separators, interlinear annotations, tags (Unicode general category `Cf`, `Zl`, `Zp`).
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `value` in the first unit that needs at most three digits before the point, each unit `step` of the last.
fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    format!(
        "{} {}",
        three_digits(value),
        units.get(unit).copied().unwrap_or_default()
    )
}

/// At most three significant digits; the decimals say that it was rounded, so the last one may be a zero.
fn three_digits(value: f64) -> String {
    if value < 9.995 {
        let text = format!("{value:.2}");
        text.strip_suffix('0').map(str::to_owned).unwrap_or(text)
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        significant(value)
    }
}

/// A whole number of at most three significant digits.
fn significant(value: f64) -> String {
    let mut unit = 1.0;
    while value / unit >= 999.5 {
        unit *= 10.0;
    }
    format!("{:.0}", (value / unit).round() * unit)
}

/// `text` in lines of at most `width` characters, broken between words, and within a word that is longer.
#[must_use]
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let letters: Vec<char> = word.chars().collect();
        let space = usize::from(used > 0);
        if used + space + letters.len() > width && used > 0 {
            lines.push(String::new());
            used = 0;
        } else if let Some(line) = lines.last_mut().filter(|_| space > 0) {
            line.push(' ');
            used += 1;
        }
        for (at, part) in letters.chunks(width.max(1)).enumerate() {
            if at > 0 {
                lines.push(String::new());
                used = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.extend(part);
                used += part.len();
            }
        }
    }
    lines
}

/// The word for what a thread is doing.
#[must_use]
pub fn state(state: State) -> &'static str {
    match state {
        State::UNKNOWN => "unknown",
        State::ON_CPU => "on cpu",
        State::RUNNABLE => "runnable",
        State::PREEMPTED => "preempted",
        State::FUTEX => "futex",
        State::EPOLL => "epoll",
        State::DISK => "disk",
        State::NETWORK => "network",
        State::PAGE_FAULT => "page fault",
        State::SLEEP => "sleep",
        State::THROTTLED => "throttled",
        State::DEAD => "ended",
        _ => "other",
    }
}

/// The name of a way to get memory from the kernel, or to give it back.
#[must_use]
pub fn memory_call(what: MemoryCall) -> &'static str {
    match what {
        MemoryCall::MAP => "mmap",
        MemoryCall::UNMAP => "munmap",
        MemoryCall::REMAP_GROW => "mremap, larger",
        MemoryCall::REMAP_SHRINK => "mremap, smaller",
        MemoryCall::BRK_GROW => "brk, up",
        MemoryCall::BRK_SHRINK => "brk, down",
        MemoryCall::GIVE_BACK => "madvise, given back",
        _ => "unknown",
    }
}

/// The name of an error number, such as `ECONNREFUSED`; a number without a name as that.
#[must_use]
pub fn errno(number: u32) -> String {
    let known = i32::try_from(number)
        .ok()
        .and_then(|number| syscalls::Errno::new(number).name());
    known.map_or_else(|| format!("errno {number}"), str::to_owned)
}

/// An address of a stack as lines, innermost inlined function first: `function (file:line)`, or where there is no
/// symbol the place in the mapped file, or the bare address.
#[must_use]
pub fn frames(symbol: &SymbolMeta) -> Vec<String> {
    if symbol.frames.is_empty() {
        let place = if symbol.module.is_empty() {
            format!("{:#x}", symbol.address)
        } else if symbol.module.starts_with('[') {
            // Not a file: code made at run time.
            format!("{:#x} {}", symbol.address, symbol.module)
        } else {
            format!("{}+{:#x}", symbol.module, symbol.offset)
        };
        return vec![place];
    }
    symbol
        .frames
        .iter()
        .map(|frame| match (frame.file.as_str(), frame.line) {
            ("", _) => frame.function.clone(),
            (file, 0) => format!("{} ({file})", frame.function),
            (file, line) => format!("{} ({file}:{line})", frame.function),
        })
        .collect()
}

/// How fast a size changes: `+1.1 MiB/s`, `−284 KiB/s`, `0 B/s`; [`NONE`] when it is not a number.
#[must_use]
pub fn growth(bytes_per_second: f64) -> String {
    let size = bytes(bytes_per_second.abs().round() as u64);
    if !bytes_per_second.is_finite() {
        NONE.to_owned()
    } else if bytes_per_second >= 0.5 {
        format!("+{size}/s")
    } else if bytes_per_second <= -0.5 {
        format!("−{size}/s")
    } else {
        "0 B/s".to_owned()
    }
}

/// An address, short enough for a table: its last eight digits, which tell the addresses of one process apart.
#[must_use]
pub fn short_address(address: u64) -> String {
    if address > u64::from(u32::MAX) {
        format!("…{:08x}", address & u64::from(u32::MAX))
    } else {
        format!("{address:#x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words_and_a_long_word_within() {
        assert_eq!(wrapped("", 5), [""]);
        assert_eq!(wrapped("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrapped("a abcdefgh b", 3), ["a", "abc", "def", "gh", "b"]);
        assert_eq!(wrapped("ab cd", 0), ["a", "b", "c", "d"]);
    }

    #[test]
    fn durations_change_unit_before_they_need_a_fourth_digit() {
        let said = |ns| duration(Nanos(ns));
        for (ns, text) in [
            (0, "0 s"),
            (7, "7 ns"),
            (999, "999 ns"),
            (1_000, "1.0 µs"),
            (412_000, "412 µs"),
            (999_400, "999 µs"),
            (999_600, "1.0 ms"),
            (1_236_000, "1.24 ms"),
            (21_000_000, "21.0 ms"),
            (2_000_000_000, "2.0 s"),
            (59_940_000_000, "59.9 s"),
            (59_960_000_000, "1m00s"),
            (192_400_000_000, "3m12s"),
        ] {
            assert_eq!(said(ns), text, "{ns}");
        }
        assert_eq!(said(u64::MAX), "213503d23h");
    }

    #[test]
    fn elapsed_time_keeps_its_two_largest_units() {
        let said = |s: u64| elapsed(Nanos(s * 1_000_000_000));
        assert_eq!(
            [0, 59, 60, 192, 3_600, 7_440, 86_400, 277_000].map(said),
            [
                "0s", "59s", "1m00s", "3m12s", "1h00m", "2h04m", "1d00h", "3d04h"
            ]
        );
        assert_eq!(
            elapsed(Nanos(1_999_999_999)),
            "1s",
            "a clock does not run ahead"
        );
    }

    #[test]
    fn sizes_are_binary() {
        for (size, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "0.98 KiB"),
            (1_536, "1.5 KiB"),
            (1_023_900, "0.98 MiB"),
            (12 << 20, "12.0 MiB"),
            (212 << 20, "212 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(size), text, "{size}");
        }
    }

    #[test]
    fn counts_and_rates() {
        assert_eq!(
            [0, 412, 999, 1_000, 1_236, 12_400, 999_600, u64::MAX].map(count),
            [
                "0", "412", "999", "1.0 k", "1.24 k", "12.4 k", "1.0 M", "18.4 E"
            ]
        );
        let second = Nanos(1_000_000_000);
        assert_eq!(
            [0, 3, 412, 1_236].map(|n| rate(n, second)),
            ["0/s", "3.0/s", "412/s", "1.24 k/s"]
        );
        assert_eq!(rate(2, Nanos(5_000_000_000)), "0.4/s");
        assert_eq!(rate(1, Nanos(1_000_000_000_000)), "<0.01/s");
        assert_eq!(rate(1, Nanos(0)), NONE);
    }

    #[test]
    fn ratios_never_round_something_to_nothing() {
        for (value, text) in [
            (0.0, "0 %"),
            (0.000_01, "<0.01 %"),
            (0.000_4, "0.04 %"),
            (0.004, "0.4 %"),
            (0.014, "1.4 %"),
            (0.07, "7 %"),
            (0.099_6, "10 %"),
            (0.184, "18 %"),
            (1.0, "100 %"),
            (2.5, "250 %"),
            (64.12, "6410 %"),
            (f64::NAN, NONE),
        ] {
            assert_eq!(ratio(value), text, "{value}");
        }
        assert_eq!(
            [0.0, 0.001, 0.005, 0.184, 1.0].map(percent),
            ["0 %", "<1 %", "1 %", "18 %", "100 %"]
        );
        assert_eq!(percent(share(Nanos(1), Nanos(0))), NONE);
        assert_eq!(percent(share(Nanos(1), Nanos(4))), "25 %");
    }

    #[test]
    fn an_exit_is_a_code_or_a_signal() {
        assert_eq!(exit_status(0), "code 0");
        assert_eq!(exit_status(0x0300), "code 3");
        assert_eq!(exit_status(9), "killed by SIGKILL");
        assert_eq!(
            exit_status(0x80 | 11),
            "killed by SIGSEGV",
            "with a core dump"
        );
        assert_eq!(exit_status(35), "killed by signal 35");
    }

    #[test]
    fn what_is_cut_off_shows() {
        assert_eq!(cut("libuv-worker", 12), "libuv-worker");
        assert_eq!(cut("libuv-worker", 11), "libuv-work…");
        assert_eq!(cut("日本語", 2), "日…");
        assert_eq!(cut("", 0), "");
    }

    #[test]
    fn foreign_text_cannot_drive_the_terminal() {
        assert_eq!(sanitise("libuv-worker"), "libuv-worker");
        assert!(matches!(sanitise("日本語 ümlaut"), Cow::Borrowed(_)));
        assert_eq!(sanitise("\x1b[2J\x07x\u{9b}31m"), "�[2J�x�31m");
        assert_eq!(sanitise("a\r\nb\tc\x7f"), "a  b c�");
        assert_eq!(sanitise("abc\u{202e}fed\u{200b}\u{2066}"), "abc�fed��");
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let safe = sanitise(&c.to_string()).into_owned();
            assert!(!safe.chars().any(char::is_control), "{c:?}");
        }
    }

    #[test]
    fn growth_has_a_sign() {
        assert_eq!(
            [1_153_434.0, -290_816.0, 0.2, f64::NAN].map(growth),
            ["+1.1 MiB/s", "−284 KiB/s", "0 B/s", NONE]
        );
    }

    #[test]
    fn addresses_keep_the_end_that_differs() {
        assert_eq!(short_address(0x7f3c_8c00_12a8), "…8c0012a8");
        assert_eq!(short_address(0x1234), "0x1234");
        assert_eq!(short_address(u64::MAX), "…ffffffff");
    }
}
