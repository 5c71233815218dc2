//! The lines under the header: what is missing from the numbers, by reason, and which probes do not work.

use std::cmp::Reverse;

use ratatui::text::Line;

use super::{
    segments::{self, Segment},
    theme::Theme,
};
use crate::{
    human::{self, sanitise},
    model::{Quality, Snapshot},
    record::ProbeStatus,
};

/// The notices, most important first; none when all is well.
pub(super) fn lines<'a>(snapshot: &Snapshot, width: u16, theme: &Theme) -> Vec<Line<'a>> {
    [
        losses(&snapshot.quality, theme),
        probes(&snapshot.quality, theme),
    ]
    .into_iter()
    .filter(|segments| !segments.is_empty())
    .map(|segments| segments::line(width, segments, vec![]))
    .collect()
}

fn losses(quality: &Quality, theme: &Theme) -> Vec<Segment> {
    let plain = theme.plain("").style;
    let mut lost = quality.lost.clone();
    lost.retain(|&(_, count)| count > 0);
    lost.sort_by_key(|&(_, count)| Reverse(count));
    let mut segments = Vec::new();
    for (rank, (reason, count)) in (0..).zip(&lost) {
        let what = format!("{} {}", human::count(*count), reason.name());
        segments.push(match rank {
            0 => Segment::new(0, format!("▲ lost {what}"), plain)
                .or(format!("▲ {what}"))
                .lead(theme.alarm_style()),
            _ => Segment::new(rank, format!("· {what}"), plain),
        });
    }
    if quality.inconsistent > 0 {
        let what = format!(
            "{} records made no sense",
            human::count(quality.inconsistent)
        );
        segments.push(if segments.is_empty() {
            Segment::new(0, format!("▲ skipped: {what}"), plain).lead(theme.alarm_style())
        } else {
            Segment::new(u8::MAX, format!("· {what}"), plain)
        });
    }
    segments
}

fn probes(quality: &Quality, theme: &Theme) -> Vec<Segment> {
    let plain = theme.plain("").style;
    let mut segments = Vec::new();
    for (rank, status) in [(0, ProbeStatus::Refused), (100, ProbeStatus::Degraded)] {
        let probes: Vec<_> = quality
            .probes
            .iter()
            .filter(|probe| probe.status == status)
            .collect();
        let (count, status) = (probes.len(), status.name());
        let mut said: Option<&str> = None;
        for (place, probe) in (0..50).zip(probes) {
            let name = sanitise(&probe.name);
            // What is switched off together has one reason.
            let new = !probe.why.is_empty() && said != Some(probe.why.as_str());
            let why = if new {
                reason(&probe.why)
            } else {
                String::new()
            };
            let clause = if new {
                reason(clause(&probe.why))
            } else {
                String::new()
            };
            said = Some(&probe.why);
            let head = match count {
                1 => format!("▲ {status}"),
                _ => format!("▲ {count} probes {status}:"),
            };
            segments.push(match place {
                0 => Segment::new(rank, format!("{head} {name}{why}"), plain)
                    .or(format!("{head} {name}{clause}"))
                    .or(format!("▲ {count} {status}: {name}{clause}"))
                    .or(format!("{head} {name}"))
                    .or(match count {
                        1 => format!("▲ 1 probe {status}"),
                        _ => format!("▲ {count} probes {status}"),
                    })
                    .lead(theme.alarm_style()),
                _ => Segment::new(rank + place, format!("· {name}{why}"), plain)
                    .or(format!("· {name}")),
            });
        }
    }
    segments
}

fn reason(why: &str) -> String {
    format!(" ({})", sanitise(why))
}

/// The first part of a reason: what one reads where there is no room for all of it. All of it is in the help.
fn clause(why: &str) -> &str {
    let end = why.find([',', ';']).unwrap_or(why.len());
    why.get(..end).unwrap_or(why)
}
