//! Looks at the screens that show tasks.

use super::*;

#[test]
fn overview() {
    assert_screen!("overview_tasks_140x45", live(demo::tokio()), 140, 45);
    assert_screen!("overview_tasks_80x24", live(demo::tokio()), 80, 24);
}

#[test]
fn the_view() {
    let mut app = live(demo::tokio());
    press(&mut app, "2");
    assert_screen!("tasks_80x24", app, 80, 24);
    press(&mut app, "jj");
    assert_screen!("tasks_140x45", app, 140, 45);
    assert_screen!("tasks_40x12", app, 40, 12);
    press(&mut app, "3j");
    assert_screen!("tasks_threads_140x45", app, 140, 45);
}

#[test]
fn the_help_on_them() {
    let mut app = live(demo::tokio());
    press(&mut app, "2?");
    assert_screen!("help_tasks_80x45", app, 80, 45);
}

#[test]
fn the_page_of_a_type() {
    let mut app = live(demo::tokio());
    press(&mut app, "2");
    app.update(Msg::Key(Key::Enter));
    assert_screen!("task_page_140x45", app, 140, 45);
    assert_screen!("task_page_80x24", app, 80, 24);
    app.update(Msg::Key(Key::PageDown));
    assert_screen!("task_page_80x24_below", app, 80, 24);
    assert_screen!("task_page_40x12", app, 40, 12);
    let mut gone = demo::tokio();
    gone.tasks.types.clear();
    app.update(Msg::Snapshot(Arc::new(gone)));
    let screen = screen(&mut app, 80, 24);
    assert!(screen.contains("not listed at this moment"), "{screen}");
}

#[test]
fn where_tasks_of_a_type_wait() {
    let mut app = live(demo::tokio());
    press(&mut app, "2jjj");
    app.update(Msg::Key(Key::Enter));
    assert_screen!("task_waits_140x45", app, 140, 45);
    assert_screen!("task_waits_80x45", app, 80, 45);
}

#[test]
fn tasks_that_are_sampled_or_only_read_from_memory_are_said_to_be() {
    let mut sampled = demo::tokio();
    (sampled.tasks.watched, sampled.tasks.recent_on) = (Some(0.04), Nanos(0));
    for view in &mut sampled.tasks.types {
        (view.recent_polls, view.recent_busy) = (0, Nanos(0));
        view.spawned = None;
    }
    let mut app = live(sampled);
    press(&mut app, "2");
    assert_screen!("tasks_sampled_80x24", app, 80, 24);
    let mut memory = demo::tokio();
    (memory.tasks.watched, memory.tasks.wakes_watched) = (None, None);
    (memory.tasks.watch_span, memory.tasks.recent_on) = (Nanos(0), Nanos(0));
    (memory.tasks.pollers, memory.tasks.long_polls) = (vec![], vec![]);
    let mut followed = memory.clone();
    for probe in &mut followed.quality.probes {
        if probe.name.starts_with("task_") {
            (probe.status, probe.group) = (ProbeStatus::Off, "task".to_owned());
            probe.why = "not asked for".to_owned();
        }
    }
    for view in &mut followed.tasks.types {
        (view.busy, view.scheduled) = Default::default();
        (view.idle, view.lifetime) = Default::default();
    }
    let mut app = live(followed);
    assert_screen!("overview_tasks_by_samples_140x45", app, 140, 45);
    press(&mut app, "2");
    assert_screen!("tasks_by_samples_140x45", app, 140, 45);
    assert_screen!("tasks_by_samples_80x24", app, 80, 24);
    app.update(Msg::Key(Key::Enter));
    assert_screen!("task_page_by_samples_80x24", app, 80, 24);
    memory.tasks.followed = false;
    for view in &mut memory.tasks.types {
        let known = std::mem::take(view);
        (view.pid, view.vtable, view.alive) = (known.pid, known.vtable, known.alive);
        (view.name, view.raw_name, view.kind) = (known.name, known.raw_name, known.kind);
        (view.file, view.line) = (known.file, known.line);
    }
    for probe in &mut memory.quality.probes {
        if probe.name.starts_with("task_") {
            (probe.status, probe.group) = (ProbeStatus::Off, "task".to_owned());
            probe.why = "not asked for".to_owned();
        }
    }
    let mut app = live(memory);
    press(&mut app, "2");
    assert_screen!("tasks_from_memory_80x24", app, 80, 24);
    app.update(Msg::Key(Key::Enter));
    assert_screen!("task_page_from_memory_80x24", app, 80, 24);
}

#[test]
fn a_program_without_tasks_is_said_to_be_none() {
    let mut app = live(demo::healthy());
    press(&mut app, "2");
    assert_screen!("tasks_none_80x24", app, 80, 24);
    let mut unread = demo::healthy();
    unread.tasks.runtimes.clear();
    let mut app = live(unread);
    press(&mut app, "2");
    let screen = screen(&mut app, 80, 24);
    assert!(screen.contains("No process has been looked at"), "{screen}");
}
