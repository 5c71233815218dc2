//! The first line: what is traced, whether it still runs, and how far the numbers can be trusted.

use ratatui::{Frame, layout::Rect, style::Color};

use super::{
    segments::{self, Segment},
    theme::Theme,
};
use crate::{
    human::{self, sanitise, share},
    model::{ProcessView, Snapshot},
    record::ProbeStatus,
    tui::app::App,
};

/// Draws it. Where there is no room, facts go in this order: that children are not followed, the agent's own
/// memory, the profile, the program, its runtime, the number of processes, the tool's name, the event rate, that nothing is
/// lost, the time attached, the agent's own CPU, the probes' cost, how to get help, that tasks are sampled, the exit and what is
/// degraded, what
/// is lost or refused, the process, the state.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    theme: &Theme,
) {
    let quality = &snapshot.quality;
    let plain = theme.plain("").style;
    let mut left = vec![Segment::new(11, "tracer", theme.strong_style())];

    let main = main_process(snapshot);
    if let Some(process) = main {
        let name = sanitise(&process.comm);
        let pid = pid(snapshot, process);
        left.push(Segment::new(1, format!("{name} {pid}"), theme.strong_style()).or(pid));
        if let Some(others) = others(snapshot, process) {
            left.push(Segment::new(12, others, plain));
        }
        left.extend(runtime(snapshot, process).map(|text| Segment::new(13, text, plain)));
        left.push(Segment::any(13, program(process), plain));
    }
    left.extend(state(app, snapshot, theme));
    left.extend(exit(app, snapshot, main, theme));
    if app.transport.is_none() {
        left.push(Segment::new(
            8,
            format!("attached {}", human::elapsed(snapshot.duration())),
            plain,
        ));
    }
    if !snapshot.session.profile.is_empty() {
        left.push(Segment::new(
            14,
            format!("profile {}", sanitise(&snapshot.session.profile)),
            plain,
        ));
    }
    // The last window of a target that has ended is the moment of its end, and stands for nothing else.
    let (over, events, own_cpu) = if snapshot.all_exited() {
        (snapshot.duration(), quality.events, quality.agent_cpu)
    } else {
        (
            snapshot.window,
            quality.recent_events,
            quality.agent_recent_cpu,
        )
    };
    if over.0 > 0 {
        let rate = human::rate(events, over);
        let (number, _) = rate.split_at(rate.len() - "/s".len());
        left.push(Segment::new(10, format!("{number} events/s"), plain));
    }
    match quality.lost_total() {
        0 => left.push(Segment::new(9, "lost 0", plain)),
        lost => left.push(Segment::new(
            2,
            format!("lost {}", human::count(lost)),
            theme.alarm_style(),
        )),
    }
    let refused = quality
        .probes
        .iter()
        .filter(|probe| probe.status == ProbeStatus::Refused)
        .count();
    if refused > 0 {
        left.push(Segment::new(
            3,
            format!("refused {refused}"),
            theme.alarm_style(),
        ));
    }
    let degraded = quality
        .probes
        .iter()
        .filter(|probe| probe.status == ProbeStatus::Degraded)
        .count();
    if degraded > 0 {
        left.push(Segment::new(
            4,
            format!("degraded {degraded}"),
            theme.alarm_style(),
        ));
    }
    if snapshot.tasks.is_sampled()
        && let Some(share) = snapshot.tasks.watched
    {
        left.push(Segment::new(
            5,
            format!("tasks sampled {}", human::ratio(share)),
            plain,
        ));
    }
    if let Some((cost, of_cpu)) = cost(snapshot) {
        // The limit is a share of no less than half a CPU: where less is used, both are needed to judge it.
        let text = if of_cpu * 2.0 < cost {
            format!(
                "cost {}, {} of a CPU",
                human::ratio(cost),
                human::ratio(of_cpu)
            )
        } else {
            format!("cost {}", human::ratio(cost))
        };
        left.push(Segment::new(6, text, plain));
    }
    if over.0 > 0 {
        let own = human::ratio(share(own_cpu, over));
        left.push(Segment::new(7, format!("own cpu {own}"), plain));
    }
    if let Some(rss) = quality.agent_rss_bytes {
        left.push(Segment::new(
            15,
            format!("own rss {}", human::bytes(rss)),
            plain,
        ));
    }
    if !app.options.follow {
        left.push(Segment::new(16, "children not followed", plain));
    }
    let help = vec![Segment::new(5, "? help", plain).lead(theme.strong_style())];
    frame.render_widget(segments::line(area.width, left, help), area);
}

/// What the probes cost the targets: of the CPU time these used, and of a CPU. In the last window, while they run.
fn cost(snapshot: &Snapshot) -> Option<(f64, f64)> {
    let quality = &snapshot.quality;
    let [all, recent] = quality.target_probe_time;
    match quality.recent_cpu_ratio.filter(|_| !snapshot.all_exited()) {
        Some(ratio) => Some((ratio, share(recent, snapshot.window))),
        None => Some((quality.target_cpu_ratio?, share(all, snapshot.duration()))),
    }
}

/// The process the session is about: the one traced first.
pub(super) fn main_process(snapshot: &Snapshot) -> Option<&ProcessView> {
    snapshot
        .processes
        .iter()
        .min_by_key(|process| (process.since, process.pid))
}

/// Its number; and that it has ended, while others that are traced have not.
fn pid(snapshot: &Snapshot, process: &ProcessView) -> String {
    if process.exit.is_some() && !snapshot.all_exited() {
        format!("pid {} exited", process.pid.0)
    } else {
        format!("pid {}", process.pid.0)
    }
}

/// Which runtime it has.
fn runtime(snapshot: &Snapshot, process: &ProcessView) -> Option<String> {
    let runtime = snapshot.tasks.runtime(process.pid)?;
    let is_known = runtime.kind != "native" && !runtime.version.is_empty();
    is_known.then(|| format!("{} {}", sanitise(&runtime.kind), sanitise(&runtime.version)))
}

fn others(snapshot: &Snapshot, main: &ProcessView) -> Option<String> {
    let alive = snapshot
        .processes
        .iter()
        .filter(|p| p.exit.is_none() && p.pid != main.pid)
        .count();
    match alive {
        0 => None,
        1 => Some("(+1 process)".to_owned()),
        _ => Some(format!("(+{alive} processes)")),
    }
}

/// Longest command line that is worth the room.
const COMMAND: usize = 60;

/// What the process runs, as far as its name does not say it: its arguments or else only the script, and
/// without arguments the program's path. Longest first, possibly nothing.
fn program(process: &ProcessView) -> Vec<String> {
    let cmdline = sanitise(&process.cmdline);
    let arguments: Vec<&str> = cmdline.split_whitespace().skip(1).collect();
    let mut variants = vec![arguments.join(" ")];
    match arguments.iter().find(|word| !word.starts_with('-')) {
        Some(script) => variants.push(script.rsplit('/').next().unwrap_or(script).to_owned()),
        None if arguments.is_empty() => variants.push(sanitise(&process.exe).into_owned()),
        None => {}
    }
    variants.retain(|text| !text.is_empty() && text.chars().count() <= COMMAND);
    variants
}

/// Whether it moves: live, paused, ended; in a replay also how fast.
fn state(app: &App, snapshot: &Snapshot, theme: &Theme) -> Option<Segment> {
    const RANK: u8 = 0;
    let going = theme.strong_style().patch(theme.colored(Color::Green));
    let standing = theme.strong_style().patch(theme.colored(Color::Yellow));
    let title = sanitise(&app.options.title);
    Some(if let Some(transport) = app.transport {
        let speed = transport.speed;
        if app.session_ended && !transport.ended {
            Segment::new(RANK, format!("■ {title} stopped"), standing).or("■ replay stopped")
        } else if transport.ended {
            Segment::new(RANK, format!("■ {title} at its end"), standing).or("■ replay ended")
        } else if transport.paused {
            Segment::new(RANK, format!("‖ {title} paused"), standing).or("‖ replay paused")
        } else {
            Segment::new(RANK, format!("▶ {title} {speed}×"), going)
                .or(format!("▶ replay {speed}×"))
        }
    } else if let Some(time) = app.frozen_for() {
        Segment::new(
            RANK,
            format!("‖ paused for {}", human::elapsed(time)),
            standing,
        )
        .or(format!("‖ paused {}", human::elapsed(time)))
    } else if snapshot.all_exited() {
        return None;
    } else if app.session_ended {
        Segment::new(RANK, "■ session ended", standing).or("■ ended")
    } else {
        Segment::new(RANK, format!("● {title}"), going)
    })
}

/// That nothing traced runs any more, and how the process ended.
fn exit(
    app: &App,
    snapshot: &Snapshot,
    main: Option<&ProcessView>,
    theme: &Theme,
) -> Option<Segment> {
    if !snapshot.all_exited() {
        return None;
    }
    let status = human::exit_status(main?.exit?);
    // Beside the state of a replay or of a frozen view it is a fact; alone it is the state.
    let rank = if app.transport.is_some() || app.frozen_for().is_some() {
        4
    } else {
        0
    };
    Some(
        Segment::new(
            rank,
            format!("■ target exited ({status})"),
            theme.alarm_style(),
        )
        .or(format!("■ exited ({status})"))
        .or("■ exited"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_common::{Nanos, Pid};

    fn process(cmdline: &str) -> ProcessView {
        ProcessView {
            exe: "/usr/bin/node".to_owned(),
            cmdline: cmdline.to_owned(),
            ..ProcessView::default()
        }
    }

    #[test]
    fn a_program_is_named_by_what_tells_it_apart() {
        let said = |cmdline: &str| program(&process(cmdline)).join(" | ");
        assert_eq!(
            said("node /srv/api/server.js --port 80"),
            "/srv/api/server.js --port 80 | server.js"
        );
        assert_eq!(said("node --inspect app.js"), "--inspect app.js | app.js");
        assert_eq!(said("node"), "/usr/bin/node");
        assert_eq!(said(""), "/usr/bin/node");
        assert_eq!(
            said(&format!("node -e {}", "x".repeat(200))),
            "",
            "no one-line program"
        );
        assert_eq!(said("node a\x1b[31mb"), "a�[31mb | a�[31mb");
    }

    #[test]
    fn the_session_is_about_the_process_traced_first() {
        let processes = [(9, 5), (7, 3), (3, 4)].map(|(pid, since)| ProcessView {
            pid: Pid(pid),
            since: Nanos(since),
            ..ProcessView::default()
        });
        let snapshot = Snapshot {
            processes: processes.to_vec(),
            ..Snapshot::default()
        };
        let main = main_process(&snapshot).unwrap();
        assert_eq!(main.pid, Pid(7));
        assert_eq!(others(&snapshot, main).as_deref(), Some("(+2 processes)"));
    }

    #[test]
    fn a_main_process_that_has_ended_before_its_children_is_said_to_have() {
        let mut snapshot = Snapshot {
            processes: vec![process(""), process("")],
            ..Snapshot::default()
        };
        assert_eq!(pid(&snapshot, &snapshot.processes[0]), "pid 0");
        snapshot.processes[0].exit = Some(0);
        assert_eq!(pid(&snapshot, &snapshot.processes[0]), "pid 0 exited");
        snapshot.processes[1].exit = Some(0);
        assert_eq!(pid(&snapshot, &snapshot.processes[0]), "pid 0");
    }
}
