//! JavaScript for people: what each thread is in, then the async functions that wait, by who awaits whom.

use std::fmt::Write as _;

use crate::{
    dump::{
        Detail, Dump, Runtime,
        javascript::{Doing, Frame, JavaScript, What},
        words::grouped,
    },
    human,
    runtime::node::v8::{
        Place,
        awaits::{Awaits, Chain, Step, Via},
    },
};

/// Chains that are listed.
const MOST_CHAINS: usize = 40;
/// Steps of a chain, and frames of a stack, of which the middle is left out when there are more.
const MOST_STEPS: usize = 24;

pub(super) fn write(
    out: &mut String,
    dump: &Dump,
    node: &Runtime,
    js: &JavaScript,
    detail: Detail,
) {
    head(out, dump, node, js);
    for doing in &js.threads {
        thread(out, doing, detail);
    }
    if let Some(awaits) = &js.awaits {
        pending(out, awaits, js, detail);
    }
}

fn head(out: &mut String, dump: &Dump, node: &Runtime, js: &JavaScript) {
    let mut row = |name: &str, text: &str| {
        let _ = writeln!(out, "  {name:<9} {}", human::sanitise(text));
    };
    let version = node.version.as_deref().unwrap_or("of unknown version");
    row("node", &format!("{version} in {}", node.module));
    if let Some(awaits) = &js.awaits {
        row("pending", &counts(awaits));
        row("read", &read(dump, awaits));
        if awaits.has_moved {
            row(
                "note",
                "V8 moved objects while they were read: some may be missing, or there twice",
            );
        }
    }
    for note in &js.notes {
        row("note", note);
    }
}

/// `1,024 async functions: 1,000 wait, 24 go on when the thread gets to them`
fn counts(awaits: &Awaits) -> String {
    let all = awaits.pending.len() as u64;
    let ready = awaits.pending.iter().filter(|one| one.is_ready).count() as u64;
    let functions = if all == 1 {
        "async function"
    } else {
        "async functions"
    };
    let mut text = format!("{} {functions}", grouped(all));
    if ready > 0 {
        let _ = write!(
            text,
            ": {} wait, {} can go on when their thread gets to it",
            grouped(all - ready),
            grouped(ready)
        );
    }
    if all > 0 {
        text += "; one that nothing can resume counts until V8 collects it";
    }
    text
}

fn read(dump: &Dump, awaits: &Awaits) -> String {
    let changed = match awaits.changed {
        0 => "nothing changed meanwhile".to_owned(),
        1 => "1 went on meanwhile".to_owned(),
        changed => format!("{} went on meanwhile", grouped(changed)),
    };
    let whole = if awaits.is_whole {
        ""
    } else {
        "; not all memory was looked at"
    };
    format!(
        "{} in {}, of {}; {changed}{whole}",
        human::bytes(awaits.read),
        human::duration(awaits.took),
        human::duration(dump.took),
    )
}

fn thread(out: &mut String, doing: &Doing, detail: Detail) {
    let name = if doing.is_main {
        "main thread".to_owned()
    } else {
        format!("thread {}", human::sanitise(&doing.thread.name))
    };
    let what = match doing.what {
        What::Runs => "runs".to_owned(),
        What::Idle => "idle: waits for events".to_owned(),
        What::Waits(_) => format!("waits in {}", doing.call.as_deref().unwrap_or_default()),
        What::Halts => "halts".to_owned(),
        What::Unknown => "its stack could not be taken".to_owned(),
    };
    let is_known = doing.is_read && doing.unknown == 0;
    let says_all = matches!(doing.what, What::Idle | What::Unknown) || !doing.frames.is_empty();
    let native = match (says_all, is_known) {
        (true, _) => "",
        (false, true) => ", in no JavaScript function",
        (false, false) => ", its stack is not known",
    };
    let _ = writeln!(
        out,
        "\nSTACK {name} ({}) {what}{native}",
        doing.thread.tid.0
    );
    let mut lines = Vec::new();
    for frame in &doing.frames {
        lines.extend(frame_lines(frame, detail));
    }
    for line in shortened(lines) {
        let _ = writeln!(out, "  {line}");
    }
    if doing.unknown > 0 {
        let _ = writeln!(out, "  {} more without a name", grouped(doing.unknown));
    }
}

fn frame_lines(frame: &Frame, detail: Detail) -> Vec<String> {
    let last = frame.places.len().saturating_sub(1);
    let lines = frame.places.iter().enumerate().map(|(index, place)| {
        let kind = if index < last {
            "[inlined]"
        } else {
            frame.kind.name()
        };
        format!("{} {kind}", said(place, detail))
    });
    lines.collect()
}

fn pending(out: &mut String, awaits: &Awaits, js: &JavaScript, detail: Detail) {
    if awaits.pending.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\nPENDING async functions, each with the line of its await, and who awaits it"
    );
    let chains = &js.chains.all;
    let shown = chains.iter().take(MOST_CHAINS);
    let width = shown.clone().map(|chain| grouped(chain.count).len()).max();
    for chain in shown {
        let count = grouped(chain.count);
        let steps = steps(awaits, chain, detail).join(" <- ");
        let ready = match chain.ready {
            0 => String::new(),
            ready if ready == chain.count => "; can go on".to_owned(),
            ready => format!("; {} of them can go on", grouped(ready)),
        };
        let width = width.unwrap_or(0);
        let _ = writeln!(out, "  {count:>width$} × {steps}{ready}");
    }
    let more = chains.get(MOST_CHAINS..).unwrap_or_default();
    if !more.is_empty() {
        let functions = more.iter().map(|chain| chain.count).sum();
        let _ = writeln!(
            out,
            "  {} more in {} other chains: --json has them",
            grouped(functions),
            grouped(more.len() as u64)
        );
    }
    if js.chains.is_cut {
        let _ = writeln!(out, "  there are more chains, which were not followed");
    }
}

fn steps(awaits: &Awaits, chain: &Chain, detail: Detail) -> Vec<String> {
    let said = chain.steps.iter().map(|step| match step {
        Step::Function(place, times) => {
            let place = awaits.places.get(*place);
            let name = place.map_or_else(String::new, |place| said(place, detail));
            match times {
                1 => name,
                times => format!("{name} × {} in a row", grouped(*times)),
            }
        }
        Step::Via(via) => self::via(via),
        Step::Again => "the first again: they wait for each other".to_owned(),
    });
    shortened(said.collect())
}

/// As a program writes it.
pub(in crate::report::dump) fn via(via: &Via) -> String {
    match via {
        Via::All => "Promise.all".to_owned(),
        Via::AllSettled => "Promise.allSettled".to_owned(),
        Via::Any => "Promise.any".to_owned(),
        Via::Then(name) => format!("then({})", human::sanitise(name)),
    }
}

/// `loadUser (users.mjs:3)`
fn said(place: &Place, detail: Detail) -> String {
    let script = human::sanitise(&place.script);
    let is_own = script.starts_with("node:");
    let file = if detail.verbose || is_own {
        script.strip_prefix("file://").unwrap_or(&script)
    } else {
        script.rsplit('/').next().unwrap_or(&script)
    };
    let name = human::sanitise(&place.function);
    match place.line {
        0 => format!("{name} ({file})"),
        line => format!("{name} ({file}:{line})"),
    }
}

fn shortened(mut lines: Vec<String>) -> Vec<String> {
    let Some(more) = lines.len().checked_sub(MOST_STEPS).filter(|more| *more > 0) else {
        return lines;
    };
    let half = MOST_STEPS / 2;
    let end = lines.len() - half;
    lines.splice(half..end, [format!("… {more} more …")]);
    lines
}
