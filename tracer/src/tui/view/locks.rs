//! Locks: which futexes threads wait for, who waits and who wakes.

use ratatui::{Frame, layout::Rect, style::Style, text::Line, widgets::Paragraph};

use super::{
    cut,
    panel::{self, Title},
    stack,
    table::{self, Column, Table},
    theme::Theme,
    waits,
};
use crate::{
    human::{self, NONE, sanitise, share},
    model::{LockView, PartyView, Snapshot, StackView},
    tui::{
        app::App,
        list::{LockSort, Sort as _},
    },
};
use tracer_common::{Nanos, table::LockKind};

const COLUMNS: [Column; 10] = [
    Column::number("futex", 11, 0),
    Column::number("now", 3, 3),
    Column::number("waits/s", 8, 3),
    Column::number("time", 7, 1),
    Column::number("waits", 7, 10),
    Column::number("waited", 8, 9),
    Column::number("p50", 7, 8),
    Column::number("p99", 7, 4),
    Column::number("max", 7, 5),
    Column::text("who waits ← who wakes", 22, 6),
];

/// What each column means, for the help.
pub(super) const MEANINGS: [(&str, &str); 10] = [
    (
        "futex",
        "a lock, condition or channel: the end of its address; s shared between processes, p priority inheritance, \
         v waited for with others",
    ),
    ("now", "threads that wait for it at this moment"),
    ("waits/s", "waits that slept, per second in the period"),
    ("time", "share of all time waited for futexes in the period"),
    ("waits", "waits that slept since attach"),
    ("waited", "time waited since attach, over all threads"),
    ("p50", "half of the waits were shorter, give or take 6 %"),
    ("p99", "99 of 100 waits were shorter, likewise"),
    ("max", "the longest wait"),
    (
        "who waits ←",
        "who waited longest ← who woke most often; – no thread did: time-outs",
    ),
];

/// Width of what stands before the words about a lock.
const LABEL: usize = 10;
/// Rows of the selected lock, frame excluded.
const DETAIL: u16 = 6;

/// The view.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    theme: &Theme,
) {
    let rows = app.locks.rows(snapshot, app.period);
    let selected = app.locks.position(&rows);
    let roomy = area.height >= 32;
    let waits_wanted = (snapshot.long_waits.len() as u16).max(2) + 3;
    let mut table = area;
    // Long waits are always of interest; on a small screen they give way to the lock one looks at.
    let waits_height = match (roomy, selected) {
        (true, _) => waits_wanted.min(area.height / 3),
        (false, None) if area.height >= 14 => waits_wanted.min(area.height / 2),
        (false, _) => 0,
    };
    let below_all = cut::bottom(&mut table, waits_height);
    let shown = if roomy {
        selected.or(Some(0))
    } else {
        selected
    };
    let detail = shown
        .and_then(|at| rows.get(at))
        .filter(|_| area.height >= 16);
    let below = cut::bottom(&mut table, if detail.is_some() { DETAIL + 2 } else { 0 });
    table_panel(frame, table, app, snapshot, &rows, selected, theme);
    if let Some(lock) = detail {
        detail_panel(frame, below, snapshot, lock, theme);
    }
    if !below_all.is_empty() {
        waits::panel(frame, below_all, snapshot, theme);
    }
}

fn table_panel(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    rows: &[&LockView],
    selected: Option<usize>,
    theme: &Theme,
) {
    let mut about: Vec<String> = super::at_times(snapshot, "futex_waits")
        .into_iter()
        .collect();
    about.extend(super::filtered(&app.locks.filter));
    about.push(format!(
        "waits/s and time: {}",
        super::period(app, snapshot)
    ));
    about.push("the rest since attach".to_owned());
    about.push(format!("by {}", app.locks.sort.name()));
    let note = match snapshot.locks_unlisted {
        0 => Line::default(),
        more => Line::from(theme.faint(format!(" {} more not listed ", human::count(more)))),
    };
    let inner = panel::draw(frame, area, &Title::new("Locks", about), note, theme);
    if rows.is_empty() {
        return frame.render_widget(super::explanation(nothing(app, snapshot), theme), inner);
    }
    let all = snapshot
        .locks
        .iter()
        .fold(Nanos(0), |sum, lock| sum.plus(app.period.waits(lock).1));
    let length = app.period.length(snapshot);
    let counted = snapshot.locks.iter().map(|lock| app.period.waits(lock).0);
    let off = super::off_for_now(snapshot, "futex_waits", counted.max().unwrap_or(0));
    let cells = |lock: &&LockView| {
        let (waits, time) = app.period.waits(lock);
        let waited = |time| human::duration_of(lock.wait.count, time);
        let cells = vec![
            format!("{}{}", human::short_address(lock.address), marks(lock.kind)),
            human::count(u64::from(lock.waiting_now)),
            if off {
                NONE.to_owned()
            } else {
                human::rate(waits, length)
            },
            human::ratio(share(time, all)),
            human::count(lock.wait.count),
            waited(lock.wait.sum),
            waited(lock.wait.p50),
            waited(lock.wait.p99),
            waited(lock.wait.max),
            who(lock),
        ];
        let quiet = waits == 0 && lock.waiting_now == 0;
        (
            cells,
            if quiet {
                theme.faint_style()
            } else {
                Style::new()
            },
        )
    };
    let by = match app.locks.sort {
        LockSort::Now => 1,
        LockSort::Waits => 2,
        LockSort::Time => 3,
        LockSort::P99 => 7,
        LockSort::Max => 8,
    };
    Table {
        columns: &COLUMNS,
        sorted: (Some(by), app.locks.reversed),
        rows,
        selected,
        cells: &cells,
    }
    .draw(frame, inner, theme);
}

fn nothing(app: &App, snapshot: &Snapshot) -> Vec<String> {
    if let Some(why) = super::without(snapshot, "futex_waits", "Waits for locks are not counted") {
        vec![
            why,
            "The time threads spend in them is still in 3 threads, as futex.".to_owned(),
        ]
    } else if app.locks.filter.is_empty() {
        vec!["No thread has waited for a futex since attach: no lock was contended.".to_owned()]
    } else {
        vec![super::no_match("address or thread", &app.locks.filter)]
    }
}

fn marks(kind: LockKind) -> String {
    let marks: String = [
        (LockKind::SHARED, 's'),
        (LockKind::PI, 'p'),
        (LockKind::VECTOR, 'v'),
    ]
    .into_iter()
    .filter_map(|(bit, mark)| kind.has(bit).then_some(mark))
    .collect();
    if marks.is_empty() {
        marks
    } else {
        format!(" {marks}")
    }
}

fn kind(kind: LockKind) -> Option<String> {
    let words = [
        (LockKind::SHARED, "shared between processes"),
        (LockKind::PI, "priority inheritance"),
        (LockKind::VECTOR, "waited for with others"),
    ];
    let words: Vec<&str> = words
        .into_iter()
        .filter_map(|(bit, word)| kind.has(bit).then_some(word))
        .collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn name(party: &PartyView) -> String {
    if party.name.is_empty() {
        party.tid.0.to_string()
    } else {
        sanitise(&party.name).into_owned()
    }
}

/// Who waited longest and who woke most often; by number where they have the same name.
fn who(lock: &LockView) -> String {
    let (waiter, waker) = (lock.waiters.first(), lock.wakers.first());
    match (waiter, waker) {
        (Some(waiter), Some(waker)) if !waiter.name.is_empty() && waiter.name == waker.name => {
            format!("{} {} ← {}", name(waiter), waiter.tid.0, waker.tid.0)
        }
        _ => {
            let said = |party: Option<&PartyView>| party.map_or_else(|| NONE.to_owned(), name);
            format!("{} ← {}", said(waiter), said(waker))
        }
    }
}

/// The selected lock in words.
fn detail_panel(
    frame: &mut Frame<'_>,
    area: Rect,
    snapshot: &Snapshot,
    lock: &LockView,
    theme: &Theme,
) {
    let title = format!("futex {:#x}", lock.address);
    let mut about = vec![match lock.waiting_now {
        0 => "nobody waits now".to_owned(),
        1 => "1 thread waits now".to_owned(),
        threads => format!("{threads} threads wait now"),
    }];
    about.extend(stack::purpose(&lock.stack).map(str::to_owned));
    about.extend(kind(lock.kind));
    about.push(format!("pid {}", lock.pid.0));
    let title = Title::new(&title, about);
    let inner = panel::draw(frame, area, &title, Line::default(), theme);
    let room = inner.width.saturating_sub(LABEL as u16);
    let lines = [
        ("waits", counts(lock, snapshot)),
        ("calls", calls(lock, snapshot)),
        ("waiting", waiters(&lock.waiters, room)),
        ("woken by", wakers(&lock.wakers, room)),
        ("waits in", place(&lock.stack, snapshot, room)),
        ("wakes in", place(&lock.waker_stack, snapshot, room)),
    ];
    let lines: Vec<Line<'_>> = lines
        .into_iter()
        .map(|(label, text)| {
            let text = table::shortened(&text, room);
            Line::from(vec![
                theme.strong(format!("{label:<LABEL$}")),
                theme.plain(text),
            ])
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), inner);
}

fn counts(lock: &LockView, snapshot: &Snapshot) -> String {
    let others = lock.wait.count.saturating_sub(lock.woken);
    format!(
        "{}, {} in the last {}; {} ended by a thread, {} not",
        human::count(lock.wait.count),
        human::count(lock.recent_waits),
        human::duration(snapshot.window),
        human::count(lock.woken),
        human::count(others)
    )
}

fn calls(lock: &LockView, snapshot: &Snapshot) -> String {
    let (Some(again), Some(timeouts), Some(interrupted)) =
        (lock.again, lock.timeouts, lock.interrupted)
    else {
        return super::without(snapshot, "sys_exit", "not counted")
            .unwrap_or_else(|| "not counted: system calls are not".to_owned());
    };
    let wakes = match (lock.wake_calls, lock.wake_results) {
        (Some(calls), Some(results)) => {
            format!(
                "; {} wakes woke {}",
                human::count(calls),
                human::count(results)
            )
        }
        _ => String::new(),
    };
    format!(
        "{} time-outs, {} again, {} signals{wakes}",
        human::count(timeouts),
        human::count(again),
        human::count(interrupted)
    )
}

fn waiters(parties: &[PartyView], width: u16) -> String {
    let said = |party: &PartyView| {
        format!(
            "{} {} ({} in {})",
            name(party),
            party.tid.0,
            human::duration(party.waited),
            human::count(party.count)
        )
    };
    list(parties, said, width).unwrap_or_else(|| "not known".to_owned())
}

fn wakers(parties: &[PartyView], width: u16) -> String {
    let said = |party: &PartyView| {
        format!(
            "{} {} ({} times)",
            name(party),
            party.tid.0,
            human::count(party.count)
        )
    };
    list(parties, said, width)
        .unwrap_or_else(|| "no thread: time-outs, signals, or not ended yet".to_owned())
}

/// As many of them as fit, at least one, and how many more there are; `None` when there is none.
fn list(parties: &[PartyView], said: impl Fn(&PartyView) -> String, width: u16) -> Option<String> {
    let all: Vec<String> = parties.iter().map(said).collect();
    let said = |shown: usize| {
        let text = all.get(..shown).unwrap_or_default().join(", ");
        match all.len() - shown {
            0 => text,
            more => format!("{text}, {more} more"),
        }
    };
    (1..=all.len())
        .rev()
        .map(said)
        .find(|text| text.chars().count() <= usize::from(width))
        .or_else(|| (!all.is_empty()).then(|| said(1)))
}

/// A stack, or why there is none.
fn place(of: &StackView, snapshot: &Snapshot, width: u16) -> String {
    stack::chain(of).map_or_else(
        || no_stack(snapshot),
        |chain| {
            if chain.chars().count() <= usize::from(width) {
                return chain;
            }
            // What every wait goes through is what one can do without.
            let callers = stack::callers(of).unwrap_or(chain);
            stack::fitted(&callers, width)
        },
    )
}

fn no_stack(snapshot: &Snapshot) -> String {
    super::without(snapshot, "wait_stacks", "no stack")
        .unwrap_or_else(|| "no stack: none of its waits was long enough for one".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_explained() {
        for (column, (title, _)) in COLUMNS.iter().zip(MEANINGS) {
            assert!(column.title.starts_with(title), "{}", column.title);
        }
    }

    #[test]
    fn a_kind_is_marked_and_said() {
        let both = LockKind(LockKind::SHARED | LockKind::PI);
        assert_eq!(marks(LockKind::PRIVATE), "");
        assert_eq!(marks(both), " sp");
        assert_eq!(
            kind(both).as_deref(),
            Some("shared between processes, priority inheritance")
        );
        assert_eq!(kind(LockKind::PRIVATE), None);
    }
}
